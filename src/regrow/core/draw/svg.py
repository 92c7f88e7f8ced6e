"""A picture as SVG that needs nothing else: no style sheet, no script, no font.

Only presentation attributes are used, since those are what the Temporal Web UI lets through; boxes
bring their own ground, so that they can be read on a light page and on a dark one.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final, NamedTuple

from regrow.core.draw.layout import Layout, lay_out
from regrow.core.draw.looks import INK, LOOKS, Look
from regrow.core.draw.marks import GLYPHS
from regrow.core.draw.picture import EdgeKind, Node, Picture

_LETTER: Final = 7.3
_GLYPH: Final = 12
"""The width of letters of 12 pixels, in whichever monospaced font there is; glyphs are wider."""
_PADDING: Final = 8
_HEIGHT: Final = 24
_GAP: Final = 10
_BETWEEN: Final = 36
_MARGIN: Final = 3
_BASELINE: Final = 16
_MOST_LETTERS: Final = 30
_MOST_NOTE: Final = 24
WIDE: Final = 1100
"""Pixels; what is wider is drawn downwards, if that is narrower."""


_MARKDOWN: Final = re.compile(r"[`*~\[\]\\!]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")


_DASHES: Final[Mapping[str, str]] = {
    EdgeKind.REQUIRED: "",
    EdgeKind.OPTIONAL: ' stroke-dasharray="5 3"',
    EdgeKind.MEMBER: ' stroke-dasharray="1 3"',
}


class Style(NamedTuple):
    """How much is drawn."""

    tips: bool
    curves: bool
    arrows: bool


FULL: Final = Style(tips=True, curves=True, arrows=True)
STYLES: Final = (FULL, Style(False, True, True), Style(False, False, False))  # noqa: FBT003
"""From the richest to the one that takes the fewest bytes."""


def svg(picture: Picture, style: Style = FULL, *, wide: int = WIDE) -> str:
    """Draw a picture; it shrinks where there is less room, and never grows."""
    return _Drawing(picture, style, wide).text()


def svg_within(picture: Picture, room: int, wide: int) -> str | None:
    """Draw a picture in at most so many bytes, with as much as there is room for."""
    for style in STYLES:
        text = svg(picture, style, wide=wide)
        if len(text.encode()) <= room:
            return text
    return None


@dataclass(frozen=True, slots=True)
class _Box:
    """Along is the way of the layers; across, the way in them."""

    along: int
    across: int
    length: int
    breadth: int


class _Drawing:
    """One picture, either from left to right or downwards."""

    def __init__(self, picture: Picture, style: Style, wide: int) -> None:
        self._picture = picture
        self._style = style
        self._labels = [_label(node) for node in picture.nodes]
        self._widths = [_width(label) for label in self._labels]
        self._places = {node.id: at for at, node in enumerate(picture.nodes)}
        self._turn(is_down=False)
        size = self._size()
        if size[0] > wide:
            self._turn(is_down=True)
            if self._size()[0] >= size[0]:
                self._turn(is_down=False)

    def text(self) -> str:
        """Give the whole image."""
        width, height = self._size()
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="100%" height="{height}"'
            f' viewBox="0 0 {width} {height}" preserveAspectRatio="xMinYMin"'
            ' font-family="monospace" font-size="12">'
        )
        parts = [
            head,
            *self._lines(),
            *self._shapes(),
            f'<g fill="{INK}">',
            *map(self._letters, range(len(self._labels))),
            "</g></svg>",
        ]
        return "".join(parts)

    # --- places

    def _turn(self, *, is_down: bool) -> None:
        self._is_down = is_down
        breadths = self._widths if is_down else [_HEIGHT] * len(self._widths)
        edges = [(self._places[e.start], self._places[e.end], e.kind) for e in self._picture.edges]
        self._layout: Layout = lay_out(breadths, edges, _GAP)
        lengths = [_HEIGHT] * len(self._widths) if is_down else self._widths
        self._boxes, self._bounds = self._placed(lengths, breadths)

    def _placed(
        self, lengths: Sequence[int], breadths: Sequence[int]
    ) -> tuple[list[_Box], list[tuple[int, int]]]:
        """Place the boxes, and give where each layer begins and ends."""
        bounds: list[tuple[int, int]] = []
        along = _MARGIN
        for layer in self._layout.layers:
            longest = max((lengths[v] for v in layer if v < len(lengths)), default=0)
            bounds.append((along, along + longest))
            along += longest + _BETWEEN
        boxes = [
            _Box(bounds[layer][0], round(middle - breadth / 2) + _MARGIN, length, breadth)
            for layer, middle, length, breadth in zip(
                self._layout.layer_of, self._layout.middles, lengths, breadths, strict=False
            )
        ]
        return boxes, bounds

    def _size(self) -> tuple[int, int]:
        along = (self._bounds[-1][1] if self._bounds else _MARGIN) + _MARGIN
        across = round(self._layout.width) + 2 * _MARGIN
        return (across, along) if self._is_down else (along, across)

    def _point(self, along: float, across: float) -> str:
        x, y = (across, along) if self._is_down else (along, across)
        return f"{round(x)} {round(y)}"

    # --- lines

    def _lines(self) -> Iterator[str]:
        kinds: dict[str, list[str]] = {}
        for start, end, kind in self._layout.hops:
            kinds.setdefault(kind, []).append(self._hop(start, end))
        if not kinds:
            return
        yield '<g fill="none" stroke="#8b949e" stroke-width="1.5">'
        for kind, hops in kinds.items():
            yield f'<path d="{"".join(hops)}"{_DASHES[kind]}/>'
        if self._style.arrows:
            yield f'<path d="{"".join(self._arrows())}"/>'
        yield "</g>"

    def _hop(self, start: int, end: int) -> str:
        """Draw from the end of one layer to the beginning of the next; bends lead through one."""
        straight = "V" if self._is_down else "H"
        from_, to = self._leaves(start), self._bound(end)
        begins = self._ends(start)
        y1, y2 = self._middle(start), self._middle(end)
        way = f"M{self._point(begins, y1)}"
        if begins != from_:
            way += f"{straight}{from_}"
        if y1 == y2:
            way += f"{straight}{to}"
        elif self._style.curves:
            half = (from_ + to) / 2
            way += f"C{self._point(half, y1)} {self._point(half, y2)} {self._point(to, y2)}"
        else:
            way += f"L{self._point(to, y2)}"
        if not self._is_box(end):
            way += f"{straight}{self._leaves(end)}"
        return way

    def _arrows(self) -> Iterator[str]:
        ends = dict.fromkeys(end for _, end, _ in self._layout.hops if self._is_box(end))
        for end in ends:
            tip, middle = self._bound(end), self._middle(end)
            back = [self._point(tip - 6, middle + side) for side in (-4, 4)]
            yield f"M{back[0]}L{self._point(tip - 1, middle)}L{back[1]}"

    def _is_box(self, vertex: int) -> bool:
        return vertex < len(self._boxes)

    def _bound(self, vertex: int) -> int:
        return self._bounds[self._layout.layer_of[vertex]][0]

    def _leaves(self, vertex: int) -> int:
        return self._bounds[self._layout.layer_of[vertex]][1]

    def _ends(self, vertex: int) -> int:
        """Where a line leaves a box, or a bend at the end of its layer."""
        box = self._boxes[vertex] if self._is_box(vertex) else None
        return box.along + box.length if box else self._leaves(vertex)

    def _middle(self, vertex: int) -> int:
        return round(self._layout.middles[vertex]) + _MARGIN

    # --- boxes

    def _shapes(self) -> Iterator[str]:
        shapes: dict[Look, list[str]] = {}
        for node, box in zip(self._picture.nodes, self._boxes, strict=True):
            shapes.setdefault(LOOKS[node.status], []).append(self._shape(box))
        yield '<g stroke-linejoin="round">'
        for look, paths in shapes.items():
            width = f' stroke-width="{look.width}"' if look.width > 1 else ""
            dashes = f' stroke-dasharray="{look.dashes}"' if look.dashes else ""
            outline = f'stroke="{look.line}"{width}{dashes}'
            yield f'<path d="{"".join(paths)}" fill="{look.fill}" {outline}/>'
        yield "</g>"

    def _shape(self, box: _Box) -> str:
        width, height = self._extent(box)
        return f"M{self._point(box.along, box.across)}h{width}v{height}h-{width}z"

    def _extent(self, box: _Box) -> tuple[int, int]:
        return (box.breadth, box.length) if self._is_down else (box.length, box.breadth)

    def _letters(self, at: int) -> str:
        node, box = self._picture.nodes[at], self._boxes[at]
        x, y = (box.across, box.along) if self._is_down else (box.along, box.across)
        has_tip = self._style.tips and node.tip
        said = _escaped(f"{node.label} · {node.tip}")
        tip = f"<title>{said}</title>" if has_tip else ""
        label = _escaped(self._labels[at])
        text = f'<text x="{x + _PADDING}" y="{y + _BASELINE}">{label}{tip}</text>'
        return f'<a href="{escape(node.link)}" target="_blank">{text}</a>' if node.link else text


def _label(node: Node) -> str:
    glyph = f"{GLYPHS[node.status]} " if node.status else ""
    note = f" · {_cut(node.note, _MOST_NOTE)}" if node.note else ""
    return f"{glyph}{_cut(node.label, _MOST_LETTERS)}{note}"


def _escaped(text: str) -> str:
    """Let nothing of a text be markup, nor Markdown, which an image may be part of."""
    return _MARKDOWN.sub(lambda found: f"&#{ord(found[0])};", escape(text, quote=False))


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _width(label: str) -> int:
    letters = sum(_LETTER if letter.isascii() else _GLYPH for letter in label)
    return round(letters) + 2 * _PADDING
