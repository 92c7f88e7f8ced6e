"""From a tree on a server to its report: its events, and what they fold into."""

import contextlib
from datetime import UTC, datetime

from temporalio.api.history.v1 import HistoryEvent
from temporalio.service import RPCError, RPCStatusCode

from regrow.client.errors import TreeNotFound
from regrow.client.fold import Fold
from regrow.client.report.rendering import report
from regrow.client.tree_handle import TreeHandle
from regrow.client.watching import Seen, read
from regrow.core.problems import InvalidTree


async def report_of(tree: TreeHandle) -> str:
    """Give the report of a tree as it stands; needs no worker. Raises `TreeNotFound`."""
    fold = tree.new_fold()
    try:
        events = await _events(tree, fold)
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            raise TreeNotFound(tree.id, tree.client.namespace) from error
        raise
    return report(fold, events, now=datetime.now(UTC), converter=tree.client.data_converter)


async def _events(tree: TreeHandle, fold: Fold) -> list[HistoryEvent]:
    """Read a tree into its fold, and give the events."""
    events: list[HistoryEvent] = []
    try:
        async for piece, _ in read(tree.client, Seen(fold), wait=False):
            events += piece
    except InvalidTree:  # which its workflow refused as well
        return list((await tree.workflow_handle.fetch_history()).events)
    fold.finish()
    if fold.lacks is not None:
        earlier = TreeHandle(tree.client, fold.lacks)
        repaired = earlier.new_fold()
        with contextlib.suppress(TreeNotFound):  # a server forgets after a while
            await earlier.status(repaired)
            fold.adopt(repaired)
    return events
