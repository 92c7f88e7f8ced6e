"""What a partition tells the tree that it runs tasks of, by signals and with its result."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any

from temporalio import workflow
from temporalio.exceptions import ApplicationError

from regrow.core import limits
from regrow.core.handover import Reporter
from regrow.core.packing import packed
from regrow.core.run import TreeRun
from regrow.core.wire import PARTITION_REPORT, REPORT_ALARM


class Reports:
    """Sends what is due; one report at a time, so that they arrive in order."""

    def __init__(self, about: Mapping[str, Any], wake_up: Callable[[], None]) -> None:
        """`about` is what the tree said about this partition."""
        self.reporter = Reporter(about)
        self.tree_id: str = about["of"]
        self._wake_up = wake_up
        self._sending: asyncio.Task[None] | None = None
        self._alarm: datetime | None = None

    @property
    def is_quiet(self) -> bool:
        """Whether all that is known has arrived."""
        return self.reporter.due_at is None and not self._is_sending

    def tell(self, run: TreeRun, *, at_once: bool = False) -> None:
        """Send what is due, or see to it that we look again when it is."""
        now = workflow.now()
        self.reporter.look(run, now)
        due_at = self.reporter.due_at
        if due_at is None or run.is_finished or self._is_sending:
            return
        if due_at <= now or at_once:
            self._sending = asyncio.create_task(self._send(self.reporter.report(run, now)))
        else:
            self._wake_at(due_at, now)

    async def last(self, run: TreeRun) -> dict[str, Any]:
        """Give the last report, once the others have arrived; a cancel changes nothing any more."""
        now = workflow.now()
        self.reporter.look(run, now)
        *others, last = self.reporter.last_words(run, now)
        await self._arrival()
        for report in others:
            self._sending = asyncio.create_task(self._send(report))
            await self._arrival()
        return packed(last, limits.PARTITION_PACK_ABOVE)

    @property
    def _is_sending(self) -> bool:
        return self._sending is not None and not self._sending.done()

    async def _send(self, report: dict[str, Any]) -> None:
        info = workflow.info()
        assert info.parent is not None  # noqa: S101 - a partition is a child
        unit = info.workflow_id.removeprefix(f"{info.parent.workflow_id}/")
        said = {"unit": unit, **report}
        tree = workflow.get_external_workflow_handle(info.parent.workflow_id)
        with suppress(ApplicationError):  # a tree that has ended need not hear it
            await tree.signal(PARTITION_REPORT, packed(said, limits.PARTITION_PACK_ABOVE))
        self._wake_up()

    async def _arrival(self) -> None:
        while self._sending is not None and not self._sending.done():
            with suppress(asyncio.CancelledError):
                await workflow.wait([self._sending])

    def _wake_at(self, due_at: datetime, now: datetime) -> None:
        if self._alarm is None or self._alarm <= now or self._alarm > due_at:
            self._alarm = due_at
            rest = asyncio.create_task(workflow.sleep(due_at - now, summary=REPORT_ALARM))
            rest.add_done_callback(lambda _: self._wake_up())
