"""Rows CC-6 and CC-8: hooks around tasks and trees, and trees that are only shown."""

from typing import Any

import pytest
from tests.conformance.running import ended, run_tree, scheduled, task, tree

from regrow import BaseTask, Status, TaskContext, TreeFailed, executor_register
from regrow.client import RerunError
from regrow.embedded import EmbeddedServer
from regrow.executors import Registry
from regrow.hooks import (
    AnswerInstead,
    ChangedInputs,
    TaskCall,
    TaskEnd,
    TreeEvent,
    after_task,
    before_task,
    on_tree,
)
from regrow.testing import worker_env

heard: list[Any] = []
executed: list[Any] = []


@pytest.fixture(autouse=True)
def forget() -> None:
    heard.clear()
    executed.clear()


@executor_register("work")
async def work(inputs: dict[str, Any]) -> Any:
    executed.append(inputs)
    if inputs.get("fails"):
        raise ValueError("no luck")
    return {"worked": inputs}


@before_task()
async def look_before(call: TaskCall) -> None:
    heard.append(("before", call.executor, call.context.task_id, call.context.attempt))


@after_task("wor*")
def look_after(call: TaskCall, end: TaskEnd) -> None:
    heard.append(("after", call.context.task_id, end.status.value, end.error_type))


@before_task("work")
async def stamp(call: TaskCall) -> ChangedInputs:
    return ChangedInputs({**dict(call.inputs or {}), "stamp": call.context.tree_id})  # type: ignore[arg-type]


@before_task("work")
def answer(call: TaskCall) -> AnswerInstead:
    return AnswerInstead({"status": "completed", "result": "instead", "from": "a hook"})


@before_task()
async def breaks_before(call: TaskCall) -> None:
    raise RuntimeError("a hook of tasks broke")


@after_task()
def breaks_after(call: TaskCall, end: TaskEnd) -> None:
    raise RuntimeError("a hook of tasks broke")


@on_tree()
async def hear(event: TreeEvent) -> None:
    heard.append(event)


@on_tree("failed")
def hear_failures(event: TreeEvent) -> None:
    heard.append(("failed", event.name, event.error))


@on_tree()
async def breaks_always(event: TreeEvent) -> None:
    raise RuntimeError("a hook of trees broke")


async def test_cc6_hooks_see_every_attempt_of_a_task(server: EmbeddedServer) -> None:
    document = tree(
        task("one", executor="work"),
        task("two", "one!", executor="work", inputs={"fails": True}),
        defaults={"retry": {"initial_interval": "10ms", "maximum_attempts": 2}},
    )
    async with worker_env(server.client, work, look_before, look_after) as client:
        await run_tree(client, document)

    assert heard == [
        ("before", "work", "one", 1),
        ("after", "one", "completed", None),
        ("before", "work", "two", 1),
        ("after", "two", "failed", "ValueError"),
        ("before", "work", "two", 2),
        ("after", "two", "failed", "ValueError"),
    ]


async def test_cc6_a_hook_before_may_change_the_inputs(server: EmbeddedServer) -> None:
    async with worker_env(server.client, work, stamp, look_before) as client:
        handle = await client.start(tree(task("one", executor="work", inputs={"n": 1})))
        result = await ended(client, handle)

    assert executed == [{"n": 1, "stamp": handle.id}]
    assert result.outputs == {"one": {"worked": {"n": 1, "stamp": handle.id}}}


async def test_cc6_a_hook_before_may_answer_in_its_place(server: EmbeddedServer) -> None:
    async with worker_env(server.client, work, answer, look_after) as client:
        result = await run_tree(client, tree(task("one", executor="work")))

    assert executed == []
    assert result.outputs == {"one": "instead"}
    assert result.tasks["one"].metadata["from"] == "a hook"
    assert heard == [("after", "one", "completed", None)]


async def test_cc6_hooks_of_trees_hear_of_their_life(server: EmbeddedServer) -> None:
    good = tree(task("one", executor="work"), name="good", user_id="ann")
    bad = tree(task("one", executor="work", inputs={"fails": True}), name="bad")
    bad["tasks"][0]["retry"] = {"maximum_attempts": 1}
    async with worker_env(server.client, work, hear, hear_failures) as client:
        handle = await client.start(good)
        await ended(client, handle)
        told = [(event.moment.value, event.tree_id, event.user_id) for event in heard]
        assert told == [(m, handle.id, "ann") for m in ("created", "started", "completed")]
        assert heard[-1].counts["completed"] == 1
        heard.clear()
        await run_tree(client, bad)

    assert [each.moment.value for each in heard if isinstance(each, TreeEvent)] == [
        "created",
        "started",
        "failed",
    ]
    [(word, name, error)] = [each for each in heard if not isinstance(each, TreeEvent)]
    assert (word, name) == ("failed", "bad")
    assert "no luck" in error


async def test_cc6_a_cancelled_tree_is_told_as_cancelled(server: EmbeddedServer) -> None:
    document = tree(task("rest", executor="sleep", inputs={"duration": "1h"}))
    async with worker_env(server.client, hear) as client:
        handle = await client.start(document)
        async for change in handle.watch():
            if (change.task_id, change.status) == ("rest", Status.IN_PROGRESS):
                await handle.cancel("enough")
        result = await ended(client, handle)

    assert result.status is Status.CANCELLED
    assert heard[-1].moment == "cancelled"


