"""A run that decides in steps decides the same, only not all at once."""

import json
from time import process_time
from typing import Any

import pytest
from tests.unit.core.builders import (
    NOW,
    Document,
    begin,
    clock,
    continued,
    document,
    plan_of,
    problems_of,
    settle,
    start_all,
    statuses,
    task,
    tree_of,
    undone,
)

from regrow.core import by_hand, limits
from regrow.core.models import TaskTree
from regrow.core.record import Start
from regrow.core.run import TreeRun
from regrow.core.wire import Status

SLOW = "length(inputs.numbers[?@ > `10`])"
"""Takes some forty thousand steps."""
NUMBERS = list(range(10_000))


def paced(tree: TaskTree, steps: int) -> TreeRun:
    return TreeRun(plan_of(tree), tree_id="tree", steps_at_once=steps)


def portions(run: TreeRun) -> list[list[Start]]:
    """What starts each time before the run is tired, until nothing does."""
    found: list[list[Start]] = []
    while True:
        run.rest()
        found.append(start_all(run))
        if not run.is_tired:
            return found


def test_items_are_started_in_portions() -> None:
    each = task("each", for_each=list(range(6)), inputs={"count": f"${{{{ {SLOW} }}}}"})
    run = paced(tree_of(each, inputs={"numbers": NUMBERS}), 100_000)

    sizes = [len(found) for found in portions(run)]

    assert sum(sizes) == 6
    assert max(sizes) < 6


def test_conditions_are_decided_in_portions() -> None:
    many = [task(f"t{at}", when=f"{SLOW} == `{at}`") for at in range(6)]
    run = paced(tree_of(*many, inputs={"numbers": NUMBERS}), 100_000)

    assert len(portions(run)) > 1
    assert set(statuses(run).values()) == {"skipped"}


def test_plain_gates_tire_too() -> None:
    run = paced(tree_of(*[task(f"t{at}", when="`false`") for at in range(100)]), 1_000)

    assert 2 < len(portions(run)) < 20


def test_inputs_of_compensations_are_found_in_portions() -> None:
    slow: Document = {"compensate": {"executor": "undo", "inputs": {"n": f"${{{{ {SLOW}.x }}}}"}}}
    broken = {"compensate": {"executor": "undo", "inputs": {"n": f"a ${{{{ {SLOW}.x }}}}"}}}
    many = [task(f"t{at}", **(broken if at else slow)) for at in range(6)]
    run = paced(tree_of(*many, task("bad"), inputs={"numbers": NUMBERS}), 100_000)
    for start in start_all(run):
        settle(run, start.unit, {"status": "failed"} if start.unit == "bad" else 1)

    found = portions(run)

    assert len(found) > 1
    assert [start.unit for each in found for start in each] == ["t0~compensate"]


def test_outputs_share_the_steps_of_one_value() -> None:
    outputs = {f"o{at}": f"${{{{ {SLOW} }}}}" for at in range(60)}
    run = begin(tree_of(task("a"), inputs={"numbers": NUMBERS}, outputs=outputs))

    given = run.evaluate_outputs()

    assert given["o0"] == 9_989
    assert given["o59"] is None
    assert "takes too many steps" in str(run.error)


def test_map_of_an_earlier_run_is_handed_on_before_its_items_are_found() -> None:
    run = begin(tree_of(task("each", for_each="inputs.numbers"), inputs={"numbers": [1, 2, 3]}))
    first = run.next_start(NOW)
    assert first is not None
    run.began(first.unit, NOW)
    settle(run, first.unit, "one")

    twice = continued(continued(run))

    assert statuses(twice) == {"each": "in_progress"}
    assert [start.unit for start in start_all(twice)] == ["each[1]", "each[2]"]
    for unit in ("each[1]", "each[2]"):
        settle(twice, unit, unit)
    start_all(twice)
    assert twice.task_view("each")["result"] == ["one", "each[1]", "each[2]"]


