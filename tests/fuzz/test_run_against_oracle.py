"""The interpreter against an oracle that was written apart from it: random trees, every order.

REGROW_LONG=1 runs ten times as many.
"""

import os
import random
from datetime import UTC, datetime
from typing import Any

from hypothesis import HealthCheck, given, settings
from tests.fuzz.oracle import EndState, oracle, oracle_cancel
from tests.fuzz.strategies import Case, cases

from regrow.core.loading import load
from regrow.core.models import Policy
from regrow.core.outcome import Outcome, outcome_of
from regrow.core.record import Start  # noqa: TC001 - at the top with the rest
from regrow.core.resolve import Description, resolve
from regrow.core.result import tree_result
from regrow.core.run import TreeRun
from regrow.core.snapshot import restore_snapshot, take_snapshot
from regrow.core.wire import Status

TIMES = 10 if os.environ.get("REGROW_LONG") else 1
NOW = datetime(2030, 1, 1, tzinfo=UTC)
FEWER = settings(
    max_examples=1_000 * TIMES,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
MANY = settings(
    max_examples=5_000 * TIMES,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
DESCRIPTION = Description(executors={"scripted": Policy()})


class Driver:
    """Runs a case in memory, ending what runs in an order that chance decides."""

    def __init__(self, case: Case, chance: random.Random) -> None:
        self.case, self.chance = case, chance
        self.tree = load(case.document)
        self.run = self.fresh()
        self.going: list[Start] = []
        self.inputs: dict[str, Any] = {}
        self.settled: list[str] = []

    def fresh(self) -> TreeRun:
        plan = resolve(self.tree, DESCRIPTION)
        return TreeRun(plan, tree_id="tree", on_change=self.note)

    def note(self, task_id: str) -> None:
        if self.run.records[task_id].status.is_settled and task_id not in self.settled:
            self.settled.append(task_id)

    def start(self) -> None:
        while (start := self.run.next_start(NOW)) is not None:
            if start.wait is not None:
                self.run.waiting(start, NOW)
            else:
                self.run.began(start.task_id, NOW)
                self.inputs[start.task_id] = dict(start.inputs)
            self.going.append(start)

    def end_one(self) -> None:
        start = self.going.pop(self.chance.randrange(len(self.going)))
        if start.wait is not None:
            self.run.woke(start.task_id, NOW)
            return
        scripted = self.case.script[start.task_id]
        if self.run.closed is not None:
            self.run.ended(start.task_id, Outcome(Status.CANCELLED), NOW)
        elif scripted.ok:
            answer = {"status": "completed", "result": scripted.value}
            self.run.ended(start.task_id, outcome_of(answer), NOW)
        else:
            answer = {"status": "failed", "error": scripted.value}
            self.run.ended(start.task_id, outcome_of(answer), NOW)

    def to_end(self) -> dict[str, Any]:
        self.start()
        while not self.run.is_finished:
            self.end_one()
            self.start()
        return tree_result(self.run)


def shape(result: dict[str, Any], inputs: dict[str, Any]) -> dict[str, Any]:
    """What both sides say of a task, in one form."""
    tasks = {
        task_id: {
            "status": entry["status"],
            "result": entry["result"],
            "error_type": entry["error_type"],
            "reason": entry["because"] and entry["because"]["reason"],
            "because": entry["because"] and entry["because"]["task_id"],
            "inputs": inputs.get(task_id),
        }
        for task_id, entry in result["tasks"].items()
    }
    return {"status": result["status"], "outputs": result["outputs"], "tasks": tasks}


def expected(state: EndState) -> dict[str, Any]:
    tasks = {
        task_id: {
            "status": end.status,
            "result": end.result,
            "error_type": end.error_type,
            "reason": end.reason,
            "because": end.because,
            "inputs": end.inputs,
        }
        for task_id, end in state.tasks.items()
    }
    return {"status": state.status, "outputs": state.outputs, "tasks": tasks}


@MANY
@given(cases())
def test_the_end_state_is_the_oracles_in_every_order(case: Case) -> None:
    want = expected(oracle(case.document, case.script))
    for seed in range(3):
        driver = Driver(case, random.Random(f"{case.seed} {seed}"))
        assert shape(driver.to_end(), driver.inputs) == want


@FEWER
@given(cases(far_references=True))
def test_expressions_wait_for_what_they_name(case: Case) -> None:
    want = expected(oracle(case.document, case.script))
    for seed in range(2):
        driver = Driver(case, random.Random(f"{case.seed} {seed}"))
        assert shape(driver.to_end(), driver.inputs) == want


@FEWER
@given(cases(on_failure="cancel"))
def test_giving_up_at_a_failure_ends_as_the_oracle_says(case: Case) -> None:
    driver = Driver(case, case.chance())
    got = shape(driver.to_end(), driver.inputs)

    want = expected(oracle_cancel(case.document, case.script, driver.settled))

    for side in (got, want):
        for task in side["tasks"].values():
            # What was running when the tree gave up had inputs; the oracle doesn't run it.
            task.pop("inputs")
    assert got == want


@FEWER
@given(cases())
def test_a_continuation_ends_as_an_undisturbed_run_does(case: Case) -> None:
    want = shape(Driver(case, case.chance()).to_end(), {})
    driver = Driver(case, case.chance())
    driver.start()
    while not driver.run.is_finished:
        driver.end_one()
        if not driver.run.in_flight and not driver.run.is_finished:
            snapshot = take_snapshot(driver.run)
            asleep = [start for start in driver.going if start.task_id in driver.run.waits]
            driver.run = driver.fresh()
            restore_snapshot(driver.run, snapshot)
            driver.going = asleep
        driver.start()
    got = shape(tree_result(driver.run), {})

    omitted = {task_id for task_id, r in driver.run.records.items() if r.result_omitted}
    for task_id in omitted:
        want["tasks"][task_id]["result"] = None
    assert not omitted & want["outputs"].keys()
    assert got == want
