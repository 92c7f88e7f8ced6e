"""Search attributes and lists of trees, on a server that has them and on one that has not."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from uuid import uuid4

import pytest
from temporalio.api.enums.v1 import EventType, IndexedValueType
from temporalio.api.operatorservice.v1 import (
    AddSearchAttributesRequest,
    RemoveSearchAttributesRequest,
)
from temporalio.client import Client, WorkflowHistory
from temporalio.testing import WorkflowEnvironment

from regrow import TreeCancelled, TreeFailed, executor_register
from regrow.activities.attributes import registered_attributes
from regrow.client import TreeClient, TreeHandle
from regrow.client.listing import TreeSummary
from regrow.client.setup import NotSetUp, SetupRefused, set_up
from regrow.core.attributes import SEARCH_ATTRIBUTES
from regrow.embedded import EmbeddedServer, embedded_server
from regrow.plugin import RegrowPlugin
from regrow.testing import assert_replays, test_server_binary, worker_env

Document = dict[str, Any]
UPSERT = EventType.EVENT_TYPE_UPSERT_WORKFLOW_SEARCH_ATTRIBUTES
SUGGEST_AFTER_100 = ("--dynamic-config-value", "limit.historyCount.suggestContinueAsNew=100")


@executor_register()
async def say(inputs: Document) -> Any:
    return inputs.get("value")


@executor_register()
async def fail(inputs: Document) -> Document:
    return {"status": "failed", "error": "it broke"}


@pytest.fixture(scope="module")
async def bare() -> AsyncIterator[EmbeddedServer]:
    """A server that nobody has set up."""
    async with embedded_server(is_set_up=False) as started:
        yield started


@pytest.fixture
async def here(server: EmbeddedServer) -> AsyncIterator[TreeClient]:
    async with worker_env(server.client, say, fail) as client:
        yield client


@pytest.fixture
async def there(bare: EmbeddedServer) -> AsyncIterator[TreeClient]:
    async with worker_env(bare.client, say, fail) as client:
        yield client


def task(id: str, *after: str, **fields: Any) -> Document:
    return {"id": id, "executor": "say", "dependencies": list(after), **fields}


def asks(id: str, *after: str) -> Document:
    return task(id, *after, executor="approval")


def tree(*tasks: Document, **head: Any) -> Document:
    """A tree with a name of its own, so that a test's lists hold its own trees alone."""
    return {"name": f"n-{uuid4().hex[:8]}", "tasks": list(tasks), **head}


async def told(handle: TreeHandle) -> Document:
    """What the server was told of a tree, without the prefix of the names."""
    found: Any = (await handle.workflow_handle.describe()).typed_search_attributes
    names = {pair.key.name: pair.value for pair in found}
    return {name[4:]: names[name] for name in SEARCH_ATTRIBUTES if name in names}


async def eventually(ask: Callable[[], Awaitable[Any]], wanted: Any) -> None:
    """Wait for what is true a moment later, such as in the server's lists."""
    answer = None
    for _ in range(100):
        answer = await ask()
        if answer == wanted:
            return
        await asyncio.sleep(0.1)
    assert answer == wanted


async def listed(client: TreeClient, **wanted: Any) -> list[str]:
    return sorted([found.tree_id async for found in client.list(**wanted)])


async def summary(client: TreeClient, name: str) -> TreeSummary:
    return await anext(client.list(name=name))


async def waits_on(handle: TreeHandle, *task_ids: str) -> None:
    async def named() -> list[str]:
        return (await told(handle)).get("WaitingOn", [])

    await eventually(named, list(task_ids))


async def ended(handle: TreeHandle) -> WorkflowHistory:
    """Wait for the end, and give the history, which replays."""
    with contextlib.suppress(TreeFailed, TreeCancelled):
        await handle.result()
    history = await handle.workflow_handle.fetch_history()
    await assert_replays(history)
    return history


def upserts(history: WorkflowHistory) -> int:
    return sum(event.event_type == UPSERT for event in history.events)


# --- what the server is told


async def test_ordinary_tree_tells_its_name_and_status_in_two_events(here: TreeClient) -> None:
    document = tree(task("a"), task("b", "a"), task("c", "b"))
    handle = await here.start(document)

    history = await ended(handle)

    assert await told(handle) == {"Name": document["name"], "Status": "completed"}
    assert upserts(history) == 2


async def test_tree_that_ends_at_once_tells_everything_in_one_event(here: TreeClient) -> None:
    document = tree({"id": "g"}, {"id": "all", "executor": "aggregate_results"})
    document["tasks"][0]["executor"] = "group"
    handle = await here.start(document)

    history = await ended(handle)

    assert await told(handle) == {"Name": document["name"], "Status": "completed"}
    assert upserts(history) == 1


