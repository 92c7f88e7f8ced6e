"""What a tree will use: counted as the server would count it, and said with what was assumed."""

from typing import Any

import pytest
from tests.unit.core.builders import task

from regrow.core import limits
from regrow.core.cost import Assumptions, Cost, estimate
from regrow.core.loading import load
from regrow.core.script import Act, approves, fails, hangs, rejects, returns, sends
from regrow.core.simulate import everything_known

APPROVAL = {"executor": "approval", "inputs": {"prompt": "go?"}}
LONG_MAP = task("each", for_each=list(range(1_500)))
BARE = 14
"""The events of a tree with one task."""


def cost(*tasks: dict[str, Any], given: Assumptions | None = None, **head: Any) -> Cost:
    return estimate(load({"name": "tree", "tasks": list(tasks), **head}), given or Assumptions())


def scripted(**script: Any) -> Assumptions:
    return Assumptions(script=script)


def action(found: Cost, kind: str) -> int:
    return found.actions[kind]


def fan(width: int, **fields: Any) -> list[dict[str, Any]]:
    return [task(f"t{at}", **fields) for at in range(width)]


def part(task_id: str, *dependencies: str, **fields: Any) -> dict[str, Any]:
    return task(task_id, *dependencies, **{"executor": "tree", **fields})


def chain(length: int) -> list[dict[str, Any]]:
    return [task(f"t{at}", *([f"t{at - 1}"] if at else [])) for at in range(length)]


def plain_value(_: dict[str, Any]) -> str:
    return "x" * 10_000


def word_of_a_script(_: dict[str, Any]) -> Act:
    return returns("x" * 10_000)


# --- events


def test_one_task_is_a_start_three_events_of_its_own_and_an_end() -> None:
    found = cost(task("a"))

    assert (found.events, found.workflow_tasks, found.tasks) == (BARE, 2, 1)
    assert found.activities == {"work": 1}
    assert found.most_events == found.events


def test_each_task_of_a_chain_has_a_workflow_task() -> None:
    found = cost(*chain(50))

    assert found.events == BARE + 49 * 6
    assert found.workflow_tasks == 51


def test_ends_of_a_wide_tree_share_workflow_tasks() -> None:
    found = cost(*fan(90))

    assert 3 * 90 < found.events < 3.5 * 90
    assert found.most_events == found.events + 3 * (91 - found.workflow_tasks)


def test_tasks_that_take_different_times_end_apart() -> None:
    together = cost(*fan(50), given=Assumptions(task_seconds=(10, 10)))
    apart = cost(*fan(50), given=Assumptions(task_seconds=(10, 100)))

    assert apart.workflow_tasks > 3 * together.workflow_tasks


def test_more_starts_than_one_workflow_task_makes_take_a_timer() -> None:
    found = cost(*fan(limits.MAX_STARTS_PER_TASK + 1), max_in_flight=limits.MAX_IN_FLIGHT)

    assert action(found, "timers") == 1


def test_bytes_follow_inputs_and_results() -> None:
    small = cost(task("a", inputs={"text": "x"}), given=Assumptions(result_bytes=0))
    large = cost(task("a", inputs={"text": "x" * 1001}), given=Assumptions(result_bytes=2002))

    # inputs in the document and in the activity, the result in its end and twice in the tree's
    assert large.bytes - small.bytes == 2 * 1000 + 3 * 2000


def test_results_that_are_given_count_as_they_are() -> None:
    found = cost(task("a"), given=scripted(work=returns("x" * 10_000)))

    assert found.bytes > 20_000
    for give in (plain_value, word_of_a_script):
        assert cost(task("a"), given=scripted(work=give)).bytes == found.bytes


def test_titles_owners_and_error_types_take_bytes() -> None:
    plain = cost(task("a"))
    more = cost(
        task("a", name="Fetch", retry={"non_retryable_error_types": ["gone"]}), user_id="acme"
    )

    assert more.bytes > plain.bytes


# --- failures


def test_attempts_are_actions_but_no_events() -> None:
    found = cost(task("a"), given=scripted(a=[fails(retryable=True), returns(1)]))

    assert (found.events, found.status.value) == (BARE, "completed")
    assert action(found, "activity_attempts") == 2


