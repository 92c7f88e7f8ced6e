from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from tests.unit.core.builders import Document, document, group, problems_of, refusal, task, tree_of

from regrow.core import limits
from regrow.core.models import Json
from regrow.core.references import (
    ExpressionError,
    compile_expression,
    compile_template,
    condition,
    is_true,
    named_tasks,
)

RESULTS: dict[str, Json] = {
    "user": {"name": "ann", "tags": ["x", "y"], "nothing": None},
    "n": 3,
    "text": "é",
    "fetch-user": 1,
    "a.b": 2,
}


@dataclass
class Seen:
    """What expressions see: every task is completed and has its result from above."""

    inputs: Mapping[str, Json] = field(default_factory=lambda: {"url": "x", "list": [1, 2]})
    tree: Mapping[str, Json] = field(default_factory=lambda: {"id": "run", "name": "tree"})
    local: Mapping[str, Json] = field(default_factory=dict[str, Json])
    asked: list[str] = field(default_factory=list[str])

    def task_view(self, task_id: str) -> dict[str, Json]:
        self.asked.append(task_id)
        return {"status": "completed", "result": RESULTS[task_id], "error": None}


def render(value: Json) -> Json:
    return compile_template(value).render(Seen())


# --- values


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("${{ tasks.user.result }}", RESULTS["user"]),
        ("${{tasks.n.result}}", 3),
        ("${{ inputs.list[1] }}", 2),
        ("${{ inputs.missing }}", None),
        ("${{ tasks.user.result.nothing }}", None),
        ("${{ tasks.user.status == 'completed' }}", True),
        ('${{ tasks."fetch-user".result }}', 1),
        ('${{ tasks."a.b".result }}', 2),
        ("${{ {a: inputs.url, b: {c: tree.id}} }}", {"a": "x", "b": {"c": "run"}}),
        ("${{{a: {b: tree.id}}}}", {"a": {"b": "run"}}),
        ("${{ 'a }} b' }}", "a }} b"),
        (r"${{ 'a\' }} b' }}", "a' }} b"),
        ('${{ [`"}}"`, {"}}": inputs.url}] }}', ["}}", {"}}": "x"}]),
        ("${{" + " " * 20_000 + "inputs.url }}", "x"),
        ('${{ `{"a": {"b": 1}}` }}', {"a": {"b": 1}}),
        ("${{ length(tasks.user.result.tags) }}", 2),
        ("${{ sort_by(tasks.user.result.tags, &@)[0] }}", "x"),
        ("${{ tasks.user.result.tags[?@ == 'y'] | [0] }}", "y"),
    ],
)
def test_string_that_is_one_reference_keeps_the_type(written: str, value: Json) -> None:
    assert render(written) == value


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ("a ${{ inputs.url }} b", "a x b"),
        ("${{ inputs.url }}${{ tasks.n.result }}", "x3"),
        (" ${{ inputs.url }}", " x"),
        ("n = ${{ tasks.n.result }}", "n = 3"),
        ("${{ tasks.text.result }}!", "é!"),
        ("is ${{ tasks.n.result == `3` }}", "is true"),
        ("no reference }} here", "no reference }} here"),
        ("$${{ inputs.url }}", "$x"),
    ],
)
def test_reference_inside_text_is_written_out(written: str, text: str) -> None:
    assert render(written) == text


def test_lists_and_mappings_inside_text_are_json() -> None:
    assert render("tags: ${{ tasks.user.result.tags }}") == 'tags: ["x","y"]'


def test_null_inside_text_is_an_error() -> None:
    with pytest.raises(ExpressionError, match=r"inputs\.missing: is null, which text cannot hold"):
        render("a ${{ inputs.missing }}")


def test_references_are_filled_in_at_any_depth_but_not_in_keys() -> None:
    written: Json = {"a": [1, "${{ inputs.url }}", {"b": "${{ tree.id }}"}], "${{ x }}": None}

    assert render(written) == {"a": [1, "x", {"b": "run"}], "${{ x }}": None}


def test_rendering_gives_a_fresh_value_each_time() -> None:
    template = compile_template({"a": [1]})

    first = template.render(Seen())

    assert first == template.render(Seen())
    assert first is not template.render(Seen())


