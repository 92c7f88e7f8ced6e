"""Following a tree: its histories one after the other, those inside it, and what is tried again.

Histories give the statuses; `describe` gives what only the server knows of tasks that take their
time. Both only read: whoever watches adds nothing to any history.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final

from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from regrow.client.attempts import Attempt, attempts
from regrow.client.fold import Change, Fold
from regrow.client.opening import open_payloads
from regrow.core.problems import InvalidTree
from regrow.core.run import TreeRun
from regrow.core.wire import Status, is_partition, split_unit

_MOST_FOLLOWED: Final = 20
"""Sub-trees at once, so that a large map of them does not open a stream for each."""
_MOST_KEPT: Final = 20
"""Ended sub-trees of one tree that are still seen, since they did not complete."""
_MOST_READ: Final = 8
"""Histories of partitions at once."""
_PERIOD: Final = 1.0
_LONG: Final = 2.0
"""Seconds; the server is asked about what runs for longer."""
_GRACE: Final = 5.0
"""Seconds for what is inside a tree that was ended from outside to be ended as well."""
_FIRST_PAGE: Final = 1
_LOST_PLACE: Final = "Current and request branch tokens"
"""How the server begins to say that it can't go on where a page ended."""
_MOST_LOSSES: Final = 5
"""One after the other, without an event in between."""
_TERMINATED: Final = EventType.EVENT_TYPE_WORKFLOW_EXECUTION_TERMINATED
_CUTS: Final = (
    EventType.EVENT_TYPE_WORKFLOW_TASK_SCHEDULED,
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED,
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_FAILED,
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CANCELED,
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_TIMED_OUT,
    _TERMINATED,
)
_CHILD_STARTED: Final = EventType.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_STARTED
_CHILD_ENDS: Final = (
    EventType.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_COMPLETED,
    EventType.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_FAILED,
    EventType.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_CANCELED,
    EventType.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_TERMINATED,
    EventType.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_TIMED_OUT,
)


@dataclass(slots=True)
class Seen:
    """What is seen of a tree that is being followed; whoever follows may look at any time."""

    fold: Fold
    attempts: dict[str, Attempt] = field(default_factory=dict[str, Attempt])
    """How it stands with what takes its time, by task or item."""
    inside: "dict[str, Seen]" = field(default_factory=dict[str, "Seen"])
    """Sub-trees that run or did not complete, by task or item."""
    run_id: str | None = None
    """The run whose history is being read."""

    def holder_of(self, task_id: str) -> "Seen | None":
        """Find the tree that a task is in, by its path."""
        *units, _ = task_id.split("/")
        seen: Seen | None = self
        for unit in units:
            seen = seen and seen.inside.get(unit)
        return seen


# --- histories


async def first_event(client: Client, tree_id: str, run_id: str | None = None) -> HistoryEvent:
    """Give the event that began a run; the latest one if none is named."""
    handle = client.get_workflow_handle(tree_id, run_id=run_id)
    return await anext(aiter(handle.fetch_history_events(page_size=_FIRST_PAGE)))


async def _nothing_before(_: Sequence[HistoryEvent]) -> None:
    """Let events be taken in at once."""


async def read(
    client: Client,
    seen: Seen,
    *,
    wait: bool,
    first_run: str | None = None,
    before: Callable[[Sequence[HistoryEvent]], Awaitable[None]] = _nothing_before,
) -> AsyncIterator[tuple[Sequence[HistoryEvent], list[Change]]]:
    """Read a tree's runs into its fold; gives the events in small pieces, and what each changed.

    `before` is awaited before the fold takes in a piece. A tree that is reset is read on in the run
    that takes its place.
    """
    fold, known = seen.fold, list[str]()
    runs = deque([first_run] if first_run else await _runs(client, fold.tree_id))
    while runs:
        seen.run_id = runs.popleft()
        known.append(seen.run_id)
        async for events in _pieces(client, fold.tree_id, seen.run_id, wait=wait):
            if events[0].event_type == _TERMINATED:
                runs.extend(await _after_reset(client, fold.tree_id, known))
                if runs:
                    fold.begin_again(next(run for run in runs if run not in known))
                    break
            await before(events)
            yield events, fold.feed(events)
        if not runs and fold.next_run_id is not None:
            runs.append(fold.next_run_id)


