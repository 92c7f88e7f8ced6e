"""The table of tasks: how each stands, what it was given and what it gave."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Final

from regrow.client.report import values
from regrow.client.report.html import Child, Markup, element
from regrow.client.report.sheet import Entry, Sheet
from regrow.client.report.words import one_line
from regrow.core.draw.marks import GLYPHS, WORDS, because_text, duration
from regrow.core.result import TaskResult

_COLUMNS: Final = ("Status", "Task", "Took", "Tries", "Inputs", "Result")


def table(sheet: Sheet, room: values.Room) -> Markup:
    """Give one row for each task, in the order of the document."""
    head = element("tr", [element("th", name, scope="col") for name in _COLUMNS])
    rows = [_row(entry, sheet, room) for entry in sheet.entries.values()]
    return element("table", element("thead", head), element("tbody", rows), class_="tasks")


def _row(entry: Entry, sheet: Sheet, room: values.Room) -> Markup:
    state = entry.state
    status = f"{GLYPHS[state.status]} {WORDS[state.status]}"
    cells = (
        element("td", status, class_=state.status.value),
        element("td", _name(entry, room)),
        element("td", _took(entry, sheet)),
        element("td", _tries(state)),
        element("td", _inputs(entry, room)),
        element("td", _result(entry, room)),
    )
    return element("tr", *cells, id=f"t{entry.number}")


def _name(entry: Entry, room: values.Room) -> Iterator[Child]:
    yield element("b", entry.task.id)
    if said := " · ".join(_said(entry, room.line)):
        yield element("small", said)


def _said(entry: Entry, most: int) -> Iterator[str]:
    task = entry.task
    if task.title != task.id:
        yield one_line(task.title, most)
    if (executor := entry.native or task.executor_id) != task.id:
        yield one_line(executor, most)
    if task.when:
        yield one_line(f"when {task.when}", most)


def _took(entry: Entry, sheet: Sheet) -> str:
    if entry.state.reused:
        return "kept"
    if entry.start is None:
        return ""
    ends = [bar.end or sheet.until for bar in entry.bars]
    took = max(ends) - entry.start
    return duration(took) if took > timedelta(0) else ""


def _tries(state: TaskResult) -> str:
    return "?" if state.attempts is None else str(state.attempts or "")


def _inputs(entry: Entry, room: values.Room) -> Iterator[Child]:
    if entry.task.inputs:
        yield values.value(entry.task.inputs, room)
    if entry.resolved is not None and entry.resolved != (entry.task.inputs or {}):
        first = "item 0: " if entry.is_map else ""
        yield element(
            "div", element("span", f"→ {first}"), values.value(entry.resolved, room), class_="given"
        )


def _result(entry: Entry, room: values.Room) -> Iterator[Child]:
    state = entry.state
    if entry.is_map and "items" in state.metadata:
        yield element("small", _items(state))
    if state.result_omitted:
        yield "left out of this history"
    elif state.error:
        yield values.text(state.error, room)
    elif state.because:
        yield one_line(because_text(state.because), 2 * room.line)
    elif state.result is not None:
        yield values.value(state.result, room)
    if why := entry.earlier_failure:
        yield element("small", "before: ", values.text(why, room))


def _items(state: TaskResult) -> str:
    failed = state.metadata.get("failed")
    bad = f", {failed} failed" if failed else ""
    return f"{state.metadata.get('completed')} of {state.metadata['items']} items completed{bad}"
