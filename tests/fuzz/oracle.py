"""How a task tree must end: the semantics of DESIGN §4 and §9, said as directly as possible.

It knows no order, no slots, no waiting and no time. A task's end is a function of the ends of what
it waits for, so the ends are found by looking again and again for a task whose every need has
already been judged. Slow, and meant to share nothing with the scheduler it is compared with.

Under `on_failure: cancel` the order does matter, so `oracle_cancel` is told the order in which
tasks were seen to settle: what settled up to the first untolerated failure ends as it would have
ended anyway, and everything else is cancelled because of that failure.

Under `on_failure: wait` everything ends as under `continue`, but a tree that failed is still
`in_progress`; `oracle_closed` says how it ends when it is then cancelled.

What depends on the order even under `continue` is not said: which items of a map that failed were
run, and in which order compensations run (`oracle_compensation_order` is told that order).

Times are not said either: approvals carry no `at`; compare with `without_times` of what was seen.

Not here: updates by hand, a sub-tree that fails under its own `on_failure: cancel` or `wait`.
"""

from __future__ import annotations

import itertools
import json
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeAlias, TypeVar, cast

import jmespath
from jmespath.exceptions import JMESPathError
from jmespath.lexer import Lexer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | bool | None"

COMPLETED, FAILED, SKIPPED, CANCELLED = "completed", "failed", "skipped", "cancelled"
IN_PROGRESS = "in_progress"  # only of a tree, under `on_failure: wait`
GROUP, SLEEP, AGGREGATE, TREE = "group", "sleep", "aggregate_results", "tree"
APPROVAL, EVENT = "approval", "wait_for_event"
NATIVE = (SLEEP, AGGREGATE, APPROVAL, EVENT)

BY_DEPENDENCY, BY_CONDITION = "dependency", "condition"
BY_FAILURE = "on_failure"  # the design names no reason for what `on_failure: cancel` cancels
SCRIPTED_ERROR = "execution_error"  # §5: a failure that names no error_type
EXPRESSION_ERROR, GROUP_FAILED = "expression_error", "group_failed"
MAP_FAILED, TREE_FAILED = "map_failed", "tree_failed"
REJECTED, TIMEOUT_ERROR = "rejected", "timeout_error"

MOST_ITEMS = 10_000
MOST_ERRORS = 10  # of a map's failed items, in its metadata
MAXIMUM_ATTEMPTS = 3  # §5: the library's default

__all__ = [
    "Approved",
    "Compensation",
    "End",
    "EndState",
    "Ended",
    "ImpossibleOrderError",
    "Json",
    "Rejected",
    "Script",
    "Scripted",
    "Sent",
    "TimedOut",
    "UnfinishableError",
    "oracle",
    "oracle_cancel",
    "oracle_closed",
    "oracle_compensation_order",
    "scripted_for",
    "without_times",
]


class UnfinishableError(ValueError):
    """Some tasks wait for each other, or for a task that isn't there: the document is invalid."""


class ImpossibleOrderError(ValueError):
    """No run can settle tasks in the order that was said to have been observed."""


class _ExpressionError(Exception):
    """A reference or a condition that cannot be evaluated."""


# --- What tasks do -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Scripted:
    """What an executor does when it is run; `value` is the result if `ok`, else the error text."""

    ok: bool
    value: Json = None
    retryable: bool = False


@dataclass(frozen=True)
class Approved:
    """Somebody approves; a `result` of None is none given."""

    by: str | None = None
    note: str | None = None
    result: Json = None


@dataclass(frozen=True)
class Rejected:
    """Somebody rejects."""

    by: str | None = None
    note: str | None = None


@dataclass(frozen=True)
class Sent:
    """The event that is waited for arrives."""

    payload: Json = None


@dataclass(frozen=True)
class TimedOut:
    """Nobody approves, no event arrives, until the task's `timeout`."""


End: TypeAlias = "Scripted | Approved | Rejected | Sent | TimedOut"
Script: TypeAlias = "Mapping[str, End | Sequence[Scripted]]"
"""What each task does. A list is one entry per attempt, and its last one repeats.

The key is the task's id, in sub-trees the path of ids (`features/clean`). A key without the index
of an item speaks for every item that no key with it (`task[3]`, `features[3]/clean`) speaks for.
A compensation has the key of its task and `~compensate`.
"""

_Entry = TypeVar("_Entry")


def scripted_for(script: Mapping[str, _Entry], path: str) -> _Entry:
    """What is scripted for exactly this path, else for one with fewer indexes."""
    spellings = itertools.product(*(_spellings(segment) for segment in path.split("/")))
    known = [key for key in map("/".join, spellings) if key in script]
    if not known:
        raise KeyError(path)
    return script[known[0]]


def _spellings(segment: str) -> list[str]:
    return list(dict.fromkeys([segment, re.sub(r"\[\d+\]$", "", segment)]))


