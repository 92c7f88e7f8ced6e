"""Telling hooks of trees what happens to a tree, by activities of their own.

Only what the worker's hooks wait for is told, so a tree without such hooks has no event of theirs.
What is told first doesn't hold up the tasks; the end is told before the workflow closes.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError

from regrow.core.models import Json
from regrow.core.wire import TREE_HOOKS, TreeMoment

_ATTEMPT: Final = timedelta(minutes=1)
_IN_ALL: Final = timedelta(minutes=5)
_RETRY: Final = RetryPolicy(maximum_attempts=3)


class Telling:
    """What is told to hooks, and whether they have heard it."""

    def __init__(
        self, wanted: Sequence[str], about: Mapping[str, Json], wake_up: Callable[[], None]
    ) -> None:
        """`about` is what every event says of the tree; `wake_up` is called when hooks have run."""
        self._wanted, self._about, self._wake_up = wanted, about, wake_up
        self._open: list[asyncio.Task[Any]] = []

    @property
    def is_open(self) -> bool:
        """Whether hooks still run, which a fresh run could not wait for."""
        return any(not each.done() for each in self._open)

    def begin(self) -> None:
        """Tell that the tree was created and starts."""
        self._tell(TreeMoment.CREATED, TreeMoment.STARTED)

    async def end(self, moment: TreeMoment, **more: Json) -> None:
        """Tell how the tree ends, after what was told before; a cancel changes nothing any more."""
        await self._heard()
        self._tell(moment, **more)
        await self._heard()

    def _tell(self, *moments: TreeMoment, **more: Json) -> None:
        wanted = [moment for moment in moments if moment in self._wanted]
        if not wanted:
            return
        events = [{"moment": moment, **self._about, **more} for moment in wanted]
        handle = workflow.start_activity(
            TREE_HOOKS,
            events,
            activity_id=f"~{moments[-1]}",
            start_to_close_timeout=_ATTEMPT,
            schedule_to_close_timeout=_IN_ALL,
            retry_policy=_RETRY,
            summary=f"hooks: the tree is {' and '.join(wanted)}",
        )
        handle.add_done_callback(self._has_heard)
        self._open.append(handle)

    def _has_heard(self, done: asyncio.Task[Any]) -> None:
        error = None if done.cancelled() else done.exception()
        if error is not None and not isinstance(error, ActivityError):
            raise error
        self._wake_up()

    async def _heard(self) -> None:
        while self.is_open:
            try:
                await workflow.wait([each for each in self._open if not each.done()])
            except asyncio.CancelledError:
                continue
