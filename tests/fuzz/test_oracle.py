"""The oracle, held to each row of DESIGN §4 and each ruling of §9 on trees small enough to read.

Then the random documents: the oracle can finish all of them, and they keep their own promises.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, cast

import pytest
from hypothesis import given, settings
from tests.fuzz.oracle import (
    Approved,
    Compensation,
    End,
    Ended,
    EndState,
    ImpossibleOrderError,
    Json,
    Rejected,
    Scripted,
    Sent,
    TimedOut,
    UnfinishableError,
    oracle,
    oracle_cancel,
    oracle_closed,
    oracle_compensation_order,
    scripted_for,
    without_times,
)
from tests.fuzz.strategies import EXECUTOR, PROBE, Case, LanguageCase, cases, language_cases

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


def task(task_id: str, *dependencies: str | dict[str, Json], **fields: Json) -> dict[str, Json]:
    """A plain task: a dependency is required, `a?` is optional, a mapping is taken as it is."""
    edges: list[Json] = [_edge(each) for each in dependencies]
    return {"id": task_id, "executor": EXECUTOR, "dependencies": edges, **fields}


def group(task_id: str, *dependencies: str | dict[str, Json], **fields: Json) -> dict[str, Json]:
    return task(task_id, *dependencies, **{"executor": "group", **fields})


def _edge(written: str | dict[str, Json]) -> Json:
    if isinstance(written, dict):
        return written
    return {"id": written.rstrip("?"), "required": not written.endswith("?")}


def tree(*tasks: dict[str, Json], **fields: Json) -> dict[str, Json]:
    return {"name": "tree", "tasks": list(tasks), **fields}


def returns(value: Json) -> Scripted:
    return Scripted(ok=True, value=value)


def fails(error: str = "broken") -> Scripted:
    return Scripted(ok=False, value=error)


def end(*tasks: dict[str, Json], **script: Scripted) -> EndState:
    """How the tree of these tasks ends; a task that isn't scripted returns its own id."""
    return oracle(tree(*tasks), _complete(tasks, script))


def end_cancelled(
    *tasks: dict[str, Json], observed: list[str], script: dict[str, Scripted]
) -> EndState:
    return oracle_cancel(tree(*tasks, on_failure="cancel"), _complete(tasks, script), observed)


def _complete(
    tasks: tuple[dict[str, Json], ...], script: Mapping[str, Scripted]
) -> dict[str, Scripted]:
    ids = [cast("str", each["id"]) for each in tasks]
    return {each: script.get(each, returns(each)) for each in ids}


def because(ended: Ended) -> tuple[str | None, str | None, str | None]:
    return ended.reason, ended.because, ended.root


def statuses(state: EndState) -> dict[str, str]:
    return {task_id: ended.status for task_id, ended in state.tasks.items()}


# --- One edge: the table of §4 ---------------------------------------------------------------


@pytest.mark.parametrize("edge", ["up", "up?"])
@pytest.mark.parametrize("result", ["kept", None, 0, {"a": 1}])
def test_completed_upstream_satisfies_either_edge_and_passes_its_result(
    edge: str, result: Json
) -> None:
    down = end(task("up"), task("down", edge), up=returns(result)).tasks["down"]

    assert (down.status, down.inputs) == ("completed", {"up": result})


def test_failed_upstream_skips_the_dependent_of_a_required_edge() -> None:
    state = end(task("up"), task("down", "up"), up=fails())

    assert state.tasks["up"].error_type == "execution_error"
    assert state.tasks["down"] == Ended("skipped", None, None, "dependency", "up", "up", None)


def test_failed_upstream_satisfies_an_optional_edge_and_passes_nothing() -> None:
    down = end(task("up"), task("down", "up?"), up=fails()).tasks["down"]

    assert (down.status, down.inputs) == ("completed", {})


def test_a_skip_travels_on_over_required_edges_and_keeps_its_root() -> None:
    state = end(task("a"), task("b", "a"), task("c", "b"), task("d", "c"), a=fails())

    assert [because(state.tasks[each]) for each in "bcd"] == [
        ("dependency", "a", "a"),
        ("dependency", "b", "a"),
        ("dependency", "c", "a"),
    ]


def test_a_skip_satisfies_an_optional_edge_and_passes_nothing() -> None:
    state = end(task("a"), task("b", "a"), task("c", "b?"), a=fails())

    assert (state.tasks["c"].status, state.tasks["c"].inputs) == ("completed", {})


def test_an_optional_dependency_is_awaited_so_its_end_is_seen() -> None:
    slow = task("slow", "first")
    seen = task("last", "slow?", inputs={"saw": "${{ tasks.slow.status }}"})

    assert end(seen, slow, task("first"), first=fails()).tasks["last"].inputs == {"saw": "skipped"}


def test_a_skip_names_the_first_declared_required_dependency_that_did_not_complete() -> None:
    middle = task("middle", "fine", "tried?", "second", "first")
    state = end(
        task("first"),
        task("second"),
        task("tried"),
        task("fine"),
        middle,
        first=fails(),
        second=fails(),
        tried=fails(),
    )

    assert because(state.tasks["middle"]) == ("dependency", "second", "second")


def test_the_root_of_a_skip_may_be_a_task_skipped_by_its_condition() -> None:
    state = end(task("a", when="`false`"), task("b", "a"), task("c", "b"))

    assert because(state.tasks["a"]) == ("condition", None, None)
    assert because(state.tasks["b"]) == ("dependency", "a", "a")
    assert because(state.tasks["c"]) == ("dependency", "b", "a")


# --- Conditions ------------------------------------------------------------------------------


@pytest.mark.parametrize("result", [0, 7, "x", True, [None], {"a": None}])
def test_a_condition_is_true_by_the_rule_of_jmespath(result: Json) -> None:
    state = end(task("a"), task("b", "a", when="tasks.a.result"), a=returns(result))

    assert state.tasks["b"].status == "completed"


@pytest.mark.parametrize("result", [None, False, "", [], {}])
def test_a_condition_is_false_by_the_rule_of_jmespath(result: Json) -> None:
    state = end(task("a"), task("b", "a", when="${{ tasks.a.result }}"), a=returns(result))

    assert state.tasks["b"] == Ended("skipped", None, None, "condition", None, None, None)


def test_a_blocking_edge_is_asked_before_the_condition() -> None:
    state = end(task("a"), task("b", "a", when="length(inputs.none) > `0`"), a=fails())

    assert because(state.tasks["b"]) == ("dependency", "a", "a")


def test_a_condition_that_fails_fails_the_task() -> None:
    state = end(task("a", when="length(inputs.none) > `0`"), task("b", "a"))

    assert state.tasks["a"] == Ended("failed", None, "expression_error", None, None, None, None)
    assert (state.tasks["b"].status, state.status) == ("skipped", "failed")


def test_the_result_of_a_task_that_did_not_complete_is_null_and_its_status_is_set() -> None:
    names = ("status", "result", "error", "error_type")
    inputs: dict[str, Json] = {each: "${{ tasks.a." + each + " }}" for each in names}
    state = end(task("a"), task("b", "a?", inputs=inputs), a=fails("no route"))

    expected = {"status": "failed", "result": None, "error": "no route"}
    assert state.tasks["b"].inputs == {**expected, "error_type": "execution_error"}


# --- Tolerance and the status of the tree ----------------------------------------------------


def test_a_tree_completes_when_everything_completes() -> None:
    assert end(task("a"), task("b", "a")).status == "completed"


def test_a_failure_nobody_depends_on_fails_the_tree() -> None:
    assert end(task("a"), task("b"), a=fails()).status == "failed"


