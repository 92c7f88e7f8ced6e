"""What a tree and its partitions tell each other; here five tasks make a tree large."""

from datetime import timedelta
from typing import Any

import pytest
from tests.unit.core.builders import (
    NOW,
    Document,
    approval,
    describe,
    fails,
    group,
    plan_of,
    sleep,
    start_all,
    statuses,
    task,
    tree_of,
    undone,
)
from tests.unit.core.partitioning import Part, Parts, sent

from regrow.core import limits
from regrow.core.handover import (
    Reporter,
    obey,
    partition_bytes,
    partition_document,
    read_report,
)
from regrow.core.outcome import Outcome, completed, failed, outcome_of
from regrow.core.problems import InvalidTree
from regrow.core.record import Kind, Start
from regrow.core.run import TreeRun
from regrow.core.snapshot import read_ends, restore_snapshot, take_snapshot
from regrow.core.wire import ENGINE_KEY, PARTITION_KEY, Status

SECOND = timedelta(seconds=1)
Said = dict[str, Any]


@pytest.fixture(autouse=True)
def small_partitions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PARTITION_ABOVE", 4)
    monkeypatch.setattr(limits, "PARTITION_LEAST", 2)


REST = [approval("last"), *(task(f"rest{at}", "last") for at in range(5))]


def large(*tasks: Document, **head: Any) -> TreeRun:
    """A run of a tree with a few tasks more than are of interest, which wait for an approval."""
    plan = plan_of(tree_of(*tasks, *REST, **head))
    return TreeRun(plan, tree_id="tree", may_partition=True)


def document_of(run: TreeRun) -> Said:
    """The argument of the first partition that the run begins."""
    start = next(start for start in start_all(run) if start.kind is Kind.PARTITION)
    return sent(partition_document(run, start, describe(run.plan.tree)))


def part_of(run: TreeRun) -> Part:
    return Part("~1", document_of(run))


def about(run: TreeRun) -> Said:
    return document_of(run)[ENGINE_KEY][PARTITION_KEY]


def end(part: Part, task_id: str, answer: Any = None, at: int = 0) -> None:
    """Let a task of a partition end so many seconds after the beginning."""
    start_all(part.run)
    outcome = answer if isinstance(answer, Outcome) else outcome_of(answer)
    part.run.ended(task_id, outcome, NOW + at * SECOND)
    part.reporter.look(part.run, NOW + at * SECOND)


def results(said: Said) -> Said:
    return {each: result for each, (result, _) in said["results"].items()}


# --- what a partition is given


def test_partition_is_a_tree_of_its_own() -> None:
    run = large(
        task("a", inputs={"x": "${{ inputs.n }}"}),
        undone("b", "a", parent_id="a"),
        description="about",
        user_id="acme",
        inputs={"n": 1},
        outputs={"out": "${{ tasks.b.result }}"},
        max_in_flight=10,
        on_failure="wait",
    )

    document = document_of(run)

    engine = document.pop(ENGINE_KEY)
    assert document == {
        "version": 1,
        "name": "tree",
        "user_id": "acme",
        "inputs": {"n": 1},
        "outputs": {},
        "max_in_flight": 1,
        "tasks": [
            {"id": "a", "executor": "work", "inputs": {"x": "${{ inputs.n }}"}},
            {"id": "b", "executor": "work", "dependencies": ["a"]},
        ],
    }
    assert list(engine["description"]["executors"]) == ["work"]
    assert engine["snapshot"] == {"ended": {}, "results": {}, "notes": {}, "sleeping": {}}


def test_task_of_another_queue_needs_no_description() -> None:
    run = large(task("a", task_queue="other", executor="theirs"), task("b"))

    assert list(document_of(run)[ENGINE_KEY]["description"]["executors"]) == ["work"]


