"""References: `${{ jmespath }}` in inputs and outputs, and bare conditions.

An expression is compiled once, must name the tasks it looks at, and is evaluated over those alone.
A string that is one reference keeps the value's type; inside text the value is written out.
"""

import json
import re
from builtins import isinstance
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Protocol, cast

import jmespath
import jmespath.exceptions
import jmespath.parser

from regrow.core import limits
from regrow.core.bounded import Budget, LimitError, check_made, search, weigh
from regrow.core.models import Json, Task, TaskId
from regrow.core.secrets import Sealed, mark_of, secret_name

OPEN, CLOSE = "${{", "}}"
ROOTS: Final = ("inputs", "tasks", "tree")
ITEM_ROOTS: Final = ("item", "index")
"""What the inputs of a map's items can see besides."""
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
_PICKING_NODES: Final = frozenset(
    (
        "field",
        "subexpression",
        "index_expression",
        "index",
        "identity",
        "current",
        "pipe",
        "or_expression",
        "and_expression",
        "not_expression",
    )
)
_MAKING_NODES: Final = frozenset(
    ("multi_select_list", "multi_select_dict", "function_expression", "expref", "literal")
)
NEEDS_QUOTES: Final = "; an id with - or ., or with a digit first, needs quotes:"
_MOST_SHOWN: Final = 200
_MOST_ERROR: Final = 1_000
_FEW: Final = 4
"""So many references can be too large, but not so large that writing them out takes long."""
_PATH_COST: Final = 5
_MERE_PATH: Final = re.compile(r'\s*[\w."-]+\s*(\}\}|$)')
_QUOTES_AND_BRACES: Final = re.compile(
    r"""'(?:[^'\\]|\\.)*+'|"(?:[^"\\]|\\.)*+"|`(?:[^`\\]|\\.)*+`|[{}'"`]""", re.DOTALL
)


class ExpressionError(ValueError):
    """An expression that cannot be read, or has no value here."""


class Scope(Protocol):
    """What expressions can see while a tree runs."""

    @property
    def inputs(self) -> Mapping[str, Json]:
        """Give the tree's inputs."""
        ...

    @property
    def tree(self) -> Mapping[str, Json]:
        """Give what the tree is called, and for whom it runs."""
        ...

    @property
    def local(self) -> Mapping[str, Json]:
        """Give what only this scope can see: `item` and `index` of a map's item."""
        ...

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
    is_path: bool = True
    """Whether it only picks one value, which takes no time to speak of."""
    makes_values: bool = False
    """Whether it could give what wasn't there before, and so what JSON cannot hold."""

    @property
    def tasks(self) -> tuple[TaskId, ...]:
        """The tasks it names, each once."""
        return tuple(dict.fromkeys(name[1] for name in self.names if name[0] == "tasks"))

    @property
    def read_results(self) -> tuple[TaskId, ...]:
        """The tasks whose result it may look at: all but those of which it names another field."""
        others = [(field,) for field in TASK_FIELDS if field != "result"]
        return tuple(n[1] for n in self.names if n[0] == "tasks" and n[2:3] not in others)

    @property
    def results(self) -> tuple[TaskId, ...]:
        """The tasks whose result it names."""
        return tuple(name[1] for name in self.names if name[0] == "tasks" and "result" in name[2:3])

    def evaluate(self, scope: Scope, budget: Budget | None = None) -> Json:
        """Give the value; raises `ExpressionError`, also once the budget is spent."""
        seen = {
            **scope.local,
            "inputs": scope.inputs,
            "tree": scope.tree,
            "tasks": {task_id: scope.task_view(task_id) for task_id in self.tasks},
        }
        try:
            value = self.compiled.search(seen) if self.is_path else self._made(seen, budget)
        except Exception as error:  # whatever the library meets in foreign data
            raise self.failed(str(error)) from error
        return cast("Json", value)

    def _made(self, seen: dict[str, Any], budget: Budget | None) -> Any:
        budget = budget or Budget()
        value = search(self.compiled.parsed, seen, budget)
        if self.makes_values:
            check_made(value, budget)
        return value

    def failed(self, reason: str) -> ExpressionError:
        """Give the error that names it, such that UTF-8 can hold it."""
        message = f"{_shown(self.text)}: {reason}"[:_MOST_ERROR]
        return ExpressionError(message.encode(errors="replace").decode())


@dataclass(frozen=True, slots=True)
class Secret:
    """The name of a secret, whose value only a worker knows."""

    name: str


@dataclass(frozen=True, slots=True)
class Template:
    """A JSON value with references in it."""

    expressions: tuple[Expression, ...]
    fill: Callable[[Scope, Budget], Json]
    secrets: tuple[str, ...] = ()
    """The names of secrets in it."""

    def render(self, scope: Scope, budget: Budget | None = None) -> Json:
        """Give a fresh value; raises `ExpressionError`, also once the budget is spent."""
        return self.fill(scope, budget or Budget())


_Fill = Callable[[Scope, Budget], Json]


