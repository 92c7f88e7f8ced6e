"""From any accepted form of a document to a checked `TaskTree`, or every reason why not.

Three forms: a mapping, the seed's bare array of tasks, and tasks nested in `children`. All are
rewritten into the mapping's flat list first; each task remembers where it was written.
"""

import math
import re
from builtins import isinstance
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, cast

from pydantic import BaseModel, ValidationError

from regrow.core import limits
from regrow.core.garbage import collected_later
from regrow.core.graph import graph_problems
from regrow.core.models import ID_PATTERN, BareEdges, Task, TaskTree, TreeHead
from regrow.core.problems import InvalidTree, Path, Problem, refuse_if, suggestion, within
from regrow.core.reference_check import reference_problems
from regrow.core.references import OPEN, cost_of_text
from regrow.core.task_check import task_problems
from regrow.core.wire import ENGINE_KEY, TREE

_GRAPH_CODES: Final = (
    "cycle",
    "self_dependency",
    "unknown_dependency",
    "duplicate_dependency",
    "duplicate_into",
)
_BARE_EXPRESSIONS: Final = ("when", "for_each")
_HARMLESS: Final = (int, bool, type(None))
_SEED_KEYS: Final = ("schemas", "params")
_MUST_BE: Final = {
    "dict_type": "must be a mapping",
    "model_type": "must be a mapping",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "for_each": "must be a list, or an expression that gives one",
    "dependency": "must be the id of a task, or a mapping that has it",
}
"""What pydantic says in words of Python, by its type; and what may be one thing or another."""
_LIFTED_KEYS: Final = frozenset(("children", *_SEED_KEYS))


class WrittenTask(NamedTuple):
    """A task's mapping in the normal form, and its place in the document."""

    mapping: dict[str, Any]
    path: Path


@dataclass(slots=True)
class _Draft:
    head: dict[str, Any]
    tasks: list[WrittenTask]
    problems: list[Problem]
    depth: int = 0
    """How many trees are around this one."""
    user_id: str | None = None
    """That of the whole."""


def load(document: object, *, name: str | None = None) -> TaskTree:
    """Read and check a tree in any accepted form, already parsed from its YAML or JSON.

    `name` is used when the document has none, else the first task's id is.
    Raises `InvalidTree` with every problem.
    """
    with collected_later():
        if isinstance(document, TaskTree):
            document = document.as_document()
        refuse_if(list(_not_plain(document)))
        tree, problems = _check(document, name)
        refuse_if(problems)
        return tree


def _check(
    document: object, name: str | None, around: _Draft | None = None
) -> tuple[TaskTree, list[Problem]]:
    """Read a tree, or one inside another, as far as it is sound; gives every problem."""
    draft = _normalise(document, name)
    head = _read_head(draft)
    draft.user_id = head.user_id or (around.user_id if around else None)
    draft.depth = around.depth + 1 if around else 0
    tasks = [_read_task(draft, written) for written in draft.tasks]
    parsed = [
        (task, written.path) for task, written in zip(tasks, draft.tasks, strict=True) if task
    ]
    problems = [*draft.problems, *graph_problems(parsed)]
    spoilt = any(_spoils_references(problem) for problem in problems)
    problems += reference_problems(head, parsed, spoilt=spoilt)
    problems += [
        found for task, path in parsed for found in task_problems(draft.user_id, task, path)
    ]
    tree = TaskTree.model_construct(
        head.model_fields_set | {"tasks"},
        **{field: getattr(head, field) for field in TreeHead.model_fields},
        tasks=tuple(task for task, _ in parsed),
    )
    return tree, _in_document_order(problems, draft)


def _spoils_references(problem: Problem) -> bool:
    """Tell whether some findings about references would only follow from this problem."""
    spoilt = problem.path[:1] == ("inputs",) or "dependencies" in problem.path
    return problem.code == "parent_cycle" or (spoilt and problem.code not in _GRAPH_CODES)


def without_engine(document: object) -> tuple[object, dict[str, Any]]:
    """Split what a run handed to its continuation from the document itself."""
    if not isinstance(document, dict):
        return document, {}
    mapping = cast("dict[str, Any]", document)
    rest = {key: value for key, value in mapping.items() if key != ENGINE_KEY}
    return rest, dict(mapping.get(ENGINE_KEY) or {})


def with_inputs(tree: TaskTree, inputs: Mapping[str, Any]) -> TaskTree:
    """Set declared inputs; raises `InvalidTree` for names the tree doesn't declare."""
    refuse_if(
        [
            Problem(
                "unknown_input",
                ("inputs", name),
                f"the tree declares no input '{name}'{suggestion(name, tree.inputs)}",
            )
            for name in inputs
            if name not in tree.inputs
        ]
    )
    return load({**tree.as_document(), "inputs": {**tree.inputs, **inputs}})


