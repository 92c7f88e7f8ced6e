"""What people ask of a running tree, as updates of its workflow.

Each takes one JSON argument, is refused in one line before anything is recorded if it cannot be
done, and changes nothing when it is said again.
"""

import abc
from typing import Any

from temporalio import workflow
from temporalio.exceptions import ApplicationError

from regrow.core.requests import REQUESTS, RequestRefused, read_request
from regrow.core.result import moment
from regrow.core.run import TreeRun
from regrow.core.wire import (
    APPROVE,
    CANCEL_TASK,
    PAUSE,
    RESUME,
    RETRY_TASK,
    SEND_EVENT,
    SKIP_TASK,
)


class Updates(abc.ABC):
    """The part of the workflow that people talk to."""

    _run: TreeRun | None

    @abc.abstractmethod
    def _wake_up(self) -> None:
        """Let the workflow look at what has changed."""

    @workflow.update(
        name=APPROVE, description="Answer an approval: task_id, approved=true, by, note, result"
    )
    async def approve(self, request: Any = None) -> dict[str, Any]:
        """Let a person's answer end the approval; the first answer counts."""
        return await self._do(APPROVE, request)

    @workflow.update(
        name=SEND_EVENT, description="Send an event by name, for wait_for_event: event, payload"
    )
    async def send_event(self, request: Any = None) -> dict[str, Any]:
        """Keep the first event of each name for whatever waits for it, now or later."""
        return await self._do(SEND_EVENT, request)

    @workflow.update(name=PAUSE, description="Start nothing new; what runs goes on: reason, by")
    async def pause(self, request: Any = None) -> dict[str, Any]:
        """Hold everything that has not begun."""
        return await self._do(PAUSE, request)

    @workflow.update(name=RESUME, description="Let a paused tree go on: reason, by")
    async def resume(self, request: Any = None) -> dict[str, Any]:
        """Let the tree go on."""
        return await self._do(RESUME, request)

    @workflow.update(
        name=CANCEL_TASK, description="Cancel one task, or what is in a group: task_id, reason, by"
    )
    async def cancel_task(self, request: Any = None) -> dict[str, Any]:
        """Interrupt what runs of the task; dependents see a failure."""
        return await self._do(CANCEL_TASK, request)

    @workflow.update(
        name=RETRY_TASK,
        description="Run a failed task again, or all that failed: task_id, reason, by",
    )
    async def retry_task(self, request: Any = None) -> dict[str, Any]:
        """Run again what failed; what was skipped because of it comes back."""
        return await self._do(RETRY_TASK, request)

    @workflow.update(
        name=SKIP_TASK,
        description="End a task without running it: task_id, result (if it has one), reason, by",
    )
    async def skip_task(self, request: Any = None) -> dict[str, Any]:
        """End the task as skipped, or as completed with the result that is given."""
        return await self._do(SKIP_TASK, request)

    # Every update has the same two steps; a validator runs before anything is recorded.

    @approve.validator
    def _refuse_approve(self, request: Any = None) -> None:
        self._refuse(APPROVE, request)

    @send_event.validator
    def _refuse_send_event(self, request: Any = None) -> None:
        self._refuse(SEND_EVENT, request)

    @pause.validator
    def _refuse_pause(self, request: Any = None) -> None:
        self._refuse(PAUSE, request)

    @resume.validator
    def _refuse_resume(self, request: Any = None) -> None:
        self._refuse(RESUME, request)

    @cancel_task.validator
    def _refuse_cancel_task(self, request: Any = None) -> None:
        self._refuse(CANCEL_TASK, request)

    @retry_task.validator
    def _refuse_retry_task(self, request: Any = None) -> None:
        self._refuse(RETRY_TASK, request)

    @skip_task.validator
    def _refuse_skip_task(self, request: Any = None) -> None:
        self._refuse(SKIP_TASK, request)

    def _refuse(self, name: str, request: Any) -> None:
        """Refuse what cannot be done, as far as it can be known by then."""
        try:
            asked = read_request(REQUESTS[name], request)
            if self._run is not None:
                asked.check(self._run)
        except RequestRefused as refusal:
            raise _refused(refusal) from None

    async def _do(self, name: str, request: Any) -> dict[str, Any]:
        """Do it once the tree has begun."""
        await workflow.wait_condition(lambda: self._run is not None)
        run = self._run
        assert run is not None  # noqa: S101 - that was waited for
        try:
            asked = read_request(REQUESTS[name], request)
            answer = asked.do(run, workflow.now())
        except RequestRefused as refusal:
            raise _refused(refusal) from None
        self._wake_up()
        return {"at": moment(workflow.now()), **answer}


def _refused(refusal: RequestRefused) -> ApplicationError:
    return ApplicationError(str(refusal), type="RequestRefused", non_retryable=True)
