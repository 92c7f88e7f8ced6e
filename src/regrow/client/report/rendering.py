"""From the events of a tree to its report, without any server."""

import contextlib
from collections.abc import Sequence
from datetime import datetime

from temporalio.api.history.v1 import HistoryEvent
from temporalio.converter import DataConverter

from regrow.client.fold import Fold
from regrow.client.report.page import page
from regrow.client.report.sheet import gather
from regrow.client.report.timeline import timeline
from regrow.core.problems import InvalidTree


def report(
    fold: Fold,
    events: Sequence[HistoryEvent],
    *,
    now: datetime | None = None,
    converter: DataConverter = DataConverter.default,
) -> str:
    """Give the report of a tree as one HTML file that needs nothing else.

    The fold must have been fed these events, those of all runs, and be finished. `now` is when they
    were read, up to which what is open is drawn; default: the time of the last event.
    """
    return page(gather(fold, timeline(events, converter), now, converter))


def report_from_events(
    tree_id: str,
    events: Sequence[HistoryEvent],
    converter: DataConverter = DataConverter.default,
) -> str:
    """Give the report of a tree whose history was downloaded; also of one that was refused."""
    fold = Fold(tree_id, converter)
    with contextlib.suppress(InvalidTree):
        fold.feed(events)
        fold.finish()
    return report(fold, events, converter=converter)