# --- How it all ends ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Compensation:
    """How a compensation ended; `inputs` is what it received, None if it could not be run."""

    status: str
    result: Json
    error_type: str | None
    inputs: dict[str, Json] | None


@dataclass(frozen=True)
class Ended:
    """How one task ended; `inputs` is what an executed plain task received, None if never run.

    Of a sub-tree `inputs` are those it was given: restricted to the declared ones, without the
    defaults. Of a map they are None, and `items` has them for each item (None for one that could
    not be rendered). `items`, `metadata` and the `subtree` of a map are None if the map failed,
    since then they depend on the order. `metadata` is known of maps and of rejected approvals.

    `error` is None where no rule gives the text (or where it depends on the order), `attempts`
    where a task is no plain one or was not run.
    """

    status: str
    result: Json
    error_type: str | None
    reason: str | None
    because: str | None
    root: str | None
    inputs: dict[str, Json] | None
    items: list[dict[str, Json] | None] | None = None
    subtree: EndState | list[EndState | None] | None = None
    compensation: Compensation | None = None
    error: str | None = field(default=None, compare=False)
    attempts: int | None = field(default=None, compare=False)
    metadata: dict[str, Json] | None = field(default=None, compare=False)


@dataclass(frozen=True)
class EndState:
    """How the whole tree ended, tasks in document order.

    Outputs whose expression failed are null, and named in `failed_outputs`. A tree `in_progress`
    has no outputs.
    """

    status: str
    outputs: dict[str, Json]
    tasks: dict[str, Ended]
    failed_outputs: tuple[str, ...] = ()

    @property
    def compensations(self) -> dict[str, Compensation]:
        """Of each compensated task of this tree (sub-trees have their own)."""
        found = {task_id: ended.compensation for task_id, ended in self.tasks.items()}
        return {task_id: each for task_id, each in found.items() if each is not None}


def oracle(
    document: Mapping[str, Json],
    script: Script,
    *,
    tree_inputs: Mapping[str, Json] | None = None,
    tree_id: str = "tree",
) -> EndState:
    """The one end state under `on_failure: continue` or `wait`, whatever the order."""
    tree = _read(document, tree_inputs or {}, tree_id)
    if tree.on_failure == "cancel":
        message = "the end depends on the order: use oracle_cancel"
        raise ValueError(message)
    return _end_state(tree, _judge_all(tree, script), script)


def oracle_closed(
    document: Mapping[str, Json],
    script: Script,
    *,
    tree_inputs: Mapping[str, Json] | None = None,
    tree_id: str = "tree",
) -> EndState:
    """How a tree ends that is cancelled when nothing more can run, but failures keep it open."""
    tree = _read(document, tree_inputs or {}, tree_id)
    verdicts = _judge_all(tree, script)
    if _end_state(tree, verdicts, script).status != IN_PROGRESS:
        message = "the tree has ended by itself"
        raise ValueError(message)
    return _end_state(tree, verdicts, script, cancelled=True)


def oracle_cancel(  # noqa: PLR0913 - all keywords but the first three
    document: Mapping[str, Json],
    script: Script,
    observed: Sequence[str],
    *,
    tree_inputs: Mapping[str, Json] | None = None,
    tree_id: str = "tree",
    failed_inside: Sequence[str] = (),
) -> EndState:
    """The end state under `on_failure: cancel`, given the order in which tasks settled.

    `observed` must list every task that was executed, slept or waited to its end, as must be maps
    of which an item was run, and sub-trees. Tasks that settle without running (skips, groups,
    aggregates, failing expressions, empty maps) may be listed, and then settled where they stand in
    the list; left out, they settled the moment they could. What stands behind the first untolerated
    failure doesn't matter. Paths of tasks in sub-trees may be there and don't matter either.
    `failed_inside` are the sub-trees in which a task had failed when they were interrupted: such a
    one says so instead of being cancelled.
    """
    tree = _read(document, tree_inputs or {}, tree_id)
    undisturbed = _judge_all(tree, script)
    own = [each for each in observed if "/" not in each]
    settled, culprit = _until_failure(tree, undisturbed, own)
    if culprit is None:
        return _end_state(tree, undisturbed, script)
    cut = dict.fromkeys(tree.tasks, _Verdict(CANCELLED, reason=BY_FAILURE))
    cut |= dict.fromkeys(failed_inside, _failed(TREE_FAILED))
    verdicts = {each: undisturbed[each] if each in settled else cut[each] for each in tree.tasks}
    return _end_state(tree, verdicts, script, culprit)