def is_true(value: Json) -> bool:
    """JMESPath's rule of truth: only null, false and what is empty are false; 0 is true."""
    return value is not None and value is not False and value not in ("", [], {})


def condition(text: str) -> Expression:
    """Compile a `when`, bare or in `${{ }}`; raises `ExpressionError`."""
    stripped = text.strip()
    if stripped.startswith(OPEN) and stripped.endswith(CLOSE):
        stripped = stripped[len(OPEN) : -len(CLOSE)].strip()
    return compile_expression(stripped)


@lru_cache(maxsize=512)
def compile_expression(text: str) -> Expression:
    """Compile one expression; raises `ExpressionError` that says what is wrong."""
    if len(text) > limits.MAX_EXPRESSION:
        message = f"an expression has at most {limits.MAX_EXPRESSION} characters"
        raise ExpressionError(message)
    try:
        compiled = jmespath.compile(text)
        parsed = cast("dict[str, Any]", compiled.parsed)
        kinds = _kinds(parsed)
        names = tuple(_names(parsed))
    except (jmespath.exceptions.JMESPathError, RecursionError) as error:
        # The library's message draws the place under the text, on three lines.
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        message = f"cannot read '{_shown(text)}': {reason.rstrip(':')}{_hint(text)}"
        raise ExpressionError(message) from error
    is_path, makes_values = kinds <= _PICKING_NODES, not kinds.isdisjoint(_MAKING_NODES)
    return Expression(text, compiled, names, is_path=is_path, makes_values=makes_values)


def may_refer(value: Json) -> bool:
    """Tell whether there can be a reference in a value; most have none, and need no template."""
    if isinstance(value, str):
        return OPEN in value
    if isinstance(value, dict):
        return any(map(may_refer, value.values()))
    return isinstance(value, list) and any(map(may_refer, value))


def compile_template(value: Json) -> Template:
    """Compile every reference inside a value; raises `ExpressionError` at the first bad one."""
    if OPEN not in repr(value):
        return Template((), lambda _, budget: _copied(value, budget))
    found: list[Expression | Secret] = []
    fill = _compile(value, found)
    expressions = [part for part in found if isinstance(part, Expression)]
    secrets = tuple(part.name for part in found if isinstance(part, Secret))
    if len(expressions) <= _FEW:
        return Template(tuple(expressions), fill, secrets)

    def weighed(scope: Scope, budget: Budget) -> Json:
        filled = fill(scope, budget)
        _check_weight(filled, expressions)
        return filled

    return Template(tuple(expressions), weighed, secrets)


def compile_items(value: list[Json] | str) -> Template:
    """Compile a `for_each`: text is an expression, a list may hold references."""
    if not isinstance(value, str):
        found: list[Expression | Secret] = []
        fill = _compile(value, found)
        secrets = tuple(part.name for part in found if isinstance(part, Secret))
        return Template(tuple(p for p in found if isinstance(p, Expression)), fill, secrets)
    expression = condition(value)
    return Template((expression,), expression.evaluate)


def _check_weight(filled: Json, expressions: Sequence[Expression]) -> None:
    """Refuse what is small in memory, one value many times over, and endless as JSON."""
    most = _FEW * limits.MAX_PAYLOAD
    if weigh(filled, most) > most:
        reason = (
            f"with the other {len(expressions) - 1} references it gives more than {most:,} bytes"
        )
        raise expressions[0].failed(reason)


def _copied(value: Json, budget: Budget) -> Json:
    """Give a value in which there is nothing to fill in, at the price of one in which there is."""
    kind = type(value)  # exact, as it comes from JSON; the sandbox makes `isinstance` slow
    if kind is dict:
        fields = cast("dict[str, Json]", value)
        budget.make(len(fields))
        return {key: _copied(item, budget) for key, item in fields.items()}
    if kind is list:
        items = cast("list[Json]", value)
        budget.make(len(items))
        return [_copied(item, budget) for item in items]
    return value


def _compile(value: Json, found: list[Expression | Secret]) -> _Fill:
    if isinstance(value, str) and OPEN in value:
        return _compile_text(value, found)
    if isinstance(value, dict):
        return _fill_fields({key: _compile(item, found) for key, item in value.items()})
    if isinstance(value, list):
        return _fill_items([_compile(item, found) for item in value])
    return lambda _, __: value


def _fill_fields(fields: Mapping[str, _Fill]) -> _Fill:
    def fill_fields(scope: Scope, budget: Budget) -> Json:
        budget.make(len(fields))
        return {key: fill(scope, budget) for key, fill in fields.items()}

    return fill_fields


def _fill_items(items: Sequence[_Fill]) -> _Fill:
    def fill_items(scope: Scope, budget: Budget) -> Json:
        budget.make(len(items))
        return [fill(scope, budget) for fill in items]

    return fill_items