def test_what_always_fails_is_tried_as_often_as_its_policy_says() -> None:
    found = cost(task("a"), task("b", "a"), given=scripted(a=fails(retryable=True)))

    assert (found.events, found.status.value) == (BARE, "failed")
    assert action(found, "activity_attempts") == 3


def test_endless_attempts_are_counted_up_to_a_bound() -> None:
    policy = {"maximum_attempts": 0, "initial_interval": "1ms", "maximum_interval": "1ms"}
    endless = task("a", retry=policy, schedule_to_close_timeout="9h")

    assert action(cost(endless, given=scripted(a=fails(retryable=True))), "activity_attempts") == (
        1_000
    )


def test_a_failure_that_ends_the_tree_cancels_what_runs() -> None:
    found = cost(
        task("bad"),
        task("slow"),
        part("part", tree={"tasks": [task("inner")]}),
        task("nap", executor="sleep", inputs={"duration": "1h"}),
        given=scripted(bad=fails(), slow=returns(seconds=60), **{"part/inner": returns(seconds=9)}),
        on_failure="cancel",
    )

    assert found.status.value == "failed"
    assert len(found.runs) == 2


def test_what_undoes_tasks_is_counted_with_them() -> None:
    undo = {"executor": "refund", "inputs": {"of": "${{ tasks.pay.result }}"}}
    tasks = (task("pay", compensate=undo), task("ship", "pay"))

    assert cost(*tasks).activities == {"work": 2}
    assert cost(*tasks, given=scripted(ship=fails())).activities == {"work": 2, "refund": 1}


# --- waits


def test_a_sleep_is_a_timer_and_its_end() -> None:
    found = cost(task("nap", executor="sleep", inputs={"duration": "1h"}))

    assert found.events == BARE - 1
    assert action(found, "timers") == 1


def test_an_approval_is_an_update_with_two_events() -> None:
    found = cost(task("ask", **APPROVAL))

    assert action(found, "updates") == 1
    assert "approvals are given and events come at once" in found.assumptions


def test_an_answer_ends_the_timer_of_its_approval() -> None:
    asked = task("ask", executor="approval", inputs={"prompt": "go?", "timeout": "1h"})

    answered, unheard = cost(asked), cost(asked, given=scripted(ask=hangs()))

    assert (action(answered, "timers"), action(unheard, "timers")) == (1, 1)
    assert answered.events == unheard.events + 2
    late = cost(asked, given=scripted(ask=approves(seconds=7200)))
    assert action(late, "updates") == 0
    assert cost(asked, given=scripted(ask=rejects())).status.value == "failed"


def test_an_answer_that_comes_right_after_the_timeout_is_too_late() -> None:
    asked = task("ask", executor="approval", inputs={"prompt": "go?", "timeout": "10s"})

    found = cost(asked, given=scripted(ask=approves(seconds=9.987)))

    assert (action(found, "updates"), found.status.value) == (1, "failed")


def test_an_event_ends_every_wait_for_it() -> None:
    waits = [
        task(name, executor="wait_for_event", inputs={"event": "go"}) for name in ("one", "two")
    ]

    found = cost(*waits, given=scripted(one=sends(1), two=hangs()))

    assert found.status.value == "completed"
    assert action(found, "updates") == 1


def test_an_answer_that_nobody_gives_leaves_the_tree_open() -> None:
    found = cost(task("ask", **APPROVAL), given=scripted(ask=hangs()))

    assert found.status.value == "in_progress"
    assert found.assumptions[-1].startswith("the tree then waits for somebody")


def test_a_wait_that_ends_in_the_workflow_task_that_begins_it_leaves_nothing() -> None:
    found = cost(
        task("ask", executor="approval", inputs={"prompt": "go?", "timeout": "1h"}),
        task("bad", inputs={"n": "n ${{ inputs.n }}"}),
        inputs={"n": None},
        on_failure="cancel",
    )

    assert (action(found, "timers"), found.workflow_tasks) == (0, 1)


# --- sub-trees and maps


def test_a_subtree_is_a_workflow_of_its_own() -> None:
    found = cost(part("part", tree={"tasks": [task("a"), task("b")]}))

    assert (found.workflows, len(found.runs), found.tasks) == (2, 2, 3)
    assert action(found, "child_workflows") == 2
    assert found.parts[0].task == "part"
    assert (found.parts[0].executor, found.parts[0].activities) == ("tree", 2)


