"""Trees in files, with the line and column of every problem.

Files come from outside, so their size is limited before they are parsed.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NoReturn

from regrow.client.yaml_text import MAX_YAML_BYTES, Places, parse_yaml
from regrow.core.limits import MIB
from regrow.core.loading import load
from regrow.core.models import TaskTree
from regrow.core.problems import InvalidTree, Problem

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
        """Add line and column, and sort by them; over 1 MiB that would take minutes."""
        if len(self.text) > MAX_YAML_BYTES:
            return list(problems)
        places = Places(self.text)
        placed = [
            problem if problem.line is not None else problem.at(*places.of(problem.path))
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
    value = _parse_json(text) if is_json else parse_yaml(text)
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
            parse_yaml(text)
        except InvalidTree as error:
            return error.problems[0]
    return Problem("duplicate_key", (key,), message)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _refuse(code: str, message: str) -> NoReturn:
    raise InvalidTree([Problem(code, (), message)])