def cost_of_text(text: str, *, whole: bool) -> dict[str, int]:
    """Give at least what it costs to read the expressions of a text: characters, by what is read.

    `whole` says that the text is an expression itself. What only picks a value costs little.
    """
    pieces = [text] if whole else text.split(OPEN)[1:]
    return {
        piece[: limits.MAX_EXPRESSION]: _PATH_COST
        if _MERE_PATH.match(piece)
        else min(len(piece), limits.MAX_EXPRESSION) + _PATH_COST
        for piece in pieces
    }


def _compile_text(text: str, found: list[Expression | Secret]) -> _Fill:
    parts = list(_split(text))
    found.extend(part for part in parts if not isinstance(part, str))
    if len(parts) == 1 and isinstance(parts[0], Expression):
        return parts[0].evaluate
    return lambda scope, budget: _fill_text(parts, scope, budget)


def _fill_text(parts: Sequence[str | Expression | Secret], scope: Scope, budget: Budget) -> str:
    pieces: list[str] = []
    marks: list[tuple[int, str]] = []
    length = 0
    for part in parts:
        if isinstance(part, Secret):
            marks.append((length, part.name))
        piece = _piece(part, scope, budget)
        length += len(piece)
        if length > limits.MAX_PAYLOAD and isinstance(part, Expression):
            raise part.failed(f"makes the text longer than {limits.MAX_PAYLOAD:,} characters")
        pieces.append(piece)
    text = "".join(pieces)
    return Sealed.of(text, marks) if marks else text


def _piece(part: str | Expression | Secret, scope: Scope, budget: Budget) -> str:
    if isinstance(part, str):
        return part
    return mark_of(part.name) if isinstance(part, Secret) else _as_text(part, scope, budget)


def _split(text: str) -> Iterator[str | Expression | Secret]:
    """Take text apart into plain pieces and expressions."""
    at = 0
    while (begin := text.find(OPEN, at)) >= 0:
        if begin > at:
            yield text[at:begin]
        expression, at = _take_expression(text, begin + len(OPEN))
        yield expression
    if at < len(text):
        yield text[at:]


def _take_expression(text: str, begin: int) -> tuple[Expression | Secret, int]:
    """Read one expression; gives the place after it."""
    end = _find_close(text, begin)
    if end < 0:
        raise ExpressionError(f"'{OPEN}{text[begin : begin + 40]}' is never closed by '{CLOSE}'")
    inner = text[begin:end].strip()
    name = secret_name(inner)
    part = compile_expression(inner) if name is None else Secret(name)
    return part, end + len(CLOSE)


def _find_close(text: str, begin: int) -> int:
    """Find the only `}}` that can end an expression: outside its quotes, its braces closed.

    If there is none, any will do: what is before it cannot be read, and is shown.
    """
    depth = 0
    for token in _QUOTES_AND_BRACES.finditer(text, begin, begin + 2 * limits.MAX_EXPRESSION):
        match token[0]:
            case "{":
                depth += 1
            case "}" if depth:
                depth -= 1
            case "}" if text.startswith(CLOSE, token.start()):
                return token.start()
            case "}" | "'" | '"' | "`":
                break
            case _:
                pass
    return text.find(CLOSE, begin)


def _as_text(expression: Expression, scope: Scope, budget: Budget) -> str:
    value = expression.evaluate(scope, budget)
    if value is None:
        raise expression.failed("is null, which text cannot hold")
    try:
        if isinstance(value, str):
            budget.copy(len(value))
            return value
        budget.write(value)
    except LimitError as error:
        raise expression.failed(str(error)) from error
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def named_tasks(task: Task) -> tuple[TaskId, ...]:
    """Give the tasks that a checked task's expressions look at, each once."""
    expressions = list(compile_template(task.inputs).expressions) if may_refer(task.inputs) else []
    if task.for_each is not None:
        expressions += compile_items(task.for_each).expressions
    if task.when is not None:
        expressions.append(condition(task.when))
    return tuple(dict.fromkeys(name for each in expressions for name in each.tasks))


def _kinds(parsed: dict[str, Any]) -> set[str]:
    """Give what an expression is made of, but for plain text; level by level, so not deeply."""
    kinds: set[str] = set()
    level: list[Any] = [parsed]
    depth = 0
    while level:
        depth += 1
        if depth > limits.MAX_EXPRESSION_DEPTH:
            raise _NotNamed(f"it is nested more than {limits.MAX_EXPRESSION_DEPTH} deep")
        below: list[Any] = []
        for node in level:
            if node["type"] != "literal" or not isinstance(node["value"], str):
                kinds.add(node["type"])
            if node["type"] != "slice":  # whose children are numbers
                below += node["children"]
        level = below
    return kinds


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


def _shown(text: str) -> str:
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}…"


def _hint(text: str) -> str:
    if re.search(r"!\s*tasks\b", text):
        return "; '!' binds tighter than '.': write !(tasks.ID.result)"
    match = re.search(
        r"tasks\.([A-Za-z0-9][A-Za-z0-9_.-]*-[A-Za-z0-9_-]+|[0-9][A-Za-z0-9_-]*)", text
    )
    return f'{NEEDS_QUOTES} tasks."{match[1]}"' if match else ""