def _not_plain(document: object) -> Iterator[Problem]:
    """Find what JSON cannot hold, and nesting that would exhaust a reader."""
    rest: list[tuple[object, Path]] = [(document, ())]
    expressions: dict[str, int] = {}
    while rest:
        value, path = rest.pop()
        if len(path) > limits.MAX_NESTING:
            yield Problem("too_deep", path[:3], f"nested more than {limits.MAX_NESTING} deep")
            return
        if isinstance(value, dict):
            mapping = cast("dict[Any, object]", value)
            if wrong := [key for key in mapping if not isinstance(key, str)]:
                hint = "must be text; put it in quotes"
                yield from (Problem("key", path, f"the key {key!r} {hint}") for key in wrong)
                mapping = {key: mapping[key] for key in mapping if isinstance(key, str)}
            rest.extend(reversed(_worth_a_look(mapping.items(), path)))
        elif isinstance(value, list | tuple):
            items = enumerate(cast("Sequence[object]", value))
            rest.extend(reversed(_worth_a_look(items, path)))
        elif isinstance(value, str):
            expressions |= cost_of_text(value, whole=path != () and path[-1] in _BARE_EXPRESSIONS)
            if not _is_utf8(value):
                yield Problem("text", path, "the text has half of a surrogate pair in it")
        else:
            yield from _no_number(value, path)
    if sum(expressions.values()) > limits.MAX_EXPRESSIONS:
        most = f"{limits.MAX_EXPRESSIONS:,} characters in all; let a task compute what they do"
        yield Problem("too_many", (), f"the expressions of a tree have at most {most}")


def _worth_a_look(
    items: Iterable[tuple[str | int, object]], path: Path
) -> list[tuple[object, Path]]:
    """Leave out what is harmless, as most of a document is, unless it is nested too deeply."""
    if len(path) >= limits.MAX_NESTING:
        return [(item, (*path, key)) for key, item in items]
    return [(item, (*path, key)) for key, item in items if not _is_harmless(item, key)]


def _is_harmless(value: object, key: str | int) -> bool:
    if type(value) is str:
        return value.isascii() and OPEN not in value and key not in _BARE_EXPRESSIONS
    return type(value) in _HARMLESS


def _no_number(value: object, path: Path) -> Iterator[Problem]:
    if isinstance(value, float) and not math.isfinite(value):
        yield Problem("number", path, f"{value} is not a JSON number")
    elif not isinstance(value, int | float | bool | None):
        kind = type(value).__name__
        yield Problem("not_json", path, f"a {kind} is not JSON; put the value in quotes")


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _normalise(document: object, name: str | None) -> _Draft:
    if isinstance(document, list | tuple):
        draft = _Draft({}, [], [])
        _flatten(cast("Sequence[Any]", document), (), draft)
    elif isinstance(document, dict):
        head = {
            key: value
            for key, value in cast("dict[str, Any]", document).items()
            if value is not None
        }
        draft = _Draft(head, [], [])
        _take_tasks(draft)
    else:
        kind = type(document).__name__
        raise InvalidTree([Problem("shape", (), f"a tree is a mapping or a list, not {kind}")])
    _resolve_names(draft)
    _one_user(draft)
    _default_name(draft, name)
    return draft


def _take_tasks(draft: _Draft) -> None:
    if ENGINE_KEY in draft.head:
        del draft.head[ENGINE_KEY]
        draft.problems.append(Problem("reserved", (ENGINE_KEY,), "this key is the engine's own"))
    if "tasks" not in draft.head:
        draft.problems.append(Problem("missing", ("tasks",), "a tree needs a list of tasks"))
    elif not isinstance(tasks := draft.head.pop("tasks"), list | tuple):
        draft.problems.append(Problem("shape", ("tasks",), "must be a list of tasks"))
    else:
        _flatten(cast("Sequence[Any]", tasks), ("tasks",), draft)


def _flatten(tasks: Sequence[Any], path: Path, draft: _Draft) -> None:
    """Lay nested children out in one list, parents first, in the order they are written."""
    rest: list[tuple[Any, Path, str | None]] = [
        (task, (*path, index), None) for index, task in reversed(list(enumerate(tasks)))
    ]
    while rest:
        task, where, parent = rest.pop()
        if not isinstance(task, dict):
            draft.problems.append(Problem("shape", where, "a task is a mapping"))
            continue
        raw = cast("dict[str, Any]", task)
        written = WrittenTask(_normal_task(raw, where, parent, draft), where)
        draft.tasks.append(written)
        if not (children := raw.get("children")):
            continue
        if not isinstance(children, list | tuple):
            draft.problems.append(Problem("shape", (*where, "children"), "must be a list of tasks"))
            continue
        below = list(enumerate(cast("Sequence[Any]", children)))
        own_id = _valid_id(written.mapping.get("id"))
        rest.extend(
            (child, (*where, "children", index), own_id) for index, child in reversed(below)
        )
    if not draft.tasks and not draft.problems:
        draft.problems.append(Problem("missing", path, "the tree has no tasks"))
    if len(draft.tasks) > limits.MAX_TASKS:
        most = f"{len(draft.tasks):,} tasks; a tree has at most {limits.MAX_TASKS:,}"
        raise InvalidTree([Problem("too_many", path, most)])