def test_map_that_is_cancelled_before_its_items_are_found_is_cancelled() -> None:
    run = begin(tree_of(task("each", for_each=[1, 2])))
    first = run.next_start(NOW)
    assert first is not None
    run.began(first.unit, NOW)
    settle(run, first.unit, "one")
    fresh = continued(run)

    fresh.cancel("", clock(fresh))

    assert statuses(fresh) == {"each": "cancelled"}


def test_wait_of_an_earlier_run_is_not_read_again() -> None:
    wait = {"prompt": "go?" + "x" * 5_000, "timeout": "1h", "on_timeout": "approve"}
    run = begin(tree_of(task("ok", executor="approval", inputs=wait)))
    start_all(run)

    fresh = continued(run)

    was, now = run.waits["ok"], fresh.waits["ok"]
    assert (now.kind, now.until, now.timeout) == (was.kind, was.until, "1h")
    assert now.on_timeout == "approve"
    assert str(was.prompt).startswith(str(now.prompt))
    fresh.woke("ok", clock(fresh))
    assert statuses(fresh) == {"ok": "completed"}


@pytest.mark.parametrize(
    "text",
    [
        "${{ inputs.a[?b > `1`] || inputs.a.%s }}",
        "the text ${{ inputs.a.%s || inputs.a.c }} and ${{ inputs.a.%s || inputs.a }}",
    ],
)
def test_document_whose_expressions_are_endless_is_refused_at_once(text: str) -> None:
    many = [task(f"t{at}", inputs={"x": text.replace("%s", f"f{at}" * 200)}) for at in range(900)]
    began = process_time()

    assert problems_of(document(*many, inputs={"a": 1})) == ["too_many "]
    assert process_time() - began < 2


@pytest.mark.parametrize("field", ["when", "for_each"])
def test_bare_expressions_count_too(field: str) -> None:
    many = [task(f"t{at}", **{field: f"inputs.a.{'x' * 900} || inputs.f{at}"}) for at in range(300)]

    assert "too_many " in problems_of(document(*many, inputs={"a": 1}))


def test_ordinary_references_of_a_large_tree_are_no_trouble() -> None:
    many: list[Any] = [task("t0")]
    for at in range(1, 10_000):
        inputs = {"x": f"${{{{ tasks.t{at - 1}.result.x }}}}", "y": "z" * 100}
        many.append(task(f"t{at}", f"t{at - 1}", inputs=inputs))

    assert problems_of(document(*many)) == []
    assert len(json.dumps(many)) > limits.MIB


def test_compensation_of_a_tree_is_not_begun_while_it_is_tired() -> None:
    run = paced(tree_of(undone("a"), task("bad", "a")), 100)
    for unit, answer in (("a", 1), ("bad", {"status": "failed"})):
        found = portions(run)
        assert [start.unit for each in found for start in each] == [unit]
        settle(run, unit, answer)
    run.rest()
    assert [start.unit for start in start_all(run)] == ["a~compensate"]
    assert run.status is Status.IN_PROGRESS


def test_wait_that_was_decided_but_has_not_begun_can_be_cancelled() -> None:
    run = paced(tree_of(*[task(f"t{at}", executor="approval") for at in range(3)]), 150)
    assert run.next_start(NOW) is None  # tired, with waits in hand

    by_hand.cancel(run, "t0", {}, NOW)
    run.rest()

    assert [start.unit for start in start_all(run)] == ["t1", "t2"]
    assert statuses(run) == {"t0": "cancelled", "t1": "in_progress", "t2": "in_progress"}


def test_event_that_comes_before_its_wait_has_begun_is_not_lost() -> None:
    waits = [
        task(f"t{at}", executor="wait_for_event", inputs={"event": "go" if at < 2 else "late"})
        for at in range(3)
    ]
    run = paced(tree_of(*waits), 150)
    assert run.next_start(NOW) is None

    run.event("go", 7, NOW)
    run.rest()

    assert [start.unit for start in start_all(run)] == ["t2"]
    assert statuses(run) == {"t0": "completed", "t1": "completed", "t2": "in_progress"}
    assert run.task_view("t1")["result"] == 7
