"""References: `${{ jmespath }}` in inputs and outputs, and bare conditions.

An expression is compiled once, must name the tasks it looks at, and is evaluated over those alone.
A string that is one reference keeps the value's type; inside text the value is written out.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, cast

import jmespath
import jmespath.exceptions
import jmespath.parser

from regrow.core import limits
from regrow.core.graph import children_of, may_be_group, waits_for
from regrow.core.models import Json, Task, TaskId, TreeHead
from regrow.core.problems import Path, Problem, Suggester, suggestion
from regrow.core.wire import GROUP

OPEN, CLOSE = "${{", "}}"
ROOTS: Final = ("inputs", "tasks", "tree")
TASK_FIELDS: Final = ("status", "result", "error", "error_type")
TREE_FIELDS: Final = ("id", "name", "user_id")

_PATH_NODES: Final = (
    "field",
    "subexpression",
    "index_expression",
    "projection",
    "filter_projection",
    "value_projection",
    "flatten",
    "pipe",
)
_NEEDS_QUOTES: Final = "; an id with - or ., or with a digit first, needs quotes:"
_MOST_ENDS: Final = 20
_MOST_DOUBTS: Final = 100
_MOST_ERROR: Final = 1_000
_CHUNK: Final = 512


class ExpressionError(ValueError):
    """An expression that cannot be read, or has no value here."""


class Scope(Protocol):
    """What expressions can see while a tree runs."""

    inputs: Mapping[str, Json]
    tree: Mapping[str, Json]

    def task_view(self, task_id: TaskId) -> dict[str, Json]:
        """Give the task's `status`, `result`, `error` and `error_type`."""
        ...


@dataclass(frozen=True, slots=True)
class Expression:
    """One compiled JMESPath expression and what it looks at."""

    text: str
    compiled: jmespath.parser.ParsedResult
    names: tuple[tuple[str, ...], ...]
    """Each path from a root, such as `("tasks", "fetch", "result")`."""
    makes_values: bool = False
    """Whether it could give what wasn't there before, and so what JSON cannot hold."""

    @property
    def tasks(self) -> tuple[TaskId, ...]:
        """The tasks it names, each once."""
        return tuple(dict.fromkeys(name[1] for name in self.names if name[0] == "tasks"))

    @property
    def read_results(self) -> tuple[TaskId, ...]:
        """The tasks whose result it may look at: all but those of which it names another field."""
        others = TASK_FIELDS[:1] + TASK_FIELDS[2:]
        return tuple(
            n[1] for n in self.names if n[0] == "tasks" and n[2:3] not in {(o,) for o in others}
        )

    @property
    def results(self) -> tuple[TaskId, ...]:
        """The tasks whose result it names."""
        return tuple(name[1] for name in self.names if name[0] == "tasks" and "result" in name[2:3])

    def evaluate(self, scope: Scope) -> Json:
        """Give the value; raises `ExpressionError`."""
        seen = {
            "inputs": scope.inputs,
            "tree": scope.tree,
            "tasks": {task_id: scope.task_view(task_id) for task_id in self.tasks},
        }
        try:
            value = self.compiled.search(seen)
            if self.makes_values:
                json.dumps(value, allow_nan=False)
        except Exception as error:  # whatever the library meets in foreign data
            message = f"{self.text}: {error}"
            raise ExpressionError(message[:_MOST_ERROR]) from error
        return cast("Json", value)


@dataclass(frozen=True, slots=True)
class Template:
    """A JSON value with references in it."""

    expressions: tuple[Expression, ...]
    render: Callable[[Scope], Json]
    """Gives a fresh value; raises `ExpressionError`."""


def is_true(value: Json) -> bool:
    """JMESPath's rule of truth: only null, false and what is empty are false; 0 is true."""
    return value is not None and value is not False and value not in ("", [], {})


