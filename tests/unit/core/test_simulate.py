import asyncio
from datetime import timedelta
from typing import Any

import pytest
from tests.unit.core.builders import (
    Document,
    approval,
    document,
    event,
    sleep,
    subtree,
    task,
    undone,
)

from regrow.core.problems import InvalidTree
from regrow.core.result import TreeResult
from regrow.core.script import (
    Script,
    Trace,
    approves,
    fails,
    hangs,
    rejects,
    returns,
    sends,
)
from regrow.core.simulate import BEGINNING, simulate
from regrow.core.wire import Status


async def simulated(
    *tasks: Document, script: Script | None = None, trace: Trace | None = None, **head: Any
) -> TreeResult:
    return await simulate(document(*tasks, **head), script, trace=trace)


async def first_attempts(policy: Document, *acts: Any) -> tuple[int | None, float]:
    """How often a task runs that does those things, and after how many seconds it has ended."""
    result = await simulated(task("a", **policy), script={"a": list(acts)})
    end = result.tasks["a"]
    assert end.finished_at is not None
    return end.attempts, (end.finished_at - BEGINNING).total_seconds()


class TooDear(Exception):  # noqa: N818
    """As an executor's `TaskError`."""

    error_type = "too_dear"
    retryable = False
    retry_after: Any = None


# --- what things do


async def test_what_is_not_scripted_gives_null_and_people_agree() -> None:
    result = await simulated(task("a"), approval("ok", "a"), event("e", "ok"), sleep("s", "e"))

    assert result.status is Status.COMPLETED
    assert result.tasks["a"].result is None
    assert isinstance(result.tasks["ok"].result, dict)
    assert result.tasks["ok"].result["approved"] is True
    assert result.tasks["e"].result is None


async def test_script_is_read_by_task_then_by_executor() -> None:
    result = await simulated(
        task("a"), task("b"), script={"work": returns("any"), "b": returns("mine")}
    )

    assert result.outputs == {"a": "any", "b": "mine"}


async def test_function_is_given_the_inputs_and_its_answer_is_read_as_an_executors() -> None:
    async def later(inputs: Document) -> Document:
        await asyncio.sleep(0)
        return {"status": "completed", "result": inputs["x"] + 1, "took": 5}

    def at_once(inputs: Document) -> Any:
        return inputs["x"] * 2

    script: Script = {"a": at_once, "b": later}
    result = await simulated(task("a", inputs={"x": 4}), task("b", inputs={"x": 4}), script=script)

    assert result.outputs == {"a": 8, "b": 5}
    assert result.tasks["b"].metadata == {"took": 5}


@pytest.mark.parametrize(
    ("error", "error_type", "attempts"),
    [(TooDear("no money"), "too_dear", 1), (KeyError("k"), "KeyError", 3)],
)
async def test_function_that_raises_fails_as_an_executor_does(
    error: Exception, error_type: str, attempts: int
) -> None:
    def broken(_: Document) -> None:
        raise error

    end = (await simulated(task("a"), script={"a": broken})).tasks["a"]

    assert (end.status, end.error_type, end.attempts) == (Status.FAILED, error_type, attempts)
    assert end.error == str(error)


async def test_error_without_words_is_shown_as_it_is_written() -> None:
    def broken(_: Document) -> None:
        raise ValueError

    end = (await simulated(task("a"), script={"a": broken})).tasks["a"]

    assert (end.error, end.error_type) == ("ValueError()", "ValueError")


async def test_function_may_answer_in_the_words_of_a_script() -> None:
    def dear(inputs: Document) -> Any:
        return fails("too dear", seconds=5) if inputs["n"] > 1 else returns(inputs["n"])

    result = await simulated(
        task("a", inputs={"n": 1}), task("b", inputs={"n": 2}), script={"work": dear}
    )

    assert result.outputs == {"a": 1}
    assert result.tasks["b"].error == "too dear"
    assert result.tasks["b"].finished_at == BEGINNING + timedelta(seconds=5)


async def test_failure_skips_what_requires_it() -> None:
    result = await simulated(
        task("a"), task("b", "a"), task("c", "a?"), script={"a": fails("no", "broken_pipe")}
    )

    assert [each.status.value for each in result.tasks.values()] == [
        *("failed", "skipped", "completed"),
    ]
    assert (result.tasks["a"].error, result.tasks["a"].error_type) == ("no", "broken_pipe")


