"""The critical path in words and shares: what the time of the tree went into."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from regrow.client.report.critical import Link
from regrow.client.report.html import Child, Markup, element
from regrow.client.report.sheet import Entry, Sheet
from regrow.client.report.timeline import Bar, Kind
from regrow.core.draw.marks import duration

_MOST: Final = 40
_NAMED: Final = 6
_ZERO: Final = timedelta(0)
_LEAST: Final = timedelta(milliseconds=1)
_COLUMNS: Final = ("Task", "Waited before", "In the queue", "Earlier tries", "Ran", "Share")


@dataclass(frozen=True, slots=True)
class Parts:
    """What a task's time on the path went into."""

    queue: timedelta = _ZERO
    """Until a worker took it."""
    again: timedelta = _ZERO
    """In attempts that failed, and between them."""
    ran: timedelta = _ZERO


def path(sheet: Sheet) -> list[Child]:
    """Give the list of what is on the path, if anything took time."""
    links = [link for link in sheet.path if link.waited + link.took >= _LEAST]
    if not links:
        return []
    total = links[-1].end - links[0].waited_since
    longest = sorted(links, key=lambda link: link.waited + link.took, reverse=True)[:_MOST]
    shown = [link for link in links if link in longest]
    rows = [_row(sheet, link, total) for link in shown]
    head = element("tr", [element("th", name, scope="col") for name in _COLUMNS])
    left = len(links) - len(shown)
    return [
        element("h2", "Critical path"),
        element("p", _sentence(links, total)),
        element("table", element("thead", head), element("tbody", rows), class_="path"),
        element("p", f"{left:,} more tasks on it took less.") if left else None,
    ]


def parts_of(entry: Entry) -> Parts:
    """Split a task's time; a map's items overlap, so its time is one."""
    bars = [bar for bar in entry.bars if bar.end and bar.kind is not Kind.GROUP]
    if not bars:
        return Parts()
    first, last = bars[0], bars[-1]
    whole = max(bar.end or bar.start for bar in bars) - first.start
    if entry.is_map or last.taken is None or last.kind is Kind.WAIT:
        return Parts(ran=whole)
    lead, ran = last.taken - first.start, (last.end or last.taken) - last.taken
    is_again = last.attempts > 1 or len(bars) > 1
    return Parts(_ZERO if is_again else lead, lead if is_again else _ZERO, ran)


def reason(sheet: Sheet, link: Link) -> str:
    """Say what kept a task waiting although all it waited for had settled."""
    middle = link.waited_since + link.waited / 2
    if any(since <= middle <= until for since, until in _pauses(sheet)):
        return "paused"
    tree = sheet.tree
    if tree is not None and _in_flight(sheet.timeline.bars, middle) >= tree.max_in_flight:
        return "max_in_flight"
    return ""


def _pauses(sheet: Sheet) -> Iterator[tuple[datetime, datetime]]:
    since: datetime | None = None
    for act in sheet.acts:
        if act.name == "pause":
            since = since or act.at
        elif act.name == "resume" and since:
            yield since, act.at
            since = None
    if since:
        yield since, sheet.until


def _in_flight(bars: Sequence[Bar], at: datetime) -> int:
    busy = (bar for bar in bars if bar.kind in (Kind.ACTIVITY, Kind.SUBTREE))
    return sum(bar.start <= at and (bar.end is None or bar.end > at) for bar in busy)


def _sentence(links: Sequence[Link], total: timedelta) -> str:
    took = sorted(links, key=lambda link: link.took, reverse=True)
    named = [
        f"{link.task_id} {duration(link.took)}" for link in took[:_NAMED] if link.took >= _LEAST
    ]
    rest = sum((link.took for link in took[_NAMED:]), _ZERO)
    named += [f"{len(took) - _NAMED:,} more {duration(rest)}"] if len(took) > _NAMED else []
    waits = sum((link.waited for link in links), _ZERO)
    return (
        f"{duration(total)} from the start until the last task had settled:"
        f" {', '.join([*named, f'waits between them {duration(waits)}'])}."
    )


def _row(sheet: Sheet, link: Link, total: timedelta) -> Markup:
    entry = sheet.entries[link.task_id]
    parts = parts_of(entry)
    share = (link.waited + link.took) / total if total else 0
    why = reason(sheet, link) if link.waited >= _LEAST else ""
    times = (link.waited, parts.queue, parts.again, parts.ran)
    texts = [duration(time) if time >= _LEAST else "" for time in times]
    texts[0] += f" · {why}" if why else ""
    bar = element("i", style=f"width:{100 * share:.1f}%")
    return element(
        "tr",
        element("td", element("a", link.task_id, href=f"#t{entry.number}")),
        [element("td", text) for text in texts],
        element("td", element("span", bar, class_="share"), f"{100 * share:.0f} %"),
    )
