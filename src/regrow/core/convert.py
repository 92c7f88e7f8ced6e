"""From an array or a dump of the guide's system to the document that Regrow's users would write.

Such a row knows much that is no part of a tree: how an execution stood, when it is to start, what
it may cost. It is left out, and a note says so, so that nobody believes it kept. A key that is
nearly one of a tree's stays where it is: it is a slip, which the loader names.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, cast

from regrow.core.loading import as_id, load
from regrow.core.models import Task, TreeHead
from regrow.core.problems import suggestion


@dataclass(frozen=True, slots=True)
class Converted:
    """A native document, and what the old one said that it doesn't."""

    document: dict[str, Any]
    notes: tuple[str, ...]


def convert(value: object, *, name: str | None = None) -> Converted:
    """Rewrite a parsed array, dump or nested tree; it stays the same tree.

    `name` is used when there is none. Raises `InvalidTree` with every problem.
    """
    notes = _Notes()
    tree = load(_tidy(value, notes), name=name)
    return Converted(_in_order(tree.as_document()), tuple(notes.lines()))


_HAPPENED: Final = "what happened there; here every task begins anew"
_RETRIES: Final = "write it as `retry` of the task"
_TIMES: Final = "`regrow schedule create` starts trees at their times"
_PLACES: Final = "`task_queue` says which workers may run a task"
_COSTS: Final = "nothing here counts tokens or money"
_TYPES: Final = "an executor's types say what it takes and gives"
_PARAMS: Final = "an executor is given its inputs alone; write it there"
_RESULTS: Final = "an edge passes the result, or nothing by `into: null`"
_PASSED: Final = "those that held a dependency's result, which is passed anew"
_NOTHING: Final = "a tree has no such key"

_COLUMNS: Final = (
    (_HAPPENED, ("status", "progress", "result", "error", "error_info", "token_usage")),
    (_HAPPENED, ("created_at", "updated_at", "started_at", "completed_at", "cancel_requested_at")),
    (_HAPPENED, ("has_children", "has_copy", "has_references", "original_task_id", "origin_type")),
    (_HAPPENED, ("task_tree_id", "source_task_id", "result_snapshot_hash", "execution_identity")),
    (_HAPPENED, ("run_id", "run_count", "next_run_at", "last_run_at", "actual_cost_usd")),
    (_HAPPENED, ("attempt_id", "attempt_count", "checkpoint_at", "resume_from", "idempotency_key")),
    (_HAPPENED, ("lease_id", "lease_expires_at", "last_assigned_node")),
    (_RETRIES, ("max_attempts", "backoff_strategy", "backoff_base_seconds")),
    (_TIMES, ("schedule_type", "schedule_expression", "schedule_enabled", "max_runs")),
    (_TIMES, ("schedule_start_at", "schedule_end_at")),
    (_PLACES, ("placement_constraints",)),
    (_COSTS, ("token_budget", "budget_scope_id", "estimated_cost_usd", "cost_policy")),
)
_THEIRS: Final = {column: reason for reason, columns in _COLUMNS for column in columns}
"""The columns of their table that a tree doesn't have, and what to say about each."""

_SILENT: Final[Mapping[str, Any]] = {
    "max_attempts": 3,
    "backoff_strategy": "exponential",
    "backoff_base_seconds": 1.0,
    "origin_type": "create",
    "type": "result",
}
"""What every row has and nobody wrote; so have all that are empty."""

_UNTOUCHED: Final = (None, "pending")
_OF_HEAD: Final = (*TreeHead.model_fields, "tasks")
_OF_TASK: Final = (*Task.model_fields, "user_id", "schemas", "params", "children")
_ORDER: Final = (
    "id",
    "name",
    "executor",
    "executor_default",
    "parent_id",
    "dependencies",
    "when",
    "for_each",
    "inputs",
    "priority",
    "retry",
)
"""How a task is written in the guides; what isn't here comes after."""


@dataclass(slots=True)
class _Notes:
    """What is left out, by why; and the rest that somebody should know."""

    left_out: dict[str, dict[str, None]] = field(default_factory=dict[str, dict[str, None]])
    others: list[str] = field(default_factory=list[str])

    def kept(self, written: Mapping[str, Any], known: Sequence[str]) -> dict[str, Any]:
        """Give what a tree knows, or nearly knows."""
        kept: dict[str, Any] = {}
        for key, value in written.items():
            if key in known or (key not in _THEIRS and suggestion(str(key), known)):
                kept[key] = value
            else:
                self.leave_out(key, value, _THEIRS.get(key, _NOTHING))
        return kept

    def leave_out(self, key: str, value: object, reason: str, where: str = "") -> None:
        """Note what is left out, unless nobody has written it."""
        if value and _SILENT.get(key) != value:
            self.left_out.setdefault(reason, {})[f"{where}{key}"] = None

    def lines(self) -> Iterator[str]:
        """Give the notes, a line for each reason."""
        for reason, keys in self.left_out.items():
            yield f"left out: {', '.join(keys)} ({reason})"
        yield from self.others


def _tidy(value: object, notes: _Notes) -> object:
    """Give the same tree in a form that the loader reads, each task at its old place."""
    if isinstance(value, list):
        return _tidy_tasks(cast("list[Any]", value), notes)
    if not isinstance(value, dict):
        return value
    mapping = cast("dict[str, Any]", value)
    if isinstance(tasks := mapping.get("tasks"), list):
        tidied = _tidy_tasks(cast("list[Any]", tasks), notes)
        return {**notes.kept(mapping, _OF_HEAD), "tasks": tidied}
    is_task = "id" in mapping or "task" in mapping
    return _tidy_tasks([mapping], notes) if is_task else mapping