def test_partition_knows_how_those_before_it_ended_and_the_results_that_it_needs() -> None:
    run = large(
        task("map", for_each=[1]),
        sleep("nap"),
        task("bad", for_each=[1], allow_failure=True),
        task("gone", "bad"),
        task("a", "map", {"id": "nap", "into": None}, "gone?"),
        task("b", "a", when="tasks.gone.status == 'skipped'"),
        task("c", "map?", "gone?", "bad?", inputs={"of": "${{ tasks.map.status }}"}),
    )
    start_all(run)
    run.ended("map[0]", completed(7), NOW)
    run.ended("bad[0]", outcome_of(fails()), NOW)
    run.woke("nap", NOW)

    document = document_of(run)

    engine = document[ENGINE_KEY]
    assert engine[PARTITION_KEY]["before"] == ["map", "nap", "gone", "bad"]
    assert [each["id"] for each in document["tasks"][4:]] == ["a", "b", "c"]
    assert {each: end[0] for each, end in engine["snapshot"]["ended"].items()} == {
        "map": "c",
        "nap": "c",
        "gone": "s",
        "bad": "f",
    }
    assert list(engine["snapshot"]["results"]) == ["map"]


def test_skip_before_a_partition_stays_a_skip_in_it() -> None:
    run = large(
        task("bad", for_each=[1], allow_failure=True),
        task("gone", "bad"),
        task("a", "gone?", inputs={"was": "${{ tasks.gone.status }}"}),
        task("b", "gone?"),
    )
    start_all(run)
    run.ended("bad[0]", outcome_of(fails()), NOW)

    part = part_of(run)

    assert {start.unit: dict(start.inputs) for start in start_all(part.run)} == {
        "a": {"was": "skipped"},
        "b": {},
    }
    assert part.run.because("gone") == run.because("gone")


def test_partition_is_told_who_waits_for_its_tasks_and_what_is_read_at_the_end() -> None:
    run = large(
        task("to_map"),
        task("to_reader"),
        task("alone", "to_map?"),
        task("to_output"),
        task("to_undo"),
        undone("u", "to_undo", compensate={"executor": "undo", "inputs": {"x": TO_UNDO}}),
        task("map", "to_map", for_each=[1]),
        task("middle", "to_reader?", "last?"),
        task("reader", "middle", inputs={"x": "${{ tasks.to_reader.result }}"}, for_each=[1]),
        group("g", children=[task("member")]),
        outputs={"o": "${{ tasks.to_output.result }}"},
    )

    said = about(run)

    assert said["of"] == "tree"
    assert said["exports"] == ["to_map", "to_reader", "member"]
    assert said["kept"] == ["to_output", "to_undo"]
    assert "at_once" not in said


TO_UNDO = "${{ tasks.to_undo.result }}"


def test_default_outputs_are_kept_and_a_tree_that_gives_up_hears_of_failures_at_once() -> None:
    said = about(large(task("a"), task("b", "a"), task("c"), on_failure="cancel"))

    assert (said["exports"], said["kept"], said["at_once"]) == ([], ["b", "c"], True)


# --- what a tree asks


def test_partition_pauses_and_goes_on_as_it_is_asked() -> None:
    part = part_of(large(task("a"), task("b")))

    obey(part.run, {"paused": {"by": "ann"}}, NOW)
    assert (part.run.paused, start_all(part.run)) == ({"by": "ann"}, [])
    obey(part.run, {"paused": None}, NOW)

    assert len(start_all(part.run)) == 2


def test_partition_cancels_the_tasks_that_it_is_asked_to() -> None:
    part = part_of(large(task("a"), task("b", "a?"), task("c"), task("d", "c")))
    start_all(part.run)
    part.run.ended("c", completed(), NOW)

    obey(part.run, {"cancel": ["a", "a", "b", "c", "strange"]}, NOW)
    obey(part.run, {"cancel": ["a"]}, NOW)

    assert list(iter(part.run.next_interrupt, None)) == ["a"]
    assert statuses(part.run) == {
        "a": "in_progress",
        "b": "cancelled",
        "c": "completed",
        "d": "pending",
    }
    assert part.run.paused is None


# --- when it reports


def test_what_others_wait_for_is_reported_soon_and_the_rest_later() -> None:
    part = part_of(large(task("a"), task("b", "a"), task("c"), task("map", "c", for_each=[1])))
    assert part.reporter.due_at is None

    end(part, "a", at=5)
    assert part.reporter.due_at == NOW + 5 * SECOND + limits.REPORT_ALL
    end(part, "c", at=6)
    assert part.reporter.due_at == NOW + 6 * SECOND + limits.REPORT_EXPORTS
    end(part, "b", at=7)
    assert part.reporter.due_at == NOW + 6 * SECOND + limits.REPORT_EXPORTS

    part.reporter.report(part.run, NOW)
    assert part.reporter.due_at is None


