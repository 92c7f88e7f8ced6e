"""A server that loses the place in a history while it is read costs no change and repeats none."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from temporalio.client import (
    Client,
    FetchWorkflowHistoryEventsInput,
    Interceptor,
    OutboundInterceptor,
    WorkflowHistoryEventAsyncIterator,
)
from temporalio.service import RPCError, RPCStatusCode

from regrow import TreeClient, executor_register
from regrow.embedded import EmbeddedServer
from regrow.plugin import RegrowPlugin
from regrow.testing import worker_env

LOST = (
    "Current and request branch tokens, or current and request versioned transitions, don't match."
)


class LosesThePlace(Interceptor):
    """Answers the second request of each reader as a server does that has lost the place."""

    def __init__(self, message: str = LOST, *, always: bool = False) -> None:
        self.message, self.always, self.losses = message, always, 0

    def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:
        return _Outbound(next, self)


class _Outbound(OutboundInterceptor):
    def __init__(self, following: OutboundInterceptor, place: LosesThePlace) -> None:
        super().__init__(following)
        self._place = place

    def fetch_workflow_history_events(
        self, input: FetchWorkflowHistoryEventsInput
    ) -> WorkflowHistoryEventAsyncIterator:
        pages = super().fetch_workflow_history_events(input)
        fetch, place = pages.fetch_next_page, self._place

        async def fetch_or_lose(**kwargs: Any) -> None:
            if pages.current_page is not None and (place.always or place.losses < 3):
                place.losses += 1
                raise RPCError(place.message, RPCStatusCode.INVALID_ARGUMENT, b"")
            await fetch(**kwargs)

        pages.fetch_next_page = fetch_or_lose
        return pages


@executor_register()
async def work(inputs: dict[str, Any]) -> int:
    return 1


TREE = {
    "name": "chain",
    "tasks": [
        {"id": f"t{at}", "executor": "work", "dependencies": [f"t{at - 1}"] if at else []}
        for at in range(6)
    ],
}


@pytest.fixture
async def client(server: EmbeddedServer) -> AsyncIterator[TreeClient]:
    async with worker_env(server.client, work) as connected:
        yield connected


async def reader(server: EmbeddedServer, loses: LosesThePlace) -> TreeClient:
    connected = await Client.connect(server.address, interceptors=[loses], plugins=[RegrowPlugin()])
    return TreeClient(connected)


async def test_every_change_is_seen_once(server: EmbeddedServer, client: TreeClient) -> None:
    loses = LosesThePlace()
    handle = (await reader(server, loses)).get((await client.start(TREE)).id)

    ended = [change.task_id async for change in handle.watch() if change.status == "completed"]

    assert loses.losses == 3
    assert ended == ["t0", "t1", "t2", "t3", "t4", "t5", None]


@pytest.mark.parametrize(
    "loses", [LosesThePlace(always=True), LosesThePlace("something else", always=True)]
)
async def test_what_goes_on_is_an_error(
    server: EmbeddedServer, client: TreeClient, loses: LosesThePlace
) -> None:
    asks = {"name": "asks", "tasks": [{"id": "sign", "executor": "approval"}]}
    handle = (await reader(server, loses)).get((await client.start(asks)).id)

    with pytest.raises(RPCError, match=loses.message[:20]):
        [change async for change in handle.watch()]