async def test_waits_failures_and_pauses_are_told_as_they_come_and_go(here: TreeClient) -> None:
    document = tree(asks("ok"), task("bad", "ok", executor="fail"), on_failure="wait")
    name = document["name"]
    handle = await here.start(document)
    workflow: Any = here.client.get_workflow_handle(handle.id)

    await waits_on(handle, "ok")
    assert await told(handle) == {"Name": name, "Status": "waiting", "WaitingOn": ["ok"]}
    await workflow.execute_update("pause", {"reason": "lunch"})
    assert await told(handle) == {"Name": name, "Status": "paused", "WaitingOn": ["ok"]}
    await handle.approve("ok")
    assert await told(handle) == {"Name": name, "Status": "paused"}
    await workflow.execute_update("resume")
    held = {"Name": name, "Status": "waiting", "FailedTasks": ["bad"]}
    await eventually(lambda: told(handle), held)
    await handle.cancel()

    history = await ended(handle)
    assert await told(handle) == {"Name": name, "Status": "failed", "FailedTasks": ["bad"]}
    assert upserts(history) == 6


async def test_only_attributes_that_are_there_with_the_right_type_are_told() -> None:
    keyword = IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD
    mixed = {"TreeStatus": keyword, "TreeFailedTasks": keyword}
    async with (
        embedded_server(is_set_up=False) as server,
        worker_env(server.client, say, fail) as client,
    ):
        await add(server.client, mixed)
        handle = await client.start(tree(task("bad", executor="fail")))

        history = await ended(handle)

        assert await told(handle) == {"Status": "failed"}
        assert upserts(history) == 2
        with pytest.raises(SetupRefused, match="TreeFailedTasks that is no KeywordList"):
            await set_up(server.client)
        with pytest.raises(NotSetUp, match="lacks TreeWaitingOn; `regrow setup`"):
            await listed(client, waiting=True)


async def add(client: Client, types: dict[str, Any]) -> None:
    request = AddSearchAttributesRequest(namespace=client.namespace, search_attributes=types)
    await client.operator_service.add_search_attributes(request)


async def test_continuation_knows_what_was_told() -> None:
    chain = [task(f"t{at}", *[f"t{at - 1}"] * (at > 0)) for at in range(40)]
    async with (
        embedded_server(options=SUGGEST_AFTER_100) as server,
        worker_env(server.client, say, fail) as client,
    ):
        handle = await client.start(tree(asks("ok"), *chain, task("end", "ok", "t39")))
        await eventually(lambda: status_of(handle, "t39"), "completed")
        await handle.approve("ok")
        await ended(handle)

        runs = [
            await client.client.get_workflow_handle(run.id, run_id=run.run_id).fetch_history()
            async for run in client.client.list_workflows(f"WorkflowId = '{handle.id}'")
        ]

    assert len(runs) > 1
    await assert_replays(*runs)
    assert sum(map(upserts, runs)) == 3  # it begins to wait, is answered, and ends


async def status_of(handle: TreeHandle, task_id: str) -> str:
    return (await handle.status()).tasks[task_id].status


async def test_tree_on_a_server_without_attributes_does_without(there: TreeClient) -> None:
    handle = await there.start(tree(task("bad", executor="fail")))

    history = await ended(handle)

    assert await told(handle) == {}
    assert upserts(history) == 0


# --- setting up


async def test_setting_up_adds_what_is_missing_and_is_told_so() -> None:
    everything = tuple(SEARCH_ATTRIBUTES)
    async with embedded_server(is_set_up=False) as server:
        assert await registered_attributes(server.client) == ()

        first, second = await set_up(server.client), await set_up(server.client)

        assert (first.there, first.added) == ((), everything)
        assert (second.there, second.added) == (everything, ())
        request = RemoveSearchAttributesRequest(
            namespace=server.client.namespace, search_attributes=["TreeStatus"]
        )
        await server.client.operator_service.remove_search_attributes(request)
        assert (await set_up(server.client)).added == ("TreeStatus",)


async def test_setting_up_from_several_places_at_once_is_fine() -> None:
    async with embedded_server(is_set_up=False) as server:
        done = await asyncio.gather(*(set_up(server.client) for _ in range(5)))

        assert {*done[0].there, *done[0].added} == {*SEARCH_ATTRIBUTES}
        assert await registered_attributes(server.client) == tuple(SEARCH_ATTRIBUTES)