def test_a_failure_is_tolerated_when_it_is_allowed() -> None:
    state = end(task("a", allow_failure=True), task("b", "a"), a=fails())

    assert (state.status, state.tasks["b"].status) == ("completed", "skipped")


def test_a_failure_is_tolerated_when_every_edge_to_it_is_optional() -> None:
    assert end(task("a"), task("b", "a?"), task("c", "a?"), a=fails()).status == "completed"


def test_a_failure_is_not_tolerated_when_one_edge_to_it_is_required() -> None:
    assert end(task("a"), task("b", "a?"), task("c", "a"), a=fails()).status == "failed"


def test_a_child_is_no_edge_that_could_tolerate_its_parent() -> None:
    assert end(task("a"), task("b", parent_id="a"), a=fails()).status == "failed"


def test_a_skip_by_a_condition_is_no_failure() -> None:
    assert end(task("a", when="`false`"), task("b", "a")).status == "completed"


# --- Results into inputs ---------------------------------------------------------------------


def test_a_result_arrives_under_the_key_that_the_edge_names() -> None:
    state = end(task("a"), task("b", {"id": "a", "into": "key"}))

    assert state.tasks["b"].inputs == {"key": "a"}


def test_a_spread_adds_the_keys_of_the_result() -> None:
    state = end(task("a"), task("b", {"id": "a", "into": "*"}), a=returns({"x": 1, "y": None}))

    assert state.tasks["b"].inputs == {"x": 1, "y": None}


def test_into_null_passes_nothing() -> None:
    assert end(task("a"), task("b", {"id": "a", "into": None})).tasks["b"].inputs == {}


@pytest.mark.parametrize("result", [None, 7, "text", []])
def test_a_spread_of_what_is_no_mapping_fails_the_task(result: Json) -> None:
    state = end(task("a"), task("b", {"id": "a", "into": "*"}), a=returns(result))

    b = state.tasks["b"]
    assert (b.status, b.error_type, b.inputs) == ("failed", "expression_error", None)


def test_an_optional_spread_of_a_failure_passes_nothing() -> None:
    edge: dict[str, Json] = {"id": "a", "required": False, "into": "*"}

    assert end(task("a"), task("b", edge), a=fails()).tasks["b"].inputs == {}


def test_authors_keys_win_over_named_keys_and_those_over_spreads() -> None:
    edges: list[dict[str, Json]] = [
        {"id": "named", "into": "y"},
        {"id": "early", "into": "*"},
        {"id": "late", "into": "*"},
    ]
    last = task("last", *edges, inputs={"x": None})
    state = end(
        task("early"),
        task("late"),
        task("named"),
        last,
        early=returns({"x": 1, "y": 1, "z": 1, "w": 1}),
        late=returns({"x": 2, "y": 2, "z": 2}),
    )

    assert state.tasks["last"].inputs == {"x": None, "y": "named", "z": 2, "w": 1}


@pytest.mark.parametrize(
    "named",
    ["${{ tasks.a.result }}", "is ${{ tasks.a.result.x }}", "${{ tasks.a.result.l[0] || 'x' }}"],
)
@pytest.mark.parametrize("into", ["a", "key", "*"])
def test_a_reference_that_names_the_result_stops_its_automatic_passing(
    named: str, into: str
) -> None:
    down = task("b", {"id": "a", "into": into}, inputs={"own": [{"deep": named}]})
    inputs = end(task("a"), down, a=returns({"x": "x"})).tasks["b"].inputs

    assert list(inputs or {}) == ["own"]


def test_a_spread_that_is_named_need_not_be_a_mapping() -> None:
    down = task("b", {"id": "a", "into": "*"}, inputs={"own": "${{ tasks.a.result }}"})

    assert end(task("a"), down).tasks["b"].inputs == {"own": "a"}


@pytest.mark.parametrize("named", ["${{ tasks.a.status }}", "${{ tasks.other.result }}", "result"])
def test_other_references_leave_the_automatic_passing_alone(named: str) -> None:
    down = task("b", "a", "other", inputs={"own": named}, when="tasks.a.result == 'a'")

    inputs = end(task("a"), task("other"), down).tasks["b"].inputs
    assert inputs is not None
    assert inputs["a"] == "a"


def test_a_quoted_id_is_named_like_any_other() -> None:
    down = task("b", "a-1", inputs={"own": '${{ tasks."a-1".result }}'})

    assert end(task("a-1"), down).tasks["b"].inputs == {"own": "a-1"}


# --- Expressions -----------------------------------------------------------------------------


@pytest.mark.parametrize("result", [None, 0, True, "x", [1, {"a": None}], {"a": {}}])
def test_a_string_that_is_one_reference_keeps_the_type(result: Json) -> None:
    state = end(
        task("a"),
        task("b", "a", inputs={"own": "${{ tasks.a.result }}"}),
        a=returns(result),
    )

    assert state.tasks["b"].inputs == {"own": result}


@pytest.mark.parametrize(
    ("result", "text"), [("x", "is x!"), ("", "is !"), (7, "is 7!"), (True, "is true!")]
)
def test_a_reference_inside_text_is_interpolated(result: Json, text: str) -> None:
    down = task("b", "a", inputs={"own": "is ${{ tasks.a.result }}!"})

    assert end(task("a"), down, a=returns(result)).tasks["b"].inputs == {"own": text}


def test_two_references_side_by_side_are_text() -> None:
    down = task("b", "a", inputs={"own": "${{ tasks.a.result }}${{ tasks.a.status }}"})

    assert end(task("a"), down).tasks["b"].inputs == {"own": "acompleted"}


def test_null_inside_text_fails_the_task() -> None:
    state = end(task("a"), task("b", "a?", inputs={"own": "is ${{ tasks.a.result }}"}), a=fails())

    assert (state.tasks["b"].error_type, state.status) == ("expression_error", "failed")


def test_what_arrives_from_a_result_is_never_evaluated() -> None:
    down = task("b", "a", inputs={"own": "${{ tasks.a.result }}"})
    state = end(task("a"), down, a=returns("${{ tasks.a.status }}"))

    assert state.tasks["b"].inputs == {"own": "${{ tasks.a.status }}"}


def test_a_reference_may_reach_past_a_dependency_to_what_it_depends_on() -> None:
    state = end(task("c", "b", inputs={"own": "${{ tasks.a.result }}"}), task("b", "a"), task("a"))

    assert state.tasks["c"].inputs == {"own": "a", "b": "b"}


def test_the_inputs_of_the_tree_are_defaults_that_a_start_may_replace() -> None:
    own: Json = {"x": "${{ inputs.x }}", "y": "${{ inputs.y }}", "of": "${{ tree }}"}
    document = tree(task("a", inputs=own), inputs={"x": 1, "y": 1}, user_id="acme")

    state = oracle(document, {"a": returns(None)}, tree_inputs={"y": 2}, tree_id="run-1")

    of = {"id": "run-1", "name": "tree", "user_id": "acme"}
    assert state.tasks["a"].inputs == {"x": 1, "y": 2, "of": of}


# --- Groups ----------------------------------------------------------------------------------


def test_a_group_gathers_the_results_of_everything_below_flat_and_without_groups() -> None:
    state = end(
        group("all"),
        group("some", parent_id="all"),
        task("a", parent_id="some"),
        task("b", parent_id="all"),
        task("c", parent_id="b"),
    )

    assert state.tasks["all"].result == {"a": "a", "b": "b", "c": "c"}
    assert state.tasks["some"].result == {"a": "a"}


