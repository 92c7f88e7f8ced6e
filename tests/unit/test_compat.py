"""The names of that system: how executors are made, checked and interrupted, and trees written."""

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

import pytest
from pydantic import BaseModel, Field
from structlog.testing import capture_logs

from regrow import InvalidTree, TaskContext, TaskError, TreeClient, load
from regrow.client import TreeConflict
from regrow.compat import (
    BaseTask,
    RunningTask,
    TaskManager,
    TaskTreeNode,
    create_session,
    create_task,
    executor_register,
    get_logger,
)
from regrow.embedded import EmbeddedServer
from regrow.executors import Executor, Registry
from regrow.testing import worker_env

Guide = dict[str, Any]
CONTEXT = TaskContext(task_id="fetch", user_id="ann")


def hosted(target: type[BaseTask]) -> Executor:
    """Read an executor as a worker does."""
    registry = Registry(target)
    registry.check()
    [executor] = registry
    return executor


@executor_register()
class UserFetcher(BaseTask):
    """Fetches a user."""

    name = "User fetcher"
    type = "api"
    tags = ["users"]  # noqa: RUF012 - as that system's authors write it
    cancelable = True

    def __init__(self, inputs: Guide | None = None, **kwargs: Any) -> None:
        super().__init__(inputs=inputs, **kwargs)
        self.limit = self.inputs.get("limit", 10)

    async def execute(self, inputs: Guide) -> Guide:
        assert self.task
        return {
            "inputs": self.inputs == inputs,
            "limit": self.limit,
            "task": [self.task_id, self.task.id, self.user_id, self.task.user_id],
            "cancelled": self.cancellation_checker and self.cancellation_checker(),
        }


async def test_an_executor_is_made_for_its_task() -> None:
    executor = hosted(UserFetcher)

    answer = await executor.call({"limit": 3}, CONTEXT)

    assert (executor.id, executor.description) == ("user_fetcher", "Fetches a user.")
    assert executor.tags == ("users",)
    assert answer == {
        "inputs": True,
        "limit": 3,
        "task": ["fetch", "fetch", "ann", "ann"],
        "cancelled": False,
    }


async def test_called_by_hand_it_is_as_it_was_written() -> None:
    @executor_register()
    class Plain(BaseTask):
        async def execute(self, inputs: Guide) -> Guide:
            return {**self.inputs, **inputs, "task": self.task, "user_id": self.user_id}

    assert await Plain().execute({"a": 1}) == {"a": 1, "task": None, "user_id": None}
    assert await Plain({"b": 2}, user_id="bob").execute({}) == {
        "b": 2,
        "task": None,
        "user_id": "bob",
    }


async def test_a_subclass_may_use_what_it_inherits() -> None:
    class Base(BaseTask):
        async def execute(self, inputs: Guide) -> list[Any]:
            return [self.task_id, *inputs]

    @executor_register()
    class Same(Base): ...

    @executor_register()
    class More(Base):
        async def execute(self, inputs: Guide) -> list[Any]:
            return [*await super().execute(inputs), "more"]

    assert await hosted(Same).call({}, CONTEXT) == ["fetch"]
    assert await hosted(More).call({}, CONTEXT) == ["fetch", "more"]


class Wanted(BaseModel):
    user_id: str
    depth: int = Field(default=1, ge=1)


