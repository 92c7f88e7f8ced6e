"""The task tree as typed values: one normal form for all the ways to write it."""

import re
from builtins import isinstance
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    StringConstraints,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticCustomError

from regrow.core import limits
from regrow.core.durations import Duration

Json = JsonValue
TaskId = str

ID_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"
Id = Annotated[str, StringConstraints(pattern=ID_PATTERN)]

NORMAL_PRIORITY = 2


def _text_user_id(value: object) -> object:
    if isinstance(value, str) and len(value.encode()) > limits.MAX_USER_ID_BYTES:
        raise PydanticCustomError(
            "user_id", "a user_id has at most {most} bytes", {"most": limits.MAX_USER_ID_BYTES}
        )
    return value


def _literal_condition(value: object) -> object:
    """YAML and JSON have truth values of their own; write them as JMESPath does."""
    return {True: "`true`", False: "`false`"}[value] if isinstance(value, bool) else value


def _normal_if_none(value: object) -> object:
    return NORMAL_PRIORITY if value is None else value


UserId = Annotated[str, BeforeValidator(_text_user_id), StringConstraints(min_length=1)]
Condition = Annotated[str, BeforeValidator(_literal_condition)]
Priority = Annotated[int, Field(ge=0, le=3, strict=True), BeforeValidator(_normal_if_none)]


class _Model(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True
    )


def _share_or_count(value: object) -> object:
    if isinstance(value, str):
        match = re.fullmatch(r"(\d{1,3}(?:\.\d+)?)%", value.strip())
        if match and float(match[1]) <= 100:  # noqa: PLR2004 - per cent
            return value.strip()
    elif isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    raise PydanticCustomError("tolerate", "write a number of items, or a share such as 10%")


Tolerance = Annotated[int | str, BeforeValidator(_share_or_count)]


class RetryPolicy(_Model):
    """When a failed attempt is tried again; the fields are Temporal's, absent ones inherit."""

    maximum_attempts: Annotated[int, Field(ge=0, strict=True)] | None = None
    """Attempts in all; 0 = until `schedule_to_close_timeout`, which it needs."""
    initial_interval: Duration | None = None
    backoff_coefficient: Annotated[float, Field(ge=1)] | None = None
    maximum_interval: Duration | None = None
    non_retryable_error_types: tuple[str, ...] = ()
    """Added to those of the layers below, never a replacement."""


class Policy(_Model):
    """Timeouts and retries of one activity; absent fields inherit from the layer below."""

    start_to_close_timeout: Duration | None = None
    schedule_to_close_timeout: Duration | None = None
    schedule_to_start_timeout: Duration | None = None
    heartbeat_timeout: Duration | None = None
    retry: RetryPolicy = RetryPolicy()


class Dependency(_Model):
    """An edge: the task waits for `id`; only an optional one may fail."""

    id: Id
    required: Annotated[bool, Field(strict=True)] = True
    into: str | None = None
    """The input that gets the result. Absent: the id; `*`: the keys of a mapping; null: none."""

    @model_validator(mode="before")
    @classmethod
    def _bare_id(cls, value: Any) -> Any:
        return {"id": value} if isinstance(value, str) else value

    @property
    def input_key(self) -> str | None:
        """The key under which the result is passed, `*` for a spread, None for not at all."""
        return self.into if "into" in self.__pydantic_fields_set__ else self.id


class BareEdges(dict[TaskId, "Dependency | str"]):
    """Required edges by what they name, each made once for all the tasks that name it.

    What is no id stays as it is, for the task to refuse.
    """

    def __missing__(self, named: str) -> "Dependency | str":
        """Make the edge that a bare id stands for."""
        try:
            edge = Dependency(id=named)
        except ValidationError:
            return named
        self[named] = edge
        return edge


class Compensation(_Model):
    """What undoes a completed task when the tree fails or is cancelled."""

    executor: Id
    inputs: dict[str, Json] = Field(default_factory=dict)
    """May name the result of any task, also of the one that is undone."""


