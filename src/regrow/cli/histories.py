"""Downloaded histories: read from files or standard input, without any server."""

import sys
from collections.abc import Sequence
from pathlib import Path

from google.protobuf.json_format import ParseError
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import WorkflowHistory

from regrow.cli.exits import say
from regrow.client import Fold
from regrow.core.wire import WORKFLOW_TYPE


def fold_of(files: Sequence[str], tree_id: str | None) -> Fold | None:
    """Read downloaded histories; what is wrong has been printed when there is no fold."""
    found = read_histories(files, tree_id)
    if found is None:
        return None
    fold = Fold(found[0])
    fold.feed(found[1])
    fold.finish()
    return fold


def read_histories(
    files: Sequence[str], tree_id: str | None
) -> tuple[str, list[HistoryEvent]] | None:
    """Give the tree's id and the events of its runs; what is wrong has been printed when None."""
    events: list[HistoryEvent] = []
    for file in files:
        run = _read_run(file)
        if run is None:
            return None
        started = run[0].workflow_execution_started_event_attributes
        tree_id = tree_id or started.workflow_id or Path(file).stem
        events += run
    return tree_id or "", events


def _read_run(file: str) -> Sequence[HistoryEvent] | None:
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
        events = WorkflowHistory.from_json("", text).events
    except (ValueError, ParseError) as error:
        say(f"error: {file}: this is no history as JSON: {error}")
        return None
    start = events[0].workflow_execution_started_event_attributes if events else None
    if start is None or start.workflow_type.name != WORKFLOW_TYPE:
        say(f"error: {file}: this is no history of a tree, or not its beginning")
        return None
    return events
