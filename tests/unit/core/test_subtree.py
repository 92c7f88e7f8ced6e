from typing import Any

import pytest
from tests.unit.core.builders import (
    CANCELLED,
    Document,
    begin,
    clock,
    describe,
    document,
    end,
    entry_of,
    fails,
    play,
    problems_of,
    refusal,
    start_all,
    statuses,
    subtree,
    task,
    tree_of,
)

from regrow.core import limits
from regrow.core.loading import load, without_engine
from regrow.core.models import Policy, TaskTree
from regrow.core.outcome import Outcome
from regrow.core.problems import InvalidTree, path_text
from regrow.core.record import Kind
from regrow.core.resolve import Description, Unknown, executor_ids, resolve
from regrow.core.result import tree_result
from regrow.core.run import TreeRun
from regrow.core.subtree import child_document, subtree_outcome
from regrow.core.wire import Status


def result_of(run: TreeRun) -> Document:
    assert run.is_finished
    return tree_result(run)


def ended(*tasks: Document, script: Document | None = None, **head: Any) -> Document:
    """The result of a whole tree, as a sub-tree gives it."""
    run = begin(tree_of(*tasks, **head), tree_id="run/inner")
    play(run, script)
    return result_of(run)


def inner_of(tree: TaskTree, task_id: str) -> TaskTree:
    found = next(each.tree for each in tree.tasks if each.id == task_id)
    assert found is not None
    return found


def nested(depth: int, **head: Any) -> Document:
    """So many trees inside a tree, each in a task `d`."""
    tasks = [task("end")]
    for _ in range(depth):
        tasks = [{"id": "d", "tree": {"tasks": tasks}}]
    return document(*tasks, **head)


# --- starting


def test_sub_tree_is_started_with_its_own_inputs() -> None:
    run = begin(tree_of(subtree("s", task("a"), inputs={"x": 0}) | {"inputs": {"x": 5}}))

    [start] = start_all(run)

    assert (start.unit, start.kind, start.inputs) == ("s", Kind.SUBTREE, {"x": 5})
    assert (run.in_flight, statuses(run)) == (1, {"s": "in_progress"})


def test_sub_trees_count_towards_what_the_tree_allows() -> None:
    run = begin(tree_of(subtree("s", task("a")), task("b"), max_in_flight=1))

    assert [start.unit for start in start_all(run)] == ["s"]


@pytest.mark.parametrize(
    ("result", "edge", "own", "given"),
    [
        ({"k": 1}, "x", {}, {"x": {"k": 1}}),
        ({"k": 1}, "undeclared", {}, {}),
        ({"k": 1}, {"id": "x", "into": "y"}, {}, {"y": {"k": 1}}),
        ({"x": 1, "z": 2, "y": 3}, {"id": "x", "into": "*"}, {}, {"x": 1, "y": 3}),
        ({"x": 1, "z": 2, "y": 3}, {"id": "x", "into": "*"}, {"y": 9}, {"x": 1, "y": 9}),
        ({"k": 1}, {"id": "x", "into": None}, {}, {}),
        ({"k": 1}, "x", {"y": "${{ tasks.x.result.k }}"}, {"y": 1}),
    ],
)
def test_of_the_results_passed_on_a_sub_tree_takes_what_it_declares(
    result: Any, edge: Any, own: Document, given: Document
) -> None:
    before = edge if isinstance(edge, str) else "x"
    sub = subtree("s", task("a"), inputs={"x": None, "y": None})
    run = begin(tree_of(task(before), sub | {"dependencies": [edge], "inputs": own}))
    start_all(run)
    end(run, before, result)

    assert [start.inputs for start in start_all(run)] == [given]


def test_child_is_given_its_document_with_its_inputs_set() -> None:
    tree = tree_of(
        subtree(
            "s",
            task("a", retry={"maximum_attempts": 2}),
            inputs={"x": 0, "y": [1]},
            outputs={"o": "${{ tasks.a.result }}"},
        ),
        user_id="acme",
    )
    inner = inner_of(tree, "s")

    argument = child_document(inner, {"x": 5}, "acme", describe(tree))

    written, engine = without_engine(argument)
    assert written == {
        "version": 1,
        "name": "s",
        "user_id": "acme",
        "inputs": {"x": 5, "y": [1]},
        "outputs": {"o": "${{ tasks.a.result }}"},
        "tasks": [{"id": "a", "executor": "work", "retry": {"maximum_attempts": 2}}],
    }
    assert load(written).user_id == "acme"
    assert [*engine] == ["description"]


