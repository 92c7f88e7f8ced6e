"""What to type next: the exact commands that answer, mend or explain."""

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple

from rich.text import Text

from regrow.cli.view.columns import cut
from regrow.cli.view.endings import failure_line, undone_lines
from regrow.cli.view.words import clock, one_line
from regrow.client import Fold
from regrow.client.watching import Seen
from regrow.core.result import TreeResult
from regrow.core.waits import Wait
from regrow.core.wire import SLEEP, WAIT_FOR_EVENT, ErrorType, Status

_MOST_ERRORS: Final = 8
_UNNAMED: Final = "default"


@dataclass(frozen=True, slots=True)
class Place:
    """On which server trees are, as far as commands must be told."""

    address: str | None = None
    namespace: str = _UNNAMED

    def options(self, tree_id: str) -> str:
        """Give the options that lead to a tree."""
        address = f" --address {self.address}" if self.address else ""
        namespace = f" -n {self.namespace}" if self.namespace != _UNNAMED else ""
        return f"-w {shlex.quote(tree_id)}{address}{namespace}"


class Question(NamedTuple):
    """A task that waits for somebody outside."""

    path: str
    """The task, below the sub-trees that it is in."""
    fold: Fold
    """The tree that it is in."""
    wait: Wait

    @property
    def task_id(self) -> str:
        """The task's id in its own tree."""
        return self.path.rpartition("/")[2]

    @property
    def is_event(self) -> bool:
        """Whether an event is waited for, else a person's answer."""
        return self.wait.kind == WAIT_FOR_EVENT

    def answer(self, place: Place) -> str:
        """Give the command that answers it."""
        where = place.options(self.fold.tree_id)
        if self.is_event:
            return f"regrow event {shlex.quote(str(self.wait.event))} {where}"
        return f"regrow approve {self.task_id} {where}"


def question_of(seen: Seen, path: str) -> Question | None:
    """Give what a task asks, if it waits for somebody."""
    holder = seen.holder_of(path)
    run = holder.fold.run if holder else None
    wait = run.waits.get(path.rpartition("/")[2]) if run else None
    if holder is None or wait is None or wait.kind == SLEEP:
        return None
    return Question(path, holder.fold, wait)


def questions(seen: Seen, path: str = "") -> Iterator[Question]:
    """Give all that is asked, in sub-trees too."""
    run = seen.fold.run if seen.fold.ended is None else None
    for task_id, wait in run.waits.items() if run else ():
        if wait.kind != SLEEP:
            yield Question(f"{path}{task_id}", seen.fold, wait)
    for unit, inner in seen.inside.items():
        yield from questions(inner, f"{path}{unit}/")


def answer_line(question: Question, place: Place) -> str:
    """Say in one line how a wait that has just begun is answered."""
    if question.is_event:
        return f"  it waits for: {question.answer(place)}"
    prompt = f'"{one_line(question.wait.prompt)}"  ' if question.wait.prompt else ""
    return f"  {prompt}answer: {question.answer(place)}   (or --reject)"


def answer_lines(
    asked: Sequence[Question], place: Place, now: datetime, width: int, most: int | None = None
) -> Iterator[Text]:
    """Say of what waits now what it asks, since when, until when, and what answers it."""
    shown = asked[:most]
    for question in shown:
        yield cut(_asked(question, now), width)
        others = "" if question.is_event else "   (or --reject)"
        yield from _typed(f"    {question.answer(place)}", others, width)
    if left := len(asked) - len(shown):
        yield cut(Text(f"  … {left:,} more wait", style="dim"), width)


def held_line(fold: Fold, place: Place) -> str | None:
    """Say what goes on with a tree that is kept open until somebody mends it."""
    if fold.run is None or not fold.run.is_held:
        return None
    where = place.options(fold.tree_id)
    return f"  it is held; go on: regrow retry {where}   (or: regrow skip TASK, regrow cancel)"


def go_on_lines(fold: Fold, place: Place, width: int) -> Iterator[Text]:
    """Say on a screen what goes on with a tree that people stopped, or that waits for them."""
    if fold.run is None or fold.ended is not None:
        return
    if fold.run.paused:
        yield from _command("regrow resume", "", fold, place, width)
    if fold.run.is_held:
        others = "   (or: regrow skip TASK, regrow cancel)"
        yield from _command("regrow retry", others, fold, place, width)


def trouble_lines(result: TreeResult) -> Iterator[str]:
    """Name what a tree failed for, and what was undone or could not be."""
    if result.error:
        yield f"  {one_line(result.error)}"
    failed = _failed(result)
    for task_id in failed[:_MOST_ERRORS]:
        yield failure_line(task_id, result.tasks[task_id])
    if len(failed) > _MOST_ERRORS:
        yield f"  … {len(failed) - _MOST_ERRORS:,} more failed"
    yield from undone_lines(result)


def tolerated_lines(result: TreeResult) -> Iterator[str]:
    """Name what failed and was tolerated, in full."""
    bad = [id_ for id_, task in result.tasks.items() if task.tolerated and task.error]
    yield from (failure_line(task_id, result.tasks[task_id]) for task_id in bad[:_MOST_ERRORS])


def next_lines(result: TreeResult, place: Place) -> Iterator[str]:
    """Give the commands that say more of what failed, and that run it again."""
    where = place.options(result.tree_id)
    if result.status is Status.FAILED:
        yield from (f"  regrow explain {task_id} {where}" for task_id in _failed(result)[:1])
    if result.status in (Status.FAILED, Status.CANCELLED):
        yield f"  regrow rerun {where} --failed --plan"


def _failed(result: TreeResult) -> list[str]:
    """Give what failed and counts; of groups only where nothing else did."""
    failed = {
        task_id: task.error_type
        for task_id, task in result.tasks.items()
        if task.status is Status.FAILED and not task.tolerated
    }
    own = [task_id for task_id, kind in failed.items() if kind != ErrorType.GROUP_FAILED]
    return own or list(failed)


def _asked(question: Question, now: datetime) -> Text:
    run, wait = question.fold.run, question.wait
    began = run.records[question.task_id].started_at if run else None
    line = Text(f"  {question.path}", style="bold cyan")
    if wait.prompt:
        line.append(f' asks: "{one_line(wait.prompt)}"')
    else:
        what = f"the event '{wait.event}'" if question.is_event else "an answer"
        line.append(f" waits for {what}")
    since = f" · since {clock(began, now)}" if began else ""
    until = f" · until {clock(wait.until, now)}" if wait.until else ""
    return line.append(f"{since}{until}", style="not bold dim")


def _command(command: str, others: str, fold: Fold, place: Place, width: int) -> Iterator[Text]:
    return _typed(f"  go on: {command} {place.options(fold.tree_id)}", others, width)


def _typed(command: str, others: str, width: int) -> Iterator[Text]:
    """Show a command; it is broken where the screen is too narrow for it, but never cut off."""
    rest = Text(command, style="bold")
    while rest.cell_len > width:
        line, rest = rest.divide([width])
        yield line
    if rest.cell_len + len(others) <= width:
        rest.append(others, style="not bold dim")
    yield rest