async def test_trace_tells_the_inputs_and_every_change_by_path() -> None:
    trace = Trace()
    sub = subtree("s", task("x"), inputs={"n": 0}) | {"dependencies": ["a"]}

    await simulated(
        task("a", inputs={"k": 1}),
        sub,
        task("m", "s", for_each=[7, 8], inputs={"i": "${{ item }}"}),
        trace=trace,
    )

    assert trace.inputs == {
        "a": {"k": 1},
        "s/x": {},
        "m[0]": {"i": 7, "s": {"x": None}},
        "m[1]": {"i": 8, "s": {"x": None}},
    }
    assert [path for path, status in trace.changes if status is Status.COMPLETED] == [
        *("a", "s/x", "s", "m"),
    ]


async def test_inputs_can_be_set_if_they_are_declared() -> None:
    tree = document(task("a", inputs={"x": "${{ inputs.x }}"}), inputs={"x": 1})

    def echo(inputs: Document) -> Any:
        return inputs["x"]

    assert (await simulate(tree, {"a": echo})).outputs == {"a": 1}
    assert (await simulate(tree, {"a": echo}, inputs={"x": 5})).outputs == {"a": 5}
    with pytest.raises(InvalidTree):
        await simulate(tree, inputs={"y": 5})


async def test_tree_is_named_as_asked_for() -> None:
    result = await simulate(document(task("a", inputs={"x": "${{ tree.id }}"})), tree_id="mine")

    assert result.tree_id == "mine"


async def test_task_that_only_has_children_is_a_group_unless_it_is_an_executor_elsewhere() -> None:
    trace = Trace()
    stages = [{"id": "stage", "children": [task("m")]}, {"id": "g", "children": [task("n")]}]

    await simulated(*stages, subtree("s", task("x", executor="stage")), trace=trace)

    assert [*trace.inputs] == ["stage", "m", "n", "s/x"]


# --- time


async def test_no_time_passes_but_the_trees_own() -> None:
    result = await simulated(
        task("a"), sleep("s", "a", duration="10h"), task("b", "s"), script={"a": returns(seconds=5)}
    )

    finished = [each.finished_at for each in result.tasks.values()]
    hours = timedelta(hours=10, seconds=5)
    assert finished == [BEGINNING + timedelta(seconds=5), BEGINNING + hours, BEGINNING + hours]


async def test_sleep_until_an_hour_that_lies_behind_does_not_turn_the_clock_back() -> None:
    result = await simulated(sleep("s", until="2029-12-31T00:00:00Z"), task("b", "s"))

    assert result.tasks["b"].finished_at == BEGINNING


@pytest.mark.parametrize(
    ("policy", "acts", "ended"),
    [
        ({}, [returns(1, seconds=2)], (1, 2)),
        ({}, [fails(retryable=True), returns(1)], (2, 1)),
        ({}, [fails(retryable=True, seconds=1)], (3, 1 + 1 + 1 + 2 + 1)),
        ({}, [fails()], (1, 0)),
        ({}, [fails(error_type="validation_error", retryable=True)], (1, 0)),
        ({"retry": {"maximum_attempts": 1}}, [fails(retryable=True)], (1, 0)),
        ({"retry": {"initial_interval": "10s"}}, [fails(retryable=True)], (3, 10 + 20)),
        ({"retry": {"backoff_coefficient": 1}}, [fails(retryable=True)], (3, 1 + 1)),
        ({"retry": {"maximum_interval": "1s"}}, [fails(retryable=True)], (3, 1 + 1)),
        (
            {"retry": {"initial_interval": "5s", "maximum_interval": "1s"}},
            [fails(retryable=True)],
            (3, 5 + 5),
        ),
        ({"start_to_close_timeout": "10s"}, [hangs(), returns(1)], (2, 10 + 1)),
        ({"start_to_close_timeout": "10s"}, [returns(seconds=11), returns(1)], (2, 10 + 1)),
        ({"start_to_close_timeout": "10s"}, [returns(seconds=10)], (1, 10)),
        ({"schedule_to_close_timeout": "2s"}, [fails(retryable=True)], (2, 1)),
    ],
)
async def test_attempts_follow_the_policy_of_the_task(
    policy: Document, acts: list[Any], ended: tuple[int, float]
) -> None:
    assert await first_attempts(policy, *acts) == ended


