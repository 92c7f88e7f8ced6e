import json
from datetime import timedelta
from pathlib import Path

import pytest
from tests.unit.client.report.histories import BEGAN, RECORDED, History, bars_of, recorded, runs_of

from regrow import Status
from regrow.client.report.timeline import Kind, timeline
from regrow.client.report.words import iso


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_bars_are_as_long_as_history_says(path: Path) -> None:
    seen = timeline(recorded(path.stem))
    told = bars_of(json.loads(path.read_text())["events"])

    read = {
        bar.unit: (iso(bar.start), iso(bar.end))
        for bar in seen.bars
        if bar.end and bar.kind is not Kind.WAIT
    }
    assert read == told


def test_last_attempt_and_why_the_one_before_failed_are_known() -> None:
    seen = timeline(recorded("a_task_is_tried_again"))
    first = seen.bars[0]

    assert (first.unit, first.attempts, first.status) == ("a", 3, Status.COMPLETED)
    assert first.earlier_failure == "not yet"
    assert first.taken
    assert first.start < first.taken < (first.end or first.start)


def test_waits_are_told_by_their_timers_and_the_engines_own_are_not() -> None:
    seen = timeline(recorded("an_approval_times_out"))
    waits = [bar.unit for bar in seen.bars if bar.kind is Kind.WAIT]

    assert waits == ["fail", "approve", "reject"]
    assert all(bar.end for bar in seen.bars)


def test_wait_that_is_carried_into_a_fresh_run_is_one() -> None:
    seen = timeline(runs_of("waits_and_maps_are_carried_on"))
    units = [bar.unit for bar in seen.bars if bar.kind is Kind.WAIT]

    assert seen.runs == 4
    assert len(units) == len(set(units))


def test_what_people_did_is_known() -> None:
    acts = timeline(recorded("a_tree_is_paused_and_resumed")).acts

    assert [(act.name, act.said.get("by")) for act in acts] == [
        ("pause", "ann"),
        ("approve", "ann"),
        ("resume", "ann"),
    ]


def test_cancel_of_the_tree_is_an_act() -> None:
    acts = timeline(recorded("a_cancel_interrupts_what_runs")).acts

    assert [act.name for act in acts] == ["cancel"]


def test_tree_that_was_reset_is_read_anew() -> None:
    first, second = History([{"id": "a"}]), History([{"id": "a"}])
    first.begin("a")
    second.at = 50
    begun = second.begin("a")
    second.end(begun)

    seen = timeline([*first.events, *second.events])

    assert [bar.start - BEGAN for bar in seen.bars] == [timedelta(milliseconds=50)]
    assert seen.runs == 1


def test_undoing_and_items_are_told_apart() -> None:
    history = History([{"id": "a"}])
    for unit in ("a", "a[3]", "a~compensate"):
        history.begin(unit)
    bars = timeline(history.events).bars

    assert [bar.task_id for bar in bars] == ["a", "a", "a"]
    assert [bar.index for bar in bars] == [None, 3, None]
    assert [bar.undoes for bar in bars] == [False, False, True]
