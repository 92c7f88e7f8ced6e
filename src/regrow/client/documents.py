"""Trees in files: YAML 1.2 and JSON, with the line and column of every problem.

Files come from outside, so their size is limited before they are parsed, and YAML's aliases and
tags, with which a small file becomes a large or a strange document, are refused.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NoReturn, cast

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import AliasEvent, NodeEvent
from ruamel.yaml.scalarbool import ScalarBoolean
from ruamel.yaml.scalarfloat import ScalarFloat
from ruamel.yaml.scalarint import ScalarInt

from regrow.core.limits import MIB
from regrow.core.loading import load
from regrow.core.models import TaskTree
from regrow.core.problems import InvalidTree, Problem
from regrow.core.problems import Path as PathInTree

MAX_YAML_BYTES: Final = 1 * MIB
MAX_JSON_BYTES: Final = 16 * MIB
STDIN: Final = "-"


@dataclass(frozen=True, slots=True)
class Document:
    """A parsed file: its plain value, and its text for finding places in it."""

    name: str
    """The file as it was given, for messages."""
    stem: str
    value: Any
    text: str

    def tree(self) -> TaskTree:
        """Check it; raises `InvalidTree` whose problems have a line and a column."""
        try:
            return load(self.value, name=self.stem)
        except InvalidTree as error:
            raise InvalidTree(self.place(error.problems)) from None

    def place(self, problems: Sequence[Problem]) -> list[Problem]:
        """Add line and column, and sort by them; a text over 1 MiB gets none, it would take minutes."""
        if len(self.text) > MAX_YAML_BYTES:
            return list(problems)
        marked = YAML(typ="rt").load(self.text)
        placed = [
            problem if problem.line is not None else problem.at(*_place(marked, problem.path))
            for problem in problems
        ]
        return sorted(placed, key=lambda problem: (problem.line or 0, problem.column or 0))


def read_document(path: str | Path) -> Document:
    """Read a file, or standard input for `-`.

    Raises `InvalidTree` for what cannot be parsed and OSError for what cannot be read.
    """
    name = str(path)
    data = _read_limited(name)
    stem = "tree" if name == STDIN else Path(name).stem
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        _refuse("encoding", f"the file is not UTF-8: {error.reason} at byte {error.start}")
    is_json = name.endswith(".json") or (name == STDIN and text.lstrip()[:1] in ("{", "["))
    value = _parse_json(text) if is_json else _parse_yaml(text)
    return Document(name, stem, value, text)


def _read_limited(name: str) -> bytes:
    most = MAX_YAML_BYTES if name.endswith((".yaml", ".yml")) else MAX_JSON_BYTES
    if name == STDIN:
        data = sys.stdin.buffer.read(most + 1)
    else:
        with Path(name).open("rb") as file:
            data = file.read(most + 1)
    if len(data) > most:
        _refuse("too_large", f"the file is larger than {most // MIB} MiB")
    return data


def _parse_json(text: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        message = f"not JSON: {error.msg}"
        raise InvalidTree([Problem("syntax", (), message, error.lineno, error.colno)]) from None
    except _RepeatedKeyError as error:
        raise InvalidTree([_repeated_key(text, str(error))]) from None
    except RecursionError:
        _refuse("too_deep", "nested too deep")
    except ValueError as error:
        _refuse("number", str(error))


class _RepeatedKeyError(Exception):
    pass


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) < len(pairs):
        keys = [key for key, _ in pairs]
        raise _RepeatedKeyError(next(key for key in keys if keys.count(key) > 1))
    return mapping


def _repeated_key(text: str, key: str) -> Problem:
    """Let the YAML reader, which knows places, find the key that JSON's reader only names."""
    message = f"the key '{key}' is written twice"
    if len(text) <= MAX_YAML_BYTES:
        try:
            YAML(typ="rt").load(text)
        except MarkedYAMLError as error:
            line, column = _mark(error)
            return Problem("duplicate_key", (key,), message, line, column)
    return Problem("duplicate_key", (key,), message)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _parse_yaml(text: str) -> Any:
    if len(text) > MAX_YAML_BYTES:
        _refuse("too_large", f"YAML is read up to {MAX_YAML_BYTES // MIB} MiB; use JSON")
    try:
        _refuse_strange(text)
        return _plain(YAML(typ="rt").load(text))
    except MarkedYAMLError as error:
        line, column = _mark(error)
        code = "duplicate_key" if "duplicate key" in str(error.problem) else "syntax"
        problem = str(error.problem or error.context or "cannot be read").splitlines()[0]
        message = _repeated(problem) if code == "duplicate_key" else f"not YAML: {problem}"
        raise InvalidTree([Problem(code, (), message, line, column)]) from None
    except RecursionError:
        _refuse("too_deep", "nested too deep")
    except YAMLError as error:
        _refuse("syntax", f"not YAML: {error}")


def _repeated(problem: str) -> str:
    parts = problem.split('"')
    return f"the key '{parts[1]}' is written twice" if len(parts) > 1 else problem


def _refuse_strange(text: str) -> None:
    for event in YAML(typ="rt").parse(text):
        anchor = isinstance(event, AliasEvent) or getattr(event, "anchor", None)
        tag = getattr(event, "tag", None) if isinstance(event, NodeEvent) else None
        if anchor or tag:
            what = "anchors and aliases" if anchor else "tags"
            mark = event.start_mark
            message = f"{what} are not allowed in a tree"
            raise InvalidTree([Problem("yaml", (), message, mark.line + 1, mark.column + 1)])


def _plain(value: Any) -> Any:
    """Turn the round-trip reader's types into plain ones."""
    if isinstance(value, Mapping):
        mapping = cast("Mapping[Any, Any]", value)
        return {_plain(key): _plain(item) for key, item in mapping.items()}
    if isinstance(value, list):
        return [_plain(item) for item in cast("list[Any]", value)]
    if isinstance(value, ScalarBoolean):
        return bool(value)
    if isinstance(value, ScalarFloat):
        return float(value)
    if isinstance(value, ScalarInt):
        return int(value)
    return str(value) if isinstance(value, str) else value


def _place(marked: Any, path: PathInTree) -> tuple[int, int]:
    """Find the nearest place along a path, counted from 1."""
    line, column = 0, 0
    if isinstance(marked, CommentedSeq) and path[:1] == ("tasks",):
        path = path[1:]  # a bare array, named as its normal form has it
    for part in path:
        if isinstance(marked, CommentedMap) and part in marked:
            line, column = cast("tuple[int, int]", marked.lc.key(part))
        elif isinstance(marked, CommentedSeq) and isinstance(part, int) and part < len(marked):
            line, column = cast("tuple[int, int]", marked.lc.item(part))
        else:
            break
        marked = cast("Any", marked)[part]
    return line + 1, column + 1


def _mark(error: MarkedYAMLError) -> tuple[int, int]:
    mark = error.problem_mark or error.context_mark
    return (mark.line + 1, mark.column + 1) if mark else (1, 1)


def _refuse(code: str, message: str) -> NoReturn:
    raise InvalidTree([Problem(code, (), message)])
