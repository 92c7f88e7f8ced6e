"""The workflow `TaskTree`: the thin shell around `TreeRun`.

It waits, schedules and reports; what to do next is decided in `regrow.core`. Each pass through its
loop is one activation: facts have come in through callbacks, decisions go out as commands.
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, cast
from urllib.parse import quote

from temporalio import workflow
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError, WorkflowAlreadyStartedError

from regrow.core import limits
from regrow.core.draw.details import details
from regrow.core.garbage import collected_later
from regrow.core.handover import obey, partition_bytes, read_report
from regrow.core.loading import load, without_engine
from regrow.core.models import TaskTree
from regrow.core.normal import read_normal
from regrow.core.outcome import Outcome
from regrow.core.pace import Pace
from regrow.core.packing import packed, unpacked
from regrow.core.problems import InvalidTree, Problem, on_the_wire
from regrow.core.record import Kind, Start
from regrow.core.resolve import Description, Plan, executor_ids, resolve
from regrow.core.result import (
    bounded_entry,
    failure_message,
    json_size,
    status_summary,
    tree_result,
)
from regrow.core.rollover import Rollover
from regrow.core.run import TreeRun
from regrow.core.snapshot import rerun_of, restore_snapshot, take_snapshot
from regrow.core.wire import (
    DESCRIBE_EXECUTORS,
    ENGINE_KEY,
    PACED_ENGINE,
    PARTITION_ASK,
    PARTITION_KEY,
    PARTITION_REPORT,
    PARTITIONED_ENGINE,
    RERUN_KEY,
    WORKFLOW_TYPE,
    ErrorType,
    Status,
    TreeMoment,
    is_partition,
)
from regrow.workflows.attributes import Listing
from regrow.workflows.hooks import Telling
from regrow.workflows.outcomes import (
    answer_outcome,
    argument_of,
    child_outcome,
    failure_outcome,
    json_converter,
    partition_loss,
    too_large,
)
from regrow.workflows.policies import WorkOptions
from regrow.workflows.reports import Reports
from regrow.workflows.running import Running
from regrow.workflows.updates import Updates

_TURNS = 4
"""Turns of the loop in which what ended in this activation is told to us."""
_REFUSED = 8
"""Writing out what is then not sent takes time too, if not room in history."""
_NEXT_TASK = timedelta(milliseconds=1)
_DESCRIBE_TIMEOUT = timedelta(seconds=30)


@workflow.defn(name=WORKFLOW_TYPE)
class TaskTreeWorkflow(Updates):
    """Runs one task tree; the one argument is its document."""

    @workflow.init
    def __init__(self, document: Any) -> None:
        """Check the document; what is wrong with it is raised by `run`, before anything starts."""
        self._engine: dict[str, Any] = {}
        self._tree: TaskTree | None = None
        self._refusal: InvalidTree | None = None
        try:
            self._engine, self._tree = _read(document)
        except InvalidTree as error:
            self._refusal = error
        self._run: TreeRun | None = None
        self._work: Running | None = None
        self._telling: Telling | None = None
        self._description = Description()
        self._is_paced = True
        self._was_cancelled = False
        self._pace = Pace(workflow.now())
        self._paced_at = 0
        self._rollover = Rollover(workflow.info().get_current_history_size())
        self._converter = json_converter(workflow.payload_converter())
        self._wake: asyncio.Future[None] | None = None
        part = self._engine.get(PARTITION_KEY)
        self._reports = Reports(part, self._wake_up) if part else None
        self._is_pause_known = False

    @workflow.run
    async def run(self, document: Any) -> Any:
        """Run to the end; fails with `TreeFailed` if the tree does."""
        del document  # read in __init__
        try:
            await self._prepare()
        except InvalidTree as error:
            raise _refusal(error) from None
        known = self._engine["description"].get("search_attributes", ())
        run = self._tree_run
        listing = Listing(run, known)
        while True:
            await self._interrupt()
            more = self._start_what_can()
            if run.has_interrupts:
                continue  # a start failed its task, and that the tree
            listing.tell()
            self._tell_partitions()
            if self._reports is not None and not more:  # together it might be too large
                self._reports.tell(run)
            if run.is_finished:
                return await self._end()
            await self._next_activation(_NEXT_TASK if more else self._rest_of_hold())
            self._take_in()

    @workflow.query(description="Counts, and the status of every task")
    def status(self) -> dict[str, Any]:
        """Answer with where the tree stands."""
        if self._run is None:
            return {"status": Status.PENDING.value, "paused": False, "counts": {}, "tasks": {}}
        return status_summary(self._run)

    @workflow.query(description="Everything about one task")
    def task(self, request: dict[str, Any] | str) -> dict[str, Any]:
        """Answer with the entry of the task named by `task_id`."""
        task_id = request if isinstance(request, str) else request.get("task_id")
        if self._run is None or task_id not in self._run.records:
            message = f"the tree has no task '{task_id}', or has not begun"
            raise ApplicationError(message, non_retryable=True)
        return bounded_entry(self._run, task_id)

    @workflow.signal(name=PARTITION_REPORT, description="The engine's own: what partitions learn")
    def partition_report(self, report: Any) -> None:
        """Take in what a partition of this tree says of its tasks."""
        try:
            unit, ends = read_report(report)
        except InvalidTree as error:  # whoever sent it is none of ours
            workflow.logger.warning("ignored a report: %s", error)
            return
        if self._work is not None:
            self._work.reported(unit, ends)

    @workflow.signal(name=PARTITION_ASK, description="The engine's own: what a tree asks of them")
    async def partition_ask(self, request: Any) -> None:
        """Do what the tree asks of this partition of it."""
        await workflow.wait_condition(lambda: self._run is not None)
        if self._reports is not None and isinstance(request, dict):
            obey(self._tree_run, cast("dict[str, Any]", request), workflow.now())
            self._wake_up()

    def details(self) -> str:
        """Say in Markdown how the tree stands, for the Web UI; called only when somebody asks."""
        if self._run is None:
            return ""
        namespace = workflow.info().namespace
        return details(self._run, lambda id_: f"/namespaces/{namespace}/workflows/{quote(id_, '')}")

    def header(self) -> Mapping[str, Any]:
        """Say what goes beside the inputs of the activity that is being started."""
        return self._work.header if self._work else {}

    # --- beginning

    @property
    def _tree_run(self) -> TreeRun:
        assert self._run is not None  # noqa: S101 - set by _prepare
        return self._run

    @property
    def _running(self) -> Running:
        assert self._work is not None  # noqa: S101 - set by _prepare
        return self._work

    @property
    def _hooks(self) -> Telling:
        assert self._telling is not None  # noqa: S101 - set by _prepare
        return self._telling

    async def _prepare(self) -> None:
        """Learn what the executors are, once for all continuations, and pick up what was done."""
        if self._tree is None:
            raise self._refusal or AssertionError
        is_new = "description" not in self._engine
        description = self._engine.get("description") or await self._describe(self._tree)
        self._description = Description.model_validate(description)
        with collected_later():
            plan = resolve(self._tree, self._description)
        self._engine["description"] = description
        self._is_paced = self._description.engine_version >= PACED_ENGINE
        await self._breathe()
        with collected_later():
            run = self._new_run(plan)
        await self._breathe()
        self._run = run
        options = WorkOptions(plan, self._run.tree_id)
        self._work = Running(
            options, self._wake_up, lets_begin=self._is_paced, about=self._about_activities
        )
        self._run.rerun_of = rerun_of(self._engine)
        self._run.seeds = self._engine.get("seeds", {})
        self._telling = Telling(self._description.hooks, _about(self._run), self._wake_up)
        if is_new:
            self._telling.begin()
        if snapshot := self._engine.pop("snapshot", None):
            _restore(self._run, snapshot)
            for task_id, wait in self._run.waits.items():
                self._work.set_timer(task_id, wait.until)
        if self._was_cancelled:
            self._cancel_tree()

    def _new_run(self, plan: Plan) -> TreeRun:
        steps = limits.MAX_STEPS_PER_TASK if self._is_paced else None
        if self._reports is not None:
            told = self._reports.reporter.changed
            return TreeRun(plan, tree_id=self._reports.tree_id, steps_at_once=steps, on_change=told)
        may_partition = self._description.engine_version >= PARTITIONED_ENGINE
        tree_id = workflow.info().workflow_id
        return TreeRun(plan, tree_id=tree_id, steps_at_once=steps, may_partition=may_partition)

    async def _breathe(self) -> None:
        """Let a workflow task end; one that takes two seconds never does, and is tried for ever."""
        is_new = self._description.engine_version >= PARTITIONED_ENGINE
        if is_new and self._tree and len(self._tree.tasks) > limits.BREATHE_ABOVE:
            try:
                await asyncio.sleep(_NEXT_TASK.total_seconds())
            except asyncio.CancelledError:
                self._was_cancelled = True

    @property
    def _about_activities(self) -> dict[str, Any]:
        """What executors are told of the tree: that it is but shown, or which it is."""
        demo = {"demo": True} if self._tree and self._tree.demo else {}
        return {**demo, **({"tree_id": self._reports.tree_id} if self._reports else {})}

    async def _describe(self, tree: TaskTree) -> dict[str, Any]:
        return await workflow.execute_local_activity(
            DESCRIBE_EXECUTORS,
            executor_ids(tree),
            result_type=dict[str, Any],
            start_to_close_timeout=_DESCRIBE_TIMEOUT,
            schedule_to_close_timeout=2 * _DESCRIBE_TIMEOUT,
            activity_id=DESCRIBE_EXECUTORS,
            summary="what the executors of this tree are",
        )

    # --- starting

    def _start_what_can(self) -> bool:
        """Start ready tasks; tells whether some are left for the next workflow task."""
        run, now = self._tree_run, workflow.now()
        self._begin_to_count(now)
        if self._holding(now):
            return False
        started, size, waits = 0, 0, 0
        while not self._pace.is_over:
            start = run.next_start(now)
            if start is None:
                return run.is_tired
            if start.kind is Kind.WAIT:
                run.waiting(start, now)
                self._running.set_timer(start.task_id, start.wait and start.wait.until)
                waits += 1
                if waits >= limits.MAX_WAITS_PER_TASK:
                    return True
                continue
            size += self._start(start, now)
            started += 1
            if started >= limits.MAX_STARTS_PER_TASK or size >= limits.MAX_BYTES_PER_TASK:
                return True
        return True

    def _begin_to_count(self, now: datetime) -> None:
        """Let a new workflow task decide and start as much as it may.

        Without local tasks every pass belongs to another one.
        """
        length = workflow.info().get_current_history_length()
        if length != self._paced_at or not self._tree_run.plan.local_tasks:
            self._paced_at = length
            self._pace.begin(now)
            self._tree_run.rest()

    def _is_spent(self, now: datetime) -> bool:
        run = self._tree_run
        return bool(run.plan.local_tasks) and self._pace.is_spent(run.local_in_flight, now)

    def _start(self, start: Start, now: datetime) -> int:
        """Start an activity or a sub-tree; gives the bytes of its argument."""
        run = self._tree_run
        given = partition_bytes(run, start) if start.kind is Kind.PARTITION else 0
        if given > limits.PARTITION_BYTES:
            run.partition_refused(start.unit, now)
            return limits.MAX_BYTES_PER_TASK
        argument = argument_of(start, run, self._description)
        payload = self._converter.to_payload(argument)
        assert payload is not None  # noqa: S101 - it is JSON
        size = len(payload.data)
        if start.kind is Kind.PARTITION and size > limits.MAX_PAYLOAD:
            run.partition_refused(start.unit, now)
            return limits.MAX_BYTES_PER_TASK
        if refusal := too_large(start, size):
            run.refused(start.unit, refusal, ErrorType.PAYLOAD_TOO_LARGE, now)
            return size // _REFUSED
        is_spent = self._is_spent(now)
        is_local = run.plan.is_local(start.unit) and not is_spent
        self._running.start(start, RawValue(payload), is_local=is_local)
        run.began(start.unit, now)
        size = 0 if is_local else max(size, given)
        self._pace.started(size, is_last=is_spent)
        return size

    # --- what comes in

    def _take_in(self) -> None:
        run, now = self._tree_run, workflow.now()
        for unit, ends in self._running.reports():
            run.reported(unit, ends, now)
        for unit, done, is_timer in self._running.news():
            if is_partition(unit):
                self._take_partition_end(unit, done)
            elif not is_timer:
                if run.plan.is_local(unit):
                    self._pace.wrote(_written(done))
                run.ended(unit, self._outcome(unit, done), now)
            elif not done.cancelled():
                run.woke(unit, now)

    def _take_partition_end(self, unit: str, done: asyncio.Task[Any]) -> None:
        run, now = self._tree_run, workflow.now()
        error = asyncio.CancelledError() if done.cancelled() else done.exception()
        if isinstance(error, WorkflowAlreadyStartedError):
            run.partition_refused(unit, now)
            return
        if error is None:
            run.reported(unit, read_report(done.result())[1], now)
        run.partition_ended(unit, partition_loss(unit, error), now)

    def _outcome(self, unit: str, done: asyncio.Task[Any]) -> Outcome:
        error = asyncio.CancelledError() if done.cancelled() else done.exception()
        if self._tree_run.plan.is_subtree(unit):
            return child_outcome(unit, None if error else done.result(), error)
        if error is None:
            given = done.result()
            return answer_outcome(given and given.payload, self._converter)
        return failure_outcome(error, self._tree_run.plan.policy(unit))

    def _wake_up(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    async def _next_activation(self, at_most: timedelta | None) -> None:
        """Wait until something has happened, or for as long as given."""
        if self._running.has_news:
            return
        loop = asyncio.get_running_loop()
        self._wake = loop.create_future()
        timer = loop.call_later(at_most.total_seconds(), self._wake_up) if at_most else None
        try:
            await self._wake
        except asyncio.CancelledError:
            if workflow.cancellation_reason() is None:
                raise  # nobody cancels the tree; the worker only lets go of this run
            self._cancel_tree()
        finally:
            if timer is not None:
                timer.cancel()

    async def _interrupt(self) -> None:
        """Cancel what runs, after the tree has been closed; what has just ended keeps its end."""
        if not self._tree_run.has_interrupts:
            return
        for _ in range(_TURNS):
            await self._turn()
        self._take_in()
        self._cancel_handles()

    async def _turn(self) -> None:
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            self._cancel_tree()

    def _cancel_tree(self) -> None:
        self._was_cancelled = True
        self._tree_run.cancel("the tree was cancelled", workflow.now())

    def _cancel_handles(self) -> None:
        run = self._tree_run
        while (unit := run.next_interrupt()) is not None:
            if holder := run.partitions.holders.get(unit):
                self._running.ask(holder, {"cancel": [unit]})
            else:
                self._running.cancel(unit)

    def _tell_partitions(self) -> None:
        """Let a pause reach what runs elsewhere."""
        run = self._tree_run
        if self._is_pause_known != (run.paused is not None):
            self._is_pause_known = run.paused is not None
            for unit in run.partitions.open:
                self._running.ask(unit, {"paused": run.paused})

    # --- handing over to a fresh run

    def _holding(self, now: datetime) -> bool:
        """Hold back starts when the history is due to be left, and leave it once nothing runs."""
        if self._tree_run.is_drained and not self._may_hand_over_drained:
            return False
        info = workflow.info()
        events, size = info.get_current_history_length(), info.get_current_history_size()
        if self._rollover.is_last(events, size):
            self._give_up(events, size)
            return False
        suggested = info.is_continue_as_new_suggested()
        if self._is_paced and self._is_cancelled and events < limits.ROLLOVER_FORCE_EVENTS:
            return False  # a fresh run could not end as cancelled
        if not self._rollover.holds(events, size, suggested, now):
            return False
        if self._tree_run.in_flight or self._hooks.is_open or not self._has_reported:
            return True
        self._continue_as_new()
        self._rollover.postpone(events, size)
        return False

    @property
    def _has_reported(self) -> bool:
        """Whether the tree knows all that this partition of it knows; if not, it is told now."""
        if self._reports is None:
            return True
        self._reports.tell(self._tree_run, at_once=True)
        return self._reports.is_quiet

    @property
    def _may_hand_over_drained(self) -> bool:
        """Whether a tree without open tasks goes on for long: it waits for people, or is undone."""
        run = self._tree_run
        waits = run.is_held or run.paused is not None
        return self._is_paced and (waits or (run.outputs is not None and not run.is_finished))

    @property
    def _is_cancelled(self) -> bool:
        closed = self._tree_run.closed
        return closed is not None and closed.reason == "cancel"

    def _rest_of_hold(self) -> timedelta | None:
        """How long starts stay held back if nothing else happens; None for no end."""
        if not self._rollover.is_held:
            return None
        events = workflow.info().get_current_history_length()
        return self._rollover.left(events, workflow.now())

    def _continue_as_new(self) -> None:
        """Hand over, unless what must be handed over is too large."""
        if self._tree_run.closed is not None and not self._tree_run.is_drained:
            return
        engine = {**self._engine, "snapshot": take_snapshot(self._tree_run)}
        if self._reports is not None:
            engine[PARTITION_KEY] |= {"told": self._reports.reporter.told}
        document = {**self._tree_run.plan.tree.as_document(), ENGINE_KEY: engine}
        may_pack = self._description.engine_version >= PARTITIONED_ENGINE
        if json_size(engine) > (limits.PARTITION_BYTES if may_pack else limits.MAX_ENGINE_BYTES):
            return
        if may_pack:
            document = packed(document)
        if json_size(document) <= limits.MAX_PAYLOAD:
            workflow.continue_as_new(document)

    def _give_up(self, events: int, size: int) -> None:
        message = (
            f"the history is full ({events:,} events, {size:,} bytes) and the results still needed"
            " are too large to be handed to a fresh run; let tasks return references"
        )
        self._tree_run.give_up(message, ErrorType.HISTORY_FULL, workflow.now())
        self._cancel_handles()

    # --- ending

    async def _end(self) -> Any:
        if self._reports is not None:
            return await self._reports.last(self._tree_run)
        result = tree_result(self._tree_run)
        error = failure_message(result) if result["status"] == Status.FAILED.value else None
        moment = TreeMoment(result["status"])
        await self._hooks.end(moment, counts=result["counts"], error=error)
        if result["status"] == Status.FAILED.value:
            message = failure_message(result)
            raise ApplicationError(
                message, result, type=ErrorType.TREE_FAILED.value, non_retryable=True
            )
        if result["status"] == Status.CANCELLED.value:
            if workflow.info().continued_run_id and not self._was_cancelled:
                # Only the run that is asked to cancel can end as cancelled.
                kind = ErrorType.TREE_CANCELLED.value
                raise ApplicationError("the tree was cancelled", type=kind, non_retryable=True)
            raise asyncio.CancelledError
        return result


def _read(document: Any) -> tuple[dict[str, Any], TaskTree]:
    """Split the engine's part from the document and check the rest, unless it was checked."""
    engine: dict[str, Any] = {}
    info, document = workflow.info(), unpacked(document)
    inside = info.parent is not None and info.workflow_id.startswith(f"{info.parent.workflow_id}/")
    bare, found = without_engine(document)
    # Else whoever started it has no business there.
    if info.continued_run_id or inside or RERUN_KEY in found:
        document, engine = bare, found
    if not inside:
        engine.pop(PARTITION_KEY, None)
    if _is_own(info, engine):
        with suppress(KeyError, TypeError, ValueError, AttributeError):
            return engine, read_normal(document)
    return engine, load(document)