def oracle_compensation_order(
    observed_completed: Sequence[str], state: EndState | None = None
) -> list[str]:
    """The tasks whose compensations run, in that order, from the order in which tasks completed.

    With the end state, of all that completed only those whose compensation runs.
    """
    if state is None:
        return list(reversed(observed_completed))
    run = [each for each, its in state.compensations.items() if its.inputs is not None]
    if missing := [each for each in run if each not in observed_completed]:
        message = f"compensated, so they must have completed: {', '.join(missing)}"
        raise ImpossibleOrderError(message)
    return [each for each in reversed(observed_completed) if each in run]


def without_times(value: Json) -> Json:
    """The same without every key `at`: what the oracle says of approvals, wherever it went."""
    if isinstance(value, dict):
        return {key: without_times(each) for key, each in value.items() if key != "at"}
    return [without_times(each) for each in value] if isinstance(value, list) else value


# --- The document, read once into values -----------------------------------------------------


@dataclass(frozen=True)
class _Edge:
    id: str
    required: bool
    into: str | None


@dataclass(frozen=True)
class _Task:
    id: str
    executor: str
    parent: str | None
    edges: tuple[_Edge, ...]
    inputs: dict[str, Json]
    when: str | None
    allow_failure: bool
    is_map: bool
    for_each: Json
    tolerate: int | str
    subtree: dict[str, Json] | None
    compensate: dict[str, Json] | None
    maximum_attempts: int | None

    @property
    def is_group(self) -> bool:
        return self.executor == GROUP


@dataclass(frozen=True)
class _Tree:
    tasks: dict[str, _Task]
    inputs: dict[str, Json]
    identity: dict[str, Json]  # what expressions see as `tree`
    outputs: dict[str, Json] | None
    on_failure: str
    maximum_attempts: int
    path: str  # what stands before the ids of its tasks in the script

    def above(self, task_id: str) -> list[str]:
        parent = self.tasks[task_id].parent
        return [] if parent is None else [parent, *self.above(parent)]

    def descendants(self, task_id: str) -> list[str]:
        return [each for each in self.tasks if task_id in self.above(each)]

    def edges_to(self, task_id: str) -> list[_Edge]:
        return [edge for task in self.tasks.values() for edge in task.edges if edge.id == task_id]

    def tolerates(self, task_id: str) -> bool:
        edges = self.edges_to(task_id)
        all_optional = bool(edges) and not any(edge.required for edge in edges)
        return self.tasks[task_id].allow_failure or all_optional


def _read(
    document: Mapping[str, Json],
    given: Mapping[str, Json],
    tree_id: str,
    *,
    user_id: Json = None,
    path: str = "",
) -> _Tree:
    declared = cast("dict[str, Json]", document.get("inputs") or {})
    tasks = [_read_task(raw) for raw in cast("list[dict[str, Json]]", document["tasks"])]
    defaults = cast("dict[str, Json]", document.get("defaults") or {})
    return _Tree(
        tasks={task.id: task for task in tasks},
        inputs={**declared, **given},
        identity={
            "id": tree_id,
            "name": document.get("name", tasks[0].id),
            "user_id": document.get("user_id", user_id),
        },
        outputs=cast("dict[str, Json] | None", document.get("outputs")),
        on_failure=cast("str", document.get("on_failure", "continue")),
        maximum_attempts=_read_attempts(defaults) or MAXIMUM_ATTEMPTS,
        path=path,
    )


def _read_task(raw: dict[str, Json]) -> _Task:
    task_id = cast("str", raw["id"])
    implied = TREE if "tree" in raw else task_id
    return _Task(
        id=task_id,
        executor=cast("str", raw.get("executor") or implied),
        parent=cast("str | None", raw.get("parent_id")),
        edges=tuple(map(_read_edge, cast("list[Json]", raw.get("dependencies") or []))),
        inputs=cast("dict[str, Json]", raw.get("inputs") or {}),
        when=cast("str | None", raw.get("when")),
        allow_failure=bool(raw.get("allow_failure")),
        is_map="for_each" in raw,
        for_each=raw.get("for_each"),
        tolerate=cast("int | str", raw.get("tolerate", 0)),
        subtree=cast("dict[str, Json] | None", raw.get("tree")),
        compensate=cast("dict[str, Json] | None", raw.get("compensate")),
        maximum_attempts=_read_attempts(raw),
    )


def _read_attempts(policies: Mapping[str, Json]) -> int | None:
    retry = cast("dict[str, Json]", policies.get("retry") or {})
    return cast("int | None", retry.get("maximum_attempts"))


def _read_edge(raw: Json) -> _Edge:
    if isinstance(raw, str):
        return _Edge(raw, required=True, into=raw)
    edge = cast("dict[str, Json]", raw)
    task_id = cast("str", edge["id"])
    into = cast("str | None", edge.get("into", task_id))
    return _Edge(task_id, required=bool(edge.get("required", True)), into=into)


# --- How each task ends, from how the others ended -------------------------------------------