def _tidy_tasks(written: list[Any], notes: _Notes) -> list[Any]:
    top: list[Any] = []
    found: list[dict[str, Any]] = []
    rest = [(written, top)]
    for siblings, tidied in rest:  # grows while it is read
        tidied += [_tidy_task(each, notes) for each in siblings]
        tasks = [cast("dict[str, Any]", each) for each in tidied if isinstance(each, dict)]
        rest += [level for task in tasks for level in _children(task)]
        found += tasks
    _use_ids(found)
    return top


def _children(task: dict[str, Any]) -> list[tuple[list[Any], list[Any]]]:
    """Give the children that are still to be tidied, and where to."""
    if not isinstance(children := task.get("children"), list):
        return []
    task["children"] = below = list[Any]()
    return [(cast("list[Any]", children), below)]


def _tidy_task(written: Any, notes: _Notes) -> Any:
    """Give a task without what a tree has no place for."""
    if not isinstance(written, dict):
        return written
    row = _row(cast("dict[str, Any]", written))
    task = notes.kept(row, _OF_TASK)
    if task.get("id") is None and isinstance(name := task.get("name"), str):
        task["id"] = as_id(name)
    if isinstance(edges := task.get("dependencies"), list):
        task["dependencies"] = [_tidy_edge(edge, notes) for edge in cast("list[Any]", edges)]
        if row.get("status") not in _UNTOUCHED:
            _take_out_results(task, notes)
    _look_at_executor(task, notes)
    if row.get("origin_type") == "link":
        source = row.get("original_task_id")
        notes.others.append(f"'{task.get('id')}' is a link; write out what '{source}' does")
    return task


def _row(node: dict[str, Any]) -> dict[str, Any]:
    """Give a task as it is; a node of a tree holds one beside its children."""
    task = _mapping(node.get("task"))
    return {**task, "children": node.get("children")} if task else node


def _tidy_edge(edge: Any, notes: _Notes) -> Any:
    if not isinstance(edge, dict):
        return edge
    written = dict(cast("dict[str, Any]", edge))
    notes.leave_out("type", written.pop("type", None), _RESULTS, "dependencies.")
    return written


def _take_out_results(task: dict[str, Any], notes: _Notes) -> None:
    """Leave out of the inputs what an execution wrote there: the results of dependencies."""
    edges = [_mapping(edge).get("id", edge) for edge in task["dependencies"]]
    inputs = _mapping(task.get("inputs"))
    kept = {key: value for key, value in inputs.items() if key not in edges}
    if len(kept) < len(inputs):
        task["inputs"] = kept
        notes.leave_out("inputs", inputs, _PASSED)


def _look_at_executor(task: Mapping[str, Any], notes: _Notes) -> None:
    """Note what stands beside the executor's name, and a name that will not be taken."""
    schemas, params = _mapping(task.get("schemas")), _mapping(task.get("params"))
    for key, value in schemas.items():
        if key != "method":
            notes.leave_out(key, value, _TYPES, "schemas.")
    for key, value in params.items():
        if key != "executor_id":
            notes.leave_out(key, value, _PARAMS, "params.")
    ours, theirs = schemas.get("method"), params.get("executor_id")
    if ours and theirs and ours != theirs:
        notes.others.append(f"'{task.get('id')}' is run by {ours}; there it was {theirs}")


def _mapping(value: Any) -> dict[str, Any]:
    """Give a mapping as one; the loader refuses what should be one and isn't."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _use_ids(tasks: Sequence[dict[str, Any]]) -> None:
    """Let ids alone name parents and dependencies; there, where no id fits, a name does."""
    id_of = _ids_by_name(tasks)
    for task in tasks:
        if isinstance(parent := task.get("parent_id"), str):
            task["parent_id"] = id_of.get(parent, parent)
        if isinstance(edges := task.get("dependencies"), list):
            task["dependencies"] = [_by_id(edge, id_of) for edge in cast("list[Any]", edges)]


def _ids_by_name(tasks: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Give the tasks that have a name of their own, which is nobody's id."""
    both = [(task.get("name"), own) for task in tasks if isinstance(own := task.get("id"), str)]
    named = [(name, own) for name, own in both if isinstance(name, str)]
    ids = {own for _, own in both}
    often = Counter(name for name, _ in named)
    return {name: own for name, own in named if often[name] == 1 and name not in ids}


def _by_id(edge: Any, id_of: Mapping[str, str]) -> Any:
    if isinstance(edge, str):
        return id_of.get(edge, edge)
    named = _mapping(edge).get("id")
    return {**edge, "id": id_of.get(named, named)} if isinstance(named, str) else edge


def _in_order(document: dict[str, Any]) -> dict[str, Any]:
    """Write tasks in the order in which people do."""
    return {**document, "tasks": [_task_in_order(task) for task in document["tasks"]]}


def _task_in_order(task: dict[str, Any]) -> dict[str, Any]:
    if "tree" in task:
        task = {**task, "tree": _in_order(task["tree"])}
    return {key: task[key] for key in (*_ORDER, *task) if key in task}
