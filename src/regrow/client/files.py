"""One file: its size is limited before it is parsed, since it comes from outside."""

import errno
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NoReturn

from regrow.client.yaml_text import MAX_YAML_BYTES, parse_yaml
from regrow.core.limits import MIB
from regrow.core.problems import InvalidTree, Problem

MAX_JSON_BYTES: Final = 16 * MIB
STDIN: Final = "-"


@dataclass(frozen=True, slots=True)
class File:
    """A parsed file: its plain value, and its text for finding places in it."""

    name: str
    """The file as it was given, for messages."""
    value: Any
    text: str

    @property
    def stem(self) -> str:
        """What a tree in it is called that has no name."""
        return "tree" if self.name == STDIN else Path(self.name).stem


def read_file(name: str) -> File:
    """Read a file, or standard input for `-`.

    Raises `InvalidTree` for what cannot be parsed and OSError for what cannot be read.
    """
    data = _read_limited(name)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        message = f"this is no text in UTF-8: {error.reason} at byte {error.start}"
        _refuse("encoding", message)
    is_json = name.endswith(".json") or (name == STDIN and text.lstrip()[:1] in ("{", "["))
    return File(name, _parse_json(text) if is_json else parse_yaml(text), text)


def _read_limited(name: str) -> bytes:
    most = MAX_YAML_BYTES if name.endswith((".yaml", ".yml")) else MAX_JSON_BYTES
    if name == STDIN:
        if sys.stdin is None:  # pyright: ignore[reportUnnecessaryComparison] - it may be closed
            raise OSError(errno.EBADF, "standard input is closed")
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