def test_a_group_without_children_completes_with_nothing() -> None:
    assert end(group("all")).tasks["all"].result == {}


def test_the_result_of_a_group_is_passed_like_any_other() -> None:
    spread: dict[str, Json] = {"id": "all", "into": "*"}
    state = end(group("all"), task("a", parent_id="all"), task("b", "all"), task("c", spread))

    assert state.tasks["b"].inputs == {"all": {"a": "a"}}
    assert state.tasks["c"].inputs == {"a": "a"}


def test_children_never_wait_for_the_edges_or_the_condition_of_their_group() -> None:
    state = end(
        task("up"),
        group("blocked", "up"),
        task("a", parent_id="blocked"),
        group("unwanted", when="`false`"),
        task("b", parent_id="unwanted"),
        up=fails(),
    )

    assert statuses(state) == {
        "up": "failed",
        "blocked": "skipped",
        "a": "completed",
        "unwanted": "skipped",
        "b": "completed",
    }
    assert because(state.tasks["blocked"]) == ("dependency", "up", "up")
    assert because(state.tasks["unwanted"]) == ("condition", None, None)


def test_a_group_fails_when_anything_below_failed_untolerated() -> None:
    state = end(
        group("all"),
        group("some", parent_id="all"),
        task("a", parent_id="some"),
        task("after", "all"),
        a=fails(),
    )

    failed = Ended("failed", None, "group_failed", None, None, None, None)
    assert (state.tasks["all"], state.tasks["some"]) == (failed, failed)
    assert because(state.tasks["after"]) == ("dependency", "all", "all")
    assert state.status == "failed"


def test_a_group_completes_without_what_was_tolerated_or_skipped() -> None:
    state = end(
        group("all"),
        task("allowed", parent_id="all", allow_failure=True),
        task("optional", parent_id="all"),
        task("after", "optional?", parent_id="all"),
        task("skipped", "allowed", parent_id="all"),
        allowed=fails(),
        optional=fails(),
    )

    assert state.tasks["all"].result == {"after": "after"}
    assert state.status == "completed"


def test_edges_and_condition_of_a_group_are_asked_before_what_is_below() -> None:
    below = [task("a", parent_id="g"), task("up")]

    by_edge = end(group("g", "up"), *below, up=fails(), a=fails())
    by_condition = end(group("g", when="`false`"), *below, a=fails())

    assert by_edge.tasks["g"].reason == "dependency"
    assert by_condition.tasks["g"].reason == "condition"
    assert by_condition.status == "failed"


def test_a_group_whose_condition_fails_has_failed_itself() -> None:
    state = end(group("g", when="length(inputs.none) > `0`"), task("a", parent_id="g"))

    assert (state.tasks["g"].error_type, state.status) == ("expression_error", "failed")


def test_tolerating_a_group_does_not_tolerate_what_failed_below() -> None:
    state = end(
        group("g", allow_failure=True), task("a", parent_id="g"), task("b", "g?"), a=fails()
    )

    assert (state.tasks["g"].status, state.tasks["b"].status) == ("failed", "completed")
    assert state.status == "failed"


def test_what_is_below_a_group_counts_as_upstream_of_its_dependents() -> None:
    after = task("after", "g", inputs={"own": "${{ tasks.a.result }}"})

    state = end(after, group("g"), task("a", parent_id="g"))
    assert state.tasks["after"].inputs == {"own": "a", "g": {"a": "a"}}


def test_a_task_that_depends_on_a_group_above_it_can_never_end() -> None:
    with pytest.raises(UnfinishableError):
        end(group("g"), task("a", parent_id="g"), task("b", "g", parent_id="a"))


# --- Native executors ------------------------------------------------------------------------


def test_aggregate_results_gathers_what_completed_and_names_what_is_absent() -> None:
    both = task("all", "a", "b?", executor="aggregate_results")
    state = end(task("a"), task("b"), both, b=fails())

    assert state.tasks["all"].result == {"results": {"a": "a"}, "count": 1, "absent": ["b"]}
    assert state.tasks["all"].inputs is None


def test_sleep_completes_with_nothing_and_is_skipped_like_any_other() -> None:
    inputs: Json = {"duration": "1s"}
    rest = task("rest", "a", executor="sleep", inputs=inputs)

    assert end(task("a"), rest).tasks["rest"].result is None
    assert end(task("a"), rest, a=fails()).tasks["rest"].status == "skipped"


# --- Default outputs -------------------------------------------------------------------------


def test_outputs_are_completed_tasks_without_dependents_and_without_a_group_above() -> None:
    state = end(
        task("used"),
        task("last", "used?"),
        task("failed", allow_failure=True),
        group("g"),
        task("inside", parent_id="g"),
        task("below", parent_id="inside"),
        task("child", parent_id="last"),
        failed=fails(),
    )

    inside = {"inside": "inside", "below": "below"}
    assert state.outputs == {"last": "last", "g": inside, "child": "child"}


# --- on_failure: cancel ----------------------------------------------------------------------


def test_the_first_untolerated_failure_cancels_everything_unsettled() -> None:
    tasks = [task("a"), task("b"), task("c", "b"), task("d", "a"), group("g"), task("e")]
    tasks[1]["parent_id"] = "g"
    state = end_cancelled(*tasks, observed=["a", "b"], script={"b": fails()})

    cut = Ended("cancelled", None, None, "on_failure", "b", "b", None)
    assert state.status == "failed"
    assert {each: state.tasks[each] for each in "cdge"} == dict.fromkeys("cdge", cut)
    assert state.tasks["a"].status == "completed"
    assert state.outputs == {}


def test_a_tolerated_failure_cancels_nothing() -> None:
    tasks = [task("a"), task("b", "a?"), task("c", "b")]
    state = end_cancelled(*tasks, observed=["a", "b", "c"], script={"a": fails()})

    assert statuses(state) == {"a": "failed", "b": "completed", "c": "completed"}


def test_what_ended_after_the_first_failure_was_cancelled() -> None:
    script = {"a": fails(), "b": fails()}
    tasks = [task("a"), task("b")]

    first_a = end_cancelled(*tasks, observed=["a", "b"], script=script)
    first_b = end_cancelled(*tasks, observed=["b", "a"], script=script)

    assert statuses(first_a) == {"a": "failed", "b": "cancelled"}
    assert statuses(first_b) == {"a": "cancelled", "b": "failed"}


def test_a_task_already_skipped_stays_skipped_and_names_what_did_not_complete() -> None:
    tasks = [task("slow"), task("allowed", allow_failure=True), task("bad")]
    tasks.append(task("skipped", "slow", "allowed"))
    script = {"allowed": fails(), "bad": fails()}
    state = end_cancelled(*tasks, observed=["allowed", "bad"], script=script)

    assert because(state.tasks["skipped"]) == ("dependency", "slow", "slow")
    assert state.tasks["slow"].status == "cancelled"


def test_a_failing_expression_cancels_where_it_was_observed_or_else_at_once() -> None:
    tasks = [task("a"), task("b", inputs={"own": "is ${{ inputs.none }}"})]

    at_once = end_cancelled(*tasks, observed=[], script={})
    later = end_cancelled(*tasks, observed=["a", "b"], script={})

    assert statuses(at_once) == {"a": "cancelled", "b": "failed"}
    assert statuses(later) == {"a": "completed", "b": "failed"}


