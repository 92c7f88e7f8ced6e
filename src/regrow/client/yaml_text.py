"""YAML 1.2 as text: its plain value, and where in it things stand.

Aliases and tags, with which a small file becomes a large or a strange document, are refused, and
so are keys that are written twice.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
# ruamel.yaml has no types; this module is the only one that touches it.

from collections.abc import Mapping
from typing import Any, Final, NoReturn, cast

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import AliasEvent, NodeEvent
from ruamel.yaml.scalarbool import ScalarBoolean
from ruamel.yaml.scalarfloat import ScalarFloat
from ruamel.yaml.scalarint import ScalarInt

from regrow.core.limits import MIB
from regrow.core.problems import InvalidTree, Path, Problem

MAX_YAML_BYTES: Final = 1 * MIB
_IN_WORDS: Final = {
    "expected <block end>": "what stands here is indented neither as what is above it, nor further",
    "mapping values are not allowed": "a ':' cannot stand here; is the line above indented right?"
    " Text with ': ' in it needs quotes",
    "character '\\t'": "a tab cannot indent; use spaces",
    "character '@'": "text cannot begin with '@' unless it is in quotes",
    "character '`'": "text cannot begin with '`' unless it is in quotes",
    "character '%'": "text cannot begin with '%' unless it is in quotes",
    "expected ',' or ']'": "a list that begins with '[' lacks a ',' or its ']'",
    "expected ',' or '}'": "a mapping that begins with '{' lacks a ',' or its '}'",
}
"""What the reader says, by a part of it, for people."""


def parse_yaml(text: str) -> Any:
    """Give the plain value; raises `InvalidTree` with the place of what cannot be read."""
    if len(text) > MAX_YAML_BYTES:
        _refuse("too_large", f"YAML is read up to {MAX_YAML_BYTES // MIB} MiB; use JSON")
    try:
        _refuse_strange(text)
        return _plain(YAML(typ="rt").load(text))
    except MarkedYAMLError as error:
        line, column = _mark(error)
        code = "duplicate_key" if "duplicate key" in str(error.problem) else "syntax"
        problem = str(error.problem or error.context or "cannot be read").splitlines()[0]
        message = _repeated(problem) if code == "duplicate_key" else _in_words(problem)
        raise InvalidTree([Problem(code, (), message, line, column)]) from None
    except RecursionError:
        _refuse("too_deep", "nested too deep")
    except YAMLError as error:
        _refuse("syntax", f"not YAML: {error}")


class Places:
    """Where the parts of a text stand; JSON is read too, being YAML."""

    def __init__(self, text: str) -> None:
        self._marked: Any = YAML(typ="rt").load(text)

    def of(self, path: Path) -> tuple[int, int]:
        """Find line and column, from 1, of the nearest thing along a path."""
        marked, line, column = self._marked, 0, 0
        if isinstance(marked, CommentedSeq) and path[:1] == ("tasks",):
            path = path[1:]  # a bare array, named as its normal form has it
        for part in path:
            if isinstance(marked, CommentedMap) and part in marked:
                line, column = marked.lc.key(part)
            elif isinstance(marked, CommentedSeq) and isinstance(part, int) and part < len(marked):
                line, column = marked.lc.item(part)
            else:
                break
            marked = marked[part]
        return line + 1, column + 1


def _in_words(problem: str) -> str:
    meant = next((words for sign, words in _IN_WORDS.items() if sign in problem), problem)
    return f"not YAML: {meant}"


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


def _mark(error: MarkedYAMLError) -> tuple[int, int]:
    mark = error.problem_mark or error.context_mark
    return (mark.line + 1, mark.column + 1) if mark else (1, 1)


def _refuse(code: str, message: str) -> NoReturn:
    raise InvalidTree([Problem(code, (), message)])
