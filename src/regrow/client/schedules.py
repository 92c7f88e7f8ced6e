"""Trees that start by themselves: Temporal's schedules, whose action is to start a tree.

Times, overlaps and catching up are Temporal's business, and so are the objects given back. What is
added: the document is checked first, the trees are started as `TreeClient.start` starts them, and
errors say what to do.
"""

from collections.abc import AsyncIterator, Generator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from temporalio.client import (
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleBackfill,
    ScheduleDescription,
    ScheduleHandle,
    ScheduleIntervalSpec,
    ScheduleListActionStartWorkflow,
    ScheduleListDescription,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleSpec,
    ScheduleState,
)
from temporalio.service import RPCError, RPCStatusCode

from regrow.client.errors import TreeError
from regrow.client.submission import Submitted, prepare
from regrow.core.durations import parse_duration
from regrow.core.wire import MEMO_NAME, WORKFLOW_TYPE

if TYPE_CHECKING:
    from regrow.client.tree_client import TreeClient, TreeSummary


class ScheduleNotFound(TreeError):  # noqa: N818 - named as the other errors of the contract
    """There is no such schedule on this server and namespace."""

    def __init__(self, schedule_id: str, namespace: str) -> None:
        super().__init__(
            f"there is no schedule '{schedule_id}' in the namespace '{namespace}'; `regrow schedule"
            " list` shows them"
        )
        self.schedule_id = schedule_id


class ScheduleExists(TreeError):  # noqa: N818 - likewise
    """The id belongs to a schedule that is there already."""

    def __init__(self, schedule_id: str) -> None:
        super().__init__(
            f"there is a schedule '{schedule_id}' already; use another id, or delete that one"
        )
        self.schedule_id = schedule_id


class ScheduleRefused(TreeError):  # noqa: N818 - likewise
    """There is no such time, or the server takes it for none."""


class TreeSchedules:
    """Creates schedules of trees, and finds them."""

    def __init__(self, trees: "TreeClient") -> None:
        self._trees = trees

    async def create(  # noqa: PLR0913 - options, all but one by name
        self,
        tree: Submitted,
        *,
        id: str | None = None,  # noqa: A002 - the word of the contract
        cron: str | None = None,
        every: timedelta | str | None = None,
        time_zone: str | None = None,
        inputs: Mapping[str, Any] | None = None,
        overlap: ScheduleOverlapPolicy = ScheduleOverlapPolicy.SKIP,
        paused: bool = False,
        note: str | None = None,
    ) -> "TreeSchedule":
        """Create a schedule that starts this tree, by `cron` or `every` so often.

        Its id is by default the tree's name. The id of each tree is the schedule's with the time,
        in UTC, at which it was due: `nightly-2026-01-01T08:00:00Z`.
        Raises `InvalidTree`, `ScheduleRefused` and `ScheduleExists`; nothing is created then.
        """
        spec = schedule_spec(cron, every, time_zone)
        start = prepare(tree, inputs)
        schedule_id = id or start.name
        action = ScheduleActionStartWorkflow(
            WORKFLOW_TYPE,
            start.argument,
            id=schedule_id,
            task_queue=self._trees.task_queue,
            memo=start.memo,
            static_summary=start.summary,
            static_details=start.details,
        )
        schedule = Schedule(
            action, spec, SchedulePolicy(overlap=overlap), ScheduleState(note=note, paused=paused)
        )
        with _refusals():
            try:
                await self._trees.client.create_schedule(
                    schedule_id, schedule, memo={MEMO_NAME: start.name}
                )
            except ScheduleAlreadyRunningError:
                raise ScheduleExists(schedule_id) from None
        return self.get(schedule_id)

    def get(self, id: str) -> "TreeSchedule":  # noqa: A002 - the word of the contract
        """Give a schedule, whether it exists or not; its methods raise `ScheduleNotFound`."""
        return TreeSchedule(self._trees, id)

    async def list(self) -> AsyncIterator[ScheduleListDescription]:
        """Give the schedules that start trees; a new one may take a moment to be among them."""
        with _refusals():
            async for listed in await self._trees.client.list_schedules():
                if listed.schedule is not None and _starts_trees(listed.schedule.action):
                    yield listed