def test_a_blocked_group_does_not_wait_for_what_its_condition_names() -> None:
    tasks = [task("slow"), task("allowed", allow_failure=True), task("mid", "allowed", "slow")]
    tasks += [group("g", "mid", when="tasks.slow.result"), task("bad", "g?")]
    script = {"allowed": fails(), "bad": fails()}
    state = end_cancelled(*tasks, observed=["allowed", "g", "bad"], script=script)

    assert because(state.tasks["g"]) == ("dependency", "mid", "allowed")
    assert state.tasks["slow"].status == "cancelled"


@pytest.mark.parametrize("observed", [["b", "a"], ["a"], ["b"]])
def test_an_order_that_cannot_have_been_is_refused(observed: list[str]) -> None:
    with pytest.raises(ImpossibleOrderError):
        end_cancelled(task("a"), task("b", "a"), observed=observed, script={})


# --- Maps ------------------------------------------------------------------------------------


def run(*tasks: dict[str, Json], script: Mapping[str, End | list[Scripted]]) -> EndState:
    return oracle(tree(*tasks), script)


def mapped(task_id: str, for_each: Json, *dependencies: str, **fields: Json) -> dict[str, Json]:
    return task(task_id, *dependencies, **{"executor": PROBE, "for_each": for_each, **fields})


def test_a_map_runs_once_per_item_and_its_result_is_in_item_order() -> None:
    inputs: Json = {"of": "${{ item }}", "at": "${{ index }}"}
    script = {"m": returns("usual"), "m[1]": returns("own")}
    m = run(mapped("m", ["x", {"y": 1}, None], inputs=inputs), script=script).tasks["m"]

    assert (m.status, m.result) == ("completed", ["usual", "own", "usual"])
    assert m.items == [{"of": "x", "at": 0}, {"of": {"y": 1}, "at": 1}, {"of": None, "at": 2}]
    assert m.metadata == {"items": 3, "completed": 3, "failed": 0}
    assert (m.inputs, m.subtree) == (None, None)


def test_a_map_without_items_completes_with_nothing() -> None:
    m = run(mapped("m", []), script={}).tasks["m"]

    assert (m.status, m.result, m.items) == ("completed", [], [])
    assert m.metadata == {"items": 0, "completed": 0, "failed": 0}


@pytest.mark.parametrize("for_each", ["tasks.a.result", "${{ tasks.a.result }}"])
def test_an_expression_that_gives_the_items_names_the_dependency(for_each: str) -> None:
    script = {"a": returns(["x"]), "b": returns(7), "m": returns(None)}
    state = run(task("a"), task("b"), mapped("m", for_each, "a", "b"), script=script)

    assert state.tasks["m"].items == [{"b": 7}]


def test_a_list_of_items_may_hold_references() -> None:
    script = {"a": returns("x"), "m": returns(None)}
    inputs: Json = {"of": "${{ item }}"}
    m = mapped("m", [1, {"k": "${{ tasks.a.result }}"}], "a", inputs=inputs)

    assert run(task("a"), m, script=script).tasks["m"].items == [{"of": 1}, {"of": {"k": "x"}}]


@pytest.mark.parametrize("result", [None, 7, "text", {"a": [1]}])
def test_what_is_no_list_fails_the_map(result: Json) -> None:
    state = run(task("a"), mapped("m", "tasks.a.result", "a"), script={"a": returns(result)})

    m = state.tasks["m"]
    assert (m.status, m.error_type, m.items) == ("failed", "expression_error", None)
    assert state.status == "failed"


def test_the_condition_of_a_map_is_asked_first() -> None:
    m = run(mapped("m", "length(inputs.none)", when="`false`"), script={}).tasks["m"]

    assert (m.status, m.reason) == ("skipped", "condition")


@pytest.mark.parametrize(
    ("tolerate", "status"),
    [(0, "failed"), (1, "failed"), (2, "completed"), ("39%", "failed"), ("40%", "completed")],
)
def test_a_map_tolerates_so_many_failed_items_or_so_many_percent(
    tolerate: Json, status: str
) -> None:
    script = {"m": returns(0), "m[1]": fails("it broke"), "m[4]": fails()}
    m = run(mapped("m", [0, 1, 2, 3, 4], tolerate=tolerate), script=script).tasks["m"]

    assert m.status == status


def test_a_failed_item_within_tolerance_is_null_at_its_place_and_in_the_metadata() -> None:
    script = {"m": returns("ok"), "m[1]": fails("it broke")}
    state = run(mapped("m", [0, 1, 2], tolerate=1), task("b", "m"), script={**script, "b": fails()})

    assert state.tasks["m"].result == ["ok", None, "ok"]
    assert state.tasks["m"].metadata == {
        "items": 3,
        "completed": 2,
        "failed": 1,
        "errors": [{"index": 1, "error": "it broke", "error_type": "execution_error"}],
    }
    assert state.tasks["b"].inputs == {"m": ["ok", None, "ok"]}


def test_at_most_ten_failed_items_are_in_the_metadata() -> None:
    m = run(mapped("m", list(range(12)), tolerate="100%"), script={"m": fails()}).tasks["m"]

    assert m.metadata is not None
    errors = cast("list[dict[str, Json]]", m.metadata["errors"])
    assert [each["index"] for each in errors] == list(range(10))
    assert (m.result, m.metadata["failed"]) == ([None] * 12, 12)


def test_of_a_failed_map_only_what_no_order_changes_is_said() -> None:
    script = {"m": fails("it broke"), "m[0]": returns(0)}
    state = run(mapped("m", [0, 1, 2, 3], tolerate=1), script=script)

    assert state.tasks["m"] == Ended("failed", None, "map_failed", None, None, None, None)
    assert (state.tasks["m"].error, state.tasks["m"].metadata) == (None, None)
    assert state.status == "failed"


def test_the_error_of_a_map_is_known_when_every_failure_was_needed() -> None:
    script = {"m": returns(0), "m[1]": fails("it broke"), "m[3]": fails("again")}
    m = run(mapped("m", [0, 1, 2, 3, 4], tolerate=1), script=script).tasks["m"]

    assert m.error == "2 of 5 items failed: item 1: it broke"


def test_an_item_that_cannot_be_rendered_is_a_failed_item_that_never_ran() -> None:
    inputs: Json = {"text": "is ${{ item }}"}
    m = run(mapped("m", ["x", None], inputs=inputs, tolerate=1), script={"m": returns("ok")})

    m = m.tasks["m"]
    assert (m.status, m.result, m.items) == ("completed", ["ok", None], [{"text": "is x"}, None])
    assert m.metadata is not None
    assert m.metadata["errors"] == [{"index": 1, "error": None, "error_type": "expression_error"}]


def test_a_failed_map_is_tolerated_like_any_task() -> None:
    script = {"m": fails(), "b": returns(None)}
    state = run(mapped("m", [1]), task("b", "m?"), script=script)

    assert (state.status, state.tasks["b"].inputs) == ("completed", {})


# --- Retries ---------------------------------------------------------------------------------

AGAIN = Scripted(ok=False, value="again", retryable=True)


@pytest.mark.parametrize(
    ("maximum", "attempts", "expected"),
    [
        (None, [AGAIN, AGAIN, returns("ok")], ("completed", None, 3)),
        (None, [AGAIN, AGAIN, AGAIN, returns("ok")], ("failed", "again", 3)),
        (1, [AGAIN, returns("ok")], ("failed", "again", 1)),
        (4, [AGAIN, AGAIN, AGAIN, returns("ok")], ("completed", None, 4)),
        (4, [AGAIN, fails("for good"), returns("ok")], ("failed", "for good", 2)),
        (4, [AGAIN], ("failed", "again", 4)),
        (4, [returns("ok"), fails()], ("completed", None, 1)),
    ],
)
def test_a_retryable_failure_is_tried_again_until_the_attempts_are_used_up(
    maximum: int | None, attempts: list[Scripted], expected: tuple[str, str | None, int]
) -> None:
    retry: dict[str, Json] = {"retry": {"maximum_attempts": maximum}} if maximum else {}
    a = run(task("a", **retry), script={"a": attempts}).tasks["a"]

    assert (a.status, a.error, a.attempts) == expected


