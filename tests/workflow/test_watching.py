"""What is seen of a tree by whoever follows it, or has only its histories."""

from pathlib import Path

import pytest
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import WorkflowHistory

from regrow import Status
from regrow.client import fold
from regrow.core.problems import InvalidTree

HISTORIES = Path(__file__).parents[1] / "replay" / "histories"


# --- downloaded histories


def downloaded(name: str) -> list[HistoryEvent]:
    text = (HISTORIES / f"{name}.json").read_text()
    return list(WorkflowHistory.from_json(name, text).events)


def test_downloaded_history_tells_how_a_tree_ended_without_a_server() -> None:
    result = fold("fails", downloaded("a_required_failure_skips_dependents"))

    assert (result.tree_id, result.status) == ("fails", Status.FAILED)
    assert [task.status for task in result.tasks.values()] == ["failed", "skipped", "skipped", "completed"]


def test_histories_of_continued_runs_are_read_one_after_the_other() -> None:
    name = "waits_and_maps_are_carried_on"
    runs = [downloaded(f"{name}.run{at}") for at in range(1, 5)]
    half, whole = (fold(name, [event for run in part for event in run]) for part in (runs[:2], runs))

    assert (half.status, whole.status) == (Status.IN_PROGRESS, Status.FAILED)
    assert whole.counts == {**dict.fromkeys(whole.counts, 0), "completed": 4, "failed": 1}


def test_downloaded_history_of_a_bad_document_is_refused() -> None:
    with pytest.raises(InvalidTree, match="no task 'nowhere'"):
        fold("bad", downloaded("a_bad_document_fails_at_once"))
