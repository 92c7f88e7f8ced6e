"""The contract of executors: what authors write, and how it is found.

An executor is a plain function or a class with `execute`; it gets the inputs and, if it asks for
it, a `TaskContext`. Whatever it returns is read by one table (`regrow.core.outcome`). Retries,
timeouts and parallelism are not its business.
"""

import importlib
import importlib.metadata
import importlib.util
import inspect
import pkgutil
import re
import sys
import traceback
import typing
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, Final, TypeVar, cast

from pydantic import PydanticUserError, TypeAdapter, ValidationError

from regrow.context import TaskContext
from regrow.core.durations import Duration
from regrow.core.models import ID_PATTERN, Json, Policy, RetryPolicy
from regrow.core.wire import NATIVE_EXECUTORS, ErrorType
from regrow.hooks import Hook, hook_of, is_hook

MISSING_EXTRA: Final = "missing_extra"
ALIAS: Final = "alias"
"""The tag of an executor that is another one under an older name; nobody is pointed to it."""
ENTRY_POINTS: Final = "regrow.executors"

_MARK = "__regrow_executor__"
_INPUTS, _WITH_CONTEXT = 1, 2
_UNTYPED: Final = (Any, dict, dict[str, Any], typing.Dict[str, Any])  # noqa: UP006 - as authors write it

_SPAN: Final = TypeAdapter[timedelta | None](Duration | None)

Target = TypeVar("Target", bound=Callable[..., Any])
Span = timedelta | float | str
"""A duration: a timedelta, a number of seconds, or text like `1m30s`."""


class TaskError(Exception):
    """Fail the task with a type of error, and say whether another attempt could help.

    `retry_after` is in seconds and overrides the policy's next interval. Further keywords are kept
    as metadata of the failure.
    """

    def __init__(
        self,
        error: str,
        *,
        error_type: str = ErrorType.EXECUTION,
        retryable: bool = False,
        retry_after: float | None = None,
        **details: Json,
    ) -> None:
        super().__init__(error)
        self.error = error
        self.error_type = str(error_type)
        self.retryable = retryable
        self.retry_after = retry_after
        self.details = details