async def test_executor_that_asks_for_a_pause_gets_it() -> None:
    answers = iter([{"status": "failed", "error": "x", "retryable": True, "retry_after": 30}, 1])

    def answer_next(_: Document) -> Any:
        return next(answers)

    assert await first_attempts({}, answer_next) == (2, 30)


@pytest.mark.parametrize(("asked", "seconds"), [(30, 30), (0, 0), (None, 1), ("soon", 1)])
async def test_error_that_asks_for_a_pause_gets_it(asked: Any, seconds: float) -> None:
    error = TooDear("not now")
    error.retryable, error.retry_after = True, asked

    def broken(_: Document) -> None:
        raise error

    assert await first_attempts({}, broken, returns(1)) == (2, seconds)


async def test_timeout_says_which() -> None:
    end = (await simulated(task("a", start_to_close_timeout="10s"), script={"a": hangs()})).tasks[
        "a"
    ]

    assert (end.status, end.error_type) == (Status.FAILED, "timeout_error")
    assert end.error == "start_to_close_timeout of 10s exceeded"


@pytest.mark.parametrize("act", [returns(1, seconds=60), hangs()])
async def test_attempt_ends_with_the_time_from_schedule_to_close(act: Any) -> None:
    tree = document(task("a", schedule_to_close_timeout="30s", start_to_close_timeout="5m"))

    end = (await simulate(tree, {"a": act})).tasks["a"]

    assert (end.status, end.error_type) == (Status.FAILED, "timeout_error")
    assert end.finished_at == BEGINNING + timedelta(seconds=30)


async def test_what_is_tried_without_an_end_is_an_error_of_the_script() -> None:
    forever = {"retry": {"maximum_attempts": 0}, "schedule_to_close_timeout": "10000h"}

    with pytest.raises(RuntimeError, match="'a' was tried 1,000 times without an end"):
        await simulated(task("a", **forever), script={"a": fails(retryable=True)})


# --- people and events


async def test_people_answer_after_a_while() -> None:
    script: Script = {
        "ok": approves("ann", "fine", result=5, seconds=60),
        "no": rejects("bob", "dear", seconds=90),
    }
    result = await simulated(approval("ok"), approval("no"), script=script)

    assert result.tasks["ok"].result == {
        "approved": True,
        "by": "ann",
        "note": "fine",
        "at": "2030-01-01T00:01:00.000+00:00",
        "result": 5,
    }
    assert result.tasks["no"].error == "rejected by bob: dear"
    assert result.tasks["no"].finished_at == BEGINNING + timedelta(seconds=90)


async def test_function_of_the_inputs_answers_for_people_and_sends_events() -> None:
    async def send(inputs: Document) -> Any:
        await asyncio.sleep(0)
        return [inputs["event"]]

    def decide(inputs: Document) -> Any:
        dear = inputs["prompt"] == "pay 9?"
        return rejects("ann", "too dear", seconds=60) if dear else {"asked": inputs["prompt"]}

    result = await simulated(
        *[task("a"), approval("ok", "a", prompt="pay ${{ tasks.a.result }}?")],
        *[approval("no", prompt="pay 9?"), event("e", event="paid")],
        script={"a": returns(5), "approval": decide, "e": send},
    )

    said = result.tasks["ok"].result
    assert isinstance(said, dict)
    assert (said["approved"], said["result"]) == (True, {"asked": "pay 5?"})
    assert result.tasks["no"].error == "rejected by ann: too dear"
    assert result.tasks["no"].finished_at == BEGINNING + timedelta(seconds=60)
    assert result.tasks["e"].result == ["paid"]


async def test_function_that_lets_nobody_answer_leaves_the_tree_waiting() -> None:
    def nobody(_: Document) -> Any:
        return hangs()

    result = await simulated(approval("ok"), script={"ok": nobody})

    assert result.status is Status.IN_PROGRESS


@pytest.mark.parametrize("act", [approves(seconds=61), hangs()])
async def test_answer_that_comes_too_late_is_none(act: Any) -> None:
    result = await simulated(approval("ok", timeout=60), script={"ok": act})

    assert result.tasks["ok"].error == "nobody answered within 60s"


