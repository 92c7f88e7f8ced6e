"""The oracle, held to each row of DESIGN §4 and each ruling of §9 on trees small enough to read.

Then the random documents: the oracle can finish all of them, and they keep their own promises.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest
from hypothesis import given, settings
from tests.fuzz.oracle import (
    Ended,
    EndState,
    ImpossibleOrderError,
    Json,
    Scripted,
    UnfinishableError,
    oracle,
    oracle_cancel,
)
from tests.fuzz.strategies import EXECUTOR, Case, cases

if TYPE_CHECKING:
    from collections.abc import Mapping


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


# --- Random documents ------------------------------------------------------------------------

UNHURRIED = settings(deadline=None)  # a busy machine is no failure


def raw_tasks(case: Case) -> dict[str, dict[str, Json]]:
    tasks = cast("list[dict[str, Json]]", case.document["tasks"])
    return {cast("str", each["id"]): each for each in tasks}


def raw_edges(raw: dict[str, Json]) -> list[dict[str, Json]]:
    return cast("list[dict[str, Json]]", raw.get("dependencies", []))


def below(tasks: dict[str, dict[str, Json]], task_id: str) -> list[str]:
    children = [each for each, raw in tasks.items() if raw.get("parent_id") == task_id]
    return children + [deeper for each in children for deeper in below(tasks, each)]


def random_order(case: Case, state: EndState) -> list[str]:
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
    is_group = raw["executor"] == "group"
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
