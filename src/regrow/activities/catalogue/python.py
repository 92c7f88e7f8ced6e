"""`python`: a function of an installed module as a task, without writing an executor.

The operator of a worker lists the modules; a document cannot add to them. Only functions that such
a module itself defines can be called, so that allowing a module doesn't allow what it imports.
"""

import importlib
import inspect
import re
from collections.abc import Callable
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

from regrow.activities.calling import calls_here
from regrow.activities.catalogue.failures import NOT_FOUND
from regrow.core.models import Json
from regrow.core.problems import suggestion
from regrow.core.wire import ErrorType
from regrow.executors import TaskContext, TaskError, executor_register
from regrow.settings import load_settings

_PATIENCE: Final = 60.0


def _function_name(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z]\w*", text):
        raise PydanticCustomError("function", "write package.module:name, as in statistics:mean")
    return text


class PythonCall(BaseModel):
    """What to call, and with what."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)

    function: Annotated[str, AfterValidator(_function_name)]
    """`package.module:name`; names that begin with `_` can't be called."""
    args: list[Json] = Field(default_factory=list[Json])
    """Positional arguments."""
    kwargs: dict[str, Json] = Field(default_factory=dict[str, Json])
    """Arguments by name."""


@executor_register(
    "python",
    heartbeat_timeout="30s",
    tags=("code",),
    examples=({"function": "statistics:mean", "args": [[1, 2, 3]]},),
    demo="what the function gives",
)
async def python(inputs: PythonCall, context: TaskContext) -> Any:
    """Call a function of an installed module and give what it returns.

    The module must be listed in `REGROW_PYTHON_MODULES`, which is read at each call, and define the
    function itself. Arguments arrive as JSON has them. An async function runs on the executors'
    loop, any other in a thread. Safe to repeat if the function is; what it raises is retried by the
    task's policy, a `TypeError` about its arguments isn't. A cancel interrupts it as it does an
    executor.
    """
    module, name = inputs.function.split(":")
    function = _function(module, name)
    _check_arguments(function, inputs)
    return await calls_here.get().run(
        lambda: function(*inputs.args, **inputs.kwargs),
        f"{inputs.function} ({context.tree_id}/{context.task_id})",
        _PATIENCE,
        is_async=inspect.iscoroutinefunction(function),
    )


def _function(module_name: str, name: str) -> Callable[..., Any]:
    if module_name not in load_settings().python_modules:
        message = (
            f"this worker may not call functions of '{module_name}'; its operator allows a module"
            " by listing it in REGROW_PYTHON_MODULES"
        )
        raise TaskError(message, error_type=ErrorType.NOT_ALLOWED)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        message = f"this worker has no module '{error.name}', which '{module_name}' needs"
        raise TaskError(message, error_type=NOT_FOUND) from None
    own = {
        key: value
        for key, value in vars(module).items()
        if inspect.isroutine(value) and value.__module__ == module.__name__ and key[0] != "_"
    }
    if name not in own:
        message = f"'{module_name}' defines no function '{name}'{suggestion(name, own)}"
        raise TaskError(message, error_type=NOT_FOUND)
    return own[name]


def _check_arguments(function: Callable[..., Any], inputs: PythonCall) -> None:
    try:
        signature = inspect.signature(function)
    except ValueError:  # of some that are written in C
        return
    try:
        signature.bind(*inputs.args, **inputs.kwargs)
    except TypeError as error:
        message = f"{inputs.function} was given wrong arguments: {error}"
        raise TaskError(message, error_type=ErrorType.VALIDATION) from None
