"""The page as a whole: what it begins with, the order of its parts, and what it ends with."""

import json
from collections.abc import Iterator
from importlib.metadata import version
from typing import Final

from regrow.client.report import values
from regrow.client.report.gantt import gantt
from regrow.client.report.html import Child, Markup, element, joined
from regrow.client.report.path import path
from regrow.client.report.sheet import Sheet
from regrow.client.report.style import STYLE
from regrow.client.report.table import table
from regrow.client.report.trouble import trouble
from regrow.client.report.words import count, moment
from regrow.core.draw import picture_of, svg
from regrow.core.draw.marks import GLYPHS, WORDS, duration

_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
_MOST_PAGE: Final = 185_000
"""Bytes of the page of a tree with few tasks, beside its head."""
_FEW: Final = 200
_MORE_PER_TASK: Final = 350
_MOST_TROUBLE: Final = 25_000
_MOST_GRAPH: Final = 40_000
_MOST_DOCUMENT: Final = 10_000
_OUTPUTS: Final = values.Room(200, 4096)


def page(sheet: Sheet) -> str:
    """Render a sheet as one HTML file that needs nothing else."""
    title = f"{sheet.result.name} {WORDS[sheet.status]} · {sheet.tree_id}"
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        element("meta", name="viewport", content="width=device-width,initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", title),
        Markup(f"<style>{STYLE}</style>"),
    )
    body = element("body", element("main", _parts(sheet)), _footer(sheet))
    return f"<!doctype html>\n{element('html', head, body, lang='en')}\n"


def _parts(sheet: Sheet) -> Iterator[Markup]:
    """Give all parts; the table of tasks takes the room that the others leave."""
    above, below = joined(_above(sheet)), joined(_document(sheet))
    yield above
    if sheet.entries:
        budget = _MOST_PAGE + _MORE_PER_TASK * max(len(sheet.entries) - _FEW, 0)
        left = budget - len(above.encode()) - len(below.encode())
        tasks = values.fitted(lambda room: table(sheet, room), left)
        yield _section(element("h2", "Tasks"), tasks)
    yield below


def _above(sheet: Sheet) -> Iterator[Child]:
    yield _header(sheet)
    yield trouble(sheet, _MOST_TROUBLE)
    if sheet.result.outputs:
        yield _section(element("h2", "Outputs"), values.value(sheet.result.outputs, _OUTPUTS))
    yield from (_section(*part) for part in (_graph(sheet), gantt(sheet), path(sheet)) if part)


def _section(*children: Child) -> Markup:
    return element("section", *children)


# --- the top


def _header(sheet: Sheet) -> Markup:
    badge = element(
        "span",
        f"{GLYPHS[sheet.status]} {WORDS[sheet.status]}",
        class_=f"badge {sheet.status.value}",
    )
    description = sheet.tree.description if sheet.tree else ""
    facts = [
        element("div", element("dt", name), element("dd", value))
        for name, value in _facts(sheet)
        if value
    ]
    return element(
        "header",
        element("h1", sheet.result.name, badge),
        element("p", description) if description else None,
        element("dl", facts),
    )


def _facts(sheet: Sheet) -> Iterator[tuple[str, Child]]:
    seen, result = sheet.timeline, sheet.result
    yield "Tree", element("code", sheet.tree_id)
    yield "Started", moment(seen.started) if seen.started else "not yet"
    yield ("Ended", moment(seen.ended)) if seen.ended else ("Read", moment(sheet.until))
    yield "Elapsed", duration(sheet.until - sheet.began) + (" so far" if sheet.is_open else "")
    yield "Tasks", _counts(sheet)
    if result.paused:
        by, why = result.paused.get("by"), result.paused.get("reason")
        yield "Paused", f"{f'by {by}' if by else 'yes'}{f': {why}' if why else ''}"
    yield "Owner", sheet.tree and sheet.tree.user_id
    if result.rerun_of:
        yield "Rerun of", element("code", result.rerun_of)
    if seen.runs > 1:
        yield "Runs", f"{seen.runs}, each continuing the one before"
    yield "Document hash", sheet.document_hash and element("code", sheet.document_hash)


def _counts(sheet: Sheet) -> Child:
    counts = sheet.result.counts
    named = [
        element("span", f"{GLYPHS[status]} {counts[status]:,} {WORDS[status]}", class_=status.value)
        for status in GLYPHS
        if counts.get(status)
    ]
    return [[each, " "] for each in named]


# --- the graph and the document


def _graph(sheet: Sheet) -> list[Child]:
    """Draw the tree; one that is too large by its layers."""
    if sheet.tree is None or len(sheet.tree.tasks) < 2:  # noqa: PLR2004 - one box tells nothing
        return []
    picture = picture_of(sheet.tree, sheet.marks, groups=sheet.groups)
    drawn = svg(picture)
    if len(drawn) > _MOST_GRAPH:
        picture = picture_of(sheet.tree, sheet.marks, groups=sheet.groups, most=0)
        drawn = svg(picture)
    image = element("div", Markup(drawn), class_="graph")
    said = "Drawn by layers: a box is what may run at the same time, with its counts."
    note = None if picture.is_whole else element("p", said, class_="quiet")
    return [element("h2", "Graph"), image, note]


def _document(sheet: Sheet) -> Child:
    if sheet.document is None:
        return None
    whole = json.dumps(sheet.document, ensure_ascii=False, indent=1)
    tasks = len(sheet.entries)
    summary = element("summary", f"As it was started, with {count(tasks, 'task')}")
    text = values.clipped(whole, _MOST_DOCUMENT)
    return _section(element("h2", "Document"), element("details", summary, text))


def _footer(sheet: Sheet) -> Markup:
    hidden = "Values that look like secrets by their names are hidden, as far as they were found."
    made = f"Regrow {version('regrow')}, from the history of {sheet.tree_id}."
    return element("footer", element("p", made, " ", hidden))
