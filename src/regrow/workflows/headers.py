"""The `regrow` header: what an executor may know of its task beyond workflow and activity id."""

from typing import Any

import temporalio.api.common.v1
from temporalio import workflow
from temporalio.worker import (
    StartActivityInput,
    WorkflowInboundInterceptor,
    WorkflowOutboundInterceptor,
)

from regrow.core.wire import DESCRIBE_EXECUTORS, HEADER, WORKFLOW_TYPE


class TaskHeaders(WorkflowInboundInterceptor):
    """Adds the header to the activities of a tree whose user is known."""

    def init(self, outbound: WorkflowOutboundInterceptor) -> None:
        """Stand before the next outbound interceptor."""
        super().init(_Outbound(outbound))


class _Outbound(WorkflowOutboundInterceptor):
    def start_activity(self, input: StartActivityInput) -> workflow.ActivityHandle[Any]:  # noqa: A002 - the SDK's name
        user_id = input.priority.fairness_key
        tree = workflow.info().workflow_type == WORKFLOW_TYPE
        if tree and user_id is not None and input.activity != DESCRIBE_EXECUTORS:
            input.headers = {**input.headers, HEADER: _header(user_id)}
        return super().start_activity(input)


def _header(user_id: str) -> temporalio.api.common.v1.Payload:
    said: dict[str, str] = {"user_id": user_id}
    return workflow.payload_converter().to_payload(said)
