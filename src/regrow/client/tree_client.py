"""Start trees, and find those that run."""

import atexit
import functools
import re
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final, cast
from uuid import uuid4

from temporalio.client import Client
from temporalio.common import WorkflowIDReusePolicy
from temporalio.envconfig import ClientConfig
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError

from regrow.activities.attributes import registered_attributes
from regrow.client.errors import ServerUnreachable, TreeConflict
from regrow.client.listing import WAITING_NEEDS, TreeFilter, TreeSummary, summary_of
from regrow.client.schedules import TreeSchedules
from regrow.client.setup import NotSetUp
from regrow.client.submission import Submission, Submitted, prepare
from regrow.client.tree_handle import TreeHandle, started_document
from regrow.core.attributes import TREE_NAME
from regrow.core.difference import differences
from regrow.core.hashing import document_hash
from regrow.core.loading import load
from regrow.core.wire import MEMO_DOCUMENT_HASH, TASK_QUEUE, WORKFLOW_TYPE
from regrow.plugin import RegrowPlugin

DEFAULT_ADDRESS: Final = "localhost:7233"
_ROOM_AT_EXIT: Final = 0.05
_ONCE: Final = WorkflowIDReusePolicy.REJECT_DUPLICATE
_AGAIN: Final = WorkflowIDReusePolicy.ALLOW_DUPLICATE


class TreeClient:
    """Starts trees on a Temporal server; cheap to make from a client that has the plugin."""

    def __init__(self, client: Client, *, task_queue: str = TASK_QUEUE) -> None:
        self.client = client
        self.task_queue = task_queue

    @classmethod
    async def connect(
        cls,
        *,
        address: str | None = None,
        namespace: str | None = None,
        profile: str | None = None,
        task_queue: str = TASK_QUEUE,
    ) -> "TreeClient":
        """Connect as Temporal's own configuration says: environment, then file, then localhost.

        What is given here overrides it. Raises `ServerUnreachable`.
        """
        config = cast("dict[str, Any]", ClientConfig.load_client_connect_config(profile))
        config |= {"target_host": address} if address else {}
        config |= {"namespace": namespace} if namespace else {}
        config.setdefault("target_host", DEFAULT_ADDRESS)
        _leave_room_at_exit()
        try:
            client = await Client.connect(**config, plugins=[RegrowPlugin()])
        except (RuntimeError, RPCError) as error:
            raise ServerUnreachable(config["target_host"], reason_of(error)) from None
        return cls(client, task_queue=task_queue)

    async def start(
        self,
        tree: Submitted,
        *,
        id: str | None = None,  # noqa: A002 - the word of the contract
        inputs: Mapping[str, Any] | None = None,
        again: bool = False,
        demo: bool = False,
    ) -> TreeHandle:
        """Start a tree, given as a `TaskTree`, a mapping, a list of tasks, or a path.

        The same id with the same document attaches to the run there is, also to one that has
        ended; with another document it raises `TreeConflict`, which says what differs. `again`
        starts a tree that has ended anew under its id, with whatever document. `inputs` sets
        declared inputs. With `demo` no executor is called: each answers with its demo result, and
        waits end at once. Raises `InvalidTree` before anything starts.
        """
        prepared = prepare(tree, inputs, demo=demo)
        tree_id = id or f"{prepared.name}-{uuid4().hex[:8]}"
        try:
            handle = await self.client.start_workflow(
                WORKFLOW_TYPE,
                prepared.argument,
                id=tree_id,
                task_queue=self.task_queue,
                id_reuse_policy=_AGAIN if again else _ONCE,
                memo=prepared.memo,
                static_summary=prepared.summary,
                static_details=prepared.details,
            )
        except WorkflowAlreadyStartedError:
            return await self._attach(tree_id, prepared)
        return TreeHandle(self.client, tree_id, handle)

    @property
    def schedules(self) -> TreeSchedules:
        """The schedules that start trees by themselves."""
        return TreeSchedules(self)

    def get(self, id: str) -> TreeHandle:  # noqa: A002 - the word of the contract
        """Give the handle of a tree, whether it exists or not; its methods raise `TreeNotFound`."""
        return TreeHandle(self.client, id)

    async def list(  # noqa: PLR0913 - options, all but one by name
        self,
        query: str = "",
        *,
        failed: bool = False,
        waiting: bool = False,
        running: bool = False,
        name: str | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[TreeSummary]:
        """Give trees, open ones first, then the latest to end; `query` is Temporal's list filter.

        With several of `failed`, `waiting` (for people) and `running`, those that are any of it.
        Trees inside others are left out. Raises `NotSetUp` if the server doesn't know which trees
        wait. A server's list follows after a moment.
        """
        asks_names = name is not None
        known = await registered_attributes(self.client) if waiting or asks_names else ()
        lacking = tuple(each for each in WAITING_NEEDS if each not in known)
        if waiting and lacking:
            raise NotSetUp(lacking)
        wanted = TreeFilter(query, failed, waiting, running, name)
        left = limit
        filtered = wanted.on_server(knows_names=TREE_NAME in known)
        async for execution in self.client.list_workflows(filtered):
            if left == 0:
                return
            summary = await summary_of(execution)
            if wanted.wants(execution, summary):
                left = None if left is None else left - 1
                yield summary

    async def _attach(self, tree_id: str, wanted: Submission) -> TreeHandle:
        handle = self.client.get_workflow_handle(tree_id)
        known = await (await handle.describe()).memo_value(MEMO_DOCUMENT_HASH, None)
        if known != wanted.memo[MEMO_DOCUMENT_HASH]:  # or it was started by another tool
            tree = load(await started_document(self.client, tree_id))
            if document_hash(tree) != wanted.memo[MEMO_DOCUMENT_HASH]:
                raise TreeConflict(tree_id, [*differences(tree, load(wanted.document))])
        return TreeHandle(self.client, tree_id, attached=True)


@functools.cache
def _leave_room_at_exit() -> None:
    """Let native threads finish their last call into Python before the interpreter goes down.

    Otherwise a script that is done may die with a signal at its very end (docs/adr/0004-exit.md).
    """
    atexit.register(time.sleep, _ROOM_AT_EXIT)


def reason_of(error: Exception) -> str:
    """Find what a person understands in the native part's nested error text."""
    quoted = re.findall(r'message: "([^"]+)"', str(error))
    return quoted[-1] if quoted else str(error).splitlines()[0]