@dataclass(frozen=True)
class _Verdict:
    status: str
    result: Json = None
    error: Json = None
    error_type: str | None = None
    reason: str | None = None
    inputs: dict[str, Json] | None = None
    said: str | None = None  # the error, where a rule gives its text
    ran: bool = False  # somebody or something had to end it
    attempts: int | None = None
    items: list[dict[str, Json] | None] | None = None
    subtree: EndState | list[EndState | None] | None = None
    metadata: dict[str, Json] | None = None


_Verdicts: TypeAlias = dict[str, _Verdict]


def _judge_all(tree: _Tree, script: Script) -> _Verdicts:
    needs = {task.id: _needs(tree, task) for task in tree.tasks.values()}
    verdicts: _Verdicts = {}
    while len(verdicts) < len(tree.tasks):
        open_ids = [each for each in tree.tasks if each not in verdicts]
        ripe = [each for each in open_ids if all(need in verdicts for need in needs[each])]
        if not ripe:
            raise UnfinishableError(", ".join(open_ids))
        for each in ripe:
            verdicts[each] = _judge(tree, tree.tasks[each], verdicts, script)
    return verdicts


def _needs(tree: _Tree, task: _Task) -> list[str]:
    """What must have settled: a task named in an expression counts, however far upstream."""
    named = [name for text in _expressions(task) for name, _ in _named(text)]
    return [*_awaited(tree, task), *named]


def _awaited(tree: _Tree, task: _Task) -> list[str]:
    inside = tree.descendants(task.id) if task.is_group else []
    return [*(edge.id for edge in task.edges), *inside]


def _judge(tree: _Tree, task: _Task, verdicts: _Verdicts, script: Script) -> _Verdict:
    if _blocking(task, verdicts) is not None:
        return _Verdict(SKIPPED, reason=BY_DEPENDENCY)
    try:
        context = _context(tree, verdicts)
        if task.when is not None and not _is_true(_evaluate(_bare(task.when), context)):
            return _Verdict(SKIPPED, reason=BY_CONDITION)
        return _judge_wanted(tree, task, verdicts, script)
    except _ExpressionError as error:
        return _bad_expression(error)


def _judge_wanted(tree: _Tree, task: _Task, verdicts: _Verdicts, script: Script) -> _Verdict:
    if task.is_group:
        return _judge_group(tree, task, verdicts)
    if task.executor in NATIVE:
        return _judge_native(tree, task, verdicts, script)
    if task.is_map:
        return _judge_map(tree, task, verdicts, script)
    received = _received(task, verdicts, _context(tree, verdicts))
    return _judge_unit(tree, task, received, script, task.id)


def _bad_expression(error: _ExpressionError) -> _Verdict:
    return _Verdict(FAILED, error=str(error), error_type=EXPRESSION_ERROR)


def _blocking(task: _Task, verdicts: _Verdicts) -> str | None:
    """The first dependency, as declared, that was required and did not complete."""
    required = [edge.id for edge in task.edges if edge.required]
    return next((each for each in required if verdicts[each].status != COMPLETED), None)


def _judge_unit(
    tree: _Tree, task: _Task, received: dict[str, Json], script: Script, unit: str
) -> _Verdict:
    """A task, or one item of a map, that is run; `unit` is its id, with the index."""
    if task.subtree is not None:
        return _judge_subtree(tree, task.subtree, received, script, unit)
    maximum = task.maximum_attempts or tree.maximum_attempts
    return _judge_attempts(scripted_for(script, tree.path + unit), maximum, received)


def _judge_attempts(
    scripted: End | Sequence[Scripted], maximum: int, inputs: dict[str, Json]
) -> _Verdict:
    entries = [scripted] if isinstance(scripted, Scripted) else list(_all_scripted(scripted))
    attempts = [entries[min(at, len(entries) - 1)] for at in range(maximum)]
    final = [at for at, each in enumerate(attempts) if each.ok or not each.retryable]
    last = final[0] if final else maximum - 1
    return replace(_judge_plain(attempts[last], inputs), attempts=last + 1)


def _all_scripted(entries: object) -> Iterator[Scripted]:
    for each in cast("Sequence[object]", entries):
        if not isinstance(each, Scripted):
            message = f"no end of an executor: {each}"
            raise TypeError(message)
        yield each


def _judge_plain(scripted: Scripted, inputs: dict[str, Json]) -> _Verdict:
    if scripted.ok:
        return _Verdict(COMPLETED, result=scripted.value, inputs=inputs, ran=True)
    return _failed(SCRIPTED_ERROR, cast("str", scripted.value), inputs=inputs)


def _failed(
    error_type: str,
    said: str | None = None,
    *,
    inputs: dict[str, Json] | None = None,
    metadata: dict[str, Json] | None = None,
) -> _Verdict:
    """The failure of something that was run."""
    return _Verdict(
        FAILED,
        error=said or f"some text about a {error_type}",
        error_type=error_type,
        inputs=inputs,
        said=said,
        ran=True,
        metadata=metadata,
    )