def test_the_attempts_of_a_task_win_over_those_of_the_tree() -> None:
    tasks = [task("a"), task("b", retry={"maximum_attempts": 2})]
    document = tree(*tasks, defaults={"retry": {"maximum_attempts": 1}})
    script = {each: [AGAIN, returns("ok")] for each in "ab"}

    assert statuses(oracle(document, script)) == {"a": "failed", "b": "completed"}


# --- Sub-trees -------------------------------------------------------------------------------


def subtree(task_id: str, inner: Json, *dependencies: str, **fields: Json) -> dict[str, Json]:
    written = task(task_id, *dependencies, tree=inner, **fields)
    return {key: value for key, value in written.items() if key != "executor"}


def inner_of(state: EndState, task_id: str) -> EndState:
    inner = state.tasks[task_id].subtree
    assert isinstance(inner, EndState)
    return inner


def test_the_result_of_a_sub_tree_is_its_outputs() -> None:
    inner = tree(task("clean"), task("more", "clean"), task("side"))
    script = {"f/clean": returns("c"), "f/more": returns("m"), "f/side": returns(None)}
    state = run(subtree("f", inner), script=script)

    assert state.tasks["f"].result == {"more": "m", "side": None}
    assert inner_of(state, "f").tasks["more"].inputs == {"clean": "c"}
    assert state.outputs == {"f": {"more": "m", "side": None}}


def test_a_sub_tree_takes_only_the_inputs_it_declares() -> None:
    seen: Json = {"all": "${{ inputs }}"}
    inner = tree(task("x", inputs=seen), inputs={"a": 0, "own": 0, "rest": "default"})
    outer = subtree("f", inner, "a", "b", inputs={"own": "${{ inputs.of }}"})
    document = tree(task("a"), task("b"), outer, inputs={"of": 1})
    state = oracle(document, {e: returns(e) for e in ("a", "b", "f/x")})

    assert state.tasks["f"].inputs == {"own": 1, "a": "a"}
    all_inputs: Json = {"a": "a", "own": 1, "rest": "default"}
    assert inner_of(state, "f").tasks["x"].inputs == {"all": all_inputs}


def test_of_a_spread_a_sub_tree_takes_the_declared_keys() -> None:
    inner = tree(task("x", inputs={"all": "${{ inputs }}"}), inputs={"a": 0})
    outer = subtree("f", inner)
    outer["dependencies"] = [{"id": "up", "into": "*"}]
    state = run(task("up"), outer, script={"up": returns({"a": 1, "b": 2}), "f/x": returns(0)})

    assert inner_of(state, "f").tasks["x"].inputs == {"all": {"a": 1}}


def test_expressions_of_a_sub_tree_see_only_its_own_tree() -> None:
    seen: Json = {"tree": "${{ tree }}", "inputs": "${{ inputs }}", "item": "${{ item }}"}
    middle = tree(subtree("deep", {"tasks": [task("x", inputs=seen)]}))
    document = tree(task("a"), subtree("f", middle, "a", for_each=[7]), user_id="acme")
    state = oracle(document, {"a": returns(1), "f/deep/x": returns(1)}, tree_id="run")

    inner = state.tasks["f"].subtree
    assert isinstance(inner, list)
    assert inner[0] is not None
    tree_of: Json = {"id": "run/f[0]/deep", "name": "x", "user_id": "acme"}
    x = inner_of(inner[0], "deep").tasks["x"]
    assert x.inputs == {"tree": tree_of, "inputs": {}, "item": None}


def test_a_sub_tree_that_fails_names_the_path_of_the_failure() -> None:
    inner = tree(task("ok"), task("tolerated", allow_failure=True), task("clean"))
    script = {"features/ok": returns(0), "features/clean": fails("it broke")}
    script |= {"features/tolerated": fails("never mind")}
    state = run(subtree("features", inner), task("after", "features"), script=script)

    features = state.tasks["features"]
    assert (features.status, features.error_type) == ("failed", "tree_failed")
    assert (features.error, features.result) == ("features/clean: it broke", None)
    assert inner_of(state, "features").status == "failed"
    assert because(state.tasks["after"]) == ("dependency", "features", "features")


def test_the_path_grows_with_every_sub_tree_and_passes_over_groups() -> None:
    inner = tree(subtree("b", tree(group("g"), task("c", parent_id="g"))))
    state = run(subtree("a", inner), script={"a/b/c": fails("it broke")})

    assert inner_of(state, "a").tasks["b"].error == "b/c: it broke"
    assert state.tasks["a"].error == "a/b/c: it broke"


def test_the_error_of_a_sub_tree_is_not_said_where_that_of_its_task_is_not() -> None:
    inner = tree(task("c", inputs={"text": "is ${{ inputs.none }}"}))
    state = run(subtree("a", inner), script={})

    assert (state.tasks["a"].error_type, state.tasks["a"].error) == ("tree_failed", None)


def test_a_tolerated_failure_inside_completes_the_sub_tree() -> None:
    state = run(subtree("a", tree(task("c", allow_failure=True))), script={"a/c": fails()})

    assert (state.status, state.tasks["a"].result) == ("completed", {})


def test_a_map_of_sub_trees_has_one_for_each_item() -> None:
    inner = tree(task("clean", inputs={"own": "${{ inputs.x }}"}), inputs={"x": 0})
    outer = subtree("f", inner, for_each=["p", None, "q"], inputs={"x": "${{ item }}!"})
    outer["tolerate"] = 2
    script = {"f/clean": returns("c"), "f[2]/clean": fails("it broke")}
    f = run(outer, script=script).tasks["f"]

    assert (f.status, f.result) == ("completed", [{"clean": "c"}, None, None])
    assert f.items == [{"x": "p!"}, None, {"x": "q!"}]
    assert isinstance(f.subtree, list)
    assert [each and each.status for each in f.subtree] == ["completed", None, "failed"]
    assert f.metadata is not None
    assert f.metadata["errors"] == [
        {"index": 1, "error": None, "error_type": "expression_error"},
        {"index": 2, "error": "f[2]/clean: it broke", "error_type": "tree_failed"},
    ]


def test_the_error_of_a_map_of_sub_trees_has_the_path_of_the_item() -> None:
    outer = subtree("f", tree(task("clean")), for_each=[1, 2])
    f = run(outer, script={"f/clean": returns(0), "f[1]/clean": fails("no")}).tasks["f"]

    assert (f.error, f.subtree) == ("1 of 2 items failed: item 1: f[1]/clean: no", None)


@pytest.mark.parametrize("on_failure", ["cancel", "wait"])
def test_a_sub_tree_whose_failure_depends_on_more_is_not_judged(on_failure: str) -> None:
    outer = subtree("f", tree(task("a"), on_failure=on_failure))

    assert run(outer, script={"f/a": returns(0)}).status == "completed"
    with pytest.raises(UnfinishableError):
        run(outer, script={"f/a": fails()})