def test_expression_is_evaluated_over_the_tasks_it_names_alone() -> None:
    seen = Seen()

    compile_template("${{ tasks.n.result || tasks.n.status }}").render(seen)

    assert seen.asked == ["n"]


def test_value_that_the_expression_cannot_handle_is_an_error() -> None:
    with pytest.raises(ExpressionError, match="abs"):
        render("${{ abs(inputs.url) }}")


@pytest.mark.parametrize(
    "written",
    [
        pytest.param("${{ &inputs.url }}"),
        pytest.param("a ${{ [&inputs.url] }}"),
        pytest.param("${{ to_number('nan') }}"),
        pytest.param("${{ `NaN` }}"),
    ],
)
def test_what_json_cannot_hold_never_enters_the_inputs(written: str) -> None:
    with pytest.raises(ExpressionError):
        render(written)


@pytest.mark.parametrize("value", [None, False, "", [], {}])
def test_null_false_and_what_is_empty_are_not_true(value: Json) -> None:
    assert not is_true(value)


@pytest.mark.parametrize("value", [0, 0.0, True, " ", [0], {"a": None}])
def test_all_else_is_true_zero_too(value: Json) -> None:
    assert is_true(value)


@pytest.mark.parametrize(
    "text", ["inputs.url == 'x'", "${{ inputs.url == 'x' }}", "  ${{inputs.url == 'x'}} "]
)
def test_condition_is_bare_or_in_braces(text: str) -> None:
    assert condition(text).evaluate(Seen()) is True


# --- what an expression names


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("inputs", [("inputs",)]),
        ("inputs.a.b", [("inputs", "a", "b")]),
        pytest.param("tasks.a.result.x[0].y", [("tasks", "a", "result", "x")]),
        pytest.param("tasks.a.result[*].x", [("tasks", "a", "result")]),
        ("tasks.a.result[].x", [("tasks", "a", "result")]),
        ("tasks.a.result.*", [("tasks", "a", "result")]),
        ("tasks.a.result[?x == y]", [("tasks", "a", "result")]),
        pytest.param("tasks.a.result[1:2]", [("tasks", "a", "result")]),
        ("tasks.a.[result, status]", [("tasks", "a")]),
        ("tasks.a.{r: result}", [("tasks", "a")]),
        ("tasks.a | result", [("tasks", "a")]),
        ("tasks.a.status == 'failed' || !(tree.id)", [("tasks", "a", "status"), ("tree", "id")]),
        ("(inputs.a || inputs.b).c", [("inputs", "a"), ("inputs", "b")]),
        ("[inputs.a, {x: inputs.b}]", [("inputs", "a"), ("inputs", "b")]),
        ("map(&name, tasks.a.result)", [("tasks", "a", "result")]),
        ("`1`", []),
    ],
)
def test_names_are_the_paths_read_from_the_roots(text: str, names: list[tuple[str, ...]]) -> None:
    assert list(compile_expression(text).names) == names


@pytest.mark.parametrize(
    ("text", "results"),
    [
        ("tasks.a.result.x", ["a"]),
        pytest.param("tasks.a.result[0]", ["a"]),
        ("tasks.a.status", []),
        ("inputs.result", []),
    ],
)
def test_only_result_counts_as_naming_a_result(text: str, results: list[str]) -> None:
    assert list(compile_expression(text).results) == results


def test_tasks_are_named_once_each_conditions_included() -> None:
    tree = tree_of(
        task("a"),
        task("b"),
        task("c"),
        task(
            "d",
            *("a", "b", "c"),
            inputs={"x": "${{ tasks.b.result }}", "y": ["${{ tasks.a.status }}"]},
            when="tasks.c.result && tasks.b.result",
        ),
    )

    assert named_tasks(tree.tasks[3]) == ("b", "a", "c")
    assert named_tasks(tree.tasks[0]) == ()