# --- Maps and sub-trees ----------------------------------------------------------------------


def _judge_map(tree: _Tree, task: _Task, verdicts: _Verdicts, script: Script) -> _Verdict:
    items = _items(task, _context(tree, verdicts))
    ends = [_judge_item(tree, task, verdicts, script, each) for each in enumerate(items)]
    if sum(end.status == FAILED for end in ends) > _tolerated(task, len(ends)):
        return _map_failed(task, ends)
    return _Verdict(
        COMPLETED,
        result=[end.result for end in ends],
        ran=any(end.ran for end in ends),
        items=[end.inputs for end in ends],
        subtree=None if task.subtree is None else [cast("EndState", e.subtree) for e in ends],
        metadata=_map_metadata(ends),
    )


def _items(task: _Task, context: dict[str, Json]) -> list[Json]:
    each = task.for_each
    items = _evaluate(_bare(each), context) if isinstance(each, str) else _resolve(each, context)
    if not isinstance(items, list) or len(items) > MOST_ITEMS:
        message = "for_each needs a list of at most 10,000 items"
        raise _ExpressionError(message)
    return items


def _judge_item(
    tree: _Tree, task: _Task, verdicts: _Verdicts, script: Script, indexed: tuple[int, Json]
) -> _Verdict:
    index, item = indexed
    context = {**_context(tree, verdicts), "item": item, "index": index}
    try:
        received = _received(task, verdicts, context)
    except _ExpressionError as error:
        return _bad_expression(error)
    return _judge_unit(tree, task, received, script, f"{task.id}[{index}]")


def _tolerated(task: _Task, count: int) -> int:
    if isinstance(task.tolerate, int):
        return task.tolerate
    return int(task.tolerate.removesuffix("%")) * count // 100


def _map_failed(task: _Task, ends: Sequence[_Verdict]) -> _Verdict:
    """With one failure too many all of them are needed to fail the map, so all are seen."""
    failed = [index for index, end in enumerate(ends) if end.status == FAILED]
    first = ends[failed[0]].said
    is_known = first is not None and len(failed) == _tolerated(task, len(ends)) + 1
    text = f"{len(failed)} of {len(ends)} items failed: item {failed[0]}: {first}"
    verdict = _failed(MAP_FAILED, text if is_known else None)
    return replace(verdict, ran=any(end.ran for end in ends))


def _map_metadata(ends: Sequence[_Verdict]) -> dict[str, Json]:
    """Without the error texts that no rule gives: those are null here."""
    errors: list[Json] = [
        {"index": index, "error": end.said, "error_type": end.error_type}
        for index, end in enumerate(ends)
        if end.status == FAILED
    ]
    counts: dict[str, Json] = {
        "items": len(ends),
        "completed": len(ends) - len(errors),
        "failed": len(errors),
    }
    return {**counts, "errors": errors[:MOST_ERRORS]} if errors else counts


def _judge_subtree(
    tree: _Tree, document: dict[str, Json], received: dict[str, Json], script: Script, unit: str
) -> _Verdict:
    declared = cast("dict[str, Json]", document.get("inputs") or {})
    given = {key: value for key, value in received.items() if key in declared}
    inner = _read(
        document,
        given,
        f"{tree.identity['id']}/{unit}",
        user_id=tree.identity["user_id"],
        path=f"{tree.path}{unit}/",
    )
    verdicts = _judge_all(inner, script)
    state = _end_state(inner, verdicts, script)
    if state.status == COMPLETED:
        done = _Verdict(COMPLETED, result=state.outputs, inputs=given, ran=True)
        return replace(done, subtree=state)
    if inner.on_failure != "continue":
        message = f"how {unit} ends depends on the order, or on somebody"
        raise UnfinishableError(message)
    failed = _failed(TREE_FAILED, _failure_inside(inner, verdicts, unit), inputs=given)
    return replace(failed, subtree=state)


def _failure_inside(tree: _Tree, verdicts: _Verdicts, unit: str) -> str | None:
    """The first failure that is one: not tolerated, and no group that failed for what is inside."""
    failures = [each for each in tree.tasks if _is_failure(tree, each, verdicts[each])]
    first = next((e for e in failures if verdicts[e].error_type != GROUP_FAILED), None)
    said = None if first is None else verdicts[first].said
    if first is None or said is None:
        return None
    has_path = verdicts[first].error_type == TREE_FAILED
    return f"{unit}/{said}" if has_path else f"{unit}/{first}: {said}"


# --- What the workflow does itself -----------------------------------------------------------


