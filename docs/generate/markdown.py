"""Markdown that reads well on a Git host and in the site alike."""

import html
import inspect
import re
from collections.abc import Iterable, Sequence

_CODE = re.compile(r"(`[^`]*`)")


def table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Give a table, or nothing if it has no rows."""
    lines = [" | ".join(map(_cell, row)) for row in rows]
    if not lines:
        return ""
    head = [" | ".join(headers), " | ".join("---" for _ in headers)]
    return "\n".join(f"| {line} |" for line in [*head, *lines]) + "\n"


def code(text: object) -> str:
    """Show a word as it is typed, or nothing if there is none."""
    return f"`{text}`" if str(text) else ""


def prose(text: str | None) -> str:
    """Give a docstring as paragraphs; what it indents is code."""
    cleaned = inspect.cleandoc(text or "").replace("\b\n", "")
    return "\n\n".join(_paragraph(part) for part in cleaned.split("\n\n") if part.strip())


def one_line(text: str | None) -> str:
    """Give a description for a cell."""
    return plain(" ".join((text or "").split()))


def plain(text: str) -> str:
    """Keep `<NAME>` outside code from being taken for HTML."""
    parts = _CODE.split(text)
    return "".join(part if at % 2 else part.replace("<", "&lt;") for at, part in enumerate(parts))


def fenced(text: str, language: str = "text") -> str:
    """Show lines as they are."""
    return f"```{language}\n{text.rstrip()}\n```"


def joined(*parts: str) -> str:
    """Put blocks under each other."""
    return "\n\n".join(part.strip("\n") for part in parts if part.strip())


def _paragraph(part: str) -> str:
    lines = part.strip("\n").splitlines()
    if all(line.startswith("  ") for line in lines):
        return fenced(inspect.cleandoc(part))
    return plain("\n".join(lines))


def _cell(text: str) -> str:
    """Keep a bar from ending the cell; in code, a backslash before it would be seen in the site."""
    parts = [_with_bars(part) if "|" in part else part for part in _CODE.split(text)]
    return " ".join("".join(parts).split())


def _with_bars(part: str) -> str:
    if part[0] != "`":
        return part.replace("|", "\\|")
    return f"<code>{html.escape(part.strip('`'), quote=False).replace('|', '&#124;')}</code>"
