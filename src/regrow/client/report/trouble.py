"""What went wrong, what was undone, and what people did: what a reader wants to know first."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, cast

from regrow.client.report import values
from regrow.client.report.html import Child, Markup, element
from regrow.client.report.sheet import Entry, Sheet
from regrow.client.report.timeline import Act
from regrow.client.report.words import clock, count, few, one_line
from regrow.core.draw.marks import GLYPHS, WORDS
from regrow.core.models import Json, TaskId
from regrow.core.result import Compensation
from regrow.core.wire import TREE, Status

_MOST: Final = 50
_LINE: Final = 300
_NAMED: Final = 8
_ROOMS: Final = (
    values.Room(_LINE, 12_000),
    values.Room(_LINE, 2048),
    values.Room(_LINE, 512),
    values.Room(150, 150),
    values.Room(60, 60),
)
_VERBS: Final[Mapping[str, str]] = {
    "approve": "approved",
    "cancel": "cancelled the tree",
    "cancel_task": "cancelled",
    "pause": "paused the tree",
    "resume": "let the tree go on",
    "retry_task": "let run again",
    "send_event": "sent the event",
    "skip_task": "skipped",
}


def trouble(sheet: Sheet, budget: int) -> Markup:
    """Give the sections in which something stands, in about so many bytes."""
    return values.fitted(lambda room: list(_sections(sheet, room)), budget, _ROOMS)


def _sections(sheet: Sheet, room: values.Room) -> Iterator[Markup]:
    failures = _failures(sheet, room)
    yield element("section", element("h2", "What went wrong"), failures, class_="trouble")
    if undone := list(_undone(sheet)):
        yield element("section", element("h2", "What was undone"), element("ul", undone))
    if sheet.acts:
        acts = [_act(act, room) for act in sheet.acts[:_MOST]]
        more = _more(len(sheet.acts) - _MOST)
        yield element("section", element("h2", "By hand"), element("ul", acts, more))


# --- failures


def _failures(sheet: Sheet, room: values.Room) -> Child:
    causes = _causes(sheet)
    bad = sorted((entry for entry in sheet.entries.values() if _is_bad(entry, causes)), key=_weight)
    whole = [text for text in (sheet.result.error, sheet.failure) if text]
    if not bad and not whole:
        return element("p", "Nothing failed.", class_="quiet")
    lines = [element("li", _mark(Status.FAILED), values.text(text, room)) for text in whole]
    lines += [_failure(sheet, entry, causes, room) for entry in bad[:_MOST]]
    return element("ul", lines, _more(len(bad) - _MOST))


def _is_bad(entry: Entry, causes: Mapping[TaskId, object]) -> bool:
    if entry.state.status is Status.CANCELLED:  # the rest of a cancelled tree is no news
        return entry.task.id in causes or bool(entry.state.by_hand)
    return entry.state.status is Status.FAILED or _has_failed_items(entry)


def _has_failed_items(entry: Entry) -> bool:
    return entry.is_map and bool(entry.state.metadata.get("failed"))


def _weight(entry: Entry) -> tuple[bool, bool, int]:
    """Order failures: those that failed the tree first, what only contains them last."""
    contains = entry.state.error_type == "group_failed"
    is_fine = entry.state.tolerated or entry.state.status is Status.COMPLETED
    return is_fine, contains, entry.number


def _causes(sheet: Sheet) -> dict[TaskId, list[TaskId]]:
    """Give, for each task, those that did not run because of it."""
    found: dict[TaskId, list[TaskId]] = {}
    for task_id, entry in sheet.entries.items():
        because = entry.state.because
        root = because and (because.root or because.task_id)
        if root and root != task_id:
            found.setdefault(root, []).append(task_id)
    return found


def _failure(
    sheet: Sheet, entry: Entry, causes: Mapping[TaskId, Sequence[TaskId]], room: values.Room
) -> Markup:
    state, task_id = entry.state, entry.task.id
    error = state.error or _tolerated_items(entry) or WORDS[state.status]
    notes = [" · ".join(_notes(entry)), *_consequences(causes.get(task_id, ()))]
    if entry.native == TREE:
        notes.append(_inside(sheet, entry))
    return element(
        "li",
        _mark(state.status),
        element("a", task_id, href=f"#t{entry.number}"),
        _title(entry),
        element("div", values.text(error, room), class_="error"),
        [element("div", note, class_="note") for note in notes if note],
        _items(entry),
        _earlier(entry, room),
    )


def _tolerated_items(entry: Entry) -> str:
    about = entry.state.metadata
    if not _has_failed_items(entry):
        return ""
    return f"{about['failed']} of {about.get('items')} items failed, which is tolerated"


def _notes(entry: Entry) -> Iterator[str]:
    state = entry.state
    if state.error_type:
        yield state.error_type
    if state.attempts:
        yield count(state.attempts, "attempt")
    if state.tolerated:
        yield "tolerated"
    because = state.because
    if because and because.reason == "by_hand":
        yield "by hand"


def _consequences(task_ids: Sequence[TaskId]) -> Iterator[str]:
    if task_ids:
        verb = "was" if len(task_ids) == 1 else "were"
        yield f"{few(list(task_ids), _NAMED)} {verb} not run because of it"


def _inside(sheet: Sheet, entry: Entry) -> str:
    failed = next((bar for bar in entry.bars if bar.status is not Status.COMPLETED), None)
    inside = f"{sheet.tree_id}/{failed.unit if failed else entry.task.id}"
    return f"what happened inside: regrow report -w {inside}"


def _items(entry: Entry) -> Child:
    """Give the first items of a map that failed."""
    errors = entry.state.metadata.get("errors")
    if not entry.is_map or not isinstance(errors, list):
        return None
    return element("ul", [element("li", _item_text(each)) for each in errors[:_NAMED]])


def _item_text(error: Json) -> str:
    about = cast("dict[str, Json]", error) if isinstance(error, dict) else {}
    text = one_line(str(about.get("error", "")), _LINE)
    return f"item {about.get('index')}: {text} ({about.get('error_type')})"


def _earlier(entry: Entry, room: values.Room) -> Child:
    why = entry.earlier_failure
    if why is None:
        return None
    return element("div", "the attempt before failed: ", values.text(why, room), class_="note")


# --- undone, by hand


def _undone(sheet: Sheet) -> Iterator[Markup]:
    """Tell of each task in the order in which they were undone."""
    pairs = [
        (entry.task, undone)
        for entry in sheet.entries.values()
        if (undone := entry.state.compensation)
    ]
    pairs.sort(key=lambda pair: str(pair[1].started_at))
    for task, undone in pairs[:_MOST]:
        by = f" ({task.compensate.executor})" if task.compensate else ""
        said = element("span", f" {_how_undone(undone)}{by}")
        yield element("li", _mark(undone.status), element("b", task.id), said)
    if len(pairs) > _MOST:
        yield element("li", f"… and {len(pairs) - _MOST} more")


def _how_undone(undone: Compensation) -> str:
    if undone.status is Status.COMPLETED:
        return "undone"
    if not undone.status.is_settled:
        return "being undone"
    return f"NOT undone: {one_line(undone.error or undone.status.value, _LINE)}"


def _act(act: Act, room: values.Room) -> Markup:
    said = {key: value for key, value in act.said.items() if value is not None}
    who = str(said.pop("by", "somebody"))
    verb = _VERBS.get(act.name, act.name)
    if act.name == "approve" and said.pop("approved", True) is False:
        verb = "rejected"
    what = said.pop("task_id", None) or said.pop("event", None)
    if act.name == "retry_task" and what is None:
        what = "all that failed"
    why = said.pop("reason", None) or said.pop("note", None)
    return element(
        "li",
        element("time", clock(act.at)),
        f" {who} {verb} ",
        element("b", str(what)) if what else None,
        f": {one_line(str(why), _LINE)}" if why else None,
        [" ", values.value(said, room)] if said else None,
    )


# --- words


def _mark(status: Status) -> Markup:
    return element("span", GLYPHS[status], class_=f"g {status.value}", title=WORDS[status])


def _title(entry: Entry) -> str:
    return f" · {one_line(entry.task.title, _LINE)}" if entry.task.title != entry.task.id else ""


def _more(number: int) -> Child:
    return element("li", f"… and {number:,} more") if number > 0 else None