def _judge_native(tree: _Tree, task: _Task, verdicts: _Verdicts, script: Script) -> _Verdict:
    inputs = cast("dict[str, Json]", _resolve(task.inputs, _context(tree, verdicts)))
    _check_native(task.executor, inputs)
    if task.executor == SLEEP:
        return _Verdict(COMPLETED, ran=True)
    if task.executor == AGGREGATE:
        return _judge_aggregate(task, verdicts)
    end = scripted_for(script, tree.path + task.id)
    if isinstance(end, TimedOut) and "timeout" not in inputs:
        message = f"{task.id} has no timeout"
        raise TypeError(message)
    judge = _judge_approval if task.executor == APPROVAL else _judge_event
    return judge(end, inputs)


_DURATION = (str, int, float)
_NATIVE_INPUTS: dict[str, dict[str, tuple[type, ...]]] = {
    SLEEP: {"duration": _DURATION, "until": (str,)},
    AGGREGATE: {},
    APPROVAL: {"prompt": (str,), "timeout": _DURATION, "on_timeout": (str,)},
    EVENT: {"event": (str,), "timeout": _DURATION},
}
_NATIVE_NEEDS = {SLEEP: ("duration", "until"), EVENT: ("event",)}


def _check_native(executor: str, inputs: Mapping[str, Json]) -> None:
    known = _NATIVE_INPUTS[executor]
    is_right = all(
        key in known and isinstance(value, known[key]) and not isinstance(value, bool)
        for key, value in inputs.items()
    )
    needed = _NATIVE_NEEDS.get(executor)
    has_needed = needed is None or sum(key in inputs for key in needed) == 1
    has_choice = inputs.get("on_timeout", "fail") in ("fail", "approve", "reject")
    if not (is_right and has_needed and has_choice):
        message = f"not the inputs of {executor}: {json.dumps(inputs)}"
        raise _ExpressionError(message)


def _judge_aggregate(task: _Task, verdicts: _Verdicts) -> _Verdict:
    there = [edge.id for edge in task.edges if verdicts[edge.id].status == COMPLETED]
    absent: list[Json] = [edge.id for edge in task.edges if edge.id not in there]
    results = {each: verdicts[each].result for each in there}
    return _Verdict(COMPLETED, result={"results": results, "count": len(there), "absent": absent})


def _judge_approval(end: object, inputs: Mapping[str, Json]) -> _Verdict:
    if isinstance(end, TimedOut):
        return _approval_timed_out(inputs.get("on_timeout", "fail"))
    if isinstance(end, Rejected):
        is_known = end.by is not None and end.note is not None
        text = f"rejected by {end.by}: {end.note}" if is_known else None
        return _failed(REJECTED, text, metadata={"by": end.by, "note": end.note})
    if not isinstance(end, Approved):
        message = f"no end of an approval: {end}"
        raise TypeError(message)
    result: dict[str, Json] = {"approved": True, "by": end.by, "note": end.note}
    if end.result is not None:
        result["result"] = end.result
    return _Verdict(COMPLETED, result=result, ran=True)


def _approval_timed_out(on_timeout: Json) -> _Verdict:
    if on_timeout == "approve":
        result: Json = {"approved": True, "by": None, "note": None, "timed_out": True}
        return _Verdict(COMPLETED, result=result, ran=True)
    return _failed(REJECTED if on_timeout == "reject" else TIMEOUT_ERROR)


def _judge_event(end: object, _inputs: Mapping[str, Json]) -> _Verdict:
    if isinstance(end, TimedOut):
        return _failed(TIMEOUT_ERROR)
    if not isinstance(end, Sent):
        message = f"no end of waiting for an event: {end}"
        raise TypeError(message)
    return _Verdict(COMPLETED, result=end.payload, ran=True)


# --- Groups and failures ---------------------------------------------------------------------


def _judge_group(tree: _Tree, group: _Task, verdicts: _Verdicts) -> _Verdict:
    inside = tree.descendants(group.id)
    if any(_is_failure(tree, each, verdicts[each]) for each in inside):
        return _Verdict(FAILED, error="a task of the group failed", error_type=GROUP_FAILED)
    leaves = [each for each in inside if not tree.tasks[each].is_group]
    completed = [each for each in leaves if verdicts[each].status == COMPLETED]
    return _Verdict(COMPLETED, result={each: verdicts[each].result for each in completed})


def _is_failure(tree: _Tree, task_id: str, verdict: _Verdict) -> bool:
    return verdict.status in (FAILED, CANCELLED) and not tree.tolerates(task_id)


# --- Inputs and expressions ------------------------------------------------------------------


