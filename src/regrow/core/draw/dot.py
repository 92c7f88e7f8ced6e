"""A picture in Graphviz's language, DOT."""

import json
from collections.abc import Iterator, Mapping
from typing import Final

from regrow.core.draw.marks import GLYPHS
from regrow.core.draw.picture import EdgeKind, Node, Picture
from regrow.core.wire import Status

_EDGES: Final[Mapping[EdgeKind, str]] = {
    EdgeKind.REQUIRED: "",
    EdgeKind.OPTIONAL: " [style=dashed]",
    EdgeKind.MEMBER: " [style=dotted, arrowhead=odot]",
}
_NODES: Final[Mapping[Status, str]] = {
    Status.PENDING: 'fillcolor="#f6f8fa", color="#8c959f"',
    Status.IN_PROGRESS: 'fillcolor="#cfe5ff", color="#0b62c4", penwidth=2',
    Status.COMPLETED: 'fillcolor="#d3f2dc", color="#1a7f37"',
    Status.FAILED: 'fillcolor="#ffd5cc", color="#c4230a", penwidth=3',
    Status.CANCELLED: 'fillcolor="#fbe6b4", color="#8a6100", style="filled,dashed"',
    Status.SKIPPED: 'fillcolor="#eaecef", color="#6e7781", style="filled,dashed"',
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
        yield _NODES[node.status]


def _quoted(text: str) -> str:
    """Write a text in DOT's quotes, in which JSON's escapes mean the same."""
    return json.dumps(text, ensure_ascii=False)