@pytest.mark.parametrize(("on_failure", "wait"), [("cancel", timedelta(0)), ("wait", SECOND)])
def test_failure_is_reported_at_once_to_a_tree_that_gives_up(
    on_failure: str, wait: timedelta
) -> None:
    part = part_of(large(task("a"), task("b"), on_failure=on_failure))

    end(part, "a", fails())

    assert part.reporter.due_at == NOW + wait


def test_large_results_are_reported_at_once() -> None:
    half = "x" * (limits.REPORT_BYTES // 2)
    part = part_of(large(task("a"), task("b"), task("c")))

    end(part, "a", half)
    assert part.reporter.due_at == NOW + limits.REPORT_ALL
    end(part, "b", half)

    assert part.reporter.due_at == NOW


def test_results_that_nobody_outside_reads_take_no_room() -> None:
    part = part_of(large(task("a"), task("b", "a")))

    end(part, "a", "x" * limits.REPORT_BYTES)

    assert part.reporter.due_at == NOW + limits.REPORT_ALL


# --- what it reports


def test_every_end_is_reported_once() -> None:
    part = part_of(large(task("a"), task("b", "a"), task("c")))
    end(part, "a", 1)
    end(part, "c", fails())
    first = part.reporter.report(part.run, NOW)
    end(part, "b", 2)

    (last,) = part.reporter.last_words(part.run, NOW)

    assert (list(first["ended"]), list(last["ended"])) == (["a", "c"], ["b"])
    assert (results(first), results(last)) == ({}, {"b": 2})
    assert first["notes"]["c"]["error"] == "broken"
    assert part.reporter.told == ["a", "c", "b"]


def test_those_before_are_not_reported() -> None:
    run = large(task("map", for_each=[1]), task("a", "map"), task("b", "map"))
    start_all(run)
    run.ended("map[0]", completed(7), NOW)

    part = part_of(run)
    part.reporter.look(part.run, NOW)

    assert (part.reporter.due_at, part.reporter.last_words(part.run, NOW)[0]["ended"]) == (None, {})


def test_continuation_of_a_partition_tells_nothing_twice() -> None:
    part = part_of(large(task("a"), task("b", "a"), task("c")))
    end(part, "a", 1)
    part.reporter.report(part.run, NOW)
    reporter = Reporter({**part.about, "told": part.reporter.told})
    fresh = TreeRun(part.run.plan, tree_id="tree", on_change=reporter.changed)

    restore_snapshot(fresh, take_snapshot(part.run))
    reporter.look(fresh, NOW)

    assert (reporter.due_at, reporter.told) == (None, ["a"])


def test_report_holds_no_more_than_a_message_may() -> None:
    part = part_of(large(*(task(f"t{at}") for at in range(5))))
    third = "x" * (limits.REPORT_BYTES // 3)
    for at in range(4):
        end(part, f"t{at}", third if at else "x" * 2 * limits.REPORT_BYTES)
    end(part, "t4", {**fails(), "metadata": {"log": third}})

    first = part.reporter.report(part.run, NOW)
    assert (list(first["ended"]), part.reporter.due_at) == (["t0"], NOW)

    others = part.reporter.last_words(part.run, NOW)
    assert [list(said["ended"]) for said in others] == [["t1", "t2"], ["t3", "t4"]]
    assert part.reporter.due_at is None


def test_long_errors_take_room_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "REPORT_BYTES", 1_500)
    part = part_of(large(task("a"), task("b")))
    end(part, "a", fails("x" * 1_000))
    end(part, "b", fails("y" * 1_000))

    assert [list(each["ended"]) for each in part.reporter.last_words(part.run, NOW)] == [
        ["a"],
        ["b"],
    ]


def test_result_that_is_too_large_to_be_handed_on_fails_its_task() -> None:
    part = part_of(large(task("a"), task("b")))
    end(part, "a", "x" * (limits.MAX_HANDED_ON - 30))
    end(part, "b", {"status": "completed", "result": "x" * limits.MAX_HANDED_ON, "attempt": 2})

    first, last = part.reporter.last_words(part.run, NOW)

    assert list(results(first)) == ["a"]
    ((_, record),) = read_ends(last)
    assert record.status is Status.FAILED
    error = "the result of 'b' is too large to be handed on; let it return a reference"
    assert record.outcome == failed(error, "payload_too_large", attempts=2)


def test_failure_that_says_too_much_keeps_its_error() -> None:
    part = part_of(large(task("a"), task("b")))
    end(part, "a", {**fails(), "log": "x" * limits.MAX_HANDED_ON})

    ((_, record),) = read_ends(part.reporter.last_words(part.run, NOW)[0])

    assert record.outcome == failed("broken", "execution_error", attempts=None)


# --- its last words


def test_a_failure_is_reported_with_the_results_that_a_retry_needs() -> None:
    part = part_of(large(task("a"), task("b", "a"), task("bad", "b"), task("c", "bad", "b")))
    end(part, "a", 1)
    end(part, "b", 2)
    assert results(part.reporter.report(part.run, NOW)) == {}

    end(part, "bad", {**fails(), "log": "x" * 1_000})
    said = part.reporter.report(part.run, NOW)

    assert (results(said), sorted(said["ended"])) == ({"b": 2}, ["b", "bad", "c"])


def test_what_a_retry_needs_and_the_tree_knows_is_not_said_again() -> None:
    tree = large(task("a"), task("b", "a"), task("c", "b", "a"), task("map", "a", for_each=[1]))
    part = part_of(tree)
    end(part, "a", 1)
    assert results(part.reporter.report(part.run, NOW)) == {"a": 1}  # the map reads it, too

    end(part, "b", fails())
    said = part.reporter.report(part.run, NOW)

    assert sorted(said["ended"]) == ["b", "c"]


@pytest.mark.parametrize(
    "message", [None, [], {"ended": 1}, {"ended": {"a": ["?"]}}, {"packed": "?"}]
)
def test_a_report_that_is_none_is_refused(message: Any) -> None:
    with pytest.raises(InvalidTree):
        read_report(message)


def test_a_report_says_which_partition_it_is_and_what_ended() -> None:
    told = {"unit": "~1", "ended": {"a": ["c", 1, None, None]}, "results": {}, "notes": {}}

    unit, ended = read_report(told)

    assert (unit, ended["a"].status, ended["a"].result_omitted) == ("~1", Status.COMPLETED, True)


def started(run: TreeRun) -> Start:
    return next(start for start in start_all(run) if start.kind is Kind.PARTITION)


def test_a_partition_is_weighed_by_its_inputs_and_by_the_results_that_it_is_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = large(task("a"), sleep("nap"), task("b", "a", "nap"), task("c", "a", "nap"))
    for start in start_all(run):
        if start.kind is Kind.ACTIVITY:
            run.ended(start.unit, completed("x" * 100), NOW)
    run.woke("nap", NOW)
    start = started(run)
    assert start.tasks == ("b", "c")

    assert partition_bytes(run, start) == 110  # two times {}, the result of a, the null of nap

    monkeypatch.setattr(limits, "PARTITION_BYTES", 50)
    assert partition_bytes(run, start) > 50
    monkeypatch.setattr(limits, "PARTITION_BYTES", 1)
    assert partition_bytes(run, start) == 2


# --- a whole tree, in any order


LARGE = tree_of(
    task("a"),
    task("b", "a"),
    task("map", "b", for_each=[1, 2, 3]),
    task("bad", "a"),
    task("gone", "bad"),
    task("on", "gone?", "map"),
    group("g", "map?", children=[task("m1", "b"), task("m2", "m1", "a?")]),
    *(task(f"w{at}", "g?", "on") for at in range(6)),
    task("end", *(f"w{at}?" for at in range(6)), inputs={"first": "${{ tasks.a.result }}"}),
    max_in_flight=3,
)


def execute(start: Start) -> Outcome:
    return outcome_of(fails() if start.unit == "bad" else start.unit)


@pytest.mark.parametrize("seed", range(30))
def test_partitions_change_nothing_about_how_a_tree_ends(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = Parts(plan_of(LARGE), describe(LARGE), execute, seed=seed)
    plain.run.partitions.is_on = False
    wanted = plain.to_end()
    monkeypatch.setattr(limits, "PARTITION_TASKS", 4)
    parts = Parts(plan_of(LARGE), describe(LARGE), execute, seed=seed)

    found = parts.to_end()

    assert len(parts.begun) > 1
    assert statuses(found) == statuses(wanted)
    assert found.evaluate_outputs() == wanted.evaluate_outputs()
    assert parts.inputs == plain.inputs
    assert [found.because(each) for each in found.records] == [
        wanted.because(each) for each in wanted.records
    ]