def test_child_without_inputs_or_a_user_has_none() -> None:
    tree = tree_of(subtree("s", task("a")))

    written, _ = without_engine(child_document(inner_of(tree, "s"), {}, None, describe(tree)))

    assert written == {"version": 1, "name": "s", "tasks": [{"id": "a", "executor": "work"}]}


def test_child_is_told_of_the_executors_that_it_has_and_no_others() -> None:
    tree = tree_of(
        task("out", executor="outer"),
        subtree(
            "s",
            task("a", executor="inner", compensate={"executor": "undo"}),
            {"id": "g", "children": [task("m")]},
            subtree("deep", task("b", executor="deepest")),
        ),
    )
    known = {name: Policy() for name in executor_ids(tree) if name != "g"}
    description = Description(
        engine_version=7, executors=known, unknown={"g": Unknown(), "other": Unknown()}
    )
    inner = inner_of(tree, "s")

    _, engine = without_engine(child_document(inner, {}, None, description))

    told = Description.model_validate(engine["description"])
    assert told.engine_version == 7
    assert [*told.executors] == ["inner", "undo", "work", "deepest"]
    assert [*told.unknown] == ["g"]
    assert resolve(inner, told).natives == {"g": "group", "deep": "tree"}


def test_policies_of_executors_reach_the_child() -> None:
    tree = tree_of(subtree("s", task("a")))
    policy = Policy.model_validate(
        {"start_to_close_timeout": "90s", "retry": {"maximum_attempts": 4}}
    )
    inner = inner_of(tree, "s")

    _, engine = without_engine(
        child_document(inner, {}, None, Description(executors={"work": policy}))
    )

    told = resolve(inner, Description.model_validate(engine["description"])).policy("a")
    assert told.start_to_close_timeout == policy.start_to_close_timeout
    assert told.retry.maximum_attempts == 4


def test_expressions_inside_see_their_own_tree_only() -> None:
    sub = subtree(
        "s",
        task("a", inputs={"n": "${{ tree.name }}", "x": "${{ inputs.x }}", "id": "${{ tree.id }}"}),
        inputs={"x": 1},
    )
    inner = inner_of(tree_of(sub, inputs={"x": 2}), "s")

    [start] = start_all(begin(inner, tree_id="run/s"))

    assert start.inputs == {"n": "s", "x": 1, "id": "run/s"}


# --- its end


def test_result_is_the_outputs_of_the_sub_tree() -> None:
    inside = ended(task("a"), task("b"), script={"a": 1, "b": 2})

    outcome = subtree_outcome("s", inside)

    assert outcome == Outcome(
        Status.COMPLETED,
        {"a": 1, "b": 2},
        metadata={"tree_id": "run/inner", "counts": inside["counts"]},
        attempts=1,
    )
    run = begin(tree_of(subtree("s", task("a")), task("after", "s")))
    start_all(run)
    end(run, "s", outcome)
    assert [start.inputs for start in start_all(run)] == [{"s": {"a": 1, "b": 2}}]


@pytest.mark.parametrize(
    ("tasks", "script", "error", "failed_with"),
    [
        ([task("clean")], {"clean": fails("it broke", "t")}, "s/clean: it broke", "t"),
        (
            [task("ok"), task("one"), task("two")],
            {"one": fails("first", "t"), "two": fails("second", "u")},
            "s/one: first",
            "t",
        ),
        (
            [task("may", allow_failure=True), task("must")],
            {"may": fails("no matter"), "must": fails("it broke", "t")},
            "s/must: it broke",
            "t",
        ),
        (
            [{"id": "g", "executor": "group", "children": [task("in")]}],
            {"in": fails("it broke", "t")},
            "s/in: it broke",
            "t",
        ),
        (
            [task("m", for_each=[1, 2])],
            {"m[1]": fails("it broke", "t")},
            "s/m: 1 of 2 items failed: item 1: it broke",
            "map_failed",
        ),
    ],
)
def test_failed_sub_tree_names_the_first_task_that_failed_inside(
    tasks: list[Document], script: Document, error: str, failed_with: str
) -> None:
    outcome = subtree_outcome("s", ended(*tasks, script=script))

    assert (outcome.status, outcome.error_type) == (Status.FAILED, "tree_failed")
    assert (outcome.error, outcome.result) == (error, None)
    assert outcome.metadata["failed_with"] == failed_with
    assert outcome.metadata["tree_id"] == "run/inner"


