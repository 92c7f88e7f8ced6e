"""One workflow of a tree as its history sees it: the whole tree, or a sub-tree.

This is the shell of `regrow.workflows` over again, with events instead of commands: `TreeRun` and
`Rollover` decide, here it is only written down what each decision leaves behind. A continuation is
another run of the same workflow, with a history of its own.
"""

from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import partial
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any, Final, cast

from regrow.core import limits
from regrow.core.attributes import TreeAttributes
from regrow.core.cost.activity import Execution, execute
from regrow.core.cost.history import ATTRIBUTE, SUMMARY, Action
from regrow.core.cost.world import (
    BETWEEN,
    BETWEEN_BRIEF,
    BUSY,
    BUSY_PER_COMMAND,
    BUSY_PER_NEWS,
    LATENCY,
    World,
)
from regrow.core.draw.details import static_details
from regrow.core.handover import Reporter, partition_document
from regrow.core.loading import load
from regrow.core.outcome import Outcome
from regrow.core.packing import packed
from regrow.core.policies import LIBRARY
from regrow.core.record import Kind, Start
from regrow.core.resolve import Description, Plan, resolve
from regrow.core.result import json_size, moment, tree_result
from regrow.core.rollover import Rollover
from regrow.core.run import TreeRun
from regrow.core.script import Act, acts_of
from regrow.core.snapshot import read_ends, restore_snapshot, take_snapshot
from regrow.core.subtree import child_document, subtree_outcome
from regrow.core.waits import Verdict, Wait
from regrow.core.wire import (
    ENGINE_KEY,
    PARTITION_KEY,
    PARTITIONED_ENGINE,
    SLEEP,
    WAIT_FOR_EVENT,
    Status,
)

if TYPE_CHECKING:
    from regrow.core.models import Json, TaskTree

_NEXT_TASK: Final = 0.001
_SUMMARY: Final = 200
_HASH: Final = 64
_ANSWER: Final = 76
"""What an update answers."""
_DESCRIBING: Final = 74
"""The names in the marker that says what executors there are."""
_PARTITION_LABEL: Final = 40
_KNOWN: Final = sum(len(name) + 2 for name in LIBRARY.retry.non_retryable_error_types)
"""The error types that are never retried, in every activity."""
_CANCELLED: Final = Outcome(Status.CANCELLED, error="cancelled", attempts=None)
_ENDS: Final = {
    Status.COMPLETED: "completed",
    Status.FAILED: "failed",
    Status.CANCELLED: "canceled",
}
"""How events are named for it."""

Command = Callable[[], None]