def _is_own(info: workflow.Info, engine: dict[str, Any]) -> bool:
    """Tell whether a run of ours checked the document and handed it over.

    The other runs that follow one repeat what somebody submitted: those of a cron and retries of
    the workflow. And what another workflow hands over, to go on as this one, has no snapshot.
    """
    repeats = info.cron_schedule is not None or info.attempt > 1
    follows = info.continued_run_id is not None and not repeats and "snapshot" in engine
    return follows or PARTITION_KEY in engine


def _written(done: asyncio.Task[Any]) -> int:
    """Give the bytes of what a local task gave; a failure has a few at most."""
    if done.cancelled() or done.exception() is not None or done.result() is None:
        return limits.MAX_LOCAL_RESULT
    return done.result().payload.ByteSize()


def _about(run: TreeRun) -> dict[str, Any]:
    """Say what hooks are told of the tree with every event."""
    head = run.plan.tree
    demo = {"demo": True} if head.demo else {}
    return {"tree_id": run.tree_id, "name": head.name, "user_id": head.user_id, **demo}


def _restore(run: TreeRun, snapshot: dict[str, Any]) -> None:
    """Take over what a snapshot says; one that some other tool made up is refused."""
    try:
        restore_snapshot(run, snapshot)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        message = f"this key is the engine's own, and cannot be read: {error!r}"
        raise InvalidTree([Problem("reserved", (ENGINE_KEY,), message)]) from error


def _refusal(error: InvalidTree) -> ApplicationError:
    return ApplicationError(
        str(error)[: limits.MAX_ERROR_CHARS],
        on_the_wire(error.problems),
        type=ErrorType.INVALID_TREE.value,
        non_retryable=True,
    )