def _normal_task(
    raw: dict[str, Any], where: Path, parent: str | None, draft: _Draft
) -> dict[str, Any]:
    task = {k: v for k, v in raw.items() if k not in _LIFTED_KEYS and (v is not None or k == "id")}
    seed = where[0] != "tasks" or not raw.keys().isdisjoint(_SEED_KEYS)
    if task.get("id") is None and isinstance(task.get("name"), str):
        task["id"] = task["name"]
    if seed:
        _seed_executor(raw, task, where, draft)
    if parent is not None:
        if task.get("parent_id", parent) != parent:
            message = f"nested under '{parent}' but parent_id says '{task['parent_id']}'"
            draft.problems.append(Problem("parent", (*where, "parent_id"), message))
        task["parent_id"] = parent
    return task


def _valid_id(value: object) -> str | None:
    return value if isinstance(value, str) and re.match(ID_PATTERN, value) else None


def _seed_executor(raw: dict[str, Any], task: dict[str, Any], where: Path, draft: _Draft) -> None:
    """Name the executor as the seed does: `schemas.method`, `params.executor_id`, the name."""
    for key, inner in (("schemas", "method"), ("params", "executor_id")):
        value: Any = raw.get(key) or {}
        if not isinstance(value, dict):
            draft.problems.append(Problem("shape", (*where, key), "must be a mapping"))
        elif executor := cast("dict[str, Any]", value).get(inner):
            task.setdefault("executor", executor)
    if "executor" in task or raw.get("tree") is not None:
        return
    default = _valid_id(task.get("name")) or _valid_id(task.get("id"))
    if any(raw.get(key) for key in ("inputs", *_SEED_KEYS)):
        task["executor"] = default  # whoever says this much means no mere group
    elif default != task.get("id"):
        task["executor_default"] = default


def _resolve_names(draft: _Draft) -> None:
    """Let dependencies name a task by its name, as the seed may, or by its bare id."""
    bare = BareEdges()
    ids_by_name: dict[str, list[str]] = {}
    for written in draft.tasks:
        if isinstance(title := written.mapping.get("name"), str):
            ids_by_name.setdefault(title, []).append(written.mapping.get("id", title))
    for written in draft.tasks:
        edges = written.mapping.get("dependencies")
        if isinstance(edges, list | tuple):
            written.mapping["dependencies"] = [
                bare[edge]
                if isinstance(edge, str)
                else _edge_by_id(edge, ids_by_name, (*written.path, "dependencies", index), draft)
                for index, edge in enumerate(cast("Sequence[Any]", edges))
            ]


def _edge_by_id(edge: Any, ids_by_name: dict[str, list[str]], where: Path, draft: _Draft) -> Any:
    named = cast("dict[str, Any]", edge) if isinstance(edge, dict) else {}
    name = named.get("name")
    if named.get("id") is not None or not isinstance(name, str):
        return cast("Any", edge)
    ids = ids_by_name.get(name, [name])
    if len(ids) > 1:
        message = f"'{name}' is the name of several tasks ({', '.join(map(str, ids))}); use the id"
        draft.problems.append(Problem("ambiguous", where, message))
    return {
        "id": ids[0],
        **{key: value for key, value in named.items() if key not in ("id", "name")},
    }


def _one_user(draft: _Draft) -> None:
    """Lift the tasks' `user_id` to the tree: it is the label of the whole."""
    for written in draft.tasks:
        user_id = written.mapping.pop("user_id", None)
        if user_id is None:
            continue
        wrong = _shape_problems(TreeHead, {"name": "tree", "user_id": user_id}, written.path)
        draft.problems += wrong
        if wrong:
            continue
        first = draft.head.setdefault("user_id", user_id)
        if user_id != first:
            message = f"user_id '{user_id}' in a tree of '{first}'; one tree has one user"
            draft.problems.append(Problem("user_id", (*written.path, "user_id"), message))


def _default_name(draft: _Draft, name: str | None) -> None:
    if draft.head.get("name") is None:
        first = _valid_id(draft.tasks[0].mapping.get("id")) if draft.tasks else None
        draft.head["name"] = as_id(name) or first or "tree"


