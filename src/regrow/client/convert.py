"""Files of the guide's system, and the native document as YAML that people like to read."""

# pyright: reportUnknownMemberType=false
# ruamel.yaml has no types.

import json
from collections.abc import Mapping
from io import StringIO
from typing import Any, Final, cast

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.representer import RoundTripRepresenter
from ruamel.yaml.scalarstring import DoubleQuotedScalarString, LiteralScalarString

from regrow.client.documents import read_document
from regrow.client.yaml_text import MAX_YAML_BYTES
from regrow.core.convert import Converted, convert
from regrow.core.limits import MIB
from regrow.core.problems import InvalidTree, Problem

_SHORT: Final = 76
_ENDLESS: Final = 1 << 30
_SIGNS: Final = ("?", ":", "-")
"""What text in a flow mapping must not begin with."""


def convert_file(path: str) -> Converted:
    """Read and convert a file, or standard input for `-`.

    Raises `InvalidTree` whose problems have a line and a column, and OSError.
    """
    document = read_document(path)
    try:
        return convert(document.value, name=document.file.stem)
    except InvalidTree as error:
        raise InvalidTree(document.place(error.problems)) from None


def as_yaml(document: Mapping[str, Any]) -> str:
    """Write a document, what is short on one line.

    Raises `InvalidTree` when it would be too large to be read again.
    """
    yaml = YAML()
    yaml.Representer = _Representer
    yaml.width = _ENDLESS  # text is never folded
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.dump(_tree(document), stream := StringIO())
    text = stream.getvalue()
    if len(text.encode()) > MAX_YAML_BYTES:
        message = (
            f"as YAML it is larger than {MAX_YAML_BYTES // MIB} MiB, which is not read; use JSON"
        )
        raise InvalidTree([Problem("too_large", (), message)])
    return text


class _Representer(RoundTripRepresenter):
    """Writes null as a word, where nothing would stand for it."""


def _null(representer: RoundTripRepresenter, _: None) -> Any:
    return representer.represent_scalar("tag:yaml.org,2002:null", "null")


_Representer.add_representer(type(None), _null)


def _tree(document: Mapping[str, Any]) -> CommentedMap:
    return CommentedMap(
        (key, CommentedSeq(map(_task, item)) if key == "tasks" else _styled(item))
        for key, item in document.items()
    )


def _task(task: Mapping[str, Any]) -> CommentedMap:
    return CommentedMap(
        (key, _tree(item) if key == "tree" else _styled(item)) for key, item in task.items()
    )


def _styled(value: Any) -> Any:
    """Give a value with its style, and as one of its own, since aliases are not read."""
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, dict):
        mapping = cast("dict[str, Any]", value)
        styled = CommentedMap((_text(key), _styled(item)) for key, item in mapping.items())
    elif isinstance(value, list):
        styled = CommentedSeq(map(_styled, cast("list[Any]", value)))
    else:
        return value
    if _is_short(value):
        styled.fa.set_flow_style()
    return styled


def _text(text: str) -> str:
    lines = text.replace("\n", "")
    if text.startswith(_SIGNS) or not lines.replace("\t", "").isprintable():
        return DoubleQuotedScalarString(text)  # which alone can say every character
    return LiteralScalarString(text) if len(lines) < len(text) else text


def _is_short(value: Any) -> bool:
    text = json.dumps(value, ensure_ascii=False)
    return len(text) <= _SHORT and "\\n" not in text