async def test_event_is_sent_to_all_that_wait_for_it() -> None:
    result = await simulated(
        *[event("one", event="paid"), event("two", event="paid", timeout="1h")],
        script={"one": sends(5, seconds=60), "two": hangs()},
    )

    assert [each.result for each in result.tasks.values()] == [5, 5]


async def test_tree_for_which_nobody_does_anything_is_left_where_it_waits() -> None:
    result = await simulated(approval("ok"), task("a", "ok"), script={"ok": hangs()})

    assert result.status is Status.IN_PROGRESS
    assert [each.status.value for each in result.tasks.values()] == ["in_progress", "pending"]


async def test_tree_that_waits_is_left_where_it_is_held() -> None:
    result = await simulated(task("a"), on_failure="wait", script={"a": fails()})

    assert result.status is Status.IN_PROGRESS


# --- maps, sub-trees, compensations


async def test_item_is_scripted_by_its_index_then_by_its_task() -> None:
    result = await simulated(
        task("m", for_each=[1, 2, 3], tolerate=1), script={"m[1]": fails(), "m": returns("ok")}
    )

    assert result.outputs == {"m": ["ok", None, "ok"]}


@pytest.mark.parametrize("key", ["f[1]/b/clean", "f/b/clean"])
async def test_what_is_inside_is_scripted_by_its_path(key: str) -> None:
    features = subtree("f", subtree("b", task("clean"))) | {"for_each": [1, 2], "tolerate": 2}

    end = (await simulated(features, script={key: fails("it broke")})).tasks["f"]

    errors = end.metadata["errors"]
    assert isinstance(errors, list)
    failed = [1] if "1" in key else [0, 1]
    assert errors == [
        {"index": at, "error": f"f[{at}]/b/clean: it broke", "error_type": "tree_failed"}
        for at in failed
    ]


async def test_sub_tree_is_given_its_inputs_its_user_and_its_name() -> None:
    trace = Trace()
    seen = {"x": "${{ inputs.x }}", "id": "${{ tree.id }}", "user": "${{ tree.user_id }}"}
    sub = subtree("s", task("a", inputs=seen), inputs={"x": 0}) | {"inputs": {"x": 5}}

    await simulated(sub, user_id="acme", trace=trace)

    assert trace.inputs == {"s/a": {"x": 5, "id": "tree/s", "user": "acme"}}


async def test_what_had_completed_is_undone_the_last_one_first() -> None:
    trace = Trace()
    script: Script = {"a": returns(1), "b": returns(2), "b~compensate": fails(), "bad": fails()}

    result = await simulated(
        undone("a"), undone("b", "a"), task("bad", "b"), script=script, trace=trace
    )

    assert [*trace.inputs.items()][-2:] == [
        ("b~compensate", {"was": 2}),
        ("a~compensate", {"was": 1}),
    ]
    undone_as = [result.tasks[each].compensation for each in "ab"]
    assert [each and each.status.value for each in undone_as] == ["completed", "failed"]


# --- cancelling


async def test_cancel_reaches_everything_that_runs() -> None:
    result = await simulate(
        document(
            task("quick"),
            task("slow"),
            subtree("s", task("a"), approval("ok")),
            sleep("nap"),
            task("m", for_each=[1, 2]),
            task("after", "slow"),
        ),
        {"work": returns(seconds=60), "quick": returns(), "s/ok": hangs(), "s/a": returns()},
        cancel_after=30,
    )

    assert result.status is Status.CANCELLED
    ends = {task_id: each.status.value for task_id, each in result.tasks.items()}
    assert ends.pop("quick") == "completed"
    assert {*ends.values()} == {"cancelled"}
    assert result.tasks["s"].finished_at == BEGINNING + timedelta(seconds=30)


async def test_cancelled_sub_tree_undoes_what_it_did_before_it_ends() -> None:
    trace = Trace()
    result = await simulate(
        document(subtree("s", undone("a"), sleep("nap", "a"))),
        {"s/a~compensate": returns(seconds=5)},
        cancel_after=30,
        trace=trace,
    )

    assert [*trace.inputs] == ["s/a", "s/a~compensate"]
    assert result.tasks["s"].finished_at == BEGINNING + timedelta(seconds=35)


async def test_cancel_after_the_end_changes_nothing() -> None:
    result = await simulate(document(task("a")), cancel_after=30)

    assert result.status is Status.COMPLETED