def _received(task: _Task, verdicts: _Verdicts, context: dict[str, Json]) -> dict[str, Json]:
    authored = cast("dict[str, Json]", _resolve(task.inputs, context))
    named: dict[str, Json] = {}
    spread: dict[str, Json] = {}
    for edge in task.edges:
        if edge.into is None or not _passes(task, edge, verdicts):
            continue
        result = verdicts[edge.id].result
        if edge.into != "*":
            named[edge.into] = result
        elif isinstance(result, dict):
            spread |= result
        else:
            message = f"the result of {edge.id} is no mapping and cannot be spread"
            raise _ExpressionError(message)
    return {**spread, **named, **authored}


def _passes(task: _Task, edge: _Edge, verdicts: _Verdicts) -> bool:
    """A completed dependency passes its result by itself unless the inputs already name it."""
    texts = [*_references(task.inputs), *_items_expressions(task)]
    named = any((edge.id, "result") in _named(text) for text in texts)
    return verdicts[edge.id].status == COMPLETED and not named


_REFERENCE = re.compile(r"\$\{\{(.*?)\}\}", re.DOTALL)


def _expressions(task: _Task) -> list[str]:
    condition = [] if task.when is None else [_bare(task.when)]
    return [*condition, *_items_expressions(task), *_references(task.inputs)]


def _items_expressions(task: _Task) -> list[str]:
    """The expressions of `for_each`: the whole text, or those inside the list."""
    if isinstance(task.for_each, str):
        return [_bare(task.for_each)]
    return _references(task.for_each)


def _references(value: Json) -> list[str]:
    if isinstance(value, str):
        return _REFERENCE.findall(value)
    inner = list(value.values()) if isinstance(value, dict) else value
    return [text for each in inner for text in _references(each)] if isinstance(inner, list) else []


def _named(expression: str) -> list[tuple[str, str | None]]:
    """Each `tasks.<id>` of an expression with the field behind it, read from its tokens."""
    tokens = [(str(t["type"]), str(t["value"])) for t in Lexer().tokenize(expression)]
    return list(_names_in(tokens))


def _names_in(tokens: list[tuple[str, str]]) -> Iterator[tuple[str, str | None]]:
    for at, token in enumerate(tokens):
        is_inner = at > 0 and tokens[at - 1][0] == "dot"
        path = _dotted(tokens[at + 1 :])
        if _is_name(token) and token[1] == "tasks" and path and not is_inner:
            yield path[0], path[1] if len(path) > 1 else None


def _dotted(tokens: list[tuple[str, str]]) -> list[str]:
    if len(tokens) < 2 or tokens[0][0] != "dot" or not _is_name(tokens[1]):
        return []
    return [tokens[1][1], *_dotted(tokens[2:])]


def _is_name(token: tuple[str, str]) -> bool:
    return token[0] in ("unquoted_identifier", "quoted_identifier")


def _bare(condition: str) -> str:
    whole = _REFERENCE.fullmatch(condition.strip())
    return whole[1] if whole else condition


def _resolve(value: Json, context: dict[str, Json]) -> Json:
    if isinstance(value, dict):
        return {key: _resolve(each, context) for key, each in value.items()}
    if isinstance(value, list):
        return [_resolve(each, context) for each in value]
    return _resolve_text(value, context) if isinstance(value, str) else value


def _resolve_text(text: str, context: dict[str, Json]) -> Json:
    found = list(_REFERENCE.finditer(text))
    if len(found) == 1 and found[0][0] == text:
        return _evaluate(found[0][1], context)
    return _REFERENCE.sub(lambda match: _as_text(_evaluate(match[1], context)), text)


def _as_text(value: Json) -> str:
    if value is None:
        message = "null inside text"
        raise _ExpressionError(message)
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def _evaluate(expression: str, context: dict[str, Json]) -> Json:
    try:
        return cast("Json", jmespath.search(expression.strip(), context))
    except JMESPathError as error:
        raise _ExpressionError(str(error)) from error


def _is_true(value: Json) -> bool:
    return not (value is None or value is False or value in ("", [], {}))


def _context(tree: _Tree, verdicts: _Verdicts) -> dict[str, Json]:
    tasks: dict[str, Json] = {each: _facts(verdict) for each, verdict in verdicts.items()}
    return {"inputs": tree.inputs, "tasks": tasks, "tree": tree.identity}


def _facts(verdict: _Verdict) -> dict[str, Json]:
    return {
        "status": verdict.status,
        "result": verdict.result,
        "error": verdict.error,
        "error_type": verdict.error_type,
    }


# --- The order, which matters only to `on_failure: cancel` -----------------------------------


def _until_failure(
    tree: _Tree, verdicts: _Verdicts, observed: Sequence[str]
) -> tuple[list[str], str | None]:
    """What settled up to and with the first untolerated failure, and that failure."""
    settled: list[str] = []
    while (each := _next_to_settle(tree, verdicts, observed, settled)) is not None:
        settled.append(each)
        if _is_failure(tree, each, verdicts[each]):
            return settled, each
    if missing := [each for each in tree.tasks if each not in settled]:
        message = f"cannot have settled, or not in this order: {', '.join(missing)}"
        raise ImpossibleOrderError(message)
    return settled, None