@pytest.mark.parametrize(
    ("path", "known"),
    [
        ("a[1]/b[2]", "a[1]/b[2]"),
        ("a[1]/b[0]", "a[1]/b"),
        ("a[0]/b[2]", "a/b[2]"),
        ("a[0]/b[0]", "a/b"),
    ],
)
def test_a_script_speaks_for_the_nearest_path(path: str, known: str) -> None:
    script = {each: returns(each) for each in ("a/b", "a/b[2]", "a[1]/b", "a[1]/b[2]")}

    assert scripted_for(script, path) == returns(known)


# --- Waits -----------------------------------------------------------------------------------


def wait(task_id: str, executor: str, *dependencies: str, **inputs: Json) -> dict[str, Json]:
    return task(task_id, *dependencies, executor=executor, inputs=inputs)


def test_an_approval_says_who_approved_and_what_they_gave() -> None:
    script = {"plain": Approved(), "full": Approved("ann", "fine", {"x": 1})}
    tasks = [wait("plain", "approval"), wait("full", "approval", prompt="Go on?")]
    state = run(*tasks, script=script)

    nobody: Json = {"approved": True, "by": None, "note": None}
    assert state.tasks["plain"].result == nobody
    full: Json = {"approved": True, "by": "ann", "note": "fine", "result": {"x": 1}}
    assert state.tasks["full"].result == full
    assert state.tasks["full"].inputs is None


def test_a_rejection_fails_the_task() -> None:
    script = {"ok": Rejected("ann", "too dear"), "after": returns(0)}
    state = run(wait("ok", "approval"), task("after", "ok"), script=script)

    ok = state.tasks["ok"]
    assert (ok.status, ok.error_type, ok.result) == ("failed", "rejected", None)
    assert ok.error == "rejected by ann: too dear"
    assert ok.metadata == {"by": "ann", "note": "too dear"}
    assert (state.status, state.tasks["after"].status) == ("failed", "skipped")


@pytest.mark.parametrize(
    ("on_timeout", "status", "error_type"),
    [
        (None, "failed", "timeout_error"),
        ("fail", "failed", "timeout_error"),
        ("reject", "failed", "rejected"),
        ("approve", "completed", None),
    ],
)
def test_an_approval_that_times_out_ends_as_it_says(
    on_timeout: str | None, status: str, error_type: str | None
) -> None:
    choice: dict[str, Json] = {"on_timeout": on_timeout} if on_timeout else {}
    state = run(wait("ok", "approval", timeout="1s", **choice), script={"ok": TimedOut()})

    ok = state.tasks["ok"]
    assert (ok.status, ok.error_type) == (status, error_type)
    approved: Json = {"approved": True, "by": None, "note": None, "timed_out": True}
    assert ok.result == (approved if status == "completed" else None)


def test_an_event_gives_its_payload_and_a_timeout_fails() -> None:
    tasks = [wait("e", "wait_for_event", event="go"), task("after", "e")]
    tasks += [wait("late", "wait_for_event", event="no", timeout="1s")]
    script = {"e": Sent({"x": 1}), "after": returns(0), "late": TimedOut()}
    state = run(*tasks, script=script)

    assert (state.tasks["e"].result, state.tasks["after"].inputs) == ({"x": 1}, {"e": {"x": 1}})
    assert (state.tasks["late"].status, state.tasks["late"].error_type) == (
        "failed",
        "timeout_error",
    )


@pytest.mark.parametrize(
    "written",
    [
        wait("w", "wait_for_event", event="${{ inputs.none }}"),
        wait("w", "wait_for_event", event="is ${{ inputs.none }}"),
        wait("w", "wait_for_event"),
        wait("w", "approval", prompt=7),
        wait("w", "approval", on_timeout="shrug"),
        wait("w", "approval", timeout=True),
        wait("w", "approval", event="go"),
        wait("w", "sleep"),
        wait("w", "sleep", duration="1s", until="2030-01-01T00:00:00Z"),
        wait("w", "aggregate_results", own=1),
    ],
)
def test_wrong_inputs_of_a_native_fail_it(written: dict[str, Json]) -> None:
    w = run(written, script={}).tasks["w"]

    assert (w.status, w.error_type) == ("failed", "expression_error")


def test_waits_take_no_results_by_themselves() -> None:
    script = {"a": returns(1), "ok": Approved()}
    state = run(task("a"), wait("ok", "approval", "a"), script=script)

    assert state.tasks["ok"].status == "completed"


def test_a_timeout_that_the_document_does_not_have_is_a_wrong_script() -> None:
    with pytest.raises(TypeError):
        run(wait("ok", "approval"), script={"ok": TimedOut()})


def test_times_are_taken_out_wherever_an_approval_went() -> None:
    seen: Json = {"all": [{"approved": True, "at": "2030"}], "at": 1}

    assert without_times(seen) == {"all": [{"approved": True}]}


# --- on_failure: wait ------------------------------------------------------------------------


def test_a_tree_that_waits_ends_its_tasks_as_one_that_continues() -> None:
    tasks = [task("a", compensate={"executor": PROBE}), task("b"), task("c", "b"), task("d")]
    script = {e: returns(e) for e in ("a", "c", "d", "a~compensate")} | {"b": fails()}
    state = oracle(tree(*tasks, on_failure="wait"), script)

    assert (state.status, state.outputs, state.compensations) == ("in_progress", {}, {})
    expected = {"a": "completed", "b": "failed", "c": "skipped", "d": "completed"}
    assert statuses(state) == expected

    closed = oracle_closed(tree(*tasks, on_failure="wait"), script)
    assert (closed.status, statuses(closed)) == ("failed", expected)
    assert list(closed.compensations) == ["a"]


def test_a_tree_that_waits_but_has_no_untolerated_failure_completes() -> None:
    document = tree(task("a"), task("b", "a?"), on_failure="wait")
    script = {"a": fails(), "b": returns(1)}

    state = oracle(document, script)
    assert (state.status, state.outputs) == ("completed", {"b": 1})
    with pytest.raises(ValueError, match="by itself"):
        oracle_closed(document, script)


# --- Compensation ----------------------------------------------------------------------------


def undone(task_id: str, *dependencies: str, **inputs: Json) -> dict[str, Json]:
    return task(task_id, *dependencies, compensate={"executor": PROBE, "inputs": inputs})


def test_completed_tasks_are_compensated_when_the_tree_fails() -> None:
    inputs: dict[str, Json] = {"own": "${{ tasks.a.result }}", "of": "is ${{ tasks.bad.status }}"}
    tasks = [undone("a", **inputs), undone("bad", "a"), undone("cut", "bad"), task("plain")]
    script = {e: returns(e) for e in ("a", "a~compensate", "plain")} | {"bad": fails()}
    state = run(*tasks, script=script)

    received: dict[str, Json] = {"own": "a", "of": "is failed"}
    expected = Compensation("completed", "a~compensate", None, received)
    assert state.compensations == {"a": expected}
    assert state.status == "failed"


def test_nothing_is_compensated_when_the_tree_completes() -> None:
    state = run(undone("a"), script={"a": returns(0)})

    assert state.compensations == {}


def test_a_compensation_that_fails_changes_nothing_else() -> None:
    tasks = [undone("a"), undone("b", text="is ${{ tasks.a.error }}"), undone("c"), task("bad")]
    script = {e: returns(0) for e in ("a", "b", "c", "c~compensate")}
    state = run(*tasks, script={**script, "bad": fails(), "a~compensate": fails()})

    assert state.compensations == {
        "a": Compensation("failed", None, "execution_error", {}),
        "b": Compensation("failed", None, "expression_error", None),
        "c": Compensation("completed", 0, None, {}),
    }
    assert (state.status, state.tasks["a"].status) == ("failed", "completed")