class ExecutorErrors(Exception):  # noqa: N818 - several errors in one
    """The executors of a worker cannot be used; `problems` lists every reason."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


class BaseTask:
    """An executor as a class: one instance for each execution."""

    id: ClassVar[str] = ""
    description: ClassVar[str] = ""
    tags: ClassVar[Sequence[str]] = ()
    examples: ClassVar[Sequence[Any]] = ()

    if typing.TYPE_CHECKING:
        execute: Callable[..., Any]
        """Does the work, async or not; a second parameter, if any, gets the `TaskContext`."""
    else:

        async def execute(self, inputs: Any) -> Any:
            """Do the work; a second parameter, if there is one, gets the `TaskContext`."""
            del inputs
            message = f"{type(self).__name__} has no method 'execute'"
            raise TaskError(message, error_type=ErrorType.CONTRACT)


@dataclass(frozen=True, slots=True)
class _Options:
    id: str | None
    policy: Policy
    tags: tuple[str, ...]
    examples: tuple[Any, ...]
    requires: Mapping[str, str]
    demo: Any
    cache: timedelta | None
    local: bool


@dataclass(frozen=True)
class Executor:
    """One executor, ready to be called."""

    id: str
    target: Callable[..., Any]
    description: str
    policy: Policy
    tags: tuple[str, ...]
    inputs_type: Any
    output_type: Any
    wants_context: bool
    is_async: bool
    examples: tuple[Any, ...] = ()
    requires: Mapping[str, str] = field(default_factory=dict[str, str])
    demo: Any = None
    cache: timedelta | None = None
    """How long a result is kept for equal inputs."""
    local: bool = False
    """Whether its tasks run inside a workflow task, unless they say otherwise."""

    @property
    def source(self) -> str:
        """Where it is written, for people."""
        return f"{self.target.__module__}.{self.target.__qualname__}"

    @property
    def missing(self) -> tuple[str, ...]:
        """Give the requirements to install before it can run, such as `regrow[http]`."""
        absent = [need for module, need in self.requires.items() if not _can_import(module)]
        return tuple(dict.fromkeys(absent))

    @cached_property
    def _adapter(self) -> TypeAdapter[Any] | None:
        return None if self.inputs_type in _UNTYPED else TypeAdapter(self.inputs_type)

    def call(self, inputs: Json, context: TaskContext) -> Any:
        """Validate the inputs and call; gives an awaitable if `is_async`.

        Raises `TaskError` before any of the author's code runs: `missing_extra` where a library
        isn't installed, `validation_error` for inputs that don't fit.
        """
        if needs := " ".join(f"'{need}'" for need in self.missing):
            message = f"{self.id} needs a library that this worker lacks: pip install {needs}"
            raise TaskError(message, error_type=MISSING_EXTRA)
        value = self._validated(inputs)
        bound: Callable[..., Any] = (
            cast("type[BaseTask]", self.target)().execute
            if inspect.isclass(self.target)
            else self.target
        )
        return bound(value, context) if self.wants_context else bound(value)

    def input_errors(self, inputs: Json) -> list[tuple[tuple[int | str, ...], str, str]]:
        """Give what is wrong with inputs: where, pydantic's type of error, and in words."""
        if self._adapter is None:
            return []
        try:
            self._adapter.validate_python(inputs)
        except ValidationError as error:
            return [(item["loc"], item["type"], item["msg"]) for item in error.errors()]
        except Exception:  # noqa: BLE001 - an author's validator; the task itself will say so
            return []
        return []

    def demo_answer(self, inputs: Json, context: TaskContext) -> Any:
        """Give what stands for a result where a tree is only shown; the executor isn't called."""
        own = getattr(self.target, "get_demo_result", None)
        if inspect.isclass(self.target) and own is not None:
            answer = cast("type[Any]", self.target)().get_demo_result(context, inputs)
        else:
            answer = self.demo(inputs) if callable(self.demo) else self.demo
        return {"demo": self.id} if answer is None else answer

    def input_schema(self) -> dict[str, Any]:
        """Give the JSON Schema of the inputs."""
        return self._adapter.json_schema() if self._adapter else {"type": "object"}

    def output_schema(self) -> dict[str, Any]:
        """Give the JSON Schema of the result, `{}` where the author gave no type."""
        if self.output_type in _UNTYPED:
            return {}
        try:
            return TypeAdapter(self.output_type).json_schema(mode="serialization")
        except PydanticUserError:  # a return type that has no schema
            return {}

    def _validated(self, inputs: Json) -> Any:
        if self._adapter is None:
            return inputs
        try:
            return self._adapter.validate_python(inputs)
        except ValidationError:
            wrong = [f"{_place(where)}: {said}" for where, _, said in self.input_errors(inputs)]
            message = f"{self.id} was given invalid inputs: {'; '.join(wrong)}"
            raise TaskError(message, error_type=ErrorType.VALIDATION) from None


def executor_register(  # noqa: PLR0913 - Temporal's options, all keywords
    id: str | None = None,  # noqa: A002 - the word of the contract
    *,
    start_to_close_timeout: Span | None = None,
    schedule_to_close_timeout: Span | None = None,
    schedule_to_start_timeout: Span | None = None,
    heartbeat_timeout: Span | None = None,
    retry: RetryPolicy | Mapping[str, Any] | None = None,
    tags: Sequence[str] = (),
    examples: Sequence[Any] = (),
    requires: Mapping[str, str] | None = None,
    demo: Any = None,
    cache: Span | None = None,
    local: bool = False,
) -> Callable[[Target], Target]:
    """Mark a function or class as an executor; it stays callable as it is.

    Its id: `id`, else the class attribute `id`, else the class name in snake case or the
    function's name. Timeouts and retries overrule the document's `defaults`, not the task's own.
    `tags` and `examples` (inputs, or words) are for people and tools that look for an executor.
    `requires` maps modules that it imports when it runs to what `pip install` calls them, such as
    `{"aiohttp": "regrow[http]"}`; without one of them it fails by that name. `demo` is the result
    in a tree that is run as a demo: a value, or a function that gives one for the inputs. `cache`
    is how long a result may stand for the next call with equal inputs, of the same user.
    `local` is for short work that may be repeated: its tasks are local unless they say otherwise.
    """
    policy = Policy.model_validate(
        {
            "start_to_close_timeout": start_to_close_timeout,
            "schedule_to_close_timeout": schedule_to_close_timeout,
            "schedule_to_start_timeout": schedule_to_start_timeout,
            "heartbeat_timeout": heartbeat_timeout,
            "retry": retry or {},
        }
    )
    kept = _SPAN.validate_python(cache)
    words = tuple(tags), tuple(examples)
    options = _Options(id, policy, *words, dict(requires or {}), demo, kept, local)

    def mark(target: Target) -> Target:
        if not callable(target):
            message = "executor_register marks functions and classes"
            raise TypeError(message)
        setattr(target, _MARK, options)
        return target

    return mark


