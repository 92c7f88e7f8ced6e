"""How a task tree must end: the semantics of DESIGN §4 and §9, said as directly as possible.

It knows no order, no slots, no waiting and no time. A task's end is a function of the ends of what
it waits for, so the ends are found by looking again and again for a task whose every need has
already been judged. Slow, and meant to share nothing with the scheduler it is compared with.

Under `on_failure: cancel` the order does matter, so `oracle_cancel` is told the order in which
tasks were seen to settle: what settled up to the first untolerated failure ends as it would have
ended anyway, and everything else is cancelled because of that failure.

Not here: maps, sub-trees, approvals, events, compensation, updates by hand, explicit outputs.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias, cast

import jmespath
from jmespath.exceptions import JMESPathError
from jmespath.lexer import Lexer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | bool | None"

COMPLETED, FAILED, SKIPPED, CANCELLED = "completed", "failed", "skipped", "cancelled"
GROUP, SLEEP, AGGREGATE = "group", "sleep", "aggregate_results"
NATIVE = (SLEEP, AGGREGATE)

BY_DEPENDENCY, BY_CONDITION = "dependency", "condition"
BY_FAILURE = "on_failure"  # the design names no reason for what `on_failure: cancel` cancels
SCRIPTED_ERROR = "execution_error"  # §5: a failure that names no error_type
EXPRESSION_ERROR, GROUP_FAILED = "expression_error", "group_failed"

__all__ = [
    "EndState",
    "Ended",
    "ImpossibleOrderError",
    "Json",
    "Scripted",
    "UnfinishableError",
    "oracle",
    "oracle_cancel",
]


class UnfinishableError(ValueError):
    """Some tasks wait for each other, or for a task that isn't there: the document is invalid."""


class ImpossibleOrderError(ValueError):
    """No run can settle tasks in the order that was said to have been observed."""


class _ExpressionError(Exception):
    """A reference or a condition that cannot be evaluated."""


@dataclass(frozen=True)
class Scripted:
    """What an executor does when it is run; `value` is the result if `ok`, else the error text."""

    ok: bool
    value: Json = None


@dataclass(frozen=True)
class Ended:
    """How one task ended; `inputs` is what an executed plain task received, None if never run."""

    status: str
    result: Json
    error_type: str | None
    reason: str | None
    because: str | None
    root: str | None
    inputs: dict[str, Json] | None


@dataclass(frozen=True)
class EndState:
    """How the whole tree ended, tasks in document order."""

    status: str
    outputs: dict[str, Json]
    tasks: dict[str, Ended]


def oracle(
    document: Mapping[str, Json],
    script: Mapping[str, Scripted],
    *,
    tree_inputs: Mapping[str, Json] | None = None,
    tree_id: str = "tree",
) -> EndState:
    """The one end state of a tree under `on_failure: continue`, whatever the order."""
    if document.get("on_failure", "continue") != "continue":
        message = "the end depends on the order: use oracle_cancel"
        raise ValueError(message)
    tree = _read(document, tree_inputs or {}, tree_id)
    return _end_state(tree, _judge_all(tree, script))


def oracle_cancel(
    document: Mapping[str, Json],
    script: Mapping[str, Scripted],
    observed: Sequence[str],
    *,
    tree_inputs: Mapping[str, Json] | None = None,
    tree_id: str = "tree",
) -> EndState:
    """The end state under `on_failure: cancel`, given the order in which tasks settled.

    `observed` must list every task that was executed, or slept, to its end. Tasks that settle
    without running (skips, groups, aggregates, failing expressions) may be listed, and then settled
    where they stand in the list; left out, they settled the moment they could. What stands behind
    the first untolerated failure doesn't matter.
    """
    tree = _read(document, tree_inputs or {}, tree_id)
    undisturbed = _judge_all(tree, script)
    settled, culprit = _until_failure(tree, undisturbed, observed)
    if culprit is None:
        return _end_state(tree, undisturbed)
    cut = _Verdict(CANCELLED, reason=BY_FAILURE)
    verdicts = {each: undisturbed[each] if each in settled else cut for each in tree.tasks}
    return _end_state(tree, verdicts, culprit)


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

    @property
    def is_group(self) -> bool:
        return self.executor == GROUP


@dataclass(frozen=True)
class _Tree:
    tasks: dict[str, _Task]
    inputs: dict[str, Json]
    identity: dict[str, Json]  # what expressions see as `tree`

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


def _read(document: Mapping[str, Json], overrides: Mapping[str, Json], tree_id: str) -> _Tree:
    declared = cast("dict[str, Json]", document.get("inputs") or {})
    tasks = [_read_task(raw) for raw in cast("list[dict[str, Json]]", document["tasks"])]
    identity = {"id": tree_id, "name": document["name"], "user_id": document.get("user_id")}
    return _Tree({task.id: task for task in tasks}, {**declared, **overrides}, identity)


def _read_task(raw: dict[str, Json]) -> _Task:
    task_id = cast("str", raw["id"])
    return _Task(
        id=task_id,
        executor=cast("str", raw.get("executor") or task_id),
        parent=cast("str | None", raw.get("parent_id")),
        edges=tuple(map(_read_edge, cast("list[Json]", raw.get("dependencies") or []))),
        inputs=cast("dict[str, Json]", raw.get("inputs") or {}),
        when=cast("str | None", raw.get("when")),
        allow_failure=bool(raw.get("allow_failure")),
    )


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


_Verdicts: TypeAlias = dict[str, _Verdict]


def _judge_all(tree: _Tree, script: Mapping[str, Scripted]) -> _Verdicts:
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


