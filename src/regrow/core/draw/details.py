"""What the Temporal Web UI shows of a running tree, in Markdown: its details.

First a fenced text, which every tool can print, with what matters most if there is no room for all;
then, while it fits, the graph as an image in the page. Both travel in a URL, so that they must be
small. Asking costs a look at every task; nothing is kept between two times that somebody asks.
"""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Final

from regrow.core.draw.marks import GLYPHS, WORDS, Link, mark_of, marks_of, one_line
from regrow.core.draw.picture import counts_text, picture_of
from regrow.core.draw.svg import svg_within
from regrow.core.draw.text import Line, lines_of, written
from regrow.core.models import TaskId, TaskTree
from regrow.core.run import TreeRun
from regrow.core.wire import APPROVAL, SLEEP, Status

MOST_BYTES: Final = 6_000
MOST_TEXT: Final = 2_000
MOST_DRAWN: Final = 60
_WIDE: Final = 640
"""Pixels that the page has for them."""
_WIDTH: Final = 76
"""Letters of a line that it has room for."""
_MOST_LINES: Final = 30
_MOST_ANSWERS: Final = 3
_TELLING: Final = (Status.FAILED, Status.IN_PROGRESS, Status.CANCELLED, Status.PENDING)


def details(run: TreeRun, link: Link | None = None) -> str:
    """Say how a tree stands: a text in a fence and, if there is room, its graph."""
    fence = f"```text\n{_text(run)}\n```\n"
    if len(run.tasks) > MOST_DRAWN:
        return f"{fence}\n{_too_large(run)}\n"
    picture = picture_of(run.plan.tree, marks_of(run, link), groups=run.plan.groups)
    image = svg_within(picture, MOST_BYTES - len(fence.encode()) - 2, _WIDE)
    return f"{fence}\n{image or _too_large(run)}\n"


def static_details(tree: TaskTree, document_hash: str | None = None) -> str:
    """Say what a tree is, before it has begun and whatever becomes of it."""
    lines = [f"**{_plain(tree.name)}**", ""]
    lines += [_plain(tree.description), ""] if tree.description else []
    lines += [f"Owner: {_plain(tree.user_id)}  "] if tree.user_id else []
    lines += [f"Tasks: {len(tree.tasks):,}  "]
    lines += [f"Document: `{document_hash}`"] if document_hash else []
    return "\n".join(lines)


def _too_large(run: TreeRun) -> str:
    return f"Its graph: `regrow graph -w {run.tree_id} --format svg`"


def _text(run: TreeRun) -> str:
    """Write what there is room for: all tasks, or else those that tell most."""
    head = [*_cut_lines([_header(run), *_why(run)]), ""]
    answers = list(_cut_lines(islice(_answers(run), _MOST_ANSWERS)))
    tail = ["", *answers] if answers else []
    room = MOST_TEXT - sum(len(line.encode()) + 1 for line in (*head, *tail))
    return "\n".join([*head, *_fitting(run, room), *tail])


def _header(run: TreeRun) -> str:
    counts = counts_text(run.counts)
    paused = f", paused{_by(run)}" if run.paused is not None else ""
    held = ", held until what failed is retried or skipped" if run.is_held else ""
    return f"{GLYPHS[run.status]} {run.plan.tree.name} {WORDS[run.status]}{paused}{held}: {counts}"


def _by(run: TreeRun) -> str:
    by = (run.paused or {}).get("by")
    return f" by {by}" if by else ""


def _why(run: TreeRun) -> list[str]:
    return [one_line(run.error)] if run.error else []


def _answers(run: TreeRun) -> Iterator[str]:
    """Say how what waits for somebody is answered."""
    for task_id, wait in run.waits.items():
        if wait.kind == APPROVAL:
            prompt = f"{one_line(wait.prompt)} " if wait.prompt else ""
            yield f"{prompt}-> regrow approve {task_id} -w {run.tree_id}"
        elif wait.kind != SLEEP:
            yield f"{task_id} -> regrow event {wait.event} -w {run.tree_id}"


def _fitting(run: TreeRun, room: int) -> Sequence[str]:
    """Give the lines of the tasks, within so many bytes; in a large tree only what tells most."""
    if len(run.tasks) > MOST_DRAWN:
        lines = list(_telling_lines(run))
    else:
        lines = list(lines_of(run.plan.tree, marks_of(run)))
    while True:
        shown = _most_telling(lines, min(_MOST_LINES, len(lines)))
        rows = list(_plain_lines(written(shown, _WIDTH)))
        left = len(run.tasks) - len(shown)
        rows += [f"… {left:,} more"] if left else []
        if not shown or sum(len(row.encode()) + 1 for row in rows) <= room:
            return rows
        lines = _most_telling(lines, len(shown) - 1)


def _telling_lines(run: TreeRun) -> Iterator[Line]:
    """Give, of a large tree, the first few that failed, wait or run, without writing the others."""
    for status in (Status.FAILED, Status.IN_PROGRESS, Status.CANCELLED):
        found = (id_ for id_, record in run.records.items() if record.status is status)
        yield from (_line(run, task_id) for task_id in islice(found, _MOST_LINES))


def _line(run: TreeRun, task_id: TaskId) -> Line:
    mark = mark_of(run, task_id)
    return Line(mark.status, task_id, "", " · ".join(filter(None, [mark.note, mark.reason])))


def _most_telling(lines: Sequence[Line], most: int) -> list[Line]:
    """Keep what failed, then what is on its way, then the rest; all in the document's order."""
    order = {status: at for at, status in enumerate(_TELLING)}
    ranked = sorted(
        range(len(lines)), key=lambda at: order.get(lines[at].status or Status.PENDING, len(order))
    )
    return [lines[at] for at in sorted(ranked[:most])]


def _cut_lines(lines: Iterator[str] | Sequence[str]) -> Iterator[str]:
    return _plain_lines(line if len(line) <= _WIDTH else f"{line[: _WIDTH - 1]}…" for line in lines)


def _plain_lines(lines: Iterator[str] | Sequence[str]) -> Iterator[str]:
    """Let nothing end the fence."""
    return (line.replace("```", "'''") for line in lines)


def _plain(text: str) -> str:
    """Let a text be text in Markdown and HTML."""
    marks = "\\`*_{}[]<>()#+-!|&~"
    return "".join(f"\\{letter}" if letter in marks else letter for letter in one_line(text))