def test_compensations_run_in_reverse_order_of_completion() -> None:
    tasks = [undone("a"), undone("b", text="is ${{ tasks.a.error }}"), undone("c"), task("bad")]
    script = {e: returns(0) for e in ("a", "b", "c", "c~compensate", "a~compensate")}
    state = run(*tasks, script={**script, "bad": fails()})

    assert oracle_compensation_order(["c", "x", "a"]) == ["a", "x", "c"]
    assert oracle_compensation_order(["c", "b", "x", "a"], state) == ["a", "c"]
    with pytest.raises(ImpossibleOrderError):
        oracle_compensation_order(["c"], state)


def test_a_sub_tree_is_compensated_as_one_task_or_inside_if_it_failed_itself() -> None:
    undo: dict[str, Json] = {"executor": PROBE}
    fine = subtree("fine", tree(undone("x")), compensate=undo)
    bad = subtree("bad", tree(undone("x"), task("y", "x")), compensate=undo)
    script = {e: returns(0) for e in ("fine/x", "fine~compensate", "bad/x", "bad/x~compensate")}
    state = run(fine, bad, script={**script, "bad/y": fails()})

    assert list(state.compensations) == ["fine"]
    assert list(inner_of(state, "fine").compensations) == []
    assert list(inner_of(state, "bad").compensations) == ["x"]


def test_a_map_is_compensated_once() -> None:
    m = mapped("m", [1, 2], compensate={"executor": PROBE, "inputs": {"all": "${{ tasks.m }}"}})
    script = {"m": returns(0), "m~compensate": returns(0), "bad": fails()}
    state = run(m, task("bad"), script=script)

    facts: Json = {"status": "completed", "result": [0, 0], "error": None, "error_type": None}
    assert state.compensations["m"].inputs == {"all": facts}


def test_under_cancel_only_what_completed_before_is_compensated() -> None:
    tasks = [undone("a"), undone("b"), task("bad")]
    script = {e: returns(0) for e in ("a", "b", "a~compensate", "b~compensate")} | {"bad": fails()}
    document = tree(*tasks, on_failure="cancel")

    state = oracle_cancel(document, script, ["a", "bad", "b"])
    assert list(state.compensations) == ["a"]


def test_under_cancel_maps_sub_trees_and_waits_take_their_time() -> None:
    tasks = [mapped("m", [1]), subtree("f", tree(task("x"))), wait("ok", "approval"), task("bad")]
    tasks += [mapped("empty", [])]
    script: dict[str, End | list[Scripted]] = {"m": returns(0), "f/x": returns(0)}
    script |= {"ok": Approved(), "bad": fails()}
    document = tree(*tasks, on_failure="cancel")

    def ended(*observed: str) -> list[str]:
        found = statuses(oracle_cancel(document, script, observed))
        return [each for each, status in found.items() if status == "completed"]

    assert ended("bad") == ["empty"]
    assert ended("m", "bad") == ["m", "empty"]
    assert ended("f/x", "f", "ok", "bad") == ["f", "ok", "empty"]


# --- Explicit outputs ------------------------------------------------------------------------


def test_explicit_outputs_replace_the_default_ones() -> None:
    outputs: Json = {"x": "${{ tasks.a.result }}", "all": {"of": ["is ${{ inputs.y }}", 1]}}
    document = tree(task("a"), task("b", "a"), outputs=outputs, inputs={"y": 2})

    state = oracle(document, {"a": returns([1]), "b": returns(0)})
    assert state.outputs == {"x": [1], "all": {"of": ["is 2", 1]}}


def test_an_output_of_a_task_that_did_not_complete_is_null() -> None:
    tasks = [task("a", allow_failure=True), task("b", "a")]
    outputs: Json = {"a": "${{ tasks.a.result }}", "b": "${{ tasks.b.result.deep }}"}

    state = oracle(tree(*tasks, outputs=outputs), {"a": fails()})
    assert (state.status, state.outputs) == ("completed", {"a": None, "b": None})


def test_an_output_that_fails_fails_the_tree_and_compensates() -> None:
    outputs: Json = {"bad": "${{ length(tasks.a.result) }}", "good": "${{ tasks.a.result }}"}
    script = {"a": returns(7), "a~compensate": returns(0)}

    for on_failure in ("continue", "wait"):
        state = oracle(tree(undone("a"), outputs=outputs, on_failure=on_failure), script)
        assert (state.status, state.failed_outputs) == ("failed", ("bad",))
        assert state.outputs == {"bad": None, "good": 7}
        assert list(state.compensations) == ["a"]


def test_a_sub_tree_whose_output_fails_has_failed() -> None:
    inner = tree(task("x"), outputs={"bad": "${{ length(tasks.x.result) }}"})
    state = run(subtree("f", inner), script={"f/x": returns(7)})

    assert (state.tasks["f"].error_type, state.tasks["f"].error) == ("tree_failed", None)


# --- Random documents ------------------------------------------------------------------------

UNHURRIED = settings(deadline=None)  # a busy machine is no failure


def raw_tasks(case: Case | LanguageCase) -> dict[str, dict[str, Json]]:
    tasks = cast("list[dict[str, Json]]", case.document["tasks"])
    return {cast("str", each["id"]): each for each in tasks}


def raw_edges(raw: dict[str, Json]) -> list[dict[str, Json]]:
    written = cast("list[Json]", raw.get("dependencies", []))
    return [{"id": e, "required": True} if isinstance(e, str) else dict_of(e) for e in written]


def dict_of(value: Json) -> dict[str, Json]:
    return cast("dict[str, Json]", value)


def below(tasks: dict[str, dict[str, Json]], task_id: str) -> list[str]:
    children = [each for each, raw in tasks.items() if raw.get("parent_id") == task_id]
    return children + [deeper for each in children for deeper in below(tasks, each)]


def random_order(case: Case | LanguageCase, state: EndState) -> list[str]:
    """An order in which the tasks may settle, one at a time, each as soon as it may or later."""
    tasks, chance = raw_tasks(case), case.chance()
    order: list[str] = []
    while left := [each for each in tasks if each not in order]:
        order.append(
            chance.choice([each for each in left if can_settle(tasks, each, order, state)])
        )
    return order


def can_settle(
    tasks: dict[str, dict[str, Json]], task_id: str, settled: list[str], state: EndState
) -> bool:
    raw = tasks[task_id]
    is_group = raw.get("executor") == "group"
    required = [str(edge["id"]) for edge in raw_edges(raw) if edge["required"]]
    blocked = any(each in settled and state.tasks[each].status != "completed" for each in required)
    awaited = [str(edge["id"]) for edge in raw_edges(raw)] + below(tasks, task_id) * is_group
    return (blocked and not is_group) or all(each in settled for each in awaited)


@UNHURRIED
@given(cases())
def test_every_random_tree_can_be_finished(case: Case) -> None:
    state = oracle(case.document, case.script, tree_inputs=case.tree_inputs)

    assert list(state.tasks) == list(raw_tasks(case))


@UNHURRIED
@given(cases(far_references=True))
def test_every_random_tree_with_far_references_can_be_finished(case: Case) -> None:
    oracle(case.document, case.script, tree_inputs=case.tree_inputs)


@UNHURRIED
@given(cases())
def test_no_random_task_has_two_dependencies_that_arrive_under_one_key(case: Case) -> None:
    for raw in raw_tasks(case).values():
        edges = raw_edges(raw)
        keys = [edge.get("into", edge["id"]) for edge in edges]
        named = [key for key in keys if key not in ("*", None)]
        own = [edge["id"] for edge in edges if "into" in edge and edge["into"] != edge["id"]]
        assert len(set(map(str, named))) == len(named)
        assert not [key for key in own if key in named]