def _judge(
    tree: _Tree, task: _Task, verdicts: _Verdicts, script: Mapping[str, Scripted]
) -> _Verdict:
    if _blocking(task, verdicts) is not None:
        return _Verdict(SKIPPED, reason=BY_DEPENDENCY)
    context = _context(tree, verdicts)
    try:
        if task.when is not None and not _is_true(_evaluate(_bare(task.when), context)):
            return _Verdict(SKIPPED, reason=BY_CONDITION)
        if task.is_group:
            return _judge_group(tree, task, verdicts)
        if task.executor in NATIVE:
            return _judge_native(task, verdicts, context)
        return _judge_plain(script[task.id], _received(task, verdicts, context))
    except _ExpressionError as error:
        return _Verdict(FAILED, error=str(error), error_type=EXPRESSION_ERROR)


def _blocking(task: _Task, verdicts: _Verdicts) -> str | None:
    """The first dependency, as declared, that was required and did not complete."""
    required = [edge.id for edge in task.edges if edge.required]
    return next((each for each in required if verdicts[each].status != COMPLETED), None)


def _judge_plain(scripted: Scripted, inputs: dict[str, Json]) -> _Verdict:
    if scripted.ok:
        return _Verdict(COMPLETED, result=scripted.value, inputs=inputs)
    return _Verdict(FAILED, error=scripted.value, error_type=SCRIPTED_ERROR, inputs=inputs)


def _judge_native(task: _Task, verdicts: _Verdicts, context: Json) -> _Verdict:
    _resolve(task.inputs, context)  # only its failure matters here
    if task.executor == SLEEP:
        return _Verdict(COMPLETED)
    there = [edge.id for edge in task.edges if verdicts[edge.id].status == COMPLETED]
    absent: list[Json] = [edge.id for edge in task.edges if edge.id not in there]
    results = {each: verdicts[each].result for each in there}
    return _Verdict(COMPLETED, result={"results": results, "count": len(there), "absent": absent})


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


def _received(task: _Task, verdicts: _Verdicts, context: Json) -> dict[str, Json]:
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
    texts = _references(task.inputs)
    named = any((edge.id, "result") in _named(text) for text in texts)
    return verdicts[edge.id].status == COMPLETED and not named


_REFERENCE = re.compile(r"\$\{\{(.*?)\}\}", re.DOTALL)


def _expressions(task: _Task) -> list[str]:
    condition = [] if task.when is None else [_bare(task.when)]
    return [*condition, *_references(task.inputs)]


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


def _resolve(value: Json, context: Json) -> Json:
    if isinstance(value, dict):
        return {key: _resolve(each, context) for key, each in value.items()}
    if isinstance(value, list):
        return [_resolve(each, context) for each in value]
    return _resolve_text(value, context) if isinstance(value, str) else value


def _resolve_text(text: str, context: Json) -> Json:
    found = list(_REFERENCE.finditer(text))
    if len(found) == 1 and found[0][0] == text:
        return _evaluate(found[0][1], context)
    return _REFERENCE.sub(lambda match: _as_text(_evaluate(match[1], context)), text)


def _as_text(value: Json) -> str:
    if value is None:
        message = "null inside text"
        raise _ExpressionError(message)
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def _evaluate(expression: str, context: Json) -> Json:
    try:
        return cast("Json", jmespath.search(expression.strip(), context))
    except JMESPathError as error:
        raise _ExpressionError(str(error)) from error


def _is_true(value: Json) -> bool:
    return not (value is None or value is False or value in ("", [], {}))


def _context(tree: _Tree, verdicts: _Verdicts) -> Json:
    tasks: dict[str, Json] = {each: _facts(verdict) for each, verdict in verdicts.items()}
    return {"inputs": tree.inputs, "tasks": tasks, "tree": tree.identity}


def _facts(verdict: _Verdict) -> dict[str, Json]:
    fields = ("status", "result", "error", "error_type")
    return {field: cast("Json", getattr(verdict, field)) for field in fields}


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
    unlisted = [e for e in tree.tasks if e not in observed and not _takes_time(tree, verdicts, e)]
    listed = [each for each in observed if each not in settled][:1]
    candidates = [each for each in [*unlisted, *listed] if each not in settled]
    ripe = [each for each in candidates if _may_settle(tree, verdicts, each, settled)]
    return next(iter(ripe), None)


def _takes_time(tree: _Tree, verdicts: _Verdicts, task_id: str) -> bool:
    slept = tree.tasks[task_id].executor == SLEEP and verdicts[task_id].status == COMPLETED
    return slept or verdicts[task_id].inputs is not None


def _may_settle(tree: _Tree, verdicts: _Verdicts, task_id: str, settled: Sequence[str]) -> bool:
    """A blocked task settles at once, a blocked group with its last edge and descendant."""
    task = tree.tasks[task_id]
    required = [edge.id for edge in task.edges if edge.required and edge.id in settled]
    if not any(verdicts[each].status != COMPLETED for each in required):
        return all(need in settled for need in _needs(tree, task))
    return not task.is_group or all(need in settled for need in _awaited(tree, task))


# --- The end state ---------------------------------------------------------------------------


def _end_state(tree: _Tree, verdicts: _Verdicts, culprit: str | None = None) -> EndState:
    failed = any(_is_failure(tree, each, verdict) for each, verdict in verdicts.items())
    outputs = {
        each: verdict.result
        for each, verdict in verdicts.items()
        if verdict.status == COMPLETED and _is_output(tree, each)
    }
    ended = {each: _ended(tree, verdicts, each, culprit) for each in tree.tasks}
    return EndState(FAILED if failed else COMPLETED, outputs, ended)


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
    )


def _cause(tree: _Tree, verdicts: _Verdicts, task_id: str) -> str | None:
    if verdicts[task_id].reason != BY_DEPENDENCY:
        return None
    return _blocking(tree.tasks[task_id], verdicts)