def test_a_map_has_an_activity_for_each_item() -> None:
    found = cost(task("each", for_each=[1, 2, 3], inputs={"n": "${{ item }}"}))

    assert found.activities == {"work": 3}
    assert found.parts[0].events == 9


def test_hosted_tasks_heartbeat_while_they_run() -> None:
    seconds = Assumptions(task_seconds=(60, 60))

    assert action(cost(task("a"), given=seconds), "heartbeats") == 30
    assert action(cost(task("a", heartbeat_timeout="3s"), given=seconds), "heartbeats") == 60
    assert action(cost(task("a", task_queue="other"), given=seconds), "heartbeats") == 0


# --- local tasks


def test_a_local_task_is_one_event_in_the_workflow_task_that_starts_it() -> None:
    found = cost(*(each | {"local": True} for each in chain(50)))

    assert (found.workflow_tasks, action(found, "activity_attempts")) == (1, 0)
    assert found.activities == {"work": 50}
    assert action(found, "local_activities") == 1
    assert 50 < found.events < 60


def test_a_workflow_task_has_its_fill_of_local_tasks() -> None:
    many = cost(*fan(250, local=True))
    long = cost(*fan(120, local=True), given=Assumptions(task_seconds=(0.6, 0.6)))

    assert action(many, "activity_attempts") == 2
    assert action(long, "local_activities") == 2
    assert many.activities == {"work": 250}


# --- continuations


def test_a_long_history_is_left_for_another() -> None:
    found = cost(LONG_MAP)

    assert len(found.runs) == 2
    assert action(found, "continued_as_new") == 1
    assert all(run.events > limits.ROLLOVER_EVENTS for run in found.runs[:-1])
    assert found.as_json()["continuations"] == 1


def test_a_history_of_large_results_is_left_early() -> None:
    found = cost(*chain(60), given=Assumptions(result_bytes=30_000))

    assert len(found.runs) > 1
    assert any("references to large results" in hint for hint in found.hints)


def test_a_wait_is_taken_along() -> None:
    nap = task("nap", executor="sleep", inputs={"duration": "1h"})
    ask = task("ask", **APPROVAL)

    found = cost(nap, ask, LONG_MAP, given=scripted(ask=approves(seconds=1800)))

    assert found.status.value == "completed"
    assert action(found, "timers") > 1


def test_a_task_that_runs_on_holds_the_others_up_for_a_while_only() -> None:
    slow = task("slow", executor="slow")

    found = cost(slow, LONG_MAP, given=scripted(slow=returns(seconds=3600)))

    assert found.status.value == "completed"
    assert found.runs[0].events > limits.ROLLOVER_EVENTS + limits.ROLLOVER_RETRY_EVENTS


def test_state_too_large_to_hand_over_stays() -> None:
    first = [task(f"f{at}") for at in range(60)]
    last = task("last", *(f"f{at}" for at in range(60)), "more")

    found = cost(*first, task("more", "f59"), last, given=Assumptions(result_bytes=30_000))

    assert len(found.runs) == 1


# --- partitions


def test_a_large_tree_is_shared_among_workflows() -> None:
    found = cost(*fan(1_500))

    assert (found.status.value, found.tasks) == ("completed", 1_500)
    assert found.workflows == 7
    assert action(found, "child_workflows") == 12
    assert all(run.events < 1_000 for run in found.runs)


def test_a_partition_tells_of_what_others_wait_for() -> None:
    found = cost(*fan(1_500), task("last", "t0"), given=Assumptions(task_seconds=(1, 30)))

    assert action(found, "signals") > 0


def test_a_partition_with_much_to_tell_at_its_end_says_it_in_several_messages() -> None:
    found = cost(*fan(1_010), given=Assumptions(result_bytes=60_000))

    assert action(found, "signals") > 0


# --- what is assumed


def test_a_map_over_an_unknown_list_has_the_assumed_items() -> None:
    tree = (
        task("list"),
        task("each", "list", for_each="tasks.list.result", inputs={"url": "u/${{ item.id }}"}),
    )

    found = cost(*tree, given=Assumptions(items=7))

    assert found.activities == {"work": 8}
    assert "'each' has 7 items (--items)" in found.assumptions
    known = cost(*tree, given=scripted(list=returns([{"id": 1}, {"id": 2}])))
    assert known.activities == {"work": 3}


