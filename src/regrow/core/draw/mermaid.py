"""A picture as a Mermaid flowchart, which many Markdown pages draw."""

from collections.abc import Iterator, Mapping
from typing import Final

from regrow.core.draw.looks import INK, LOOKS, Look
from regrow.core.draw.marks import GLYPHS
from regrow.core.draw.picture import EdgeKind, Node, Picture

_ARROWS: Final[Mapping[EdgeKind, str]] = {
    EdgeKind.REQUIRED: "-->",
    EdgeKind.OPTIONAL: "-.->",
    EdgeKind.MEMBER: "--o",
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
        yield f"  classDef {status} {_css(LOOKS[status])}"


def _css(look: Look) -> str:
    width = f",stroke-width:{look.width}px" if look.width > 1 else ""
    dashes = f",stroke-dasharray:{look.dashes}" if look.dashes else ""
    return f"fill:{look.fill},stroke:{look.line}{width}{dashes},color:{INK}"


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