async def read_partitions(client: Client, fold: Fold) -> None:
    """See in their own histories how the tasks of a tree's partitions stand, and what they gave."""
    places = asyncio.Semaphore(_MOST_READ)

    async def look(unit: str, first_run: str) -> None:
        inner = Fold(f"{fold.tree_id}/{unit}", client.data_converter)
        async with places:
            await _read_what_is_there(client, Seen(inner), first_run)
        inner.finish()
        fold.glimpse(unit, inner, inner.run.records if inner.run else ())

    await asyncio.gather(*(look(*each) for each in fold.partitions.items()))


async def _read_what_is_there(client: Client, seen: Seen, first_run: str) -> None:
    """Read a history that may be gone."""
    try:
        async for _ in read(client, seen, wait=False, first_run=first_run):
            pass
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise


async def _runs(client: Client, tree_id: str) -> list[str]:
    """Find the runs of which each continued the one before, up to the current one.

    Found backwards, since a reset makes another run take the place of the latest.
    """
    run_id: str | None = (await client.get_workflow_handle(tree_id).describe()).run_id
    runs: list[str] = []
    while run_id:
        runs.append(run_id)
        first = await first_event(client, tree_id, run_id)
        run_id = first.workflow_execution_started_event_attributes.continued_execution_run_id
    return runs[::-1]


async def _after_reset(client: Client, tree_id: str, known: Sequence[str]) -> list[str]:
    """Find the runs to read if a terminated run was so by a reset; none if by somebody."""
    latest = (await client.get_workflow_handle(tree_id).describe()).run_id
    if latest in known:
        return []
    ours = await first_event(client, tree_id, known[-1])
    theirs = await first_event(client, tree_id, latest)
    is_reset = _origin(ours) == _origin(theirs)  # else somebody used the id once more
    return await _runs(client, tree_id) if is_reset else []


def _origin(event: HistoryEvent) -> str:
    return event.workflow_execution_started_event_attributes.first_execution_run_id


async def _pieces(
    client: Client, tree_id: str, run_id: str, *, wait: bool
) -> AsyncIterator[list[HistoryEvent]]:
    """Give events as they come, cut where no workflow task's doings are cut in two."""
    async for page in _pages(client, tree_id, run_id, wait=wait):
        await open_payloads(client.data_converter, page)
        piece: list[HistoryEvent] = []
        for event in page:
            if piece and event.event_type in _CUTS:
                yield piece
                piece = []
            piece.append(event)
        if piece:
            yield piece


async def _pages(
    client: Client, tree_id: str, run_id: str, *, wait: bool
) -> AsyncIterator[list[HistoryEvent]]:
    """Give the events of a run page by page, each event once.

    The server may lose the place in a history that grows, such as when an update comes in between
    two pages: then it is read from its beginning again.
    """
    handle = client.get_workflow_handle(tree_id, run_id=run_id)
    known, losses = 0, 0
    pages = handle.fetch_history_events(wait_new_event=wait)
    while pages.current_page is None or pages.next_page_token:
        try:
            await pages.fetch_next_page()
        except RPCError as error:
            losses += 1
            if not error.message.startswith(_LOST_PLACE) or losses > _MOST_LOSSES:
                raise
            pages = handle.fetch_history_events(wait_new_event=wait)
            continue
        page = [event for event in pages.current_page or () if event.event_id > known]
        if page:
            known, losses = page[-1].event_id, 0
            yield page


# --- following


async def follow(client: Client, seen: Seen, *, inside: bool) -> AsyncGenerator[Change]:
    """Give every change so far and then each as it happens, each tree's in order."""
    watch = _Watch(client, inside=inside)
    reading = asyncio.create_task(watch.read_all(seen))
    asking = asyncio.create_task(watch.ask_on())
    try:
        while (change := await watch.news.get()) is not None:
            yield change
        await reading
    finally:
        asking.cancel()
        reading.cancel()
        await asyncio.wait((asking, reading))