# --- what cannot be read


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot be empty"),
        ("inputs.", "cannot read 'inputs.'"),
        ("inputs.a b", "cannot read"),
        ("nofunction(inputs.a", "cannot read"),
        ("@", "'@' at the top would be everything"),
        ("@.inputs", "'@' at the top would be everything"),
        ("tasks", "name the task: tasks.ID.result"),
        ("tasks.*.result", "name the task"),
        ("keys(tasks)", "name the task"),
        ("tasks.fetch-user.result", 'needs quotes: tasks."fetch-user"'),
        ("tasks.a-1.result", 'needs quotes: tasks."a-1"'),
        ("!tasks.a.result", "write !(tasks.ID.result)"),
        ("(" * 2000, "cannot read"),
        ("!" * 4000, "cannot read"),
        ("a" * (limits.MAX_EXPRESSION + 1), "at most 4096 characters"),
        pytest.param("tasks.2fa.result", "quotes"),
    ],
)
def test_unreadable_expression_says_what_is_wrong(text: str, message: str) -> None:
    with pytest.raises(ExpressionError) as refused:
        compile_expression(text)

    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("${{ inputs.a", "'${{ inputs.a' is never closed by '}}'"),
        ("${{ inputs. }} and }} more", "cannot read 'inputs.'"),
        ("${{ inputs.a }} ${{", "is never closed"),
        ("${{ }}", "cannot be empty"),
        ("${{ it's }} not closed", "cannot read 'it's'"),
        ("${{ `{ }} not closed", "cannot read '`{'"),
        ("${{ inputs.a } b }}", "cannot read 'inputs.a } b'"),
        ("${{ {a: inputs.a }} b", "cannot read '{a: inputs.a'"),
        ("${{ inputs. " + "}} " * 30, "cannot read 'inputs.'"),
        pytest.param(f"${{{{ '{'a' * limits.MAX_EXPRESSION}' }}}}", "at most 4096 characters"),
    ],
)
def test_unreadable_template_says_what_is_wrong(written: str, message: str) -> None:
    with pytest.raises(ExpressionError) as refused:
        compile_template({"x": [written]})

    assert message in str(refused.value)


def test_expression_of_just_4_kib_is_read() -> None:
    name = "a" * limits.MAX_EXPRESSION

    assert compile_expression(name).names == ((name,),)


def test_oversize_condition_is_refused_with_its_place() -> None:
    written = document(task("a", when=f"'{'a' * limits.MAX_EXPRESSION}'"))

    assert problems_of(written) == ["expression tasks[0].when"]


# --- checked against the tree


def reading(expression: str, *dependencies: str, **head: Any) -> Document:
    """A tree in which `c` reads something."""
    reader = task("c", *dependencies, inputs={"x": f"${{{{ {expression} }}}}"})
    return document(task("a"), task("b", "a"), task("fetch-it"), task("x.y.z"), reader, **head)


@pytest.mark.parametrize(
    ("written", "message"),
    [
        (reading("input.x"), "'input' is not one of inputs, tasks, tree; did you mean 'inputs'?"),
        (reading("zzz"), "'zzz' is not one of inputs, tasks, tree"),
        (reading("item"), "'item' means something only in the inputs of a task with for_each"),
        (reading("inputs.x"), "the tree declares no input 'x'"),
        (
            reading("inputs.nmae", inputs={"name": 1}),
            "the tree declares no input 'nmae'; did you mean 'name'?",
        ),
        (reading("tree.nmae"), "the tree has no field 'nmae'; did you mean 'name'?"),
        (reading("tasks.fetchit.result"), "there is no task 'fetchit'; did you mean 'fetch-it'?"),
        (
            reading("tasks.x.y.z.result"),
            (
                "there is no task 'x'; an id with - or ., or with a digit first, needs quotes:"
                ' tasks."x.y.z"'
            ),
        ),
        (
            reading("tasks.b.reslt", "b"),
            "a task has status, result, error, error_type, not 'reslt'; did you mean 'result'?",
        ),
        pytest.param(
            reading("tasks.b.reslt[0]", "b"),
            "a task has status, result, error, error_type, not 'reslt'; did you mean 'result'?",
        ),
        pytest.param(
            reading("inputs.nmae[0]", inputs={"name": []}),
            "the tree declares no input 'nmae'; did you mean 'name'?",
        ),
        (reading("tasks.a.result"), "'a' is not upstream of 'c'; add it to the dependencies"),
        (reading("tasks.c.result"), "'c' is not upstream of 'c'; add it to the dependencies"),
    ],
)
def test_name_that_means_nothing_here_is_refused(written: Document, message: str) -> None:
    error = refusal(written)

    assert str(error) == f"tasks[4].inputs.x: {message}"


