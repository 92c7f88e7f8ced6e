"""Where a command runs its tree: on the server that is configured, or on one of its own."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from temporalio.envconfig import ClientConfig

from regrow.cli.exits import say
from regrow.client import TreeClient
from regrow.client.tree_client import DEFAULT_ADDRESS
from regrow.embedded import embedded_server
from regrow.executors import Registry
from regrow.settings import load_settings
from regrow.worker import configure, running_worker


@dataclass(frozen=True, slots=True)
class Target:
    """Which server is meant, as far as the command line says."""

    address: str | None = None
    namespace: str | None = None
    profile: str | None = None
    task_queue: str | None = None

    async def connect(self) -> TreeClient:
        """Connect; raises `ServerUnreachable`."""
        return await TreeClient.connect(
            address=self.address,
            namespace=self.namespace,
            profile=self.profile,
            task_queue=self.task_queue or load_settings().task_queue,
        )

    @property
    def is_configured(self) -> bool:
        """Whether anybody named a server: then it must answer, and nothing is started instead."""
        if self.address or self.profile:
            return True
        return "target_host" in ClientConfig.load_client_connect_config()


@dataclass(frozen=True, slots=True)
class Session:
    """A client, and what lives only as long as this command."""

    client: TreeClient
    registry: Registry | None = None
    """The executors of the worker beside this command, if there is one."""
    ui_url: str | None = None

    @property
    def is_embedded(self) -> bool:
        """Whether the server, too, ends with this command."""
        return self.ui_url is not None

    def page(self, tree_id: str) -> str | None:
        """Give the tree's page in the Web UI, where we know it."""
        namespace = self.client.client.namespace
        return self.ui_url and f"{self.ui_url}/namespaces/{namespace}/workflows/{tree_id}"


@asynccontextmanager
async def session(
    target: Target, executors: Sequence[str] | None, db: Path | None
) -> AsyncGenerator[Session]:
    """Use the server there is, or start one with a worker beside it for this command alone."""
    settings, registry = configure(executors or (), target.task_queue)
    if db is None and (target.is_configured or await _answers(DEFAULT_ADDRESS)):
        client = await target.connect()
        if not executors:
            yield Session(client)
            return
        async with running_worker(client.client, registry, settings):
            yield Session(client, registry)
        return
    async with embedded_server(db=db) as server:
        say(f"Temporal Web UI: {server.ui_url} (until this command ends)")
        async with running_worker(server.client, registry, settings):
            client = TreeClient(server.client, task_queue=settings.task_queue)
            yield Session(client, registry, server.ui_url)


async def _answers(address: str) -> bool:
    host, port = address.rsplit(":", 1)
    try:
        _, writer = await asyncio.wait_for(asyncio.open_connection(host, int(port)), 1)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True