class _Watch:
    """What the trees that are followed together share."""

    def __init__(self, client: Client, *, inside: bool) -> None:
        self.client = client
        self.news: asyncio.Queue[Change | None] = asyncio.Queue()
        self.places = _MOST_FOLLOWED if inside else 0
        self.trees: list[_Followed] = []

    async def read_all(self, seen: Seen) -> None:
        try:
            await _Followed(self, seen).read()
        finally:
            self.news.put_nowait(None)

    async def ask_on(self) -> None:
        """Ask about what takes its time, about once a second."""
        while True:
            await asyncio.sleep(_PERIOD)
            await asyncio.gather(*(tree.ask() for tree in self.trees))


@dataclass(frozen=True, slots=True)
class _Child:
    """A sub-tree that is followed."""

    unit: str
    seen: Seen
    reading: asyncio.Task[None]


class _Followed:
    """One of the trees that are followed, at its path: the tree itself, or one inside it."""

    def __init__(self, watch: _Watch, seen: Seen, path: str = "") -> None:
        self._watch = watch
        self._client = watch.client
        self._seen = seen
        self._path = path
        self._children: dict[str, _Child] = {}
        """By their first run."""
        self._known: dict[str, bool] = {}
        """First runs of sub-trees that are or were followed."""
        self._first_runs: dict[int, str] = {}
        """By the event that asked for them."""
        self._partitions: dict[str, asyncio.Task[None]] = {}
        """Readings of those that run, by their first run."""
        self._since: dict[str, float] = {}
        """When what runs began, as far as we know."""

    async def read(self, first_run: str | None = None) -> None:
        """Read to the end."""
        self._watch.trees.append(self)
        try:
            async for events, changes in read(
                self._client,
                self._seen,
                wait=True,
                first_run=first_run,
                before=self._hear_partitions,
            ):
                if self._seen.fold.ended is not None:
                    await self._let_end()
                self._tell(changes)
                for event in events:
                    await self._look_inside(event)
        finally:
            self._watch.trees.remove(self)
            await self._stop()

    def _tell(self, changes: Sequence[Change]) -> None:
        """Hand out changes; where a sub-tree as a whole stands, its task tells."""
        for change in changes:
            if not self._path:
                self._watch.news.put_nowait(change)
            elif change.task_id is not None:
                at_path = replace(change, task_id=f"{self._path}{change.task_id}")
                self._watch.news.put_nowait(at_path)

    # --- what is inside

    async def _look_inside(self, event: HistoryEvent) -> None:
        """Follow a sub-tree that has begun; wait for the last changes in one that has ended."""
        if event.event_type == _CHILD_STARTED:
            self._began(event)
        elif event.event_type in _CHILD_ENDS:
            attributes: Any = getattr(event, str(event.WhichOneof("attributes")))
            first_run = self._first_runs.get(attributes.initiated_event_id, "")
            if child := self._children.pop(first_run, None):
                await child.reading
                self._watch.places += 1
                self._put_away(child)

    def _began(self, event: HistoryEvent) -> None:
        began = event.child_workflow_execution_started_event_attributes
        child_id, first_run = began.workflow_execution.workflow_id, began.workflow_execution.run_id
        self._first_runs[began.initiated_event_id] = first_run
        unit = child_id.rpartition("/")[2]
        if is_partition(unit):
            return
        if first_run in self._known or not self._watch.places:
            return
        self._watch.places -= 1
        self._known[first_run] = True
        seen = self._seen.inside[unit] = Seen(Fold(child_id, self._client.data_converter))
        inner = _Followed(self._watch, seen, f"{self._path}{unit}/")
        reading = asyncio.create_task(inner.read_as_child(first_run))
        self._children[first_run] = _Child(unit, seen, reading)

    async def _read_partition(self, unit: str, child_id: str, first_run: str) -> None:
        """See how the tasks of a partition stand while it runs."""
        inner = Seen(Fold(child_id, self._client.data_converter))
        try:
            async for _, changes in read(self._client, inner, wait=True, first_run=first_run):
                changed = [change.task_id for change in changes if change.task_id is not None]
                self._tell(self._seen.fold.glimpse(unit, inner.fold, changed))
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise

    def _hear_partition(self, event: HistoryEvent) -> None:
        """Begin to listen at once: what has begun may have ended when this is taken in."""
        began = event.child_workflow_execution_started_event_attributes
        child = began.workflow_execution
        unit = child.workflow_id.rpartition("/")[2]
        if is_partition(unit):
            self._first_runs[began.initiated_event_id] = child.run_id
            reading = self._read_partition(unit, child.workflow_id, child.run_id)
            self._partitions[child.run_id] = asyncio.create_task(reading)

    async def _hear_partitions(self, events: Sequence[HistoryEvent]) -> None:
        """Hear all that partitions have to say before the tree takes in that they have ended."""
        for event in events:
            if event.event_type == _CHILD_STARTED:
                self._hear_partition(event)
            elif event.event_type in _CHILD_ENDS and self._partitions:
                attributes: Any = getattr(event, str(event.WhichOneof("attributes")))
                first_run = self._first_runs.get(attributes.initiated_event_id, "")
                if reading := self._partitions.pop(first_run, None):
                    await asyncio.wait([reading], timeout=_GRACE)

    async def read_as_child(self, first_run: str) -> None:
        """Read as far as there is something to read: an old history may be gone."""
        try:
            await self.read(first_run)
        except InvalidTree:
            return  # the task of the parent says so
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise

    def _put_away(self, child: _Child) -> None:
        """Forget a sub-tree that has ended, unless people will want to see what went wrong."""
        inside = self._seen.inside
        if inside.get(child.unit) is not child.seen:
            return
        if child.seen.fold.ended in (None, Status.COMPLETED):
            del inside[child.unit]
        ended = [unit for unit, seen in inside.items() if seen.fold.ended is not None]
        for unit in ended[:-_MOST_KEPT]:
            del inside[unit]

    async def _let_end(self) -> None:
        """Wait a moment for sub-trees that the tree has not waited for."""
        readings = [child.reading for child in self._children.values()]
        readings += self._partitions.values()
        if readings:
            await asyncio.wait(readings, timeout=_GRACE)

    async def _stop(self) -> None:
        self._watch.places += len(self._children)
        readings = [child.reading for child in self._children.values()]
        readings += self._partitions.values()
        for reading in readings:
            reading.cancel()
        await asyncio.gather(*readings, return_exceptions=True)

    # --- what only the server knows

    async def ask(self) -> None:
        """Ask how it stands with what takes its time, if something does."""
        now, seen = time.monotonic(), self._seen
        known = self._since
        self._since = {
            unit: known[unit] if unit in known else now - _age(seen.fold, unit)
            for unit in seen.fold.activities
        }
        if not any(now - since >= _LONG for since in self._since.values()):
            seen.attempts = {}
            return
        handle = self._client.get_workflow_handle(seen.fold.tree_id, run_id=seen.run_id)
        try:
            found = await attempts(self._client, handle)
        except Exception:  # noqa: BLE001 - be it the server or a codec, the watch goes on
            return
        if seen.fold.run is not None:
            self._learn(seen.fold.run, found)

    def _learn(self, run: TreeRun, found: dict[str, Attempt]) -> None:
        earlier, still_open = self._seen.attempts, dict.fromkeys(self._seen.fold.activities)
        known = {unit: attempt for unit, attempt in found.items() if unit in still_open}
        self._seen.attempts = known
        for unit, attempt in known.items():
            before = earlier.get(unit)
            is_retry = attempt.attempt > 1 and (not before or attempt.attempt != before.attempt)
            said = attempt.progress is not None and (
                not before or attempt.progress != before.progress
            )
            if is_retry or said:
                self._tell([_attempt_change(run, self._path, attempt, is_retry=is_retry)])


def _age(fold: Fold, unit: str) -> float:
    """Tell for how long a task has run when it is first seen; an item of a map counts as new."""
    task_id, index = split_unit(unit)
    began = fold.run.records[task_id].started_at if fold.run and index is None else None
    return max((datetime.now(UTC) - began).total_seconds(), 0) if began else 0


def _attempt_change(run: TreeRun, path: str, attempt: Attempt, *, is_retry: bool) -> Change:
    task_id, _ = split_unit(attempt.unit)
    at_path = replace(attempt, unit=f"{path}{attempt.unit}")
    status = run.records[task_id].status
    return Change(task_id, status, datetime.now(UTC), attempt=at_path, is_retry=is_retry)
