"""One plugin that makes a client, a worker and a replayer work on task trees alike.

    client = await Client.connect("localhost:7233", plugins=[RegrowPlugin()])
    worker = Worker(client, task_queue="task-trees", activities=…)

A worker that should also run executors enters an `ExecutorHost` and passes its activities; the
`regrow worker` command does that.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import temporalio.converter
import temporalio.worker.workflow_sandbox as sandbox
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.converter import (
    DataConverter,
    SerializationContext,
    WithSerializationContext,
    WorkflowSerializationContext,
)
from temporalio.plugin import SimplePlugin
from temporalio.worker import (
    ActivityInboundInterceptor,
    ExecuteActivityInput,
    Interceptor,
    ReplayerConfig,
    UnsandboxedWorkflowRunner,
    WorkerConfig,
    WorkflowInboundInterceptor,
    WorkflowInstance,
    WorkflowInstanceDetails,
    WorkflowInterceptorClassInput,
    WorkflowRunner,
)

from regrow.activities.host import task_header
from regrow.core.wire import HEADER
from regrow.workflows.interceptor import TreeInterceptor
from regrow.workflows.task_tree import TaskTreeWorkflow

_PASSED_THROUGH = (
    "regrow.core",
    "pydantic",
    "pydantic_core",
    "annotated_types",
    "typing_inspection",
    "jmespath",
)


_ANY: Final = WorkflowSerializationContext(namespace="any", workflow_id="any")


class RegrowPlugin(SimplePlugin):
    """The workflow `TaskTree`, its data converter, its sandbox and what stands before it."""

    def __init__(self) -> None:
        super().__init__(  # pyright: ignore[reportUnknownMemberType]  # a bare Callable in the SDK
            "regrow",
            data_converter=_converter,
            interceptors=[_TreeInterceptor()],
            workflows=_with_task_tree,
            workflow_runner=runner_for,
        )

    def configure_worker(self, config: WorkerConfig) -> WorkerConfig:
        """See base class; then leave out what this worker's converter has no use for."""
        config = super().configure_worker(config)
        given: dict[str, Any] = {**config}
        converter = given["client"].data_converter
        config["workflow_runner"] = _lean(given["workflow_runner"], converter)
        return config

    def configure_replayer(self, config: ReplayerConfig) -> ReplayerConfig:
        """See base class; then do as for a worker."""
        config = super().configure_replayer(config)
        given: dict[str, Any] = {**config}
        config["workflow_runner"] = _lean(given["workflow_runner"], given["data_converter"])
        return config


def _converter(given: DataConverter | None) -> DataConverter:
    """Use pydantic's JSON; keep whatever codec the application has set."""
    if given is None or given.payload_converter_class in (
        temporalio.converter.DefaultPayloadConverter,
        pydantic_data_converter.payload_converter_class,
    ):
        base = given or DataConverter.default
        return replace(
            base, payload_converter_class=pydantic_data_converter.payload_converter_class
        )
    return given


def _with_task_tree(given: Sequence[type] | None) -> Sequence[type]:
    workflows = [] if given is None else [*given]
    return workflows if TaskTreeWorkflow in workflows else [*workflows, TaskTreeWorkflow]


def runner_for(given: WorkflowRunner | None) -> WorkflowRunner:
    """Let the sandbox share what is pure; leave an unsandboxed runner (a debugger's) alone."""
    if isinstance(given, UnsandboxedWorkflowRunner):
        return given
    restrictions = sandbox.SandboxRestrictions.default
    if isinstance(given, sandbox.SandboxedWorkflowRunner):
        restrictions = given.restrictions
    shared = restrictions.with_passthrough_modules(*_PASSED_THROUGH)
    return sandbox.SandboxedWorkflowRunner(shared)


def _lean(runner: WorkflowRunner, converter: DataConverter) -> WorkflowRunner:
    """Skip the sandbox's contexts for payloads, unless a codec or a converter looks at them."""
    parts = (converter.payload_codec, converter.payload_converter, converter.failure_converter)
    if any(map(_looks_at_contexts, parts)) or not isinstance(
        runner, sandbox.SandboxedWorkflowRunner
    ):
        return runner
    return ContextFreeRunner(runner, stores=converter.external_storage is not None)


def _looks_at_contexts(part: object) -> bool:
    """Tell whether a part of a converter does otherwise in one context than without any."""
    return isinstance(part, WithSerializationContext) and part.with_context(_ANY) is not part


class ContextFreeRunner(WorkflowRunner):
    """A sandboxed runner that doesn't ask the sandbox for a serialization context per payload.

    The stock one answers with an `exec()` in the sandbox for every payload, half of a workflow
    task's time. For converters and codecs that don't look at the answer.
    """

    def __init__(self, inner: sandbox.SandboxedWorkflowRunner, *, stores: bool) -> None:
        """Only where payloads are stored elsewhere (`stores`) is asked where."""
        self._inner, self._stores = inner, stores

    def prepare_workflow(self, defn: Any) -> None:
        """Check that the workflow can be imported in the sandbox."""
        self._inner.prepare_workflow(defn)

    def create_instance(self, det: WorkflowInstanceDetails) -> WorkflowInstance:
        """Create the sandboxed instance, and answer for it."""
        return _ContextFreeInstance(self._inner.create_instance(det), stores=self._stores)

    def set_worker_level_failure_exception_types(self, types: Any) -> None:
        """Pass on."""
        self._inner.set_worker_level_failure_exception_types(types)


class _ContextFreeInstance(WorkflowInstance):
    def __init__(self, inner: WorkflowInstance, *, stores: bool) -> None:
        self._inner, self._stores = inner, stores

    def activate(self, act: Any) -> Any:
        return self._inner.activate(act)

    def get_serialization_context(self, command_info: Any) -> SerializationContext | None:
        del command_info
        return None

    def get_external_store_context(self, command_info: Any) -> Any:
        return self._inner.get_external_store_context(command_info) if self._stores else None

    def get_info(self) -> Any:
        return self._inner.get_info()

    def get_thread_id(self) -> int | None:
        return self._inner.get_thread_id()


class _TreeInterceptor(Interceptor):
    """Stands before workflows, and reads the `regrow` header in activities."""

    def workflow_interceptor_class(
        self,
        input: WorkflowInterceptorClassInput,  # noqa: A002 - the SDK's name
    ) -> type[WorkflowInboundInterceptor] | None:
        del input
        return TreeInterceptor

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:  # noqa: A002
        return _ReadHeader(next)


class _ReadHeader(ActivityInboundInterceptor):
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002
        payload = input.headers.get(HEADER)
        said: dict[str, Any] | None = None
        if payload is not None:
            said = temporalio.converter.PayloadConverter.default.from_payload(payload)
        task_header.set(dict(said) if said else None)
        return await super().execute_activity(input)
