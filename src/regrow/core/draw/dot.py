"""A picture in Graphviz's language, DOT."""

import json
from collections.abc import Iterator, Mapping
from typing import Final

from regrow.core.draw.looks import LOOKS
from regrow.core.draw.marks import GLYPHS
from regrow.core.draw.picture import EdgeKind, Node, Picture

_EDGES: Final[Mapping[EdgeKind, str]] = {
    EdgeKind.REQUIRED: "",
    EdgeKind.OPTIONAL: " [style=dashed]",
    EdgeKind.MEMBER: " [style=dotted, arrowhead=odot]",
}


def dot(picture: Picture) -> str:
    """Write a picture as a digraph, for `dot -Tsvg` and its kin."""
    return "\n".join(_lines(picture)) + "\n"


def _lines(picture: Picture) -> Iterator[str]:
    yield f"digraph {_quoted(picture.name)} {{"
    yield "  rankdir=LR"
    yield '  node [shape=box, style=filled, fillcolor="#f6f8fa", fontname="monospace"]'
    for node in picture.nodes:
        yield f"  {_quoted(node.id)} [{', '.join(_attributes(node))}]"
    for edge in picture.edges:
        yield f"  {_quoted(edge.start)} -> {_quoted(edge.end)}{_EDGES[edge.kind]}"
    yield "}"


def _attributes(node: Node) -> Iterator[str]:
    glyph = f"{GLYPHS[node.status]} " if node.status else ""
    note = f"\n{node.note}" if node.note else ""
    yield f"label={_quoted(f'{glyph}{node.label}{note}')}"
    if node.tip:
        yield f"tooltip={_quoted(node.tip)}"
    if node.status:
        look = LOOKS[node.status]
        yield f'fillcolor="{look.fill}"'
        yield f'color="{look.line}"'
        if look.width > 1:
            yield f"penwidth={look.width}"
        if look.dashes:
            yield 'style="filled,dashed"'


def _quoted(text: str) -> str:
    """Write a text in DOT's quotes, in which JSON's escapes mean the same."""
    return json.dumps(text, ensure_ascii=False)