def test_first_failure_is_named_though_the_result_lists_not_all_that_failed() -> None:
    tasks = [task(f"t{at}", allow_failure=True) for at in range(limits.MAX_LISTED_TASKS)]
    script = {each["id"]: fails("no matter") for each in tasks}

    inside = ended(*tasks, task("must"), script=script | {"must": fails("it broke", "t")})

    assert inside["truncated"] is True
    assert subtree_outcome("s", inside).error == "s/must: it broke"


def test_group_that_failed_for_a_cancelled_member_is_named_itself() -> None:
    inside = ended(
        {"id": "g", "executor": "group", "children": [task("in")]}, script={"in": CANCELLED}
    )

    assert subtree_outcome("s", inside).error == "s/g: 'in' inside the group failed"


def test_item_names_itself() -> None:
    inside = ended(task("clean"), script={"clean": fails("it broke")})

    assert subtree_outcome("features[3]", inside).error == "features[3]/clean: it broke"


def test_failure_two_levels_down_has_its_whole_path() -> None:
    deepest = subtree_outcome("b", ended(task("c"), script={"c": fails("it broke: c: x", "t")}))
    middle = ended(subtree("b", task("c")), script={"b": deepest})

    outcome = subtree_outcome("a", middle)

    assert outcome.error == "a/b/c: it broke: c: x"
    assert (outcome.metadata["failed_task"], outcome.metadata["failed_with"]) == ("a/b/c", "t")
    top = subtree_outcome("top", ended(subtree("a", task("x")), script={"a": outcome}))
    assert top.error == "top/a/b/c: it broke: c: x"


def test_failure_two_levels_down_keeps_its_path_when_results_took_all_the_room() -> None:
    deepest = subtree_outcome("b", ended(task("c"), script={"c": fails("it broke", "t")}))
    room = "x" * (limits.MAX_RESULTS_BYTES - 20)
    middle = ended(
        task("big"), subtree("b", task("c")), script={"big": room, "b": deepest}, outputs={}
    )
    assert middle["tasks"]["b"]["result_omitted"] is True

    assert subtree_outcome("a", middle).error == "a/b/c: it broke"


def test_sub_tree_that_failed_for_no_task_says_why() -> None:
    inside = ended(task("a"), outputs={"x": "${{ abs('x') }}"})

    outcome = subtree_outcome("s", inside)

    assert str(outcome.error).startswith("s: output 'x': abs('x')")
    assert outcome.metadata["failed_task"] == "s"


def test_sub_tree_inside_of_which_a_task_was_cancelled_says_so() -> None:
    outcome = subtree_outcome("s", ended(task("a"), script={"a": CANCELLED}))

    assert (outcome.status, outcome.error) == (Status.FAILED, "s: a task inside was cancelled")


def test_sub_tree_that_failed_inside_for_no_task_has_its_path_too() -> None:
    deepest = subtree_outcome("b", ended(task("c"), outputs={"x": "${{ abs('x') }}"}))

    outcome = subtree_outcome("a", ended(subtree("b", task("c")), script={"b": deepest}))

    assert str(outcome.error).startswith("a/b: output 'x': abs('x')")


def test_outputs_too_large_to_be_passed_on_fail_the_task_and_say_what_to_do() -> None:
    big = "x" * (limits.MAX_RESULTS_BYTES + 1)
    inside = ended(task("a"), task("b"), script={"a": big, "b": big})

    outcome = subtree_outcome("s", inside)

    assert (outcome.status, outcome.error_type) == (Status.FAILED, "payload_too_large")
    assert "the outputs of 's' are too large to be passed on (a, b)" in str(outcome.error)
    assert outcome.attempts == 1


def test_error_of_a_sub_tree_stays_short() -> None:
    long = "x" * (2 * limits.MAX_ERROR_CHARS)
    told = Outcome(Status.FAILED, error=long, error_type="t")

    error = subtree_outcome("s", ended(task("a"), script={"a": told})).error

    assert error is not None
    assert len(error) < limits.MAX_ERROR_CHARS + 50


def test_failed_sub_tree_is_a_failed_task() -> None:
    run = begin(tree_of(subtree("s", task("a")), task("b", "s"), task("c", "s?")))
    start_all(run)

    end(run, "s", subtree_outcome("s", ended(task("a"), script={"a": fails("it broke", "t")})))
    play(run)

    assert statuses(run) == {"s": "failed", "b": "skipped", "c": "completed"}
    assert entry_of(run, "b")["because"]["error"] == "s/a: it broke"