async def test_cc6_a_hook_that_fails_changes_nothing(server: EmbeddedServer) -> None:
    hooks = (breaks_before, breaks_after, breaks_always, hear)
    async with worker_env(server.client, work, *hooks) as client:
        result = await run_tree(client, tree(task("one", executor="work")))

    assert result.status is Status.COMPLETED
    assert [event.moment for event in heard] == ["created", "started", "completed"]


async def test_cc6_hooks_of_trees_are_activities_and_only_where_there_are_some(
    server: EmbeddedServer,
) -> None:
    async with worker_env(server.client, work, hear_failures) as client:
        handle = await client.start(tree(task("one", executor="work")))
        await ended(client, handle)
        quiet = await scheduled(client, handle.id)
    async with worker_env(server.client, work, hear) as client:
        handle = await client.start(tree(task("one", executor="work")))
        await ended(client, handle)
        told = await scheduled(client, handle.id)

    assert list(quiet) == ["one"]
    assert sorted(told) == ["one", "~completed", "~started"]


async def test_cc6_hooks_are_found_where_executors_are(tmp_path: Any) -> None:
    (tmp_path / "hooks.py").write_text(
        "from regrow.hooks import on_tree\n@on_tree('failed')\ndef mail(event): ...\n"
    )
    registry = Registry()
    registry.discover([str(tmp_path / "hooks.py")])
    registry.check()

    assert [hook.only for hook in registry.hooks] == [("failed",)]


@executor_register("declared", demo={"rows": 3})
async def declared(inputs: dict[str, Any]) -> Any:
    executed.append(inputs)


@executor_register("computed", demo=lambda inputs: {"for": inputs["who"]})  # pyright: ignore[reportUnknownLambdaType]
async def computed(inputs: dict[str, Any]) -> Any:
    executed.append(inputs)


@executor_register()
class Guided(BaseTask):
    async def execute(self, inputs: dict[str, Any]) -> Any:
        executed.append(inputs)

    def get_demo_result(self, task: TaskContext, inputs: dict[str, Any]) -> Any:
        return {"status": "completed", "result": {"task": task.task_id, **inputs}}


async def test_cc8_a_demo_calls_no_executor_and_says_so(server: EmbeddedServer) -> None:
    document = tree(
        task("a", executor="declared"),
        task("b", "a!", executor="computed", inputs={"who": "${{ tasks.a.result.rows }}"}),
        task("c", "b!", executor="guided", inputs={"n": 1}),
        task("d", "c!", executor="work"),
        task("e", executor="elsewhere", task_queue="nobody-polls-this"),
        task("rest", executor="sleep", inputs={"duration": "1h"}),
        task("ask", "rest!", executor="approval", inputs={"prompt": "fine?"}),
        task("event", executor="wait_for_event", inputs={"event": "never"}),
        task("items", executor="declared", for_each=[1, 2]),
        {
            "id": "inner",
            "tree": {"tasks": [{"id": "x", "executor": "declared", "inputs": {"n": 1}}]},
        },
    )
    async with worker_env(server.client, work, declared, computed, Guided, hear) as client:
        handle = await client.start(document, demo=True)
        result = await ended(client, handle)

    assert executed == []
    assert result.status is Status.COMPLETED
    assert {name: end.result for name, end in result.tasks.items()} == {
        "a": {"rows": 3},
        "b": {"for": 3},
        "c": {"task": "c", "b": {"for": 3}, "n": 1} | {},
        "d": {"demo": "work"},
        "e": None,
        "rest": None,
        "ask": {"approved": True, "by": "demo", "note": None, "at": None},
        "event": None,
        "items": [{"rows": 3}, {"rows": 3}],
        "inner": {"x": {"rows": 3}},
    }
    marked = {name for name, end in result.tasks.items() if end.metadata.get("demo") is True}
    assert marked == {"a", "b", "c", "d", "e", "rest", "ask", "event"}


async def test_cc8_a_demo_that_fails_fails(server: EmbeddedServer) -> None:
    @executor_register("sad", demo={"status": "failed", "error": "no", "error_type": "sad"})
    async def sad(inputs: dict[str, Any]) -> None:
        executed.append(inputs)

    async with worker_env(server.client, sad) as client:
        handle = await client.start(tree(task("sad")), demo=True)
        with pytest.raises(TreeFailed) as failed:
            await handle.result()

    assert failed.value.result.tasks["sad"].error_type == "sad"
    assert executed == []


async def test_cc8_a_demo_that_breaks_is_tried_once(server: EmbeddedServer) -> None:
    @executor_register("bad", demo=lambda inputs: inputs["nobody"])  # pyright: ignore[reportUnknownLambdaType]
    async def bad(inputs: dict[str, Any]) -> None: ...

    async with worker_env(server.client, bad) as client:
        handle = await client.start(tree(task("bad")), demo=True)
        with pytest.raises(TreeFailed) as failed:
            await handle.result()

    end = failed.value.result.tasks["bad"]
    assert (end.error_type, end.attempts) == ("contract_error", 1)
    assert end.error == "the demo of bad failed: KeyError: 'nobody'"


async def test_cc8_nothing_of_a_demo_passes_for_real(server: EmbeddedServer) -> None:
    async with worker_env(server.client, declared, hear) as client:
        handle = await client.start(tree(task("declared")), demo=True)
        await handle.result()
        assert [event.demo for event in heard] == [True, True, True]
        with pytest.raises(RerunError, match="was a demo"):
            await handle.rerun(document=tree(task("declared")))
