"""A picture as a Mermaid flowchart, which many Markdown pages draw."""

from collections.abc import Iterator, Mapping
from typing import Final

from regrow.core.draw.marks import GLYPHS
from regrow.core.draw.picture import EdgeKind, Node, Picture
from regrow.core.wire import Status

_ARROWS: Final[Mapping[EdgeKind, str]] = {
    EdgeKind.REQUIRED: "-->",
    EdgeKind.OPTIONAL: "-.->",
    EdgeKind.MEMBER: "--o",
}
_CLASSES: Final[Mapping[Status, str]] = {
    Status.PENDING: "fill:#f6f8fa,stroke:#8c959f,color:#1f2328",
    Status.IN_PROGRESS: "fill:#cfe5ff,stroke:#0b62c4,stroke-width:2px,color:#1f2328",
    Status.COMPLETED: "fill:#d3f2dc,stroke:#1a7f37,color:#1f2328",
    Status.FAILED: "fill:#ffd5cc,stroke:#c4230a,stroke-width:3px,color:#1f2328",
    Status.CANCELLED: "fill:#fbe6b4,stroke:#8a6100,stroke-dasharray:6 2,color:#1f2328",
    Status.SKIPPED: "fill:#eaecef,stroke:#6e7781,stroke-dasharray:3 3,color:#1f2328",
}


def mermaid(picture: Picture) -> str:
    """Write a picture as a flowchart; ids of its own, since Mermaid has reserved words."""
    return "\n".join(_lines(picture)) + "\n"


def _lines(picture: Picture) -> Iterator[str]:
    names = {node.id: f"t{at}" for at, node in enumerate(picture.nodes)}
    yield "flowchart LR"
    for node in picture.nodes:
        css = f":::{node.status}" if node.status else ""
        yield f'  {names[node.id]}["{_label(node)}"]{css}'
    for edge in picture.edges:
        yield f"  {names[edge.start]} {_ARROWS[edge.kind]} {names[edge.end]}"
    statuses = dict.fromkeys(node.status for node in picture.nodes if node.status)
    for status in statuses:
        yield f"  classDef {status} {_CLASSES[status]}"


def _label(node: Node) -> str:
    glyph = f"{GLYPHS[node.status]} " if node.status else ""
    note = f"<br/>{_escaped(node.note)}" if node.note else ""
    return f"{glyph}{_escaped(node.label)}{note}"


def _escaped(text: str) -> str:
    """Let nothing of a text be markup; Mermaid has its own way of writing entities."""
    return "".join(
        letter
        if letter.isalnum() or letter in " ._-,:?…" or letter in GLYPHS.values()
        else f"#{ord(letter)};"
        for letter in text
    )