class Task(Policy):
    """One node: an executor, its inputs, what it waits for and how often it may try."""

    id: Id
    name: Annotated[str, StringConstraints(max_length=200)] | None = None
    """A title for people; default: the id."""
    executor: Id | None = None
    """Default: the id, or a group when the task only has children."""
    executor_default: Id | None = None
    """The executor when none is named, if it isn't the id (set when reading the seed's form)."""
    parent_id: Id | None = None
    """Organises; orders nothing."""
    dependencies: tuple[Dependency, ...] = ()
    inputs: dict[str, Json] = Field(default_factory=dict)
    priority: Priority = NORMAL_PRIORITY
    """0 urgent, 1 high, 2 normal, 3 low."""
    when: Condition | None = None
    """A JMESPath condition; when false the task is skipped."""
    allow_failure: Annotated[bool, Field(strict=True)] = False
    task_queue: Annotated[str, StringConstraints(min_length=1, max_length=200)] | None = None
    """Another worker's queue, in any language; its executors are not described."""
    local: Annotated[bool, Field(strict=True)] | None = None
    """Whether it runs inside a workflow task: cheap, for short work that may be repeated.
    Default: what its executor says."""
    for_each: list[Json] | str | None = None
    """Run the task once for each item: a list, or a JMESPath expression that gives one."""
    max_in_flight: Annotated[int, Field(ge=1, le=limits.MAX_IN_FLIGHT, strict=True)] | None = None
    """How many items run at a time; default: as many as the tree lets run."""
    tolerate: Tolerance = 0
    """How many items may fail, or which share of them, such as `10%`."""
    tree: "TaskTree | None" = None
    """A sub-tree that the task runs as a workflow of its own."""
    compensate: Compensation | None = None
    """What undoes the task, once it has completed, when the tree fails or is cancelled."""

    @property
    def title(self) -> str:
        """What people read."""
        return self.name or self.id

    @property
    def executor_id(self) -> str:
        """The executor, if the task isn't a group."""
        return self.executor or self.executor_default or self.id


OnFailure = Literal["continue", "cancel", "wait"]


class TreeHead(_Model):
    """Everything about a tree but its tasks."""

    version: Literal[1] = 1
    name: Id
    description: str = ""
    user_id: UserId | None = None
    inputs: dict[str, Json] = Field(default_factory=dict)
    """Parameters with their defaults; only declared ones may be set."""
    outputs: dict[str, Json] | None = None
    """Default: the results of the tasks nothing depends on, by id."""
    max_in_flight: Annotated[int, Field(ge=1, le=limits.MAX_IN_FLIGHT, strict=True)] = 100
    on_failure: OnFailure = "continue"
    defaults: Policy = Policy()
    demo: Annotated[bool, Field(strict=True)] = False
    """Whether the tree is only shown: no executor is called, each answers with its demo result."""


class TaskTree(TreeHead):
    """A document of tasks. `regrow.load` reads one from any accepted form and checks it."""

    tasks: tuple[Task, ...]

    def as_document(self) -> dict[str, Any]:
        """Give the normal form as JSON, without what is default."""
        return _tree_document(self, self.model_dump(mode="json", exclude_defaults=True))


def _tree_document(tree: TaskTree, dumped: dict[str, Any]) -> dict[str, Any]:
    """Shorten what was dumped in one go, which is many times faster than task by task."""
    for task, document in zip(tree.tasks, dumped["tasks"], strict=True):
        _shorten(task, document)
    return {"version": 1, **dumped, "name": tree.name}


def _shorten(task: Task, document: dict[str, Any]) -> None:
    if task.tree is not None:
        document["tree"] = _tree_document(task.tree, document.pop("tree"))
    if task.name == task.id:
        del document["name"]
    if task.dependencies:
        document["dependencies"] = [_dependency_document(edge) for edge in task.dependencies]


def _dependency_document(edge: Dependency) -> dict[str, Any] | str:
    if edge.required and edge.input_key == edge.id:
        return edge.id
    document: dict[str, Any] = {"id": edge.id}
    if not edge.required:
        document["required"] = False
    if edge.input_key != edge.id:
        document["into"] = edge.input_key  # null is not the same as absent
    return document


Task.model_rebuild()