def test_cancel_interrupts_a_running_sub_tree_which_may_say_that_it_had_failed() -> None:
    run = begin(tree_of(subtree("s", task("a")), subtree("t", task("a"))))
    start_all(run)
    run.cancel("", clock(run))

    assert [run.next_interrupt() for _ in range(3)] == ["s", "t", None]
    end(run, "s", CANCELLED)
    end(run, "t", subtree_outcome("t", ended(task("a"), script={"a": fails()})))

    assert statuses(run) == {"s": "cancelled", "t": "failed"}


# --- what is refused


def test_inputs_the_sub_tree_does_not_declare_are_refused_with_a_suggestion() -> None:
    sub = subtree("s", task("a"), inputs={"limit": 1}) | {"inputs": {"limt": 2, "z": 3}}

    error = refusal(document(sub))

    assert [f"{each.code} {path_text(each.path)}" for each in error.problems] == [
        "unknown_input tasks[0].inputs.limt",
        "unknown_input tasks[0].inputs.z",
    ]
    assert error.problems[0].message == (
        "the sub-tree declares no input 'limt'; did you mean 'limit'?"
    )


@pytest.mark.parametrize(
    ("tree", "problem"),
    [
        (5, "shape tasks[1].tree"),
        ("part.yaml", "tree tasks[1].tree"),
        ({}, "missing tasks[1].tree.tasks"),
        ({"tasks": []}, "missing tasks[1].tree.tasks"),
        ({"tasks": 5}, "shape tasks[1].tree.tasks"),
        ({"tasks": [5]}, "shape tasks[1].tree.tasks[0]"),
        ({"name": "-", "tasks": [task("a")]}, "id tasks[1].tree.name"),
        ({"engine": {}, "tasks": [task("a")]}, "reserved tasks[1].tree.engine"),
        ({"tasks": [task("a", "a")]}, "self_dependency tasks[1].tree.tasks[0].dependencies[0]"),
        (
            {"tasks": [task("a", "first")]},
            "unknown_dependency tasks[1].tree.tasks[0].dependencies[0]",
        ),
        (
            {"tasks": [task("a", when="tasks.first.result")]},
            "reference tasks[1].tree.tasks[0].when",
        ),
        ({"tasks": [task("a", when="inputs.outer")]}, "reference tasks[1].tree.tasks[0].when"),
        ({"tasks": [task("a", when="item")]}, "reference tasks[1].tree.tasks[0].when"),
        ({"tasks": [task("a", retry={"x": 1})]}, "unknown_key tasks[1].tree.tasks[0].retry.x"),
        ({"tasks": [task("a", children=[task("-")])]}, "id tasks[1].tree.tasks[0].children[0].id"),
        ([{"id": "a", "priority": 9}], "less_than_equal tasks[1].tree[0].priority"),
        (
            {"tasks": [{"id": "b", "tree": {"tasks": [task("a", priority=9)]}}]},
            "less_than_equal tasks[1].tree.tasks[0].tree.tasks[0].priority",
        ),
    ],
)
def test_what_is_wrong_inside_is_reported_with_its_whole_path(tree: Any, problem: str) -> None:
    written = document(task("first"), {"id": "s", "tree": tree}, inputs={"outer": 1})

    assert problems_of(written) == [problem]


def test_problems_inside_stand_with_their_task_in_the_documents_order() -> None:
    written = document(
        task("a", priority=9),
        {"id": "s", "priority": 9, "tree": {"tasks": [task("x", priority=9), task("x")]}},
        task("b", priority=9),
    )

    assert problems_of(written) == [
        "less_than_equal tasks[0].priority",
        "less_than_equal tasks[1].tree.tasks[0].priority",
        "duplicate_id tasks[1].tree.tasks[1].id",
        "less_than_equal tasks[1].priority",
        "less_than_equal tasks[2].priority",
    ]


def test_trees_nest_eight_levels_deep_and_no_further() -> None:
    deepest = ".".join(["tasks[0].tree"] * 9)

    assert problems_of(nested(8)) == []
    assert problems_of(nested(9)) == [f"too_deep {deepest}"]
    assert problems_of(nested(12)) == [f"too_deep {deepest}"]


def test_child_of_the_deepest_tree_may_be_loaded_by_itself() -> None:
    tree = load(nested(8))
    inner = inner_of(tree, "d")

    written, _ = without_engine(child_document(inner, {}, None, describe(tree)))

    assert load(written) == inner


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"executor": "work"}, "tree tasks[0].executor"),
        ({"executor": "group"}, "tree tasks[0].executor"),
        ({"task_queue": "go"}, "tree tasks[0].task_queue"),
    ],
)
def test_sub_tree_has_one_executor_and_no_queue(fields: Document, problem: str) -> None:
    assert problems_of(document(subtree("s", task("a")) | fields)) == [problem]