class TreeSchedule:
    """A schedule on the server; `schedule_handle` is the way out to plain Temporal."""

    def __init__(self, trees: "TreeClient", schedule_id: str) -> None:
        self._trees = trees
        self.id = schedule_id

    @property
    def schedule_handle(self) -> ScheduleHandle:
        """Temporal's handle."""
        return self._trees.client.get_schedule_handle(self.id)

    async def describe(self) -> ScheduleDescription:
        """Say when it is due, what it did and whether it is paused."""
        with self._translated():
            return await self.schedule_handle.describe()

    def trees(self, *, limit: int | None = None) -> "AsyncIterator[TreeSummary]":
        """Give the trees that it started, the latest first."""
        quoted = self.id.replace("\\", "\\\\").replace("'", "\\'")
        return self._trees.list(f"TemporalScheduledById = '{quoted}'", limit=limit)

    async def pause(self, note: str | None = None) -> None:
        """Start nothing more until `resume`; trees that run go on."""
        with self._translated():
            await self.schedule_handle.pause(note=note)

    async def resume(self, note: str | None = None) -> None:
        """Start trees again from the next time on; what was due meanwhile is left out."""
        with self._translated():
            await self.schedule_handle.unpause(note=note)

    async def trigger(self, *, overlap: ScheduleOverlapPolicy | None = None) -> None:
        """Start a tree now, also if paused; by default under the schedule's overlap policy."""
        with self._translated():
            await self.schedule_handle.trigger(overlap=overlap)

    async def backfill(
        self,
        start_at: datetime,
        end_at: datetime,
        *,
        overlap: ScheduleOverlapPolicy = ScheduleOverlapPolicy.BUFFER_ALL,
    ) -> None:
        """Start the trees of past times, both ends included, by default one after another.

        A time whose tree has run already runs again, under the same id.
        """
        with self._translated():
            await self.schedule_handle.backfill(ScheduleBackfill(start_at, end_at, overlap))

    async def delete(self) -> None:
        """Delete the schedule; trees that it started stay."""
        with self._translated():
            await self.schedule_handle.delete()

    @contextmanager
    def _translated(self) -> Generator[None]:
        try:
            yield
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                raise ScheduleNotFound(self.id, self._trees.client.namespace) from None
            raise


def schedule_spec(
    cron: str | None, every: timedelta | str | None, time_zone: str | None = None
) -> ScheduleSpec:
    """Say to Temporal when trees are due; raises `ScheduleRefused`.

    Whether a cron expression is one, and a time zone, the server knows.
    """
    if every is None and cron is not None:
        return ScheduleSpec(cron_expressions=[cron], time_zone_name=time_zone)
    if every is None or cron is not None:
        raise ScheduleRefused("say when: cron or every, one of the two")
    if time_zone is not None:
        raise ScheduleRefused("a time zone goes with cron; every is the same in all")
    return ScheduleSpec(intervals=[ScheduleIntervalSpec(every=_whole_seconds(every))])


def _whole_seconds(every: timedelta | str) -> timedelta:
    """Read how often; the server would drop parts of a second without a word."""
    try:
        duration = parse_duration(every)
    except ValueError as error:
        raise ScheduleRefused(f"every: {error}") from None
    if duration % timedelta(seconds=1):
        raise ScheduleRefused("every: a schedule counts in whole seconds")
    return duration


def _starts_trees(action: object) -> bool:
    return isinstance(action, ScheduleListActionStartWorkflow) and action.workflow == WORKFLOW_TYPE


@contextmanager
def _refusals() -> Generator[None]:
    """Turn what the server refuses, such as a time or a namespace, into one line."""
    try:
        yield
    except RPCError as error:
        reason = f"the server refuses it: {' '.join(str(error).split())}"
        if error.status is RPCStatusCode.INVALID_ARGUMENT:
            raise ScheduleRefused(reason) from None
        if error.status is RPCStatusCode.NOT_FOUND:
            raise TreeError(reason) from None
        raise