async def test_server_that_refuses_is_set_up_by_somebody_else_and_runs_trees() -> None:
    """Temporal's test server has no operator service, as a user may have no permission."""
    environment = await WorkflowEnvironment.start_time_skipping(
        test_server_existing_path=test_server_binary(), plugins=[RegrowPlugin()]
    )
    async with environment, worker_env(environment.client, say) as client:
        with pytest.raises(SetupRefused, match="temporal operator search-attribute create --name"):
            await set_up(environment.client)

        result = await (await client.start(tree(task("a")))).result()

        assert result.status == "completed"


# --- lists


async def test_lists_are_narrowed_by_how_trees_stand_and_by_name(here: TreeClient) -> None:
    name = tree()["name"]
    for end, document in {
        "good": tree(task("a"), name=name),
        "bad": tree(task("a", executor="fail"), name=name),
        "asks": tree(asks("ok"), name=name),
        "naps": tree(task("nap", executor="sleep", inputs={"duration": "1h"}), name=name),
        "killed": tree(asks("ok"), name=name),
        "other": tree(asks("ok")),
    }.items():
        await here.start(document, id=f"{name}-{end}")
    killed = here.get(f"{name}-killed")
    await waits_on(killed, "ok")
    await killed.workflow_handle.terminate()

    async def found(*ways: str) -> list[str]:
        ids = await listed(here, name=name, **dict.fromkeys(ways, True))
        return [tree_id.removeprefix(f"{name}-") for tree_id in ids]

    await eventually(lambda: found("waiting"), ["asks"])
    await eventually(lambda: found("failed"), ["bad"])
    await eventually(lambda: found("running"), ["asks", "naps"])
    assert await found("failed", "waiting") == ["asks", "bad"]
    assert await found() == ["asks", "bad", "good", "killed", "naps"]
    assert len(await listed(here, name=name, limit=2)) == 2
    query = f"WorkflowId = '{name}-bad' OR WorkflowId = '{name}-good'"
    assert await listed(here, query=query, failed=True) == [f"{name}-bad"]
    states = {found.tree_id[11:]: found.state async for found in here.list(name=name)}
    assert states == {
        "good": "completed",
        "bad": "failed",
        "asks": "waiting",
        "naps": "in_progress",
        "killed": "cancelled",
    }


async def test_lists_name_what_failed_and_what_waits(here: TreeClient) -> None:
    document = tree(asks("ok"), task("bad", executor="fail"), asks("ok2"))
    await here.start(document)

    async def tasks() -> tuple[Any, ...]:
        found = await summary(here, document["name"])
        return found.status, found.state, found.failed_tasks, found.waiting_on

    await eventually(tasks, ("in_progress", "waiting", ("bad",), ("ok", "ok2")))


async def test_name_is_quoted(here: TreeClient) -> None:
    assert await listed(here, name="it's \\ none") == []


async def test_lists_without_attributes_know_names_and_ends_but_not_who_waits(
    there: TreeClient,
) -> None:
    name = tree()["name"]
    good = await there.start(tree(task("a"), name=name))
    bad = await there.start(tree(task("a", executor="fail"), name=name))
    open_still = await there.start(tree(asks("ok"), name=name))
    await there.start(tree(task("a")))

    await eventually(lambda: listed(there, name=name, failed=True), [bad.id])
    await eventually(lambda: listed(there, name=name, running=True), [open_still.id])
    assert await listed(there, name=name) == sorted([good.id, bad.id, open_still.id])
    with pytest.raises(NotSetUp, match="lacks TreeStatus and TreeWaitingOn; `regrow setup`"):
        await listed(there, waiting=True)


async def test_trees_from_before_the_server_was_set_up_are_found_by_name() -> None:
    name = tree()["name"]
    async with (
        embedded_server(is_set_up=False) as server,
        worker_env(server.client, say, fail) as client,
    ):
        old = await client.start(tree(task("a"), name=name))
        await ended(old)
        await set_up(server.client)
        new = await client.start(tree(task("a"), name=name))
        await ended(new)
        await client.start(tree(task("a")))

        await eventually(lambda: listed(client, name=name), sorted([old.id, new.id]))


async def test_tree_inside_another_is_listed_where_it_is_what_waits(here: TreeClient) -> None:
    outer, name = tree(), tree()["name"]
    outer["tasks"] = [{"id": "sub", "tree": tree(asks("ok"), name=name)}]
    handle = await here.start(outer)
    inside = here.get(f"{handle.id}/sub")

    await eventually(lambda: listed(here, waiting=True, name=name), [inside.id])
    assert await listed(here, running=True, name=name) == []
    await inside.approve("ok")

    await ended(handle)
    assert await told(inside) == {"Name": name, "Status": "completed"}
    await eventually(lambda: listed(here, waiting=True, name=name), [])
