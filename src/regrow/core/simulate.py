"""Run a tree in memory: the same rules, scripted executors, and a clock that jumps.

    result = await simulate(tree, {"enrich": fails(), "report": returns(1)})
    assert result.tasks["report"].status is Status.COMPLETED

Nothing is started and no time passes: sleeps, timeouts and retries move a clock of their own. What
only real executors and a real server show belongs into a test with `regrow.testing.tree_env`.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from heapq import heappop, heappush
from math import inf
from typing import Any, Final, cast

from regrow.core.graph import children_of, may_be_group
from regrow.core.loading import load, with_inputs
from regrow.core.models import Json, Policy, TaskId, TaskTree
from regrow.core.outcome import Answer, Outcome, read_answer, short_error
from regrow.core.policies import next_attempt_after
from regrow.core.record import Kind, Start
from regrow.core.references import compile_template
from regrow.core.resolve import Description, Plan, Unknown, executor_ids, resolve
from regrow.core.result import TreeResult, moment, tree_result
from regrow.core.run import TreeRun
from regrow.core.script import Act, Script, Trace, acts_of, check_script
from regrow.core.snapshot import restore_snapshot
from regrow.core.subtree import child_document, subtree_outcome
from regrow.core.waits import Verdict
from regrow.core.wire import ENGINE_KEY, SLEEP, WAIT_FOR_EVENT, ErrorType, Status

BEGINNING: Final = datetime(2030, 1, 1, tzinfo=UTC)
"""When every simulation begins."""

_MOST_ATTEMPTS: Final = 1_000
_CANCELLED: Final = Outcome(Status.CANCELLED, error="cancelled", attempts=None)


async def simulate(  # noqa: PLR0913 - all keywords but the first two
    tree: object,
    script: Script | None = None,
    *,
    inputs: Mapping[str, Any] | None = None,
    tree_id: str = "tree",
    cancel_after: float | None = None,
    trace: Trace | None = None,
) -> TreeResult:
    """Run a tree to its end, or to where it waits for somebody, and give its result.

    `script` says what things do (`returns`, `fails`, `approves`, …, a list of those for one
    attempt after the other, or a function of the inputs), by task id, by path for what is in
    sub-trees (`features/clean`), by item (`check[3]`), by `TASK~compensate`, or by executor id.
    A function gives what an executor would, a person's result or an event's payload, or one of
    those words. What is not scripted gives null; approvals approve. `cancel_after` is in seconds.
    `trace` is filled with what happened. Raises `InvalidTree`, and ValueError for names in the
    script that nothing in the tree has.
    """
    checked = load(tree)
    if inputs:
        checked = with_inputs(checked, inputs)
    check_script(script or {}, checked)
    plan = resolve(checked, everything_known(checked))
    run = await simulate_run(
        plan, script or {}, tree_id=tree_id, cancel_after=cancel_after, trace=trace
    )
    return TreeResult.model_validate(tree_result(run))


async def simulate_run(  # noqa: PLR0913 - all keywords but the first two
    plan: Plan,
    script: Script,
    *,
    tree_id: str = "tree",
    cancel_after: float | None = None,
    trace: Trace | None = None,
    engine: Mapping[str, Any] | None = None,
) -> TreeRun:
    """Like `simulate`, with everything that the run knows in the end.

    `engine` is what it begins with beside its document: that of a continuation, or of a rerun.
    """
    simulation = _Simulation(script, trace or Trace())
    root = _Tree(simulation, plan, everything_known(plan.tree), tree_id)
    root.resume(engine or {})
    if cancel_after is not None:
        simulation.at(cancel_after, root.cancel)
    await simulation.run(root)
    return root.run


class _Simulation:
    """The clock, and what happens when."""

    def __init__(self, script: Script, trace: Trace) -> None:
        self.script = script
        self.trace = trace
        self.now = BEGINNING
        self._agenda: list[tuple[datetime, int, Callable[[], None]]] = []
        self._count = 0
        self._trees: list[_Tree] = []

    def at(self, seconds: float, happen: Callable[[], None]) -> None:
        """Let something happen later; at the same moment in the order of the calls."""
        self._count += 1
        heappush(self._agenda, (self.now + timedelta(seconds=seconds), self._count, happen))

    def follow(self, tree: "_Tree") -> None:
        """Look after a tree from now on, until it has ended."""
        self._trees.append(tree)
        self.at(0, lambda: None)

    def forget(self, tree: "_Tree") -> None:
        """Let go of a tree that has ended."""
        self._trees.remove(tree)

    async def run(self, root: "_Tree") -> None:
        """Go from moment to moment until nothing is left that could happen."""
        self.follow(root)
        while self._agenda:
            self.now, _, happen = heappop(self._agenda)
            happen()
            await self._settle()

    async def _settle(self) -> None:
        for tree in [*self._trees]:
            await tree.go_on()


class _Tree:
    """One tree of a simulation, the whole one or one inside."""

    def __init__(
        self,
        simulation: _Simulation,
        plan: Plan,
        description: Description,
        tree_id: str,
        path: str = "",
    ) -> None:
        self.run = TreeRun(plan, tree_id=tree_id, on_change=self._note)
        self.on_end: Callable[[dict[str, Any]], None] = lambda _: None
        self._simulation = simulation
        self._description = description
        self._path = path
        self._running: dict[str, _Tree | None] = {}

    def _note(self, task_id: TaskId) -> None:
        status = self.run.records[task_id].status
        self._simulation.trace.changes.append((f"{self._path}{task_id}", status))

    def resume(self, engine: Mapping[str, Any]) -> None:
        """Begin where an earlier run had come, or a rerun lets it."""
        self._simulation.trace.runs[self._path.removesuffix("/")] = self.run
        self.run.seeds = engine.get("seeds", {})
        if snapshot := engine.get("snapshot"):
            restore_snapshot(self.run, snapshot)

    def cancel(self) -> None:
        """Cancel the tree as a person would."""
        self.run.cancel("", self._simulation.now)

    async def go_on(self) -> None:
        """Start what can start and cancel what is to be cancelled, until time has to pass."""
        while (start := self.run.next_start(self._simulation.now)) is not None:
            await self._begin(start)
        while (unit := self.run.next_interrupt()) is not None:
            self._interrupt(unit)
        if self.run.is_finished:
            self._simulation.forget(self)
            result = tree_result(self.run)
            self._simulation.at(0, lambda: self.on_end(result))

    async def _begin(self, start: Start) -> None:
        now = self._simulation.now
        if start.kind is Kind.WAIT:
            self.run.waiting(start, now)
            await self._wait(start)
            return
        self.run.began(start.unit, now)
        self._running[start.unit] = None
        if start.kind is Kind.SUBTREE:
            self._begin_subtree(start)
        else:
            outcome, seconds = await self._execute(start)
            self._simulation.at(seconds, lambda: self._end(start.unit, outcome))

    def _begin_subtree(self, start: Start) -> None:
        tree = cast("TaskTree", self.run.tasks[start.task_id].tree)
        user_id = self.run.plan.tree.user_id
        seed = self.run.seeds.get(start.unit)
        document = child_document(tree, start.inputs, user_id, self._description, seed)
        engine = document.pop(ENGINE_KEY)
        child_id = f"{self.run.tree_id}/{start.unit}"
        path = f"{self._path}{start.unit}/"
        plan = resolve(load(document), self._description)
        child = _Tree(self._simulation, plan, self._description, child_id, path)
        child.resume(engine)
        child.on_end = lambda result: self._end(start.unit, _child_end(start.unit, result))
        self._running[start.unit] = child
        self._simulation.follow(child)

    def _end(self, unit: str, outcome: Outcome) -> None:
        if unit in self._running:  # else it was cancelled before
            del self._running[unit]
            self.run.ended(unit, outcome, self._simulation.now)

    def _interrupt(self, unit: str) -> None:
        child = self._running.get(unit)
        if child is not None:
            child.cancel()
        else:
            self._simulation.at(0, lambda: self._end(unit, _CANCELLED))

    # --- waits

    async def _wait(self, start: Start) -> None:
        task_id, wait = start.task_id, self.run.waits[start.task_id]
        if wait.until is not None:
            left = max((wait.until - self._simulation.now).total_seconds(), 0)
            self._simulation.at(left, lambda: self.run.woke(task_id, self._simulation.now))
        act = Act(seconds=None) if wait.kind == SLEEP else await self._said(start)
        if act.seconds is not None:
            self._simulation.at(act.seconds, lambda: self._answer(task_id, act))

    async def _said(self, start: Start) -> Act:
        """Give what a person says, or what is sent; a function sees what the task was given."""
        act = next(iter(self._acts(start)), Act())
        if isinstance(act, Act):
            return act
        inputs = compile_template(self.run.tasks[start.task_id].inputs).render(self.run)
        said = await _value_of(act, inputs)
        return said if isinstance(said, Act) else Act(value=said)

    def _answer(self, task_id: str, act: Act) -> None:
        now, wait = self._simulation.now, self.run.waits.get(task_id)
        if wait is None:
            return
        if wait.kind == WAIT_FOR_EVENT:
            self.run.event(cast("str", wait.event), act.value, now)
        else:
            verdict = Verdict(act.ok, act.by, act.note, act.value, moment(now))
            self.run.answered(task_id, verdict, now)

    # --- executors

    async def _execute(self, start: Start) -> tuple[Outcome, float]:
        """Give how a task ends after all its attempts, and how many seconds that takes."""
        policy, acts = self.run.plan.policy(start.unit), self._acts(start)
        self._simulation.trace.inputs[f"{self._path}{start.unit}"] = dict(start.inputs)
        spent = 0.0
        for attempt in range(1, _MOST_ATTEMPTS + 1):
            act = acts[min(attempt, len(acts)) - 1] if acts else Act()
            answer, seconds = await _answer_of(act, dict(start.inputs), policy, spent)
            spent += seconds
            pause = None if answer.ok else next_attempt_after(policy, answer, attempt, spent)
            if pause is None:
                return _outcome(answer, attempt), spent
            spent += pause
        message = f"'{start.unit}' was tried {_MOST_ATTEMPTS:,} times without an end"
        raise RuntimeError(message)

    def _acts(self, start: Start) -> Sequence[Act | Callable[..., Any]]:
        executor = start.executor or self.run.tasks[start.task_id].executor_id  # a wait has none
        return acts_of(self._simulation.script, f"{self._path}{start.unit}", executor)


async def _answer_of(
    act: Act | Callable[..., Any], inputs: dict[str, Json], policy: Policy, spent: float
) -> tuple[Answer, float]:
    """Let a scripted executor run once; gives its answer and the seconds it takes."""
    if not isinstance(act, Act):
        said = await _call(act, inputs)
        if not isinstance(said, Act):
            return said, 0
        act = said
    seconds = inf if act.seconds is None else act.seconds
    name, limit, left = _first_limit(policy, spent)
    if seconds <= left:
        return act.answer(), seconds
    error = f"{name} of {limit:g}s exceeded"
    return Answer(ok=False, error=error, error_type=ErrorType.TIMEOUT, retryable=True), left


def _first_limit(policy: Policy, spent: float) -> tuple[str, float, float]:
    """Give the timeout that an attempt meets first: its name, its length, what is left of it."""
    attempt, whole = policy.start_to_close_timeout, policy.schedule_to_close_timeout
    limits = [("start_to_close_timeout", attempt, 0.0), ("schedule_to_close_timeout", whole, spent)]
    found = [
        (name, limit.total_seconds(), limit.total_seconds() - gone)
        for name, limit, gone in limits
        if limit is not None
    ]
    return min(found, key=lambda each: each[2])


async def _call(function: Callable[..., Any], inputs: dict[str, Json]) -> Act | Answer:
    try:
        value = await _value_of(function, inputs)
    except Exception as error:  # noqa: BLE001 - an executor may raise anything
        return read_answer(_failure(error))
    return value if isinstance(value, Act) else read_answer(value)


async def _value_of(function: Callable[..., Any], inputs: Json) -> Any:
    value = function(inputs)
    return await value if inspect.isawaitable(value) else value


def _failure(error: Exception) -> dict[str, Json]:
    """Say what was raised as an executor may say it itself; only a `TaskError` has more to say."""
    return {
        "status": Status.FAILED.value,
        "error": short_error(str(error) or repr(error)),
        "error_type": str(getattr(error, "error_type", type(error).__name__)),
        "retryable": bool(getattr(error, "retryable", True)),
        "retry_after": getattr(error, "retry_after", None),
    }


def _outcome(answer: Answer, attempts: int) -> Outcome:
    return Outcome(
        Status.COMPLETED if answer.ok else Status.FAILED,
        answer.result,
        answer.error,
        answer.error_type,
        answer.metadata,
        attempts=attempts,
    )


def _child_end(unit: str, result: dict[str, Any]) -> Outcome:
    cancelled = result["status"] == Status.CANCELLED
    return _CANCELLED if cancelled else subtree_outcome(unit, result)


def everything_known(tree: TaskTree) -> Description:
    """Describe a worker that has every executor; what only has children is a group."""
    groups, named = _only_groups(tree)
    mere = [name for name in groups if name not in named]
    known = {name: Policy() for name in executor_ids(tree) if name not in mere}
    return Description(executors=known, unknown={name: Unknown() for name in mere})


def _only_groups(tree: TaskTree) -> tuple[dict[str, bool], dict[str, bool]]:
    """Give the executor ids of what could be a group, and those of what surely isn't."""
    children = children_of(tree.tasks)
    groups: dict[str, bool] = {}
    named: dict[str, bool] = {}
    for task in tree.tasks:
        (groups if may_be_group(task, children) else named)[task.executor_id] = True
        if task.tree is not None:
            inner_groups, inner_named = _only_groups(task.tree)
            groups |= inner_groups
            named |= inner_named
    return groups, named
