"""The public names of the package, with what their docstrings say."""

import enum
import importlib
import inspect
from collections.abc import Iterator
from dataclasses import is_dataclass
from typing import Any, Final

from docs.generate.docstrings import attribute_docs, attributes, signature
from docs.generate.markdown import code, fenced, joined, one_line, prose, table
from pydantic import BaseModel

_INTRO: Final = """
# Python

What `__all__` says is public; everything else may change. How to use it:
[Writing executors](../executors.md), [Testing](../testing.md).
"""
_MODULES: Final = ("regrow", "regrow.client", "regrow.testing")
_FIELDS: Final = {
    "TaskTree": "tree",
    "Task": "task",
    "Dependency": "dependency",
    "RetryPolicy": "retry",
    "Policy": "defaults",
    "Compensation": "compensation",
    "TreeResult": "the-result",
    "TaskResult": "of-a-task",
}
"""Models that are described where documents are."""


def page() -> str:
    """Give the page."""
    return joined(_INTRO, *_sections())


def _sections() -> Iterator[str]:
    shown: dict[int, str] = {}
    for name in _MODULES:
        module = importlib.import_module(name)
        values = {public: getattr(module, public) for public in module.__all__}
        new = {public: value for public, value in values.items() if id(value) not in shown}
        shown |= {id(value): public for public, value in new.items()}
        again = [code(public) for public in values if public not in new]
        yield f"## {name}"
        yield prose((module.__doc__ or "").split("\n\n", maxsplit=1)[0])
        yield f"Besides {', '.join(again)}, as above:" if again else ""
        for public, value in new.items():
            yield _class(public, value) if inspect.isclass(value) else _function(public, value)


def _function(name: str, value: Any) -> str:
    return joined(f"### {name}", fenced(signature(name, value)), prose(inspect.getdoc(value)))


def _class(name: str, value: type) -> str:
    return joined(f"### {name}", *_about(name, value), *_members(name, value))


def _about(name: str, value: type[Any]) -> Iterator[str]:
    has_fields: bool = issubclass(value, BaseModel) or is_dataclass(value)
    is_error = issubclass(value, Exception)
    if not (has_fields or is_error or issubclass(value, enum.Enum)) or "__init__" in vars(value):
        yield "" if has_fields else fenced(signature(name, value))
    yield prose(inspect.getdoc(value))
    if is_error:
        yield f"A kind of {', '.join(code(base.__name__) for base in value.__bases__)}."
    elif issubclass(value, enum.Enum):
        yield table(("member", "value"), [(code(m.name), code(m.value)) for m in value])
    elif name in _FIELDS and issubclass(value, BaseModel):
        yield f"Its fields: [the tree document](document.md#{_FIELDS[name]})."
    else:
        said = attribute_docs(value)
        rows = [
            (code(key), code(kind), said.get(key, "")) for key, kind in attributes(value).items()
        ]
        yield table(("attribute", "type", "meaning"), rows)


def _members(name: str, value: type) -> Iterator[str]:
    for word, member in vars(value).items():
        if word.startswith("_") or word in ("model_config", *attributes(value)):
            continue
        if isinstance(member, property):
            yield f"`{name}.{word}`: {one_line(inspect.getdoc(member))}"
        elif inspect.isfunction(member) or isinstance(member, classmethod):
            yield _method(f"{name}.{word}", getattr(value, word))


def _method(name: str, function: Any) -> str:
    said = prose(inspect.getdoc(function))
    return joined(fenced(signature(name, function)), said) if said else ""