JSON_SCHEMA = {
    "type": "object",
    "properties": {
        "user_id": {"type": "string", "description": "Whom to fetch"},
        "depth": {"type": "integer", "default": 1},
        "also-by": {"type": ["string", "null"]},
        "filter": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
    "required": ["user_id"],
}


@executor_register()
class ByModel(BaseTask):
    inputs_schema = Wanted

    async def execute(self, inputs: Guide) -> Guide:
        self.check_input_schema(inputs)
        return inputs


@executor_register()
class ByJsonSchema(BaseTask):
    inputs_schema = JSON_SCHEMA

    async def execute(self, inputs: Guide) -> Guide:
        return inputs


@executor_register()
class ByMethod(BaseTask):
    def get_input_schema(self) -> Guide:
        return JSON_SCHEMA

    async def execute(self, inputs: Guide) -> Guide:
        return inputs


def test_a_schema_is_published() -> None:
    assert hosted(ByModel).input_schema() == Wanted.model_json_schema()
    assert hosted(ByJsonSchema).input_schema() == JSON_SCHEMA
    assert hosted(ByMethod).input_schema() == JSON_SCHEMA
    assert hosted(UserFetcher).input_schema() == {"type": "object"}
    assert ByModel().get_input_schema() == Wanted.model_json_schema()
    assert UserFetcher().get_input_schema() == {}


@pytest.mark.parametrize("target", [ByModel, ByJsonSchema, ByMethod])
async def test_inputs_that_fit_arrive_as_they_came(target: type[BaseTask]) -> None:
    inputs: Guide = {"user_id": "7", "fetch": {"from": "a dependency"}}

    assert await hosted(target).call(inputs, CONTEXT) == inputs


@pytest.mark.parametrize("target", [ByModel, ByJsonSchema, ByMethod])
@pytest.mark.parametrize(
    ("inputs", "place"),
    [({}, "user_id: "), ({"user_id": 7}, "user_id: "), ({"user_id": "7", "depth": "x"}, "depth: ")],
    ids=["missing", "number", "text"],
)
def test_inputs_that_do_not_fit_are_refused_before_it_runs(
    target: type[BaseTask], inputs: Guide, place: str
) -> None:
    with pytest.raises(TaskError) as refusal:
        hosted(target).call(inputs, CONTEXT)

    assert (refusal.value.error_type, refusal.value.retryable) == ("validation_error", False)
    assert place in refusal.value.error


@pytest.mark.parametrize(
    ("inputs", "place"),
    [({"filter": {}}, "filter.city: "), ({"also-by": 1}, "also-by"), ({"depth": True}, "depth: ")],
    ids=["nested", "either", "bool"],
)
def test_a_json_schema_is_checked_all_the_way_down(inputs: Guide, place: str) -> None:
    with pytest.raises(TaskError, match="by_json_schema was given invalid inputs: ") as refusal:
        hosted(ByJsonSchema).call({"user_id": "7", **inputs}, CONTEXT)

    assert place in refusal.value.error


async def test_by_hand_an_executor_checks_when_it_says_so() -> None:
    assert await ByJsonSchema().execute({}) == {}
    with pytest.raises(ValueError, match=r"^user_id: Field required$"):
        await ByModel().execute({})


class Recorder(BaseTask):
    """Says what happens to it."""

    said: list[str]

    async def execute(self, inputs: Guide) -> None:
        type(self).said = []
        self.said.append("begun")
        inputs["begun"].set()
        try:
            await asyncio.sleep(60)
        finally:
            self.said.append("interrupted")


async def interrupted(target: type[Recorder]) -> list[str]:
    begun: Any = asyncio.Event()
    running = asyncio.ensure_future(hosted(target).call({"begun": begun}, CONTEXT))
    await begun.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    return target.said


async def test_cancel_is_called_while_execute_still_runs() -> None:
    @executor_register()
    class Cancelled(Recorder):
        async def cancel(self) -> Guide:
            assert self.cancellation_checker
            self.said.append(f"cancel {self.task_id} {self.cancellation_checker()}")
            return {"status": "cancelled"}

    assert await interrupted(Cancelled) == ["begun", "cancel fetch True", "interrupted"]


async def test_a_cancel_that_fails_is_named_and_holds_nothing_up() -> None:
    @executor_register()
    class Failing(Recorder):
        async def cancel(self) -> None:
            raise ConnectionError("gone")

    @executor_register()
    class Without(Recorder): ...

    with capture_logs() as lines:
        assert await interrupted(Failing) == ["begun", "interrupted"]
        assert await interrupted(Without) == ["begun", "interrupted"]

    assert [(line["event"], line["executor"]) for line in lines] == [
        ("executor.cancel_failed", "Failing")
    ]


def test_a_demo_result_is_asked_of_the_class() -> None:
    @executor_register()
    class Shown(BaseTask):
        def get_demo_result(self, task: Any, inputs: Guide) -> Guide:
            return {"status": "completed", "result": [task.id, task.user_id, inputs]}

    answer = hosted(Shown).demo_answer({"a": 1}, CONTEXT)

    assert answer == {"status": "completed", "result": ["fetch", "ann", {"a": 1}]}
    by_hand = Shown().get_demo_result(RunningTask("other"), {})
    assert by_hand["result"] == ["other", None, {}]


def test_a_task_names_its_executor_as_that_system_does() -> None:
    root = TaskTreeNode(create_task(name="The whole"))
    fetch = create_task(name="fetch", priority=1, user_id="ann", inputs={"n": 1})
    clean = create_task(
        name="Clean it", schemas={"method": "cleaner"}, dependencies=[{"id": fetch.id}]
    )
    keep = create_task(name="keep", id="keep", params={"executor_id": "saver"}, parent_id=clean.id)
    root.add_child(TaskTreeNode(fetch))
    root.add_child(TaskTreeNode(clean))
    root.children[1].add_child(TaskTreeNode(keep))

    tree = load(root.as_document())

    assert (tree.name, tree.user_id) == ("The-whole", "ann")
    assert [
        (each.name, each.executor_id, each.parent_id, each.priority) for each in tree.tasks
    ] == [
        ("The whole", tree.tasks[0].id, None, 2),
        ("fetch", "fetch", root.task.id, 1),
        ("Clean it", "cleaner", root.task.id, 2),
        ("keep", "saver", clean.id, 2),
    ]
    assert tree.tasks[0].id.startswith("The-whole-")
    assert tree.tasks[3].id == "keep"


def test_ids_differ_and_fit_whatever_the_name_is() -> None:
    names = ["fetch", "fetch", "x" * 200, "日本", "-a b-"]

    tasks = [create_task(name=name) for name in names]

    root = TaskTreeNode(tasks[0])
    for task in tasks[1:]:
        root.add_child(TaskTreeNode(task))
    assert len(load(root.as_document()).tasks) == len(names)


def test_params_that_would_be_lost_are_refused() -> None:
    with pytest.raises(ValueError, match=r"'fetch' has params .* not get: model, url; put them"):
        create_task(name="fetch", params={"executor_id": "x", "model": 1, "url": 2})


def test_a_logger_has_its_name_and_takes_what_executors_say() -> None:
    with capture_logs() as lines:
        get_logger(__name__).error("Execution failed: x", exc_info=True)

    assert [line["event"] for line in lines] == ["Execution failed: x"]


@executor_register()
class Step(BaseTask):
    async def execute(self, inputs: Guide) -> Guide:
        if inputs.get("fails"):
            return {"status": "failed", "error": "no such user", "error_type": "not_found"}
        return {"status": "completed", "result": {"by": self.task_id, "for": self.user_id}}


Make = Callable[..., Awaitable[Any]]


def chain(*names: str, fails: str = "") -> list[TaskTreeNode]:
    """Build a chain under its first task; each requires the one before."""
    nodes: list[TaskTreeNode] = []
    for name in names:
        before = [{"id": nodes[-1].task.id, "required": True}] if nodes else []
        task = create_task(
            name="step",
            id=f"{name}-{uuid4().hex[:6]}",
            user_id="ann",
            dependencies=before,
            inputs={"fails": name == fails},
        )
        nodes.append(TaskTreeNode(task))
        if nodes[1:]:
            nodes[0].add_child(nodes[-1])
    return nodes


async def test_a_tree_writes_into_its_tasks_how_they_ended(server: EmbeddedServer) -> None:
    first, second = chain("first", "second")
    async with worker_env(server.client, Step) as client:
        manager = TaskManager(create_session(client))
        ended = await manager.distribute_task_tree(first)
        status = await client.get(first.task.id).status()

    assert ended is first
    assert status.status == "completed"
    for task in (first.task, second.task):
        assert (task.status, task.error) == ("completed", None)
        assert task.result == {"by": task.id, "for": "ann"}
        assert task.started_at
        assert task.completed_at
        assert task.started_at <= task.completed_at


async def test_a_failed_tree_raises_nothing_and_says_what_each_task_lacked(
    server: EmbeddedServer,
) -> None:
    first, second, third = chain("first", "second", "third", fails="first")
    async with worker_env(server.client, Step) as client:
        await TaskManager(create_session(client)).distribute_task_tree(first)

    cause = first.task.id
    assert (first.task.status, first.task.error) == ("failed", "no such user")
    assert first.task.error_type == "not_found"
    assert second.task.status == third.task.status == "failed"
    assert second.task.error == f"it did not run, because {cause} failed: no such user"
    assert third.task.error == (
        f"it did not run, because {second.task.id} did not complete, since {cause} failed:"
        " no such user"
    )
    assert second.task.started_at is None


async def test_a_tree_is_one_run_however_often_it_is_distributed(server: EmbeddedServer) -> None:
    first, _ = chain("first", "second")
    async with worker_env(server.client, Step) as client:
        manager = TaskManager(create_session(client))
        await asyncio.gather(*(manager.distribute_task_tree(first) for _ in range(3)))
        started = first.task.started_at
        await manager.distribute_task_tree(first)
        assert first.task.started_at == started

        first.add_child(TaskTreeNode(create_task(name="step")))
        with pytest.raises(TreeConflict):
            await manager.distribute_task_tree(first)


async def test_a_tree_that_cannot_run_is_refused(server: EmbeddedServer) -> None:
    [alone] = chain("alone")
    alone.task.dependencies = [{"id": "nowhere"}]
    unknown = TaskTreeNode(create_task(name="stepp", inputs={"n": 1}))
    async with worker_env(server.client, Step) as client:
        manager = TaskManager(create_session(client))
        with pytest.raises(InvalidTree, match="nowhere"):
            await manager.distribute_task_tree(alone)
        with pytest.raises(InvalidTree, match="did you mean 'step'"):
            await manager.distribute_task_tree(unknown)


async def test_tasks_are_found_while_they_run_and_by_their_root_from_elsewhere(
    server: EmbeddedServer,
) -> None:
    begun, release = asyncio.Event(), threading.Event()
    home = asyncio.get_running_loop()

    @executor_register()
    class Waiting(BaseTask):
        async def execute(self, inputs: Guide) -> str:
            home.call_soon_threadsafe(begun.set)
            await asyncio.to_thread(release.wait, 30)
            return f"released, given {len(inputs)}"

    async with worker_env(server.client, Step, Waiting) as client:
        repository = (manager := TaskManager(create_session(client))).task_repository
        root = await repository.create_task(name="step", user_id="ann")
        below = await repository.create_task(name="waiting", dependencies=[{"id": root.id}])
        assert await repository.get_task_by_id(root.id) is root
        assert root.status == "pending"

        tree = TaskTreeNode(root)
        tree.add_child(TaskTreeNode(below))
        running = asyncio.ensure_future(manager.distribute_task_tree(tree))
        await begun.wait()
        assert await repository.get_task_by_id(below.id) is below
        assert (root.status, below.status) == ("completed", "in_progress")

        elsewhere = TaskManager(create_session(client)).task_repository
        assert await elsewhere.get_task_by_id(below.id) is None  # nobody knows its tree
        found = await elsewhere.get_task_by_id(root.id)
        also = await elsewhere.get_task_by_id(below.id)
        assert found
        assert also
        assert (found.name, found.status, found.user_id) == ("step", "completed", "ann")
        assert (also.name, also.status) == ("waiting", "in_progress")
        assert also.dependencies == [{"id": root.id, "required": True}]

        release.set()
        await running
        assert (await elsewhere.get_task_by_id(below.id) or root).result == "released, given 1"
        assert also.status == "completed"


async def test_a_demo_calls_no_executor(server: EmbeddedServer) -> None:
    @executor_register()
    class Mailer(BaseTask):
        def get_demo_result(self, task: Any, inputs: Guide) -> Guide:
            return {"status": "completed", "result": f"{task.user_id} would get {inputs['text']}"}

        async def execute(self, inputs: Guide) -> None:
            raise AssertionError(inputs)

    task = create_task(name="mailer", user_id="ann", inputs={"text": "hello"})
    async with worker_env(server.client, Mailer) as client:
        manager = TaskManager(create_session(client), use_demo=True)
        await manager.distribute_task_tree(TaskTreeNode(task))

    assert (task.status, task.result) == ("completed", "ann would get hello")
    assert task.metadata["demo"] is True


async def test_a_session_connects_when_it_is_needed(
    server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEMPORAL_ADDRESS", server.address)
    session = create_session()

    client = await session.client()

    assert os.environ["TEMPORAL_ADDRESS"] == server.address
    assert isinstance(client, TreeClient)
    assert await session.client() is client
    assert await TaskManager(session).task_repository.get_task_by_id("nobody") is None
