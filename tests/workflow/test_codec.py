"""Trees whose payloads are sealed by a codec are read like any other, by clients that have it."""

import zlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.client import Client
from temporalio.converter import (
    DataConverter,
    DefaultFailureConverterWithEncodedAttributes,
    PayloadCodec,
)

from regrow import TreeCancelled, TreeClient, TreeFailed, executor_register
from regrow.client.report import report_of
from regrow.embedded import EmbeddedServer
from regrow.plugin import RegrowPlugin
from regrow.testing import worker_env

SECRET = "4111-1111"
TREE: dict[str, Any] = {
    "name": "charge",
    "inputs": {"card": SECRET},
    "tasks": [
        {"id": "check", "executor": "check", "inputs": {"card": "${{ inputs.card }}"}},
        {"id": "charge", "executor": "charge", "dependencies": ["check"]},
        {"id": "ship", "executor": "check", "dependencies": ["charge"]},
    ],
}


class Sealed(PayloadCodec):
    """One that anybody can open, but not by accident."""

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [
            Payload(
                metadata={"encoding": b"binary/sealed"}, data=zlib.compress(p.SerializeToString())
            )
            for p in payloads
        ]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [
            Payload.FromString(zlib.decompress(p.data))
            if p.metadata["encoding"] == b"binary/sealed"
            else p
            for p in payloads
        ]


@executor_register()
async def check(inputs: dict[str, Any]) -> dict[str, Any]:
    return {"seen": inputs}


@executor_register()
async def charge(inputs: dict[str, Any]) -> dict[str, Any]:
    return {"status": "failed", "error": f"declined: {SECRET}"}


@pytest.fixture
async def client(server: EmbeddedServer) -> AsyncIterator[TreeClient]:
    converter = DataConverter(
        payload_codec=Sealed(),
        failure_converter_class=DefaultFailureConverterWithEncodedAttributes,
    )
    sealed = await Client.connect(
        server.address, data_converter=converter, plugins=[RegrowPlugin()]
    )
    async with worker_env(sealed, check, charge) as connected:
        yield connected


async def test_a_sealed_tree_is_watched_explained_reported_and_rerun(client: TreeClient) -> None:
    handle = await client.start(TREE)
    seen = [(change.task_id, change.status.value) async for change in handle.watch()]
    with pytest.raises(TreeFailed, match=f"declined: {SECRET}"):
        await handle.result()

    history = (await handle.workflow_handle.fetch_history()).to_json()
    assert SECRET not in history
    assert ("check", "completed") in seen
    assert (await handle.status()).tasks["charge"].error == f"declined: {SECRET}"
    assert "requires 'charge'" in str(await handle.explain("ship"))
    assert "declined" in await report_of(handle)
    assert (await handle.plan_rerun(failed=True)).kept == ("check",)
    again = await handle.rerun(failed=True)
    with pytest.raises(TreeFailed):
        await again.result()


async def test_a_sealed_tree_that_was_cancelled_has_a_result(client: TreeClient) -> None:
    handle = await client.start({"name": "asks", "tasks": [{"id": "sign", "executor": "approval"}]})
    async for change in handle.watch():
        if change.task_id == "sign":
            await handle.cancel("no more")

    with pytest.raises(TreeCancelled):
        await handle.result()
