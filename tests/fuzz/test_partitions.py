"""Large trees in partitions against the oracle: random trees, random mail, whatever the order.

The limits are lowered, so that small trees are large ones. REGROW_LONG=1 runs ten times as many.
"""

import os
from collections.abc import Collection, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from tests.fuzz.oracle import oracle
from tests.fuzz.strategies import Case, cases
from tests.fuzz.test_run_against_oracle import DESCRIPTION, expected, shape
from tests.unit.core.partitioning import Part, Parts

from regrow.core import limits
from regrow.core.loading import load
from regrow.core.outcome import Outcome, outcome_of
from regrow.core.record import Kind, Start
from regrow.core.references import named_tasks
from regrow.core.resolve import resolve
from regrow.core.result import tree_result

TIMES = 10 if os.environ.get("REGROW_LONG") else 1
MANY = settings(
    max_examples=300 * TIMES,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@pytest.fixture(autouse=True, scope="module")
def small_partitions() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(limits, "PARTITION_ABOVE", 1)
        patched.setattr(limits, "PARTITION_TASKS", 6)
        patched.setattr(limits, "PARTITION_LEAST", 2)
        yield


class Checked(Parts):
    """Looks at everything that is handed over."""

    def begin(self, start: Start) -> None:
        super().begin(start)
        if start.kind is Kind.PARTITION:
            self._check_closed(start.tasks)
            self._check_exports(start.tasks, self.begun[-1])

    def _check_closed(self, inside: Collection[str]) -> None:
        for task_id in inside:
            for name in self._needs(task_id):
                assert name in inside or self.run.records[name].status.is_settled

    def _check_exports(self, inside: Collection[str], part: Part) -> None:
        others = [each for each in self.run.tasks if each not in inside]
        awaited = {name for each in others for name in self._needs(each)}
        awaited |= {each for each in inside if each in self.run.grouped}
        assert part.about["exports"] == [each for each in inside if each in awaited]

    def _needs(self, task_id: str) -> list[str]:
        task = self.run.tasks[task_id]
        return [*(edge.id for edge in task.dependencies), *named_tasks(task)]


def parts_of(case: Case, seed: int) -> Parts:
    def execute(start: Start) -> Outcome:
        scripted = case.script[start.task_id]
        if scripted.ok:
            return outcome_of({"status": "completed", "result": scripted.value})
        return outcome_of({"status": "failed", "error": scripted.value})

    plan = resolve(load(case.document), DESCRIPTION)
    return Checked(plan, DESCRIPTION, execute, seed=seed)


@MANY
@given(cases(far_references=True))
def test_the_end_state_is_the_oracles_whoever_ran_what(case: Case) -> None:
    want = expected(oracle(case.document, case.script))
    for seed in range(2):
        parts = parts_of(case, case.seed + seed)
        assert seen(parts, want) == want


def seen(parts: Parts, want: dict[str, Any]) -> dict[str, Any]:
    """How it ended; results that nobody needs stay with the partitions, which know them."""
    got = shape(tree_result(parts.to_end()), parts.inputs)
    for part in parts.begun:
        for task_id in part.about["kept"] + part.about["exports"]:
            assert not parts.run.records[task_id].result_omitted
    for task_id, record in parts.run.records.items():
        if record.result_omitted:
            got["tasks"][task_id]["result"] = want["tasks"][task_id]["result"]
    return got


@MANY
@given(cases(on_failure="cancel"))
def test_tree_that_gives_up_ends_whoever_runs_what(case: Case) -> None:
    """What partitions completed before they heard of it is kept; all else is cancelled."""
    patient = {**case.document, "on_failure": "continue"}
    otherwise = expected(oracle(patient, case.script))["tasks"]
    got = shape(tree_result(parts_of(case, case.seed).to_end()), {})
    failed = any(task["reason"] == "on_failure" for task in got["tasks"].values())

    assert not failed or got["status"] == "failed"
    for task_id, task in got["tasks"].items():
        if task["reason"] != "on_failure":
            assert task["status"] == otherwise[task_id]["status"]
