"""The Gantt chart: plain boxes with the times of history on them.

`data-start` and `data-end` hold the moments to the millisecond, for programs; the tooltips say the
same to people.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import accumulate
from typing import Final

from regrow.client.report.html import Child, Markup, element
from regrow.client.report.path import reason
from regrow.client.report.sheet import Entry, Sheet
from regrow.client.report.timeline import Bar, Kind
from regrow.client.report.words import clock, count, iso, millis
from regrow.core.draw.marks import GLYPHS, WORDS, duration
from regrow.core.models import TaskId
from regrow.core.wire import Status, compensation_unit

_MOST_ROWS: Final = 300
_MOST_BYTES: Final = 80_000
_DENSE: Final = 60
_MOST_MARKS: Final = 20
_BUCKETS: Final = 60
_TICKS: Final = 8
_STEPS: Final = (
    *(0.001 * n for n in (1, 2, 5, 10, 20, 50, 100, 200, 500)),
    *(1.0, 2.0, 5.0, 10.0, 15.0, 30.0),
    *(60.0 * n for n in (1, 2, 5, 10, 15, 30)),
    *(3600.0 * n for n in (1, 2, 3, 6, 12, 24, 48, 96, 168)),
)
_VISIBLE: Final = 0.005
"""The share of the whole that can be seen."""
_LEGEND: Final = (
    ("b completed", "ran"),
    ("b lead", "waited for a worker"),
    ("b again", "earlier attempts and pauses between them"),
    ("b wait", "a time, a person or an event"),
    ("b sub completed", "a sub-tree"),
    ("b undo", "undoing"),
    ("gap", "waited on the critical path"),
)


@dataclass(frozen=True, slots=True)
class _Row:
    """A line of the chart."""

    entry: Entry
    unit: str
    status: Status
    bars: Sequence[Bar]
    undoes: bool = False

    @property
    def start(self) -> datetime:
        return min(bar.start for bar in self.bars)


def gantt(sheet: Sheet) -> list[Child]:
    """Give the chart; of a large tree what failed, what is critical and what took longest."""
    rows = sorted(_rows(sheet), key=lambda row: row.start)
    if not rows:
        return []
    scale = _Scale(sheet.began, max(sheet.until, sheet.began + timedelta(milliseconds=1)))
    shown = _most_telling(rows, sheet)
    return [
        element("h2", "Timeline"),
        _legend(),
        element(
            "div",
            _axis(scale),
            _Chart(sheet, scale).lines(shown),
            class_="gantt dense" if len(shown) > _DENSE else "gantt",
            style=f"--s:{100 * scale.step / scale.seconds:.3f}%",
        ),
        element("p", _left_out(sheet, len(rows) - len(shown)), class_="quiet"),
    ]


def _rows(sheet: Sheet) -> Iterator[_Row]:
    for task_id, entry in sheet.entries.items():
        if entry.bars:
            yield _Row(entry, task_id, entry.state.status, entry.bars)
        if entry.undoing:
            status, unit = entry.undoing[-1].status, compensation_unit(task_id)
            yield _Row(entry, unit, status, entry.undoing, undoes=True)


def _most_telling(rows: Sequence[_Row], sheet: Sheet) -> Sequence[_Row]:
    critical = {link.task_id: True for link in sheet.path}

    def weight(row: _Row) -> tuple[bool, bool, timedelta]:
        ends = [bar.end or sheet.until for bar in row.bars]
        is_bad = row.status not in (Status.COMPLETED, Status.SKIPPED)
        return is_bad, row.entry.task.id in critical, max(ends) - row.start

    ranked = sorted(range(len(rows)), key=lambda at: weight(rows[at]), reverse=True)
    sizes = accumulate(_size(rows[at]) for at in ranked)
    fitting = sum(size <= _MOST_BYTES for size in sizes)
    return [rows[at] for at in sorted(ranked[: min(fitting, _MOST_ROWS)])]


def _size(row: _Row) -> int:
    """Give about the bytes that a row takes."""
    bars = 1 if row.entry.is_map else len(row.bars)
    return 110 + len(row.unit) + bars * (220 + len(row.unit))


def _left_out(sheet: Sheet, more: int) -> str:
    said = ["Times are from the start of the tree; the bars' tooltips and data are in UTC."]
    still = [entry for entry in sheet.entries.values() if not entry.bars]
    counts = Counter(
        "kept from before" if entry.state.reused else WORDS[entry.state.status] for entry in still
    )
    if counts:
        said.append(f"Without a bar: {', '.join(f'{n:,} {word}' for word, n in counts.items())}.")
    if more:
        said.append(
            f"{count(more, 'row')} left out: what completed, is not critical and was short."
        )
    if sheet.is_open:
        said.append(f"The tree had not ended; what was open is drawn up to {clock(sheet.until)}.")
    return " ".join(said)


def _legend() -> Markup:
    keys = [element("span", element("i", class_=look), word) for look, word in _LEGEND]
    return element("p", keys, class_="legend")


# --- time


class _Scale:
    """From moments to per cent of the width."""

    def __init__(self, began: datetime, until: datetime) -> None:
        self._began = began
        self._span = until - began
        self.seconds = self._span.total_seconds()
        fits = (step for step in _STEPS if self.seconds / step <= _TICKS)
        self.step = next(fits, self.seconds / _TICKS)

    def __call__(self, at: datetime) -> float:
        return 100 * ((at - self._began) / self._span)

    def span(self, start: datetime, end: datetime) -> str:
        """Give a place as a style."""
        left = min(max(self(start), 0.0), 100.0)
        width = max(min(self(end), 100.0) - left, 0.0)
        return f"left:{left:.2f}%;width:{width:.2f}%"


def _axis(scale: _Scale) -> Markup:
    ticks = [at * scale.step for at in range(int(scale.seconds / scale.step) + 1)]
    labels = [
        element("span", _tick(tick), style=f"left:{100 * tick / scale.seconds:.2f}%")
        for tick in ticks
        if tick / scale.seconds < 0.97  # noqa: PLR2004 - else it would stand out on the right
    ]
    return element("div", element("span"), element("div", labels), class_="r axis")


def _tick(seconds: float) -> str:
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms" if seconds else "0"
    parts = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))
    said: list[str] = []
    left = round(seconds, 3)
    for size, unit in parts[:-1]:
        whole, left = divmod(left, size)
        said += [f"{whole:.0f} {unit}"] if whole else []
    return " ".join([*said, *([f"{left:g} s"] if left else [])])


# --- rows


class _Chart:
    """The rows of one sheet on one scale."""

    def __init__(self, sheet: Sheet, scale: _Scale) -> None:
        self._sheet = sheet
        self._scale = scale
        self._links = {link.task_id: link for link in sheet.path}

    def lines(self, rows: Sequence[_Row]) -> Iterator[Markup]:
        return map(self._line, rows)

    def _line(self, row: _Row) -> Markup:
        task_id, is_map = row.entry.task.id, row.entry.is_map and not row.undoes
        critical = task_id in self._links and not row.undoes
        name = f"↶ {task_id}" if row.undoes else task_id
        label = [element("b", GLYPHS[row.status]), f" {name}"]
        bars = self._items(row) if is_map else [self._bar(bar, row.status) for bar in row.bars]
        return element(
            "div",
            element("a", label, href=f"#t{row.entry.number}"),
            element("div", self._gap(task_id) if critical else None, bars),
            element("span", self._right(row)),
            class_=f"r {row.status.value}{' cp' if critical else ''}",
        )

    def _gap(self, task_id: TaskId) -> Child:
        link = self._links[task_id]
        if link.waited.total_seconds() < _VISIBLE * self._scale.seconds:
            return None
        why = reason(self._sheet, link)
        title = f"waited {millis(link.waited):,} ms{f': {why}' if why else ''}"
        return element("s", style=self._scale.span(link.waited_since, link.start), title=title)

    def _bar(self, bar: Bar, status: Status) -> Markup:
        end = bar.end or self._sheet.until
        return self._box(
            bar.unit, _look(bar, status), (bar.start, end), _tip(bar, end), self._lead(bar, end)
        )

    def _box(
        self, unit: str, look: str, times: tuple[datetime, datetime], tip: str, inside: Child
    ) -> Markup:
        return element(
            "i",
            inside,
            class_=look,
            style=self._scale.span(*times),
            title=tip,
            data_task=unit,
            data_start=iso(times[0]),
            data_end=iso(times[1]),
        )

    def _lead(self, bar: Bar, end: datetime) -> Child:
        """Draw what was before the last attempt began, if it can be seen."""
        if bar.taken is None or end <= bar.start or bar.kind is Kind.WAIT:
            return None
        before = bar.taken - bar.start
        if bar.attempts < 2 and before.total_seconds() < _VISIBLE * self._scale.seconds:  # noqa: PLR2004
            return None
        width = 100 * (before / (end - bar.start))
        return element(
            "u", class_="again" if bar.attempts > 1 else None, style=f"width:{width:.1f}%"
        )

    # --- maps

    def _items(self, row: _Row) -> Iterator[Markup]:
        """Draw a map as one bar, as high as items ran at a time, with its failures on it."""
        until = self._sheet.until
        ends = [bar.end or until for bar in row.bars]
        start, end = row.start, max(ends)
        spans = [(bar.start, bar.end or until) for bar in row.bars]
        latest = {bar.index: bar for bar in row.bars}
        counts = Counter(WORDS[bar.status] for bar in latest.values())
        said = ", ".join(f"{n:,} {word}" for word, n in counts.items())
        tip = f"{count(len(latest), 'item')}: {said}; {_times(start, end)}"
        look = "b map"
        yield self._box(row.unit, look, (start, end), tip, _density(spans, start, end))
        bad = [bar for bar in latest.values() if bar.status is Status.FAILED]
        for bar in bad[:_MOST_MARKS]:
            at = min(max(self._scale(bar.end or until), 0.0), 100.0)
            yield element("em", "✘", style=f"left:{at:.2f}%", title=f"{bar.unit} failed")

    # --- words

    def _right(self, row: _Row) -> str:
        ends = [bar.end or self._sheet.until for bar in row.bars]
        took = duration(max(ends) - row.start)
        if row.entry.is_map and not row.undoes:
            done = {bar.index: bar.status for bar in row.bars}
            good = sum(status is Status.COMPLETED for status in done.values())
            return f"{took} · {good:,}/{row.entry.state.metadata.get('items', len(done)):,}"
        tries = sum(bar.attempts for bar in row.bars)
        if row.bars[0].kind is Kind.MOMENT:
            return ""
        return f"{took} · {tries} tries" if tries > 1 else took


def _look(bar: Bar, status: Status) -> str:
    """Give the classes of a bar; it looks as its row does, unless it ended in another way."""
    looks = ["b"] if bar.status is status else ["b", bar.status.value]
    if bar.undoes:
        looks.append("undo")
    elif bar.kind is not Kind.ACTIVITY:
        looks.append({Kind.SUBTREE: "sub"}.get(bar.kind, bar.kind.value))
    return " ".join(looks if bar.end else [*looks, "open"])


def _tip(bar: Bar, end: datetime) -> str:
    said = [_times(bar.start, end) if bar.end else f"since {clock(bar.start)}"]
    if bar.kind is Kind.ACTIVITY and bar.taken:
        before = millis(bar.taken - bar.start)
        last = f"attempt {bar.attempts} " if bar.attempts > 1 else ""
        said.append(f"{last}began after {before:,} ms")
    return "; ".join(said)


def _times(start: datetime, end: datetime) -> str:
    return f"{clock(start)} to {clock(end)}, {millis(end - start):,} ms"


def _density(spans: Sequence[tuple[datetime, datetime]], start: datetime, end: datetime) -> Child:
    """Draw how many ran at a time, as an area."""
    width = (end - start) / _BUCKETS
    if not width:
        return None
    change = [0] * (_BUCKETS + 1)
    for since, until in spans:
        first = min(int((since - start) / width), _BUCKETS - 1)
        change[first] += 1
        change[min(int((until - start) / width), _BUCKETS - 1) + 1] -= 1
    heights: list[int] = []
    for each in change[:-1]:
        heights.append((heights[-1] if heights else 0) + each)
    most = max(heights)
    way = "".join(f"V{most - height}H{at}" for at, height in enumerate(heights, 1))
    area = element("path", d=f"M0 {most}{way}V{most}z")
    box = {"viewBox": f"0 0 {_BUCKETS} {most}", "preserveAspectRatio": "none"}
    return element("svg", area, **box)