class Registry:
    """The executors that one worker has."""

    def __init__(self, *targets: Callable[..., Any]) -> None:
        self._executors: dict[str, Executor] = {}
        self._problems: list[str] = []
        self._built_in: tuple[str, ...] = NATIVE_EXECUTORS
        self.hooks: list[Hook] = []
        """What else runs, in the order in which it was found."""
        self.add(*targets)

    def __iter__(self) -> Iterator[Executor]:
        return iter(self._executors.values())

    def __getitem__(self, executor_id: str) -> Executor:
        return self._executors[executor_id]

    def __contains__(self, executor_id: str) -> bool:
        return executor_id in self._executors

    def add(self, *targets: Callable[..., Any]) -> None:
        """Take in marked functions and classes; `check` reports what is wrong with them."""
        for target in targets:
            if is_hook(target):
                self._add_hook(hook_of(target))
                continue
            try:
                executor = _read(target)
            except (TypeError, ValueError, NameError, PydanticUserError) as error:
                self._problems.append(f"{target.__module__}.{target.__qualname__}: {error}")
                continue
            known = self._executors.setdefault(executor.id, executor)
            if executor.id in self._built_in:
                self._problems.append(
                    f"'{executor.id}' is the id of a built-in executor; {executor.source} needs"
                    " another"
                )
            elif known.target is not target:
                self._problems.append(
                    f"'{executor.id}' is registered twice: {known.source} and {executor.source}"
                )

    def _add_hook(self, hook: Hook) -> None:
        if hook not in self.hooks:  # modules import each other's
            self.hooks.append(hook)

    def add_built_in(self, modules: Sequence[str]) -> None:
        """Take in Regrow's own executors; their ids are reserved from then on."""
        for name in modules:
            self.scan(importlib.import_module(name))
        self._built_in = (*NATIVE_EXECUTORS, *self._executors)

    def discover(self, sources: Sequence[str]) -> None:
        """Take in modules, packages (searched) and files by name, then the entry points."""
        for source in sources:
            try:
                found = [target for module in _modules(source) for target in marked(module)]
                self.add(*found)
                if not found:
                    self._problems.append(f"{source}: has nothing marked by @executor_register()")
            except (Exception, SystemExit) as error:  # noqa: BLE001 - a module may fail in any way
                self._problems.append(f"{source}: {_reason(error)}")
        for entry in importlib.metadata.entry_points(group=ENTRY_POINTS):
            try:
                self._add_entry(entry.load())
            except Exception as error:  # noqa: BLE001 - likewise
                self._problems.append(
                    f"entry point {entry.name} ({entry.value}): {type(error).__name__}: {error}"
                )

    def scan(self, module: ModuleType) -> None:
        """Take in everything marked in a module."""
        self.add(*marked(module))

    def check(self) -> None:
        """Raise `ExecutorErrors` with every problem met so far."""
        if self._problems:
            raise ExecutorErrors(self._problems)

    def _add_entry(self, loaded: object) -> None:
        if isinstance(loaded, ModuleType):
            self.scan(loaded)
        elif is_executor(loaded) or is_hook(loaded):
            self.add(cast("Callable[..., Any]", loaded))