def condition(text: str) -> Expression:
    """Compile a `when`, bare or in `${{ }}`; raises `ExpressionError`."""
    stripped = text.strip()
    if stripped.startswith(OPEN) and stripped.endswith(CLOSE):
        stripped = stripped[len(OPEN) : -len(CLOSE)].strip()
    return compile_expression(stripped)


def compile_expression(text: str) -> Expression:
    """Compile one expression; raises `ExpressionError` that says what is wrong."""
    if len(text) > limits.MAX_EXPRESSION:
        message = f"an expression has at most {limits.MAX_EXPRESSION} characters"
        raise ExpressionError(message)
    try:
        compiled = jmespath.compile(text)
        names = tuple(_names(cast("dict[str, Any]", compiled.parsed)))
    except (jmespath.exceptions.JMESPathError, RecursionError) as error:
        # The library's message draws the place under the text, on three lines.
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        message = f"cannot read '{text}': {reason.rstrip(':')}{_hint(text)}"
        raise ExpressionError(message) from error
    return Expression(text, compiled, names, makes_values=any(c in text for c in "(&`"))


def compile_template(value: Json) -> Template:
    """Compile every reference inside a value; raises `ExpressionError` at the first bad one."""
    expressions: list[Expression] = []
    render = _compile(value, expressions)
    return Template(tuple(expressions), render)


def _compile(value: Json, found: list[Expression]) -> Callable[[Scope], Json]:
    if isinstance(value, str) and OPEN in value:
        return _compile_text(value, found)
    if isinstance(value, dict):
        fields = {key: _compile(item, found) for key, item in value.items()}
        return lambda scope: {key: field(scope) for key, field in fields.items()}
    if isinstance(value, list):
        items = [_compile(item, found) for item in value]
        return lambda scope: [item(scope) for item in items]
    return lambda _: value


def _compile_text(text: str, found: list[Expression]) -> Callable[[Scope], Json]:
    parts = list(_split(text))
    found.extend(part for part in parts if isinstance(part, Expression))
    if len(parts) == 1 and isinstance(parts[0], Expression):
        return parts[0].evaluate
    return lambda scope: "".join(
        part if isinstance(part, str) else _as_text(part, part.evaluate(scope)) for part in parts
    )


def _split(text: str) -> Iterator[str | Expression]:
    """Take text apart into plain pieces and expressions."""
    rest = text
    while OPEN in rest:
        before, rest = rest.split(OPEN, 1)
        if before:
            yield before
        expression, rest = _take_expression(rest)
        yield expression
    if rest:
        yield rest


def _take_expression(rest: str) -> tuple[Expression, str]:
    """Read up to the first `}}` at which the text before it is an expression."""
    failure: ExpressionError | None = None
    at = rest.find(CLOSE)
    for _ in range(_MOST_ENDS):
        if at < 0:
            break
        try:
            return compile_expression(rest[:at].strip()), rest[at + len(CLOSE) :]
        except ExpressionError as error:
            failure = failure or error
        at = rest.find(CLOSE, at + 1)
    raise failure or ExpressionError(f"'{OPEN}{rest[:40]}' is never closed by '{CLOSE}'")


def _as_text(expression: Expression, value: Json) -> str:
    if value is None:
        message = f"{expression.text}: is null, which text cannot hold"
        raise ExpressionError(message)
    return (
        value
        if isinstance(value, str)
        else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    )


def named_tasks(task: Task) -> tuple[TaskId, ...]:
    """Give the tasks that a checked task's expressions look at, each once."""
    expressions = list(compile_template(task.inputs).expressions)
    if task.when is not None:
        expressions.append(condition(task.when))
    return tuple(dict.fromkeys(name for each in expressions for name in each.tasks))