@pytest.mark.parametrize(
    "written",
    [
        reading("inputs"),
        reading("inputs.x", inputs={"x": None}),
        reading("tree.user_id"),
        reading("tasks.a.status", "a"),
        reading("tasks.a.error_type", "a?"),
        reading("tasks.a.result", "b"),
    ],
)
def test_name_of_an_input_the_tree_or_a_task_upstream_is_fine(written: Document) -> None:
    assert not problems_of(written)


def test_outputs_may_name_any_task_and_are_checked_like_inputs() -> None:
    outputs = {"x": "${{ tasks.a.result }}", "y": ["${{ tasks.b.result }}"], "z": "${{ ! }}"}

    assert problems_of(document(task("a"), outputs=outputs)) == [
        "reference outputs.y",
        "expression outputs.z",
    ]


def test_each_bad_reference_of_a_value_is_reported() -> None:
    written = document(
        task("a", inputs={"x": "${{ inputs.y }} ${{ inputs.z }}", "w": "${{ tree.a }}"}),
        task("b", when="inputs.v && tasks.a.result"),
    )

    assert problems_of(written) == [
        "reference tasks[0].inputs.x",
        "reference tasks[0].inputs.x",
        "reference tasks[0].inputs.w",
        "reference tasks[1].when",
        "not_upstream tasks[1].when",
    ]


GROUPED = [task("m", parent_id="g"), task("n", "o", parent_id="g"), task("o")]


def after(named: str, *dependencies: str) -> Document:
    return task("after", *dependencies, inputs={"x": f"${{{{ tasks.{named}.result }}}}"})


@pytest.mark.parametrize("named", ["m", "n", "o", "g"])
def test_members_of_a_group_are_upstream_of_whatever_depends_on_it(named: str) -> None:
    assert not problems_of(document(group("g"), *GROUPED, after(named, "g")))


@pytest.mark.parametrize("named", ["m", "n", "o"])
def test_whatever_could_be_a_group_gets_the_benefit_of_the_doubt(named: str) -> None:
    assert not problems_of(document({"id": "g"}, *GROUPED, after(named, "g")))


@pytest.mark.parametrize(
    ("parent", "dependencies"),
    [
        (task("g"), ["g"]),
        ({"id": "g", "inputs": {"x": 1}}, ["g"]),
        ({"id": "g"}, []),
        ({"id": "g"}, ["o"]),
        (group("g"), ["o"]),
    ],
)
def test_members_are_not_upstream_without_a_group_between(
    parent: Document, dependencies: list[str]
) -> None:
    written = document(parent, *GROUPED, after("m", *dependencies))

    assert problems_of(written) == ["not_upstream tasks[4].inputs.x"]


def test_doubt_does_not_help_what_no_group_can_reach() -> None:
    diamond = [task("top"), task("left", "top"), task("right", "top")]
    written = document({"id": "g"}, *GROUPED, *diamond, after("m", "left", "right"))

    assert problems_of(written) == ["not_upstream tasks[7].inputs.x"]


def test_reference_beside_a_cycle_is_still_checked() -> None:
    written = document(
        task("a", "b"),
        task("b", "a", inputs={"x": "${{ tasks.c.result }}"}),
        task("c"),
        task("d", "c", inputs={"x": "${{ tasks.a.result }}"}),
    )

    assert problems_of(written) == [
        "cycle tasks[0].dependencies",
        "not_upstream tasks[1].inputs.x",
        "not_upstream tasks[3].inputs.x",
    ]


def test_references_are_checked_beyond_one_chunk_of_them() -> None:
    heads = [task(f"h{at}") for at in range(600)]
    readers = [
        task(f"r{at}", f"m{at}", inputs={"x": f"${{{{ tasks.h{at}.result }}}}"})
        for at in range(600)
    ]
    middle = [task(f"m{at}", f"h{at if at != 599 else 0}") for at in range(600)]

    assert problems_of(document(*heads, *middle, *readers)) == ["not_upstream tasks[1799].inputs.x"]