class Workflow:
    """Writes down what one workflow does; `on_end` is told the result, or never if it waits."""

    def __init__(  # noqa: PLR0913 - what a workflow is started with
        self,
        world: World,
        plan: Plan,
        description: Description,
        tree_id: str,
        *,
        path: str = "",
        on_end: Callable[[dict[str, Any]], None] = lambda _: None,
    ) -> None:
        self._world, self._plan, self._description = world, plan, description
        self._tree_id, self._path, self.on_end = tree_id, path, on_end
        self._told: dict[str, Any] = {}
        """What the server's lists were told, over all runs."""
        self._has_local = False
        """Whether the executors are being described, which is a local activity too."""
        world.workflows += 1
        world.tasks += self._own_tasks

    @property
    def _is_child(self) -> bool:
        return self._path != ""

    @property
    def _own_tasks(self) -> int:
        return len(self._plan.tree.tasks)

    def _new_run(self) -> TreeRun:
        may_partition = self._description.engine_version >= PARTITIONED_ENGINE
        return TreeRun(self._plan, tree_id=self._tree_id, may_partition=may_partition)

    def begin(self, document: Mapping[str, Any]) -> None:
        """Start with this argument; a sub-tree knows its executors already."""
        self._start_run(document)
        self._history.act(Action.CHILD if self._is_child else Action.WORKFLOW)
        if self._is_child:
            self._history.act(Action.CHILD)
        else:
            told = self._description.model_dump(mode="json", exclude_defaults=True)
            self._history.add("marker_recorded", json_size(told))
            self._has_local = True

    def _start_run(
        self, document: Mapping[str, Any], snapshot: dict[str, Any] | None = None
    ) -> None:
        tree = self._plan.tree
        self.run = self._new_run()
        self._history = self._world.new_history()
        about = static_details(tree, None if self._path else "-" * _HASH)
        named = 2 * len(tree.name) + len(self._tree_id) + json_size(about)
        self._history.add("workflow_execution_started", json_size(packed(dict(document))) + named)
        self._rollover = Rollover(self._history.size)
        self._attributes = TreeAttributes(self.run)
        self._inbox: list[Command] = []
        self._children: dict[str, Workflow] = {}
        self._activities: dict[str, Execution] = {}
        self._timers: dict[str, Wait] = {}
        self._local: list[tuple[float, int, Start, Execution]] = []
        self._is_asked = self._has_ended = False
        if snapshot is not None:
            restore_snapshot(self.run, snapshot)
            for task_id, wait in self.run.waits.items():
                self._begin_wait(task_id, wait)
        self._ask()

    # --- workflow tasks

    def _hear(self, take_in: Command) -> None:
        """Keep news for the workflow task that will hear of them, and see to it that one comes."""
        self._history.news += 1
        self._inbox.append(take_in)
        self._ask()

    def _ask(self) -> None:
        if not (self._is_asked or self._has_ended):
            self._is_asked = True
            self._world.at(LATENCY, self._work)

    def _work(self) -> None:
        news, self._inbox = self._inbox, []
        self._elapsed, self._local_starts, self._is_over = 0.0, 0, False
        for take_in in news:
            take_in()
        commands, more = self._decide()
        busy = self._elapsed + BUSY + BUSY_PER_NEWS * len(news) + BUSY_PER_COMMAND * len(commands)
        self._world.at(busy, partial(self._answer, commands, more))

    def _answer(self, commands: list[Command], more: timedelta | None) -> None:
        """End a workflow task: only now does the server learn what is to be done."""
        self._history.add_workflow_task()
        self._is_asked = False
        history = self._history
        if self._has_local or self._local_starts:
            history.act(Action.LOCAL)
            self._has_local = False
        for command in commands:
            command()
        if self._has_ended or history is not self._history:
            return
        if more is not None:
            history.add("timer_started")
            history.add("timer_canceled")
            history.act(Action.TIMER)
            self._world.at(more.total_seconds(), self._ask)
        if self._inbox:
            self._ask()

    def _decide(self) -> tuple[list[Command], timedelta | None]:
        """Give what is to be done, and when to look again though nothing has happened."""
        commands: list[Command] = []
        while True:
            while (unit := self.run.next_interrupt()) is not None:
                commands.append(partial(self._interrupt, unit))
            more = self._start_what_can(commands)
            if not self.run.has_interrupts and not self._end_local(commands):
                break
        self._tell(commands)
        self._report(commands)
        if self.run.is_finished:
            return [*commands, self._end], None
        left = self._rollover.left(self._history.events, self._world.now)
        return commands, timedelta(seconds=_NEXT_TASK) if more else left

    def _start_what_can(self, commands: list[Command]) -> bool:
        if self._holding(commands):
            return False
        started = size = 0
        while not self._is_over and (start := self.run.next_start(self._world.now)) is not None:
            if start.kind is Kind.WAIT:
                self.run.waiting(start, self._world.now)
                commands.append(partial(self._wait, start))
                continue
            self.run.began(start.unit, self._world.now)
            size += self._command(start, commands)
            started += 1
            if started >= limits.MAX_STARTS_PER_TASK or size >= limits.MAX_BYTES_PER_TASK:
                return True
        return self._is_over

    def _begin_local(self, start: Start) -> None:
        """Run a local task inside this workflow task; what ends first is heard of first."""
        acts = acts_of(self._world.assumptions.script, self._owner(start.unit), start.executor)
        done = execute(self._world, acts, dict(start.inputs), self._plan.policy(start.unit))
        self._local_starts += 1
        heappush(self._local, (self._elapsed + done.seconds, self._local_starts, start, done))

    def _end_local(self, commands: list[Command]) -> bool:
        """Let the next local task end, if one runs."""
        if not self._local:
            return False
        self._elapsed, _, start, done = heappop(self._local)
        self.run.ended(start.unit, done.outcome, self._world.now)
        commands.append(partial(self._mark, start, done))
        return True

    def _mark(self, start: Start, done: Execution) -> None:
        owner = self._owner(start.task_id)
        named = len(start.unit) + len(start.executor) + self._label(start)
        self._history.add("marker_recorded", done.bytes + named - _DESCRIBING, owner)
        self._world.count(start.executor, owner)

    @property
    def _is_spent(self) -> bool:
        """Whether local tasks have had their share of this workflow task."""
        most = limits.MAX_LOCAL_PACE.total_seconds()
        return self._local_starts >= limits.MAX_LOCAL_STARTS or self._elapsed >= most

    def _command(self, start: Start, commands: list[Command]) -> int:
        """Add the command that starts a unit of work; gives the bytes of its argument."""
        if self._plan.is_local(start.unit):
            if not self._is_spent:
                self._begin_local(start)
                return 0
            self._is_over = True  # its end, as that of an activity, brings the next workflow task
        if start.kind is Kind.ACTIVITY:
            size = json_size(start.inputs)
            commands.append(partial(self._begin_activity, start, size))
            return size
        if start.kind is Kind.PARTITION:
            document = partition_document(self.run, start, self._description)
            size = json_size(packed(document, limits.PARTITION_PACK_ABOVE))
            commands.append(partial(self._begin_partition, start, document, size))
            return size
        tree = cast("TaskTree", self.run.tasks[start.task_id].tree)
        user_id = self._plan.tree.user_id
        document = child_document(tree, start.inputs, user_id, self._description)
        size = json_size(document)
        commands.append(partial(self._begin_subtree, start, document, size))
        return size

    def _tell(self, commands: list[Command]) -> None:
        """Upsert what has changed of the attributes that the server has."""
        values = self._attributes.values()
        new = {
            name: values[name]
            for name in self._description.search_attributes
            if self._told.get(name, []) != values[name]
        }
        if new:
            self._told |= new
            size = sum(ATTRIBUTE + len(name) + json_size(value) for name, value in new.items())
            commands.append(partial(self._upsert, size))

    def _report(self, commands: list[Command]) -> None:
        """Tell nobody; a partition has somebody to tell."""

    def _upsert(self, size: int) -> None:
        self._history.add("upsert_workflow_search_attributes", size)
        self._history.act(Action.UPSERT)

    # --- activities

    def _owner(self, task_id: str) -> str:
        return f"{self._path}{task_id}"

    def _label(self, start: Start) -> int:
        title = self.run.tasks[start.task_id].title
        longer = 0 if title == start.task_id else len(title) + len(" · ".encode())
        return min(len(start.unit) + longer, _SUMMARY)

    def _begin_activity(self, start: Start, size: int) -> None:
        owner, policy = self._owner(start.task_id), self._plan.policy(start.unit)
        named = len(start.unit) + self._label(start) + len(start.executor)
        user = len(self._plan.tree.user_id or "")
        errors = sum(len(name) + 2 for name in policy.retry.non_retryable_error_types) - _KNOWN
        self._history.add("activity_task_scheduled", size + named + user + errors, owner)
        self._world.count(start.executor, owner)
        acts = acts_of(self._world.assumptions.script, f"{self._path}{start.unit}", start.executor)
        done = execute(self._world, acts, dict(start.inputs), policy)
        self._activities[start.unit] = done
        hosted = start.unit.endswith("~compensate") or not self.run.tasks[start.task_id].task_queue
        self._history.act(Action.ACTIVITY, done.attempts, owner)
        if hosted and done.heartbeats:
            self._history.act(Action.HEARTBEAT, done.heartbeats, owner)
        between = BETWEEN if done.seconds else BETWEEN_BRIEF
        end = partial(self._activity_ended, start, done)
        self._world.at(done.seconds, lambda: self._world.arrive(end, between))

    def _activity_ended(self, start: Start, done: Execution) -> None:
        if self._activities.get(start.unit) is not done:
            return  # it was cancelled before
        del self._activities[start.unit]
        owner = self._owner(start.task_id)
        self._history.add("activity_task_started", done.started_bytes, owner)
        self._history.add(f"activity_task_{_ENDS[done.outcome.status]}", done.bytes, owner)
        self._hear(lambda: self.run.ended(start.unit, done.outcome, self._world.now))

    # --- sub-trees

    def _begin_subtree(self, start: Start, document: dict[str, Any], size: int) -> None:
        owner, child_id = self._owner(start.task_id), f"{self._tree_id}/{start.unit}"
        bare = {key: value for key, value in document.items() if key != ENGINE_KEY}
        plan = resolve(load(bare), self._description)
        named = len(child_id) + json_size(static_details(plan.tree)) + self._label(start)
        kind = "start_child_workflow_execution_initiated"
        self._history.add(kind, size + named + len(plan.tree.name), owner)
        path = f"{self._path}{start.unit}/"
        child = Workflow(
            self._world,
            plan,
            self._description,
            child_id,
            path=path,
            on_end=lambda result: self._child_ended(start, result),
        )
        self._children[start.unit] = child
        child.begin(document)
        self._world.arrive(partial(self._child_started, owner, child_id))

    def _child_started(self, owner: str, child_id: str) -> None:
        self._history.add("child_workflow_execution_started", len(child_id), owner)
        self._hear(lambda: None)

    def _child_ended(self, start: Start, result: dict[str, Any]) -> None:
        del self._children[start.unit]
        status = Status(result["status"])
        size = 0 if status is Status.CANCELLED else json_size(result)
        kind = f"child_workflow_execution_{_ENDS[status]}"
        self._history.add(kind, size + len(result["tree_id"]), self._owner(start.task_id))
        cancelled = status is Status.CANCELLED
        outcome = _CANCELLED if cancelled else subtree_outcome(start.unit, result)
        self._hear(lambda: self.run.ended(start.unit, outcome, self._world.now))

    # --- partitions

    def _begin_partition(self, start: Start, document: dict[str, Any], size: int) -> None:
        unit, child_id = start.unit, f"{self._tree_id}/{start.unit}"
        named = len(child_id) + len(self._plan.tree.name) + _PARTITION_LABEL
        self._history.add("start_child_workflow_execution_initiated", size + named)
        bare = {key: value for key, value in document.items() if key != ENGINE_KEY}
        plan = resolve(load(bare), self._description)
        told = partial(self._partition_told, unit)
        about = document[ENGINE_KEY][PARTITION_KEY]
        child = Partition(
            self._world, plan, self._description, child_id, path=self._path, about=about, told=told
        )
        child.on_end = partial(self._partition_ended, unit, child_id)
        self._children[unit] = child
        child.begin(document)
        self._world.arrive(partial(self._child_started, "", child_id))

    def _partition_told(self, unit: str, report: dict[str, Any], size: int) -> None:
        self._history.add("workflow_execution_signaled", size)
        self._history.act(Action.SIGNAL)
        self._hear(lambda: self.run.reported(unit, dict(read_ends(report)), self._world.now))

    def _partition_ended(self, unit: str, child_id: str, report: dict[str, Any]) -> None:
        del self._children[unit]
        size = json_size(packed(report, limits.PARTITION_PACK_ABOVE))
        self._history.add("child_workflow_execution_completed", size + len(child_id))
        self._hear(partial(self._take_partition_end, unit, report))

    def _take_partition_end(self, unit: str, report: dict[str, Any]) -> None:
        self.run.reported(unit, dict(read_ends(report)), self._world.now)
        self.run.partition_ended(unit, _CANCELLED, self._world.now)

    # --- waits

    def _wait(self, start: Start) -> None:
        wait = self.run.waits.get(start.task_id)
        if wait is None:  # what ended it came in the same workflow task
            return
        self._begin_wait(start.task_id, wait)
        acts = acts_of(
            self._world.assumptions.script,
            self._owner(start.task_id),
            self.run.tasks[start.task_id].executor_id,
        )
        act = next(iter(acts), Act(value=None))
        if wait.kind != SLEEP and isinstance(act, Act) and act.seconds is not None:
            say = partial(self._say, start.task_id, act)
            self._world.at(act.seconds + LATENCY, say)

    def _begin_wait(self, task_id: str, wait: Wait) -> None:
        if wait.until is None:
            return
        owner = self._owner(task_id)
        self._history.add("timer_started", len(task_id) + SUMMARY, owner)
        self._history.act(Action.TIMER, owner=owner)
        self._timers[task_id] = wait
        left = max((wait.until - self._world.now).total_seconds(), 0)
        self._world.at(left, partial(self._fire, self._history, task_id))

    def _fire(self, history: Any, task_id: str) -> None:
        if history is not self._history or task_id not in self._timers:
            return
        del self._timers[task_id]
        self._history.add("timer_fired", owner=self._owner(task_id))
        self._hear(lambda: self.run.woke(task_id, self._world.now))

    def _say(self, task_id: str, act: Act) -> None:
        """Let a person answer, or an event be sent: an update, unless the wait is over."""
        wait, owner = self.run.waits.get(task_id), self._owner(task_id)
        if wait is None:
            return
        event = wait.event if wait.kind == WAIT_FOR_EVENT else None
        self._history.act(Action.UPDATE, owner=owner)
        self._hear(partial(self._take_update, task_id, act, event))

    def _take_update(self, task_id: str, act: Act, event: str | None) -> None:
        now, owner = self._world.now, self._owner(task_id)
        asked: dict[str, Json] = {"task_id": task_id, "approved": act.ok, "by": act.by}
        asked |= {"note": act.note, "result": act.value}
        if event is not None:
            asked = {"event": event, "payload": act.value}
        self._history.add("workflow_execution_update_accepted", json_size(asked), owner)
        self._history.add("workflow_execution_update_completed", _ANSWER, owner)
        if event is not None:
            self.run.event(event, act.value, now)
        elif task_id in self.run.waits:
            verdict = Verdict(act.ok, act.by, act.note, act.value, moment(now))
            self.run.answered(task_id, verdict, now)

    # --- cancelling

    def cancel(self) -> None:
        """Cancel this workflow, as that of its parent does."""
        self._history.add("workflow_execution_cancel_requested")
        self._hear(lambda: self.run.cancel("", self._world.now))

    def _interrupt(self, unit: str) -> None:
        owner = self._owner(unit.partition("[")[0])
        if unit in self._timers:
            del self._timers[unit]
            self._history.add("timer_canceled", owner=owner)
        elif unit in self._children:
            self._history.add("request_cancel_external_workflow_execution_initiated", owner=owner)
            self._history.add("external_workflow_execution_cancel_requested", owner=owner)
            self._children[unit].cancel()
        elif unit in self._activities:
            del self._activities[unit]
            self._history.add("activity_task_cancel_requested", owner=owner)
            self._world.arrive(partial(self._activity_cancelled, unit, owner))

    def _activity_cancelled(self, unit: str, owner: str) -> None:
        self._history.add("activity_task_started", owner=owner)
        self._history.add("activity_task_canceled", owner=owner)
        self._hear(lambda: self.run.ended(unit, _CANCELLED, self._world.now))

    # --- handing over, and ending

    def _holding(self, commands: list[Command]) -> bool:
        """Hold back starts when the history is due to be left, and leave it once nothing runs."""
        run, events, size = self.run, self._history.events, self._history.size
        if run.is_drained and (run.outputs is None or run.is_finished):
            return False
        if not self._rollover.holds(events, size, False, self._world.now):  # noqa: FBT003
            return False
        if run.in_flight:
            return True
        engine = {
            "description": self._description.model_dump(mode="json", exclude_defaults=True),
            "snapshot": take_snapshot(run),
        }
        document = {**self._plan.tree.as_document(), ENGINE_KEY: engine}
        if (
            json_size(engine) <= limits.MAX_ENGINE_BYTES
            and json_size(document) <= limits.MAX_PAYLOAD
        ):
            commands.append(partial(self._continue_as_new, document))
            return True
        self._rollover.postpone(events, size)
        return False

    def _continue_as_new(self, document: dict[str, Any]) -> None:
        self._history.add("workflow_execution_continued_as_new", json_size(document))
        self._history.act(Action.CONTINUED)
        self._start_run(document, document[ENGINE_KEY]["snapshot"])

    def _end(self) -> None:
        result = tree_result(self.run)
        status = Status(result["status"])
        size = 0 if status is Status.CANCELLED else json_size(result)
        self._history.add(f"workflow_execution_{_ENDS[status]}", size)
        self._has_ended = True
        self._world.arrive(partial(self.on_end, result))


