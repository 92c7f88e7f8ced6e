"""What stands before every workflow of a worker: headers for executors, details for people."""

from functools import cached_property
from typing import Any, Final

from temporalio import workflow
from temporalio.worker import (
    HandleQueryInput,
    StartActivityInput,
    StartLocalActivityInput,
    WorkflowInboundInterceptor,
    WorkflowOutboundInterceptor,
)

from regrow.core.wire import DESCRIBE_EXECUTORS, HEADER, WORKFLOW_TYPE

_METADATA: Final = "__temporal_workflow_metadata"
"""The query with which the Web UI and `temporal workflow metadata` ask for the details."""


class TreeInterceptor(WorkflowInboundInterceptor):
    """Adds the header to the activities of a tree, and its details to what the Web UI asks for.

    The details are what `workflow.set_current_details` would set, made only when somebody asks for
    them: a tree at which nobody looks pays nothing, not for a task that ends and not in a replay.
    """

    def init(self, outbound: WorkflowOutboundInterceptor) -> None:
        """Stand before the next outbound interceptor."""
        super().init(_Outbound(outbound))

    async def handle_query(self, input: HandleQueryInput) -> Any:  # noqa: A002 - the SDK's name
        """Answer as the SDK does, and add the details to its own query."""
        answer = await super().handle_query(input)
        if input.query == _METADATA and _is_tree():
            answer.current_details = workflow.instance().details()
        return answer


class _Outbound(WorkflowOutboundInterceptor):
    """Writes the `regrow` header: what an executor may know beyond workflow and activity id."""

    def start_activity(self, input: StartActivityInput) -> workflow.ActivityHandle[Any]:  # noqa: A002 - the SDK's name
        is_of_tree = self._is_in_tree and input.activity != DESCRIBE_EXECUTORS
        said = _said(input) if is_of_tree else {}
        if said:
            payload = workflow.payload_converter().to_payload(said)
            input.headers = {**input.headers, HEADER: payload}
        return super().start_activity(input)

    def start_local_activity(
        self,
        input: StartLocalActivityInput,  # noqa: A002 - the SDK's name
    ) -> workflow.ActivityHandle[Any]:
        said: dict[str, Any] = {**workflow.instance().header()} if self._is_in_tree else {}
        if said:
            payload = workflow.payload_converter().to_payload(said)
            input.headers = {**input.headers, HEADER: payload}
        return super().start_local_activity(input)

    @cached_property
    def _is_in_tree(self) -> bool:
        """Asked for each activity, and the same for all of one workflow."""
        return _is_tree()


def _is_tree() -> bool:
    return workflow.info().workflow_type == WORKFLOW_TYPE


def _said(start: StartActivityInput) -> dict[str, Any]:
    user_id = start.priority.fairness_key
    return {**workflow.instance().header(), **({} if user_id is None else {"user_id": user_id})}
