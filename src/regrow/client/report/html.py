"""HTML built from values, so that nothing gets onto the page unescaped.

A plain string is text and is escaped; only what an element was made into is `Markup` and stays.
"""

import re
from collections.abc import Iterable
from html import escape
from typing import Final

_INVISIBLE: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
_VOID: Final = ("br", "hr", "meta")


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


Child = str | Iterable["Child"] | None
"""Text, markup, several of them, or nothing."""
Attribute = str | float | bool | None


def element(tag: str, *children: Child, **attributes: Attribute) -> Markup:
    """Make an element; `class_` is the class, `data_x` is data-x, None and False are left out."""
    given = "".join(_attribute(name, value) for name, value in attributes.items())
    if tag in _VOID:
        return Markup(f"<{tag}{given}>")
    return Markup(f"<{tag}{given}>{joined(children)}</{tag}>")


def joined(children: Child) -> Markup:
    """Put children one after the other."""
    if children is None:
        return Markup("")
    if isinstance(children, Markup):
        return children
    if isinstance(children, str):
        return Markup(escape(visible(children), quote=False))
    return Markup("".join(map(joined, children)))


def visible(text: str) -> str:
    """Show what an HTML file may not hold, such as half a character or a control character."""
    return _INVISIBLE.sub("�", text)


def _attribute(name: str, value: Attribute) -> str:
    if value is None or value is False:
        return ""
    name = name.rstrip("_").replace("_", "-")
    return f" {name}" if value is True else f' {name}="{escape(visible(str(value)))}"'
