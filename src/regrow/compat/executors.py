"""Executors as that system's authors write them: made for one task, with all about it in `self`.

Regrow makes an instance and hands its `execute` the inputs and a `TaskContext`. A class of this
module is made again for the task that it runs, as its constructor expects, and its `cancel` is
called when the task is interrupted. Called by hand, as unit tests do, `execute` is as it was
written.
"""

import asyncio
import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Self

import structlog
from pydantic import GetCoreSchemaHandler, TypeAdapter, ValidationError
from pydantic_core import CoreSchema

from regrow import executors
from regrow.compat.inputs import Schema, checked, json_schema_of
from regrow.context import TaskContext

log = structlog.get_logger("regrow.executor")


@dataclass(frozen=True, slots=True)
class RunningTask:
    """What an executor may know of the task that it runs."""

    id: str
    user_id: str | None = None


class BaseTask(executors.BaseTask):
    """An executor of that system; an instance is made for each execution."""

    name: ClassVar[str] = ""
    type: ClassVar[str | None] = None
    cancelable: ClassVar[bool] = False
    """Read by nobody: every executor can be cancelled."""
    inputs_schema: Schema | None = None
    """A pydantic model or a JSON Schema; it is published, and inputs that don't fit are refused."""
    get_demo_result: ClassVar[Callable[..., Any]]
    """Of a class that has it: takes the task and the inputs, and gives the result of a demo."""

    def __init__(  # noqa: PLR0913 - what that system's constructors are given
        self,
        inputs: dict[str, Any] | None = None,
        inputs_schema: Schema | None = None,
        *,
        task: RunningTask | None = None,
        task_id: str | None = None,
        user_id: str | None = None,
        cancellation_checker: Callable[[], bool] | None = None,
        **_: Any,
    ) -> None:
        self.inputs: dict[str, Any] = inputs or {}
        self.task = task
        self.task_id = task_id or (task.id if task else None)
        self.user_id = user_id or (task.user_id if task else None)
        self.cancellation_checker = cancellation_checker
        """Tells whether the task is being cancelled."""
        if inputs_schema is not None:
            self.inputs_schema = inputs_schema

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls.execute = _hosted(cls)
        if "get_demo_result" in vars(cls):
            cls.get_demo_result = _shown(vars(cls)["get_demo_result"])

    def get_input_schema(self) -> dict[str, Any]:
        """Give the JSON Schema of the inputs; override it to write another."""
        return json_schema_of(self.inputs_schema)

    def check_input_schema(self, parameters: dict[str, Any]) -> None:
        """Raise ValueError, saying what is wrong, if `parameters` don't fit `inputs_schema`."""
        if self.inputs_schema is None:
            return
        try:
            TypeAdapter(checked(self.inputs_schema)).validate_python(parameters)
        except ValidationError as error:
            wrong = (f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
            raise ValueError("; ".join(wrong)) from None

    async def cancel(self) -> Any:
        """Called when the task is interrupted, while `execute` still runs; override it."""

    @classmethod
    def for_task(cls, inputs: Any, context: TaskContext) -> Self:
        """Make the instance that executes one task."""
        task = RunningTask(context.task_id, context.user_id)
        running = asyncio.current_task()
        return cls(
            inputs=inputs,
            task=task,
            user_id=task.user_id,
            cancellation_checker=lambda: running is not None and running.cancelling() > 0,
        )


def _writes_schema(cls: type[BaseTask]) -> bool:
    return cls.get_input_schema is not BaseTask.get_input_schema


def _hosted(cls: type[BaseTask]) -> Callable[..., Any]:
    """Give an `execute` that also takes the context, and then runs on an instance for the task."""
    written = cls.execute

    async def execute(self: BaseTask, inputs: Any, context: TaskContext | None = None) -> Any:
        if context is None:  # called by hand, or by a subclass
            return await _answer(written(self, inputs))
        made = type(self).for_task(inputs, context)
        return await _interruptible(made, written(made, inputs))

    signature = inspect.signature(execute)
    functools.update_wrapper(execute, written)
    execute.__signature__ = signature  # type: ignore[attr-defined]  # else that of the wrapped one
    execute.__annotations__ = {**written.__annotations__, "inputs": _inputs_type(cls, written)}
    return execute


def _shown(written: Callable[..., Any]) -> Callable[..., Any]:
    """Give a `get_demo_result` that is handed a task, as it expects, for Regrow's context."""

    @functools.wraps(written)
    def get_demo_result(self: BaseTask, task: Any, inputs: Any) -> Any:
        if isinstance(task, TaskContext):
            task = RunningTask(task.task_id, task.user_id)
        return written(self, task, inputs)

    return get_demo_result


def _inputs_type(cls: type[BaseTask], written: Callable[..., Any]) -> Any:
    """Give the type that is published and checked: of the schema, else as it is annotated."""
    if cls.inputs_schema is not None or _writes_schema(cls):
        return Annotated[dict[str, Any], _Schema(cls)]
    _, inputs, *_ = inspect.signature(written).parameters
    return written.__annotations__.get(inputs, Any)


@dataclass(frozen=True, slots=True)
class _Schema:
    """The schema of a class, asked for when somebody wants it, since that takes an instance."""

    cls: type[BaseTask]

    def __get_pydantic_core_schema__(self, _: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        writes = _writes_schema(self.cls)
        schema = self.cls(inputs={}).get_input_schema() if writes else self.cls.inputs_schema
        return handler.generate_schema(checked(schema or {}))


async def _answer(work: Any) -> Any:
    return await work if inspect.isawaitable(work) else work


async def _interruptible(executor: BaseTask, work: Any) -> Any:
    """Await the work; when it is interrupted, tell the executor first."""
    outer = asyncio.current_task()
    running = asyncio.create_task(_answer(work), name=outer.get_name() if outer else None)
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        if not running.done():
            await _tell(executor)
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
        raise


async def _tell(executor: BaseTask) -> None:
    try:
        await _answer(executor.cancel())
    except Exception:  # it is cancelled all the same
        log.warning("executor.cancel_failed", executor=type(executor).__name__, exc_info=True)