@UNHURRIED
@given(cases())
def test_random_expressions_name_only_what_has_settled_in_every_order(case: Case) -> None:
    tasks = raw_tasks(case)
    state = oracle(case.document, case.script, tree_inputs=case.tree_inputs)
    order = random_order(case, state)

    for at, each in enumerate(order):
        text = str(tasks[each])
        named = [e for e in tasks if f"tasks.{e}." in text or f'tasks."{e}".' in text]
        if state.tasks[each].reason != "dependency":
            assert [name for name in named if name not in order[:at]] == []


@UNHURRIED
@given(cases())
def test_the_end_does_not_depend_on_where_tasks_stand_in_the_document(case: Case) -> None:
    shuffled: list[Json] = list(raw_tasks(case).values())
    case.chance().shuffle(shuffled)
    document = {**case.document, "tasks": shuffled}

    before = oracle(case.document, case.script, tree_inputs=case.tree_inputs)
    after = oracle(document, case.script, tree_inputs=case.tree_inputs)
    assert before == after


@UNHURRIED
@given(cases(on_failure="cancel"))
def test_cancelling_changes_nothing_that_settled_before_and_cancels_the_rest(case: Case) -> None:
    calm = oracle(
        {**case.document, "on_failure": "continue"}, case.script, tree_inputs=case.tree_inputs
    )
    order = random_order(case, calm)
    state = oracle_cancel(case.document, case.script, order, tree_inputs=case.tree_inputs)

    cut = [each for each in order if state.tasks[each].status == "cancelled"]
    kept = order[: len(order) - len(cut)]
    assert cut == order[len(kept) :]
    assert [state.tasks[e].status for e in kept] == [calm.tasks[e].status for e in kept]
    assert state.status == calm.status
    assert {state.tasks[each].because for each in cut} <= {kept[-1]}


# --- Random documents in the whole language --------------------------------------------------


def documents(document: dict[str, Json], path: str = "") -> Iterator[tuple[str, dict[str, Json]]]:
    """The document and all sub-trees in it, each with the path before its tasks' ids."""
    yield path, document
    for raw in cast("list[dict[str, Json]]", document["tasks"]):
        if "tree" in raw:
            yield from documents(dict_of(raw["tree"]), f"{path}{raw['id']}/")


def by_id(document: dict[str, Json]) -> dict[str, dict[str, Json]]:
    return {str(raw["id"]): raw for raw in cast("list[dict[str, Json]]", document["tasks"])}


def upstream(tasks: dict[str, dict[str, Json]], task_id: str) -> set[str]:
    direct = {str(edge["id"]) for edge in raw_edges(tasks[task_id])}
    if tasks[task_id].get("executor") == "group":
        direct |= set(below(tasks, task_id))
    return direct | {deeper for each in direct for deeper in upstream(tasks, each)}


def end_of(case: LanguageCase, document: dict[str, Json] | None = None) -> EndState:
    return oracle(document or case.document, case.script, tree_inputs=case.tree_inputs)


def without_compensation(state: EndState) -> dict[str, Ended]:
    return {each: replace(its, compensation=None) for each, its in state.tasks.items()}


def without_cause(ended: Ended) -> Ended:
    """A skip names the first dependency that did not complete: a cut one may stand before it."""
    return replace(ended, because=None, root=None)


@UNHURRIED
@given(language_cases())
def test_every_random_tree_of_the_whole_language_can_be_finished(case: LanguageCase) -> None:
    state = end_of(case)

    assert list(state.tasks) == list(raw_tasks(case))
    assert state.status in ("completed", "failed")


@UNHURRIED
@given(language_cases())
def test_random_documents_keep_to_their_sizes_and_scripts(case: LanguageCase) -> None:
    for path, document in documents(case.document):
        tasks = by_id(document)
        assert len(tasks) <= (4 if path else 10)
        assert path.count("/") <= 2
        for task_id, raw in tasks.items():
            executor = raw.get("executor", "tree")
            is_scripted = executor in (PROBE, "approval", "wait_for_event")
            assert (path + task_id in case.script) == is_scripted
            assert (f"{path}{task_id}~compensate" in case.script) == ("compensate" in raw)
            if isinstance(raw.get("for_each"), list):
                assert len(cast("list[Json]", raw["for_each"])) <= 4
            if case.script.get(path + task_id) == TimedOut():
                assert "timeout" in dict_of(raw["inputs"])


@UNHURRIED
@given(language_cases())
def test_random_documents_are_valid_where_the_language_adds_rules(case: LanguageCase) -> None:
    for _, document in documents(case.document):
        for raw in by_id(document).values():
            executor = raw.get("executor", "tree")
            assert "for_each" in raw or not {"tolerate", "max_in_flight"} & set(raw)
            assert "for_each" not in raw or executor in (PROBE, "tree")
            assert ("tree" in raw) == (executor == "tree")
            if "tree" in raw:
                declared = dict_of(dict_of(raw["tree"])["inputs"])
                assert set(dict_of(raw["inputs"])) <= set(declared)


@UNHURRIED
@given(language_cases())
def test_random_expressions_name_only_what_is_upstream(case: LanguageCase) -> None:
    for _, document in documents(case.document):
        tasks = by_id(document)
        for task_id, raw in tasks.items():
            text = str([raw.get(key) for key in ("inputs", "when", "for_each")])
            named = {e for e in tasks if f"tasks.{e}." in text or f'tasks."{e}".' in text}
            assert named <= upstream(tasks, task_id)


@UNHURRIED
@given(language_cases())
def test_the_whole_language_does_not_depend_on_places_in_the_document(case: LanguageCase) -> None:
    shuffled: list[Json] = list(raw_tasks(case).values())
    case.chance().shuffle(shuffled)

    assert end_of(case) == end_of(case, {**case.document, "tasks": shuffled})


@UNHURRIED
@given(language_cases(on_failure="wait"))
def test_waiting_differs_from_continuing_only_in_the_end_of_the_tree(case: LanguageCase) -> None:
    waiting = end_of(case)
    calm = end_of(case, {**case.document, "on_failure": "continue"})

    assert without_compensation(waiting) == without_compensation(calm)
    if waiting.status == "in_progress":
        closed = oracle_closed(case.document, case.script, tree_inputs=case.tree_inputs)
        assert calm.status == "failed"
        assert replace(closed, status="failed") == calm
    else:
        assert waiting == calm


@UNHURRIED
@given(language_cases(on_failure="cancel"))
def test_cancelling_keeps_its_promises_in_the_whole_language(case: LanguageCase) -> None:
    calm = end_of(case, {**case.document, "on_failure": "continue"})
    order = random_order(case, calm)
    state = oracle_cancel(case.document, case.script, order, tree_inputs=case.tree_inputs)

    cut = [each for each in order if state.tasks[each].status == "cancelled"]
    kept = order[: len(order) - len(cut)]
    assert cut == order[len(kept) :]
    before, after = without_compensation(calm), without_compensation(state)
    assert [without_cause(after[e]) for e in kept] == [without_cause(before[e]) for e in kept]
    assert state.status == calm.status
    completed = [each for each in kept if state.tasks[each].status == "completed"]
    undone_tasks = [each for each in completed if "compensate" in raw_tasks(case)[each]]
    expected = set(undone_tasks) if state.status == "failed" else set[str]()
    assert set(state.compensations) == expected
    run_ones = {e for e, its in state.compensations.items() if its.inputs is not None}
    assert set(oracle_compensation_order(completed, state)) == run_ones