def marked(module: ModuleType) -> list[Callable[..., Any]]:
    """Give the executors and hooks that are marked in a module, imported things included."""
    return [value for value in vars(module).values() if is_executor(value) or is_hook(value)]


def is_executor(value: object) -> bool:
    """Tell whether `executor_register` marked this very object, not a class it inherits from."""
    return callable(value) and _MARK in getattr(value, "__dict__", {})


def snake_case(name: str) -> str:
    """`HTTPUserFetcher` → `http_user_fetcher`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def _read(target: Callable[..., Any]) -> Executor:
    options: _Options = vars(target)[_MARK]
    is_class = isinstance(target, type)
    function: Callable[..., Any] = cast("type[BaseTask]", target).execute if is_class else target
    parameters = [*inspect.signature(function).parameters.values()][1 if is_class else 0 :]
    if len(parameters) not in (_INPUTS, _WITH_CONTEXT):
        message = f"takes {len(parameters)} parameters; an executor takes inputs[, context]"
        raise TypeError(message)
    hints = typing.get_type_hints(function, include_extras=True)
    executor_id: str = options.id or getattr(target, "id", "") or _default_id(target)
    if not re.fullmatch(ID_PATTERN, executor_id):
        message = f"'{executor_id}' is no id: letters, digits, '_', '.', '-', at most 64"
        raise ValueError(message)
    return Executor(
        id=executor_id,
        target=target,
        description=inspect.getdoc(target) or getattr(target, "description", "") or "",
        policy=options.policy,
        tags=options.tags or tuple(getattr(target, "tags", ())),
        inputs_type=hints.get(parameters[0].name, Any),
        output_type=hints.get("return", Any),
        wants_context=len(parameters) == _WITH_CONTEXT,
        is_async=inspect.iscoroutinefunction(function),
        examples=options.examples or tuple(getattr(target, "examples", ())),
        requires=options.requires,
        demo=options.demo,
        cache=options.cache,
        local=options.local,
    )


def _can_import(module: str) -> bool:
    """Tell whether a module is installed, without importing it."""
    if module in sys.modules:
        return sys.modules[module] is not None  # pyright: ignore[reportUnnecessaryComparison]
    return importlib.util.find_spec(module) is not None


def _reason(error: BaseException) -> str:
    """Say why a module cannot be used, and where in it."""
    told = f"{type(error).__name__}: {error}"
    frames = traceback.extract_tb(error.__traceback__)
    theirs = [
        each for each in frames if each.filename != __file__ and "importlib" not in each.filename
    ]
    if isinstance(error, SyntaxError) or not theirs:  # it names its place itself, or has none
        return told
    return f"{told} ({Path(theirs[-1].filename).name}, line {theirs[-1].lineno})"


def _default_id(target: Callable[..., Any]) -> str:
    return snake_case(target.__name__) if inspect.isclass(target) else target.__name__


def _place(location: tuple[int | str, ...]) -> str:
    return ".".join(map(str, location)) or "inputs"


def _modules(source: str) -> Iterator[ModuleType]:
    """Import a module, a package with all that is in it, or a file."""
    if source.endswith(".py"):
        yield _import_file(Path(source).resolve())
        return
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))  # as `python -m` does
    module = importlib.import_module(source)
    yield module
    for found in pkgutil.walk_packages(getattr(module, "__path__", ()), f"{source}."):
        yield importlib.import_module(found.name)


def _import_file(path: Path) -> ModuleType:
    if not path.is_file():
        message = f"there is no file {path}"
        raise FileNotFoundError(message)
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))  # as running the file does
    name = path.stem
    known = sys.modules.get(name)
    if known is not None and getattr(known, "__file__", None) == str(path):
        return known
    if known is not None or name in sys.stdlib_module_names:
        name = f"{name}_{zlib.crc32(str(path).encode()):08x}"  # never shadow another module
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        message = f"cannot import {path}"
        raise ImportError(message)
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
