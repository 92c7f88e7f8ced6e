"""Where a command runs its tree: on the server that is configured, or on one of its own."""

import asyncio
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from temporalio.envconfig import ClientConfig
from temporalio.service import RPCError, RPCStatusCode

from regrow.cli.exits import say
from regrow.client import TreeClient, TreeHandle, TreeNotFound
from regrow.client.attempts import has_pollers
from regrow.client.errors import InvalidConnection, NotATree
from regrow.client.tree_client import DEFAULT_ADDRESS
from regrow.core.wire import WORKFLOW_TYPE
from regrow.embedded import embedded_server
from regrow.executors import Registry
from regrow.settings import load_settings
from regrow.worker import configure, running_worker

_MOST_KNOWN: Final = 100
_NO_NAMESPACE: Final = "Namespace "
"""How the server begins to say that the namespace is missing, not the tree."""


_SHARED: Final = (
    "another worker was heard on '{}' a moment ago; if it still runs it shares this run, with the"
    " executors that it was started with"
)


@dataclass(frozen=True, slots=True)
class Target:
    """Which server is meant, as far as the command line says."""

    address: str | None = None
    namespace: str | None = None
    profile: str | None = None
    task_queue: str | None = None

    async def connect(self) -> TreeClient:
        """Connect; raises `ServerUnreachable`, or `InvalidConnection` before anything is asked."""
        task_queue = self.task_queue or load_settings().task_queue
        _refuse_url(self._named_address())
        with _in_words():
            return await TreeClient.connect(
                address=self.address,
                namespace=self.namespace,
                profile=self.profile,
                task_queue=task_queue,
            )

    async def open(self, tree_id: str) -> TreeHandle:
        """Connect and find a tree; raises `TreeNotFound`, or `NotATree` for other workflows."""
        client = await self.connect()
        handle = client.get(tree_id)
        try:
            about = await handle.workflow_handle.describe()
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND or _NO_NAMESPACE in error.message:
                raise
            known = [tree.tree_id async for tree in client.list(limit=_MOST_KNOWN)]
            raise TreeNotFound(tree_id, client.client.namespace, known) from None
        if about.workflow_type != WORKFLOW_TYPE:
            raise NotATree(tree_id, about.workflow_type)
        return handle

    @property
    def is_configured(self) -> bool:
        """Whether anybody named a server: then it must answer, and nothing is started instead."""
        return bool(self.profile or self._named_address())

    def _named_address(self) -> str | None:
        """Give the address that is named here, in the environment or in Temporal's file."""
        if self.address:
            return self.address
        with _in_words():
            return ClientConfig.load_client_connect_config(self.profile).get("target_host")


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
        if await has_pollers(client.client, client.task_queue):
            say(_SHARED.format(client.task_queue))
        async with running_worker(client.client, registry, settings):
            yield Session(client, registry)
        return
    async with embedded_server(db=db) as server:
        say(f"Temporal Web UI: {server.ui_url} (until this command ends)")
        async with running_worker(server.client, registry, settings):
            client = TreeClient(server.client, task_queue=settings.task_queue)
            yield Session(client, registry, server.ui_url)


@contextmanager
def _in_words() -> Generator[None]:
    """Raise `InvalidConnection` for a profile, file or address that Temporal's SDK cannot read."""
    try:
        yield
    except (RuntimeError, ValueError) as error:
        raise InvalidConnection(" ".join(str(error).split())) from None


def _refuse_url(address: str | None) -> None:
    if address and "://" in address:
        raise InvalidConnection(f"'{address}' is a URL; an address is HOST:PORT")


async def _answers(address: str) -> bool:
    host, port = address.rsplit(":", 1)
    try:
        _, writer = await asyncio.wait_for(asyncio.open_connection(host, int(port)), 1)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True