@pytest.mark.parametrize("written", [{"executor": "tree"}, {"executor": "tree", "tree": None}])
def test_executor_tree_needs_a_tree(written: Document) -> None:
    assert problems_of(document({"id": "s", **written})) == ["missing tasks[0].tree"]


@pytest.mark.parametrize("written", [document({"id": "tree"}), [{"id": "s", "name": "tree"}]])
def test_task_whose_id_is_tree_needs_a_tree_too(written: Any) -> None:
    assert len(problems_of(written)) == 1


@pytest.mark.parametrize("executor", [{}, {"executor": "tree"}])
def test_executor_may_be_left_out_where_there_is_a_tree(executor: Document) -> None:
    tree = tree_of(subtree("s", task("a")) | executor)

    assert tree.tasks[0].executor == "tree"
    assert [*resolve(tree, describe(tree)).natives.items()] == [("s", "tree")]


@pytest.mark.parametrize(
    "written",
    [
        [subtree("s", task("a"), inputs={"x": 0}) | {"inputs": {"x": 1}}],
        document(subtree("s", task("a")) | {"params": {"note": 1}}),
    ],
)
def test_executor_may_be_left_out_in_the_seeds_form_too(written: Any) -> None:
    assert problems_of(written) == []


def test_sub_tree_may_be_a_bare_array_and_is_named_after_its_task() -> None:
    tree = tree_of({"id": "s", "tree": [{"id": "a", "name": "work"}]})

    inner = inner_of(tree, "s")

    assert (inner.name, [each.executor_id for each in inner.tasks]) == ("s", ["work"])


def test_document_with_sub_trees_is_read_back_as_it_was() -> None:
    tree = load(nested(3, user_id="acme", inputs={"x": 1}))

    assert load(tree.as_document()) == tree
    assert load(tree) == tree


def test_wrong_inputs_inside_make_no_follow_up_problems_outside() -> None:
    sub = subtree("s", task("a"), inputs=[1]) | {"inputs": {"x": 1}}

    assert problems_of(document(sub)) == ["dict_type tasks[0].tree.inputs"]


# --- one user


@pytest.mark.parametrize("inner", [{}, {"user_id": "acme"}])
def test_user_of_the_whole_is_that_of_its_parts(inner: Document) -> None:
    assert problems_of(document(subtree("s", task("a"), **inner), user_id="acme")) == []


@pytest.mark.parametrize("inner", [{"user_id": "other"}, {"tasks": [task("a", user_id="other")]}])
def test_other_user_inside_is_refused(inner: Document) -> None:
    written = document({"id": "s", "tree": {"tasks": [task("a")], **inner}}, user_id="acme")

    problem = refusal(written).problems[0]

    assert (problem.code, path_text(problem.path)) == ("user_id", "tasks[0].tree.user_id")
    assert problem.message == "user_id 'other' inside one of 'acme'; one tree has one user"


def test_user_of_the_whole_may_be_said_again_two_levels_down() -> None:
    inner = subtree("b", task("a"), user_id="acme")

    assert problems_of(document(subtree("s", inner), user_id="acme")) == []


def test_user_inside_a_tree_without_one_is_refused_in_words() -> None:
    written = document(subtree("s", task("a"), user_id="acme"))

    assert "None" not in str(refusal(written))


# --- resolving


def test_unknown_executor_inside_is_refused_with_its_path() -> None:
    tree = tree_of(subtree("s", task("a", executor="wrk"), subtree("t", task("b", executor="x"))))
    description = Description(
        executors={"work": Policy()}, unknown={"wrk": Unknown(suggestion="work")}, known=("work",)
    )

    with pytest.raises(InvalidTree) as refused:
        resolve(tree, description)

    assert [f"{each.code} {path_text(each.path)}" for each in refused.value.problems] == [
        "unknown_executor tasks[0].tree.tasks[0].executor",
        "unknown_executor tasks[0].tree.tasks[1].tree.tasks[0].executor",
    ]
    assert "did you mean 'work'?" in str(refused.value)


def test_worker_is_asked_for_the_executors_of_all_levels_once() -> None:
    tree = tree_of(
        task("a"),
        subtree(
            "s",
            task("b"),
            task("c", executor="inner", task_queue="go"),
            task("d", executor="other", compensate={"executor": "undo"}),
            subtree("t", task("e", executor="deep")),
        ),
    )

    assert executor_ids(tree) == ["work", "other", "undo", "deep"]
