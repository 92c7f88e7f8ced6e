"""Random trees of the whole language end in `simulate` as the oracle says.

REGROW_LONG=1 runs ten times as many, and others each time.
"""

import asyncio
import os
import random

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from tests.fuzz.language import expected, script_of, shape
from tests.fuzz.oracle import EndState, oracle, oracle_cancel, oracle_closed
from tests.fuzz.strategies import LanguageCase, language_cases

from regrow import Status
from regrow.core.result import TreeResult
from regrow.core.script import Trace
from regrow.core.simulate import simulate

TIMES = 10 if os.environ.get("REGROW_LONG") else 1
SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
MANY = settings(max_examples=1_500 * TIMES, suppress_health_check=SLOW)
FEWER = settings(max_examples=500 * TIMES, suppress_health_check=SLOW)
FOREVER = 10.0**8


def simulated(
    case: LanguageCase, seed: object = "", cancel_after: float | None = None
) -> tuple[TreeResult, Trace]:
    """Run a case in memory; gives its result and what happened."""
    trace = Trace()
    script = script_of(case, random.Random(f"{case.seed} {seed}"))
    run = simulate(
        case.document,
        script,
        inputs=case.tree_inputs,
        cancel_after=cancel_after,
        trace=trace,
    )
    return asyncio.run(run), trace


def end_state(case: LanguageCase) -> EndState:
    return oracle(case.document, case.script, tree_inputs=case.tree_inputs)


@MANY
@given(language_cases())
def test_the_end_state_is_the_oracles_in_every_order(case: LanguageCase) -> None:
    state = end_state(case)
    for seed in range(2):
        assert shape(*simulated(case, seed), state) == expected(state)


@FEWER
@given(language_cases(on_failure="wait"))
def test_a_tree_that_waits_is_held_open_by_a_failure_alone(case: LanguageCase) -> None:
    state = end_state(case)
    assert shape(*simulated(case), state) == expected(state)
    if state.status == "in_progress":
        closed = oracle_closed(case.document, case.script, tree_inputs=case.tree_inputs)
        got = shape(*simulated(case, cancel_after=FOREVER), closed)
        assert got == expected(closed)


@FEWER
@given(language_cases(on_failure="cancel"))
def test_giving_up_at_a_failure_ends_as_the_oracle_says(case: LanguageCase) -> None:
    result, trace = simulated(case)
    observed = [path for path, status in trace.changes if status.is_settled]
    failed = [task_id for task_id, task in result.tasks.items() if task.error_type == "tree_failed"]
    state = oracle_cancel(
        case.document,
        case.script,
        observed,
        tree_inputs=case.tree_inputs,
        failed_inside=failed,
    )

    got, want = shape(result, trace, state), expected(state)

    for side in (got, want):  # what was running when the tree gave up is not the oracle's
        del side["received"]
    for task_id, task in got["tasks"].items():
        # A map that tolerates what had failed inside its interrupted sub-trees is complete.
        assume((task["status"], want["tasks"][task_id]["status"]) != ("completed", "cancelled"))
    assert got == want


@FEWER
@given(language_cases(), st.floats(0, 600))
def test_a_cancelled_tree_is_a_beginning_of_the_undisturbed_one(
    case: LanguageCase, after: float
) -> None:
    state = expected(end_state(case))
    result, trace = simulated(case, cancel_after=after)
    got = shape(result, trace, end_state(case))

    cancelled = [task_id for task_id, task in result.tasks.items() if task.status == "cancelled"]
    for task_id, task in got["tasks"].items():
        if task_id in cancelled:
            assert task["reason"] == "cancel"
        else:
            for side in (task, state["tasks"][task_id]):
                del side["undone"], side["because"]  # what blocked it may have been cancelled first
            assert task == state["tasks"][task_id]
    if result.status is not Status.CANCELLED:
        assert result.status == state["status"] or cancelled
    assert all(task.status.is_settled for task in result.tasks.values())