def _next_to_settle(
    tree: _Tree, verdicts: _Verdicts, observed: Sequence[str], settled: Sequence[str]
) -> str | None:
    """An unlisted task that needs nobody to run it, else the next of the observed ones."""
    unlisted = [e for e in tree.tasks if e not in observed and not verdicts[e].ran]
    listed = [each for each in observed if each not in settled][:1]
    candidates = [each for each in [*unlisted, *listed] if each not in settled]
    ripe = [each for each in candidates if _may_settle(tree, verdicts, each, settled)]
    return next(iter(ripe), None)


def _may_settle(tree: _Tree, verdicts: _Verdicts, task_id: str, settled: Sequence[str]) -> bool:
    """A blocked task settles at once, a blocked group with its last edge and descendant."""
    task = tree.tasks[task_id]
    required = [edge.id for edge in task.edges if edge.required and edge.id in settled]
    if not any(verdicts[each].status != COMPLETED for each in required):
        return all(need in settled for need in _needs(tree, task))
    return not task.is_group or all(need in settled for need in _awaited(tree, task))


# --- The end state ---------------------------------------------------------------------------


def _end_state(
    tree: _Tree,
    verdicts: _Verdicts,
    script: Script,
    culprit: str | None = None,
    *,
    cancelled: bool = False,
) -> EndState:
    failed = any(_is_failure(tree, each, verdict) for each, verdict in verdicts.items())
    ended = {each: _ended(tree, verdicts, each, culprit) for each in tree.tasks}
    if failed and tree.on_failure == "wait" and not cancelled:
        return EndState(IN_PROGRESS, {}, ended)
    outputs, broken = _outputs(tree, verdicts)
    by_itself = CANCELLED if cancelled else COMPLETED
    status = FAILED if failed or broken else by_itself
    if status != COMPLETED:
        undone = {e: _compensation(tree, verdicts, tree.tasks[e], script) for e in tree.tasks}
        ended = {each: replace(its, compensation=undone[each]) for each, its in ended.items()}
    return EndState(status, outputs, ended, broken)


def _outputs(tree: _Tree, verdicts: _Verdicts) -> tuple[dict[str, Json], tuple[str, ...]]:
    """The outputs, and the names of those whose expression failed."""
    if tree.outputs is None:
        completed = [each for each, verdict in verdicts.items() if verdict.status == COMPLETED]
        return {each: verdicts[each].result for each in completed if _is_output(tree, each)}, ()
    outputs: dict[str, Json] = {}
    broken: list[str] = []
    for name, written in tree.outputs.items():
        try:
            outputs[name] = _resolve(written, _context(tree, verdicts))
        except _ExpressionError:
            outputs[name] = None
            broken.append(name)
    return outputs, tuple(broken)


def _compensation(
    tree: _Tree, verdicts: _Verdicts, task: _Task, script: Script
) -> Compensation | None:
    """Of a task that completed and has one, in a tree that didn't; any task may be named."""
    if task.compensate is None or verdicts[task.id].status != COMPLETED:
        return None
    written = cast("dict[str, Json]", task.compensate.get("inputs") or {})
    try:
        inputs = cast("dict[str, Json]", _resolve(written, _context(tree, verdicts)))
    except _ExpressionError:
        return Compensation(FAILED, None, EXPRESSION_ERROR, None)
    scripted = scripted_for(script, f"{tree.path}{task.id}~compensate")
    end = _judge_attempts(scripted, tree.maximum_attempts, inputs)
    return Compensation(end.status, end.result, end.error_type, inputs)


def _is_output(tree: _Tree, task_id: str) -> bool:
    in_a_group = any(tree.tasks[each].is_group for each in tree.above(task_id))
    return not in_a_group and not tree.edges_to(task_id)


def _ended(tree: _Tree, verdicts: _Verdicts, task_id: str, culprit: str | None) -> Ended:
    verdict = verdicts[task_id]
    because = culprit if verdict.reason == BY_FAILURE else _cause(tree, verdicts, task_id)
    root = because
    while root is not None and (deeper := _cause(tree, verdicts, root)) is not None:
        root = deeper
    return Ended(
        status=verdict.status,
        result=verdict.result,
        error_type=verdict.error_type,
        reason=verdict.reason,
        because=because,
        root=root,
        inputs=verdict.inputs,
        items=verdict.items,
        subtree=verdict.subtree,
        error=verdict.said,
        attempts=verdict.attempts,
        metadata=verdict.metadata,
    )


def _cause(tree: _Tree, verdicts: _Verdicts, task_id: str) -> str | None:
    if verdicts[task_id].reason != BY_DEPENDENCY:
        return None
    return _blocking(tree.tasks[task_id], verdicts)