def _names(node: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    """Give the paths that an expression reads from the roots; what follows an element is local."""
    kind, children = node["type"], cast("list[dict[str, Any]]", node.get("children", []))
    if kind == "current":
        raise _NotNamed("'@' at the top would be everything; name what is meant")
    if kind == "expref":
        raise _NotNamed("'&' only means something as an argument of a function")
    if kind in _PATH_NODES:
        fields, _ = _leading_fields(node)
        if fields:
            yield _rooted(tuple(fields))
        else:
            yield from _names(children[0])
        return
    for child in children:
        if kind != "function_expression" or child["type"] != "expref":
            yield from _names(child)


class _NotNamed(jmespath.exceptions.JMESPathError):
    pass


def _leading_fields(node: dict[str, Any]) -> tuple[list[str], bool]:
    """Give the fields a node begins with, and whether it is nothing but fields."""
    if node["type"] == "field":
        return [node["value"]], True
    if node["type"] not in _PATH_NODES:
        return [], False
    fields: list[str] = []
    for child in node["children"]:
        more, whole = _leading_fields(child)
        fields += more
        if not whole or node["type"] != "subexpression":
            return fields, False
    return fields, True


def _rooted(path: tuple[str, ...]) -> tuple[str, ...]:
    if path == ("tasks",):
        message = "name the task: tasks.ID.result"
        raise _NotNamed(message)
    return path


def _hint(text: str) -> str:
    if re.search(r"!\s*tasks\b", text):
        return "; '!' binds tighter than '.': write !(tasks.ID.result)"
    match = re.search(
        r"tasks\.([A-Za-z0-9][A-Za-z0-9_.-]*-[A-Za-z0-9_-]+|[0-9][A-Za-z0-9_-]*)", text
    )
    return f'{_NEEDS_QUOTES} tasks."{match[1]}"' if match else ""


def reference_problems(
    head: TreeHead,
    parsed: Sequence[tuple[Task, Path]],
    groups: Mapping[TaskId, object] | None = None,
) -> list[Problem]:
    """Check every expression of the tree: readable, known names, only tasks upstream.

    Which tasks are mere groups is known once a worker has described the executors; until then
    (`groups` absent) whatever could be one gets the benefit of the doubt.
    """
    check = _Check(head, parsed)
    for task, path in parsed:
        check.task(task, path)
    for name, value in (head.outputs or {}).items():
        check.template(value, ("outputs", name), None)
    return check.finish(groups)


class _Check:
    def __init__(self, head: TreeHead, parsed: Sequence[tuple[Task, Path]]) -> None:
        self._head = head
        self._tasks = {task.id: task for task, _ in parsed}
        self._suggest = Suggester(self._tasks)
        self._problems: list[Problem] = []
        self._distant: list[tuple[TaskId, TaskId, Path]] = []
        """References to tasks that are not direct dependencies: (from, to, place)."""

    def task(self, task: Task, path: Path) -> None:
        for key, value in task.inputs.items():
            self.template(value, (*path, "inputs", key), task)
        if task.when is None:
            return
        where = (*path, "when")
        try:
            self._names(condition(task.when), where, task)
        except ExpressionError as error:
            self._problems.append(Problem("expression", where, str(error)))

    def template(self, value: Json, where: Path, task: Task | None) -> None:
        try:
            for expression in compile_template(value).expressions:
                self._names(expression, where, task)
        except ExpressionError as error:
            self._problems.append(Problem("expression", where, str(error)))

    def finish(self, groups: Mapping[TaskId, object] | None) -> list[Problem]:
        tasks = [*self._tasks.values()]
        children = children_of(tasks)
        explicit = {t.id: True for t in tasks if t.executor == GROUP and t.id in children}
        possible = {t.id: True for t in tasks if groups is None and may_be_group(t, children)}
        surely = _upstream(waits_for(tasks, explicit if groups is None else groups), self._distant)
        maybe = waits_for(tasks, {**explicit, **possible}) if possible else None
        doubts = 0
        for (task_id, named, where), reachable in zip(self._distant, surely, strict=True):
            doubts += not reachable
            if reachable or (maybe and (doubts > _MOST_DOUBTS or _reaches(maybe, task_id, named))):
                continue
            message = f"'{named}' is not upstream of '{task_id}'; add it to the dependencies"
            self._problems.append(Problem("not_upstream", where, message))
        return self._problems

    def _names(self, expression: Expression, where: Path, task: Task | None) -> None:
        for name in expression.names:
            message = self._name_message(name)
            if message:
                self._problems.append(Problem("reference", where, message))
            elif name[0] == "tasks" and task is not None:
                self._distance(name[1], where, task)

    def _distance(self, named: TaskId, where: Path, task: Task) -> None:
        if all(edge.id != named for edge in task.dependencies):
            self._distant.append((task.id, named, where))

    def _name_message(self, name: tuple[str, ...]) -> str | None:
        root, rest = name[0], name[1:]
        if root not in ROOTS:
            return f"'{root}' is not one of {', '.join(ROOTS)}{suggestion(root, ROOTS)}"
        if root == "tasks":
            return self._task_message(rest)
        known = self._head.inputs if root == "inputs" else TREE_FIELDS
        if rest and rest[0] not in known:
            what = "the tree declares no input" if root == "inputs" else "the tree has no field"
            return f"{what} '{rest[0]}'{suggestion(rest[0], known)}"
        return None

    def _task_message(self, rest: tuple[str, ...]) -> str | None:
        if rest[0] not in self._tasks:
            hint = self._dotted(rest) or self._suggest(rest[0])
            return f"there is no task '{rest[0]}'{hint}"
        if len(rest) > 1 and rest[1] not in TASK_FIELDS:
            fields = ", ".join(TASK_FIELDS)
            return f"a task has {fields}, not '{rest[1]}'{suggestion(rest[1], TASK_FIELDS)}"
        return None

    def _dotted(self, rest: tuple[str, ...]) -> str | None:
        """An id with dots in it, written without quotes, reads as a path."""
        for length in range(len(rest), 1, -1):
            if (dotted := ".".join(rest[:length])) in self._tasks:
                return f'{_NEEDS_QUOTES} tasks."{dotted}"'
        return None


def _upstream(
    waits: Mapping[TaskId, Sequence[TaskId]], pairs: Sequence[tuple[TaskId, TaskId, Path]]
) -> list[bool]:
    """Tell for each pair whether the second is upstream of the first; O((V+E)·pairs/512)."""
    order = _topological(waits) if pairs else []
    answers: list[bool] = []
    for start in range(0, len(pairs), _CHUNK):
        chunk = pairs[start : start + _CHUNK]
        bits = {named: 1 << at for at, named in enumerate(dict.fromkeys(p[1] for p in chunk))}
        above: dict[TaskId, int] = {}
        for task_id in order:
            mask = 0
            for other in waits[task_id]:
                mask |= above.get(other, 0) | bits.get(other, 0)
            above[task_id] = mask
        answers += [bool(above.get(pair[0], 0) & bits[pair[1]]) for pair in chunk]
    return answers


def _reaches(waits: Mapping[TaskId, Sequence[TaskId]], start: TaskId, goal: TaskId) -> bool:
    seen, rest = {start: True}, [start]
    while rest:
        for other in waits.get(rest.pop(), ()):
            if other == goal:
                return True
            if other not in seen:
                seen[other] = True
                rest.append(other)
    return False


def _topological(waits: Mapping[TaskId, Sequence[TaskId]]) -> list[TaskId]:
    """Order tasks after what they wait for; what is on a cycle is left out, it has its problem."""
    missing = {task_id: sum(o in waits for o in others) for task_id, others in waits.items()}
    followers: dict[TaskId, list[TaskId]] = {}
    for task_id, others in waits.items():
        for other in others:
            followers.setdefault(other, []).append(task_id)
    order = [task_id for task_id, count in missing.items() if not count]
    for task_id in order:  # grows while it is read
        for follower in followers.get(task_id, ()):
            missing[follower] -= 1
            if not missing[follower]:
                order.append(follower)
    return order
