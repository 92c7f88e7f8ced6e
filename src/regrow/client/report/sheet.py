"""Everything that a report shows, put together and with its secrets hidden.

From here on nothing is looked up and nothing is left to hide: rendering cannot leak.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final, cast

from temporalio.api.common.v1 import Payload
from temporalio.converter import DataConverter

from regrow.client.fold import Fold
from regrow.client.report.critical import Link, Step, critical_path
from regrow.client.report.redact import Redactor
from regrow.client.report.timeline import Act, Bar, Kind, Timeline
from regrow.core.draw.marks import Mark, marks_of
from regrow.core.graph import waits_for
from regrow.core.hashing import document_hash
from regrow.core.models import Json, Task, TaskId, TaskTree
from regrow.core.record import Record
from regrow.core.references import named_tasks
from regrow.core.result import TaskResult, TreeResult
from regrow.core.run import TreeRun
from regrow.core.wire import GROUP, WAITS, Status

_JSON: Final = b"json/plain"


@dataclass(frozen=True, slots=True)
class Entry:
    """One task."""

    number: int
    task: Task
    state: TaskResult
    native: str | None
    """What the workflow does itself for it, if no executor is called."""
    bars: tuple[Bar, ...] = ()
    """What was done for it, with every item of a map; no bars where nothing was."""
    undoing: tuple[Bar, ...] = ()
    resolved: Any = None
    """The inputs that it was given, where history tells: those of the first item of a map."""

    @property
    def is_map(self) -> bool:
        """Whether it runs once for each item."""
        return self.task.for_each is not None

    @property
    def start(self) -> datetime | None:
        """When it was first scheduled."""
        return min((bar.start for bar in self.bars), default=None)

    @property
    def earlier_failure(self) -> str | None:
        """Why the attempt before the last one failed, unless the error says the same."""
        bars = () if self.is_map else self.bars
        why = bars[-1].earlier_failure if bars else None
        return None if why == self.state.error else why


@dataclass(frozen=True, slots=True)
class Sheet:
    """One run of a tree, as far as it went."""

    tree_id: str
    status: Status
    until: datetime
    """The end of the tree, or of what is known of it."""
    timeline: Timeline
    result: TreeResult
    """Without its tasks, which `entries` has."""
    tree: TaskTree | None = None
    """None if the document was none."""
    document: Mapping[str, Any] | None = None
    document_hash: str | None = None
    entries: Mapping[TaskId, Entry] = field(default_factory=dict[TaskId, Entry])
    path: Sequence[Link] = ()
    failure: str = ""
    """Why the tree did not even begin."""
    acts: Sequence[Act] = ()
    marks: Mapping[TaskId, Mark] | None = None
    groups: Mapping[TaskId, object] | None = None

    @property
    def is_open(self) -> bool:
        """Whether it had not ended when this was read."""
        return self.timeline.ended is None

    @property
    def began(self) -> datetime:
        """When the tree was started."""
        return self.timeline.started or self.until


def gather(fold: Fold, seen: Timeline, now: datetime | None, converter: DataConverter) -> Sheet:
    """Put together what the fold of a history and its timeline tell."""
    known = _Known(fold, seen, converter)
    result = (
        fold.result()
        if fold.tree
        else TreeResult(tree_id=fold.tree_id, name=fold.tree_id, status=Status.PENDING)
    )
    redactor = Redactor(known.values(result))
    bare = result.model_dump(mode="json", exclude={"tasks", "outputs"})
    until = seen.ended or max(now or seen.last, seen.last)
    status = (seen.status or Status.PENDING) if fold.run is None else result.status
    return Sheet(
        fold.tree_id,
        status,
        until,
        seen,
        TreeResult.model_validate(
            {**redactor.value(bare), "outputs": redactor.value(result.outputs)}
        ),
        fold.tree and _tree(fold.tree, redactor),
        fold.tree and redactor.value(fold.tree.as_document()),
        fold.tree and document_hash(fold.tree),
        dict(known.entries(result, redactor)),
        known.path(),
        redactor.text(seen.failure) if fold.run is None else "",
        [replace(act, said=redactor.value(act.said)) for act in seen.acts],
        fold.run and _marks(fold.run, redactor),
        fold.run and fold.run.plan.groups,
    )


class _Known:
    """What is known of the tasks, before anything is hidden."""

    def __init__(self, fold: Fold, seen: Timeline, converter: DataConverter) -> None:
        self._tree = fold.tree
        self._run = fold.run
        self._seen = seen
        self._tasks = fold.tree.tasks if fold.tree else ()
        self._bars = _bars_by_task(seen.bars)
        self._own = {task.id: self._own_bars(task) for task in self._tasks}
        self._arguments = {
            task.id: _argument(self._bars.get(task.id, ()), converter) for task in self._tasks
        }

    def values(self, result: TreeResult) -> Iterator[Any]:
        """Give every value that is shown somewhere."""
        if self._tree is not None:
            yield self._tree.inputs
        for task in self._tasks:
            yield task.inputs
            yield self._arguments[task.id]
            if task.compensate is not None:
                yield task.compensate.inputs
        for state in result.tasks.values():
            yield state.result
            yield state.metadata

    def entries(self, result: TreeResult, redactor: Redactor) -> Iterator[tuple[TaskId, Entry]]:
        for number, task in enumerate(self._tasks):
            state = result.tasks.get(task.id) or TaskResult(status=Status.PENDING)
            own, undoing = (_shown(bars, redactor) for bars in self._own[task.id])
            yield (
                task.id,
                Entry(
                    number,
                    _task(task, redactor),
                    _state(state, redactor),
                    self._run.plan.natives.get(task.id) if self._run else None,
                    own,
                    undoing,
                    redactor.value(self._arguments[task.id]),
                ),
            )

    def path(self) -> list[Link]:
        """Give the critical path through what has settled."""
        run = self._run
        if run is None or self._seen.started is None:
            return []
        after = waits_for(self._tasks, run.plan.groups)
        steps: dict[str, Step] = {}
        for task in self._tasks:
            record = run.records[task.id]
            if record.finished_at is None or record.reused or not record.status.is_settled:
                continue
            bars, _ = self._own[task.id]
            end = max([record.finished_at, *(bar.end for bar in bars if bar.end)])
            start = bars[0].start if bars and task.id not in run.plan.groups else end
            steps[task.id] = Step(min(start, end), end, (*after[task.id], *named_tasks(task)))
        return critical_path(steps, self._seen.started)

    def _own_bars(self, task: Task) -> tuple[tuple[Bar, ...], tuple[Bar, ...]]:
        """Give what was done for a task, and what undid it."""
        all_bars = self._bars.get(task.id, ())
        own = [bar for bar in all_bars if not bar.undoes]
        undoing = [bar for bar in all_bars if bar.undoes]
        run = self._run
        if run is not None:
            record = run.records[task.id]
            own = _settled(own, record) if own else list(self._unwritten(run, task, record))
            undone = run.undo.records.get(task.id)
            undoing = _settled(undoing, undone) if undone and undoing else undoing
        return tuple(own), tuple(undoing)

    def _unwritten(self, run: TreeRun, task: Task, record: Record) -> Iterator[Bar]:
        """Give the bar of what leaves no events of its own."""
        start, end, kind = record.started_at, record.finished_at, run.plan.natives.get(task.id)
        if record.reused:
            return
        if kind == GROUP:
            inside = [bar for each in run.members(task.id) for bar in self._bars.get(each, ())]
            start = min((bar.start for bar in inside), default=end)
            if start is not None and inside:
                yield Bar(task.id, Kind.GROUP, start, end=end, status=record.status)
        elif start is not None and kind in WAITS:
            yield Bar(task.id, Kind.WAIT, start, start, end, record.status)
        elif end is not None and record.status in (Status.COMPLETED, Status.FAILED):
            yield Bar(task.id, Kind.MOMENT, end, end, end, record.status)


def _bars_by_task(bars: Sequence[Bar]) -> dict[TaskId, list[Bar]]:
    found: dict[TaskId, list[Bar]] = {}
    for bar in bars:
        found.setdefault(bar.task_id, []).append(bar)
    return found


def _settled(bars: Sequence[Bar], record: Record) -> list[Bar]:
    """Let bars end whose end history doesn't tell, and the task's last bar end as the task did."""
    if not record.status.is_settled:
        return list(bars)
    ended = [
        bar if bar.end else replace(bar, end=record.finished_at, status=record.status)
        for bar in bars
    ]
    last = ended[-1]
    if last.kind is Kind.WAIT:  # its timer goes on for a moment after the answer
        last = replace(last, end=record.finished_at)
    by_hand = record.by_hand and record.by_hand[-1]["action"] == "skip"
    if last.index is None and not by_hand:
        last = replace(last, status=record.status)
    return [*ended[:-1], last]


def _argument(bars: Sequence[Bar], converter: DataConverter) -> Any:
    """Give the inputs that a task was last started with, or those of the first item of a map."""
    asked = [bar for bar in bars if bar.argument is not None and not bar.undoes]
    if not asked:
        return None
    bar = asked[-1] if asked[-1].index is None else asked[0]
    value = _decoded(cast("Payload", bar.argument), converter)
    if bar.kind is not Kind.SUBTREE or not isinstance(value, dict):
        return value
    return cast("dict[str, Any]", value).get("inputs")


def _decoded(payload: Payload, converter: DataConverter) -> Any:
    if payload.metadata.get("encoding") != _JSON:
        return None
    try:
        return converter.payload_converter.from_payload(payload)
    except (ValueError, RuntimeError):
        return None


def _tree(tree: TaskTree, redactor: Redactor) -> TaskTree:
    tasks = tuple(_task(task, redactor) for task in tree.tasks)
    description = redactor.text(tree.description)
    return tree.model_copy(update={"tasks": tasks, "description": description})


def _task(task: Task, redactor: Redactor) -> Task:
    hidden: dict[str, Json] = {
        "name": redactor.value(task.name),
        "inputs": redactor.value(task.inputs),
        "when": redactor.value(task.when),
        "for_each": redactor.value(task.for_each),
    }
    return task.model_copy(update=hidden)


def _state(state: TaskResult, redactor: Redactor) -> TaskResult:
    return TaskResult.model_validate(redactor.value(state.model_dump(mode="json")))


def _marks(run: TreeRun, redactor: Redactor) -> dict[TaskId, Mark]:
    return {
        task_id: replace(mark, note=redactor.text(mark.note), reason=redactor.text(mark.reason))
        for task_id, mark in marks_of(run).items()
    }


def _shown(bars: Sequence[Bar], redactor: Redactor) -> tuple[Bar, ...]:
    """Leave out what bars were started with, which may hold anything."""
    return tuple(
        replace(
            bar, argument=None, earlier_failure=redactor.text(bar.earlier_failure or "") or None
        )
        for bar in bars
    )