def test_an_unknown_condition_holds() -> None:
    tree = (task("a"), task("b", "a", when="tasks.a.result.active"), task("c", when="`false`"))

    found = cost(*tree)

    assert found.activities == {"work": 2}
    assert "the condition of 'b' holds" in found.assumptions
    assert cost(*tree, given=scripted(a=returns({"active": False}))).activities == {"work": 1}


def test_what_looks_into_an_unknown_result_has_its_size_and_is_passed_once() -> None:
    inputs = {"all": ["n ${{ tasks.a.result.n }}", {"whole": "${{ tasks.a.result }}"}], "n": 1}
    looking = cost(task("a"), task("b", "a", inputs=inputs))

    assert looking.status.value == "completed"
    bare = cost(task("a"), task("b", "a", inputs={"x": "${{ tasks.a.result.n }}"}))
    passed = cost(task("a"), task("b", "a", inputs={"x": "yyyyyyyyyyyyyyyyyyyyyyyy"}))
    assert abs(bare.bytes - passed.bytes) < 50


def test_unknown_values_are_unknown_in_subtrees_too() -> None:
    inner: dict[str, Any] = {
        "name": "inner",
        "inputs": {"urls": [], "n": 1, "a": None},
        "tasks": [
            task("each", for_each="inputs.urls", inputs={"n": "${{ inputs.n }}"}),
            task("all", inputs={"n": "${{ length(keys(inputs)) }}"}),
        ],
    }
    sub = part("sub", "a", tree=inner, inputs={"urls": "${{ tasks.a.result.urls }}"})

    found = cost(task("a"), sub, outputs={"n": "${{ tasks.sub.result.each }}"})

    assert found.activities == {"work": 12}
    spread = {**sub, "dependencies": [{"id": "a", "into": "*"}]}
    assert "'sub/each' has 10 items (--items)" in cost(task("a"), spread).assumptions


def test_what_cannot_be_evaluated_is_said() -> None:
    found = cost(task("a"), task("b", "a", inputs={"n": "n ${{ inputs.n }}"}), inputs={"n": None})

    assert found.status.value == "failed"
    assert "'b' fails, since it needs more than an assumed result" in found.assumptions[-1]


# --- what is said


def test_a_large_map_is_better_a_batch() -> None:
    found = cost(task("each", for_each=list(range(60))))

    assert "'each' maps 60 items in 60 activities: `batch` would take 1" in found.hints[0]
    assert "`local: true` takes 1 event each" in found.hints[0]
    is_local = cost(task("each", for_each=list(range(60)), local=True))
    assert is_local.hints == ("'each' maps 60 items in 60 activities: `batch` would take 1",)


def test_a_map_of_subtrees_is_better_none() -> None:
    found = cost(part("each", for_each=list(range(60)), tree={"tasks": [task("a")]}))

    assert "each a workflow" in found.hints[0]


def test_a_long_chain_costs_twice_as_much_as_it_could() -> None:
    assert cost(*chain(60)).hints[0].startswith("mostly one task after the other")
    assert cost(*chain(3)).hints == ()


def test_times_are_said_as_they_were_assumed() -> None:
    given = Assumptions(task_seconds=(0.5, 4))

    assert cost(task("a"), given=given).assumptions[1].startswith("a task takes 0.5 to 4 seconds")


def test_figures_are_json_by_stable_keys() -> None:
    found = cost(task("a")).as_json()

    assert list(found) == [
        "status",
        "tasks",
        "activities",
        "workflow_tasks",
        "events",
        "most_events",
        "bytes",
        "workflows",
        "runs",
        "continuations",
        "largest_run",
        "actions",
        "parts",
        "hints",
        "assumptions",
    ]
    assert found["actions"]["total"] == sum(found["actions"]["by_kind"].values())


@pytest.mark.parametrize("attributes", [(), ("TreeStatus",)])
def test_search_attributes_are_upserted_where_the_server_has_them(
    attributes: tuple[str, ...],
) -> None:
    tree = load({"name": "tree", "tasks": [task("a")]})
    known = everything_known(tree).model_copy(update={"search_attributes": attributes})

    found = estimate(tree, description=known)

    assert action(found, "search_attribute_upserts") == 2 * len(attributes)