class Partition(Workflow):
    """A workflow that runs some tasks of a tree for it, and tells it how they ended."""

    def __init__(  # noqa: PLR0913 - what a partition is started with
        self,
        world: World,
        plan: Plan,
        description: Description,
        tree_id: str,
        *,
        path: str,
        about: Mapping[str, Any],
        told: Callable[[dict[str, Any], int], None],
    ) -> None:
        known = description.model_copy(update={"search_attributes": ()})
        super().__init__(world, plan, known, tree_id, path=path)
        self._reporter, self._told_by = Reporter(about), told

    @property
    def _is_child(self) -> bool:
        return True

    @property
    def _own_tasks(self) -> int:
        return 0  # they are the tree's

    def _new_run(self) -> TreeRun:
        of = self._tree_id.rpartition("/")[0]
        return TreeRun(self._plan, tree_id=of, on_change=self._reporter.changed)

    def _start_run(
        self, document: Mapping[str, Any], snapshot: dict[str, Any] | None = None
    ) -> None:
        super()._start_run(document, snapshot or document[ENGINE_KEY]["snapshot"])

    def _report(self, commands: list[Command]) -> None:
        now = self._world.now
        self._reporter.look(self.run, now)
        due_at = self._reporter.due_at
        if due_at is None or self.run.is_finished:
            return
        if due_at <= now:
            commands.append(partial(self._signal, self._reporter.report(self.run, now)))
        else:
            self._world.at((due_at - now).total_seconds(), self._ask_if_due)

    def _ask_if_due(self) -> None:
        due_at = self._reporter.due_at
        if due_at is not None and due_at <= self._world.now:
            self._ask()

    def _signal(self, report: dict[str, Any]) -> None:
        size = json_size(packed(report, limits.PARTITION_PACK_ABOVE))
        self._history.add("signal_external_workflow_execution_initiated", size)
        self._history.add("external_workflow_execution_signaled")
        self._told_by(report, size)
        self._hear(lambda: None)

    def _end(self) -> None:
        self._has_ended = True
        *others, last = self._reporter.last_words(self.run, self._world.now)
        for report in others:
            self._signal(report)
        size = json_size(packed(last, limits.PARTITION_PACK_ABOVE))
        self._history.add("workflow_execution_completed", size)
        self._world.arrive(partial(self.on_end, last))
