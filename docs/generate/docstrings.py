"""What stands in the source: signatures as they were written, and the texts under attributes."""

import ast
import inspect
import textwrap
from collections.abc import Iterator
from itertools import pairwise, zip_longest
from typing import Any

from docs.generate.markdown import one_line

_LINE = 88
_Function = ast.FunctionDef | ast.AsyncFunctionDef


def attribute_docs(target: type) -> dict[str, str]:
    """Give the docstring of each attribute of a class, by name."""
    found: dict[str, str] = {}
    for attribute, text in pairwise(_body(target)):
        if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
            found |= dict.fromkeys(_names(attribute), one_line(str(text.value.value)))
    return found


def attributes(target: type) -> dict[str, str]:
    """Give the public attributes of a class with their types, as they are written."""
    found: dict[str, str] = {}
    for node in _body(target):
        if isinstance(node, ast.AnnAssign):
            found |= dict.fromkeys(_names(node), _text(node.annotation))
    return found


def signature(name: str, function: Any) -> str:
    """Give the signature of a function, or that with which a class is made."""
    node = _node(function)
    if isinstance(node, ast.ClassDef):
        node = next((each for each in node.body if _makes(each)), None)
    if not isinstance(node, _Function):
        return f"{name}()"
    prefix = "async " if _is_async(node) else ""
    result = f" -> {_text(node.returns)}" if node.returns and not _makes(node) else ""
    parameters = list(_parameters(node.args))
    line = f"{prefix}{name}({', '.join(parameters)}){result}"
    if len(line) <= _LINE:
        return line
    inner = "".join(f"    {parameter},\n" for parameter in parameters)
    return f"{prefix}{name}(\n{inner}){result}"


def _makes(node: ast.stmt) -> bool:
    return isinstance(node, ast.FunctionDef) and node.name == "__init__"


def _node(target: Any) -> ast.stmt:
    return ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(target)))).body[0]


def _body(target: type) -> list[ast.stmt]:
    node = _node(target)
    return node.body if isinstance(node, ast.ClassDef) else []


def _names(node: ast.stmt) -> list[str]:
    target = node.target if isinstance(node, ast.AnnAssign) else None
    is_public = isinstance(target, ast.Name) and not target.id.startswith("_")
    return [ast.unparse(target)] if target and is_public else []


def _is_async(node: _Function) -> bool:
    """A generator is called, not awaited; and a context manager is entered."""
    returns = "" if node.returns is None else ast.unparse(node.returns)
    return isinstance(node, ast.AsyncFunctionDef) and not returns.startswith("Async")


def _parameters(args: ast.arguments) -> Iterator[str]:
    plain = [arg for arg in (*args.posonlyargs, *args.args) if arg.arg not in ("self", "cls")]
    defaults = [*args.defaults]
    for arg, default in reversed([*zip_longest(reversed(plain), reversed(defaults))]):
        yield _parameter(arg, default)
    if args.vararg:
        yield f"*{_parameter(args.vararg, None)}"
    elif args.kwonlyargs:
        yield "*"
    for arg, default in zip(args.kwonlyargs, args.kw_defaults, strict=True):
        yield _parameter(arg, default)
    if args.kwarg:
        yield f"**{_parameter(args.kwarg, None)}"


def _parameter(arg: ast.arg, default: ast.expr | None) -> str:
    text = f"{arg.arg}: {_text(arg.annotation)}" if arg.annotation else arg.arg
    if default is None:
        return text
    shown = ast.unparse(default)
    return f"{text} = {'…' if shown.startswith('_') else shown}"


def _text(annotation: ast.expr) -> str:
    """Write a type without the quotes that a name not yet known has."""
    return ast.unparse(annotation).replace("'", "")