def as_id(name: str | None) -> str:
    """Turn a file's stem into a name: what the pattern refuses becomes a dash."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", name or "").lstrip("_.-")[:64]


def _read_head(draft: _Draft) -> TreeHead:
    """Read what is not a task; what is wrong is noted and read as if it were absent."""
    problems = _shape_problems(TreeHead, draft.head, ())
    draft.problems += problems
    wrong = {problem.path[0] for problem in problems}
    sound = {key: value for key, value in draft.head.items() if key not in wrong}
    return TreeHead.model_validate({"name": "tree", **sound})


def _read_task(draft: _Draft, written: WrittenTask) -> Task | None:
    """Read one task; a wrong field is noted and left out, so that the graph is still checked."""
    _read_subtree(draft, written)
    try:
        return Task.model_validate(written.mapping)
    except ValidationError:
        pass
    problems = _shape_problems(Task, written.mapping, written.path)
    draft.problems += problems
    depth = len(written.path)
    wrong = {problem.path[depth] for problem in problems if len(problem.path) > depth}
    sound = {key: value for key, value in written.mapping.items() if key not in wrong}
    return Task.model_validate(sound) if "id" in sound else None


def _read_subtree(draft: _Draft, written: WrittenTask) -> None:
    """Put a checked tree in the place of the written one; what is wrong is noted."""
    task, where = written.mapping, (*written.path, "tree")
    raw = task.pop("tree", None)
    if raw is None:
        named = task.get("executor") or task.get("executor_default") or task.get("id")
        if named == TREE:
            draft.problems.append(Problem("missing", where, "'tree' is missing: what it runs"))
        return
    task.setdefault("executor", TREE)
    if isinstance(raw, str):
        message = f"'{raw}' is a file, which only a tree that is read from a file can name"
        draft.problems.append(Problem("tree", where, message))
    elif draft.depth >= limits.MAX_SUBTREE_DEPTH:
        message = f"trees inside trees more than {limits.MAX_SUBTREE_DEPTH} deep"
        draft.problems.append(Problem("too_deep", where, message))
    else:
        _nest(draft, task, raw, where)


def _nest(draft: _Draft, task: dict[str, Any], raw: object, where: Path) -> None:
    try:
        subtree, problems = _check(raw, _valid_id(task.get("id")), draft)
    except InvalidTree as error:
        draft.problems += within(where, error.problems)
        return
    draft.problems += within(where, problems)
    if all(problem.path[:1] != ("inputs",) for problem in problems):  # else nothing fits them
        task["tree"] = subtree


def _shape_problems(model: type[BaseModel], value: object, path: Path) -> list[Problem]:
    try:
        model.model_validate(value)
    except ValidationError as error:
        found = [_shape_problem(model, dict(item), path) for item in error.errors()]
        return list(dict.fromkeys(found))
    return []


def _shape_problem(model: type[BaseModel], item: dict[str, Any], path: Path) -> Problem:
    location = cast("tuple[str | int, ...]", item["loc"])
    code = str(item["type"])
    if location[:1] == ("for_each",):
        code, location = "for_each", location[:1]  # what follows are the types it may have
    elif location[:1] == ("dependencies",) and code == "model_type":
        code = "dependency"
    where = (*path, *location)
    if item["type"] == "extra_forbidden":
        known = _model_at(model, location[:-1]).model_fields
        key = str(location[-1])
        return Problem("unknown_key", where, f"unknown key '{key}'{suggestion(key, known)}")
    if item["type"] == "string_pattern_mismatch":
        message = (
            f"{item['input']!r}: use letters, digits, '_', '.' and '-',"
            " beginning with a letter or digit, at most 64 characters"
        )
        return Problem("id", where, message)
    if item["type"] == "missing":
        return Problem("missing", where, f"'{location[-1]}' is missing")
    message = _MUST_BE.get(code, str(item["msg"]))
    return Problem(code, where, message[:1].lower() + message[1:])


def _model_at(model: type[BaseModel], location: tuple[str | int, ...]) -> type[BaseModel]:
    """Find the model of the mapping that holds an unknown key."""
    for part in location:
        if not isinstance(part, str) or part not in model.model_fields:
            continue
        inner = model.model_fields[part].annotation
        candidates = [inner, *getattr(inner, "__args__", ())]
        models = (c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel))
        model = next(models, model)
    return model


def _in_document_order(problems: list[Problem], draft: _Draft) -> list[Problem]:
    """Head first, then task by task, each problem once."""
    places = {written.path: index for index, written in enumerate(draft.tasks)}

    def place(problem: Problem) -> int:
        for length in range(len(problem.path), 0, -1):
            if problem.path[:length] in places:
                return places[problem.path[:length]]
        return -1

    return sorted(dict.fromkeys(problems), key=place)
