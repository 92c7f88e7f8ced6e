from typing import Any

import pytest
from tests.unit.core.builders import document, problems_of, refusal, task, tree_of

from regrow.core import limits
from regrow.core.loading import load, with_inputs, without_engine
from regrow.core.problems import InvalidTree

# --- three forms, one tree


def test_three_forms_make_one_tree() -> None:
    flat = load(
        document(
            {"id": "fetch", "executor": "http_request", "inputs": {"url": "x"}},
            {"id": "clean", "parent_id": "fetch", "dependencies": ["fetch"]},
        )
    )
    nested = load(
        document(
            {
                "id": "fetch",
                "executor": "http_request",
                "inputs": {"url": "x"},
                "children": [{"id": "clean", "dependencies": ["fetch"]}],
            }
        )
    )
    seed = load(
        [
            {"id": "fetch", "schemas": {"method": "http_request"}, "inputs": {"url": "x"}},
            {"id": "clean", "parent_id": "fetch", "dependencies": [{"id": "fetch"}]},
        ],
        name="tree",
    )

    assert flat.as_document() == nested.as_document() == seed.as_document()


def test_children_follow_their_parent_in_the_order_written() -> None:
    tree = tree_of(
        {
            "id": "a",
            "children": [{"id": "b", "children": [{"id": "c"}]}, {"id": "d", "parent_id": "a"}],
        },
        {"id": "e"},
    )

    assert [(each.id, each.parent_id) for each in tree.tasks] == [
        ("a", None),
        ("b", "a"),
        ("c", "b"),
        ("d", "a"),
        ("e", None),
    ]


@pytest.mark.parametrize(
    ("fields", "executor"),
    [
        ({"schemas": {"method": "m"}}, "m"),
        ({"params": {"executor_id": "p"}}, "p"),
        ({"schemas": {"method": "m"}, "params": {"executor_id": "p"}}, "m"),
        ({"schemas": {}, "params": {"executor_id": "p"}}, "p"),
        ({"schemas": None, "params": {"executor_id": "p"}}, "p"),
        ({"schemas": {"method": "m"}, "executor": "e"}, "e"),
        ({"name": "title", "schemas": {"method": "m"}}, "m"),
        ({"name": "title"}, "title"),
        ({"name": "title", "inputs": {"x": 1}}, "title"),
        ({"name": "title", "params": {"x": 1}}, "title"),
        ({"name": "a"}, "a"),
        ({"name": "A title for people"}, "a"),
        ({}, "a"),
    ],
)
def test_seed_names_the_executor_by_method_then_params_then_name(
    fields: dict[str, Any], executor: str
) -> None:
    assert load([{"id": "a", **fields}]).tasks[0].executor_id == executor


@pytest.mark.parametrize(
    ("fields", "executor"),
    [({"schemas": {"method": "m"}}, "m"), ({"params": {"x": 1}, "name": "t"}, "t")],
)
def test_seed_keys_work_in_a_mapping_too(fields: dict[str, Any], executor: str) -> None:
    assert tree_of({"id": "a", **fields}).tasks[0].executor == executor


def test_name_of_a_task_in_a_mapping_is_a_title_only() -> None:
    assert tree_of({"id": "a", "name": "title"}).tasks[0].executor_id == "a"


@pytest.mark.parametrize(
    "fields",
    [
        {"name": "title", "inputs": {"x": 1}},
        {"name": "title", "schemas": {"type": "x"}},
        pytest.param({"schemas": {"type": "x"}}),
        pytest.param({"params": {"x": 1}}),
    ],
)
def test_seed_task_that_brings_something_to_run_is_no_mere_group(fields: dict[str, Any]) -> None:
    tree = load([{"id": "a", **fields}, {"id": "b", "parent_id": "a"}])

    assert tree.tasks[0].executor is not None


def test_seed_task_that_only_organises_may_still_be_a_group() -> None:
    tree = load([{"id": "a", "name": "title"}, {"id": "b", "parent_id": "a"}])

    assert tree.tasks[0].executor is None


@pytest.mark.parametrize(
    "written",
    [
        [{"id": "x", "executor": None, "schemas": {"method": "a"}}],
        [{"id": "a", "children": [{"id": "b", "parent_id": None}]}],
        document({"id": "a", "user_id": "acme"}, user_id=None),
        document({"id": "a"}, inputs=None, description=None),
        [{"id": "a"}, {"id": "b", "dependencies": [{"id": None, "name": "a"}]}],
    ],
)
def test_null_is_the_same_as_absent(written: Any) -> None:
    tree = load(written)

    assert tree.tasks[0].executor_id == "a"


def test_id_defaults_to_the_name() -> None:
    assert [each.id for each in load([{"name": "a"}, {"id": None, "name": "b"}]).tasks] == [
        "a",
        "b",
    ]


def test_dependency_by_name_finds_the_id() -> None:
    tree = load(
        [
            {"id": "one", "name": "Fetch it"},
            {"id": "two", "dependencies": [{"name": "Fetch it", "required": False}]},
            {"id": "three", "dependencies": [{"name": "one"}]},
        ]
    )

    edge = tree.tasks[1].dependencies[0]
    assert (edge.id, edge.required) == ("one", False)
    assert tree.tasks[2].dependencies[0].id == "one"


def test_dependency_by_the_name_of_several_tasks_is_refused() -> None:
    error = refusal(
        [
            {"id": "one", "name": "same"},
            {"id": "two", "name": "same"},
            {"id": "three", "dependencies": [{"name": "same"}]},
        ]
    )

    assert [each.code for each in error.problems] == ["ambiguous"]
    assert "(one, two)" in str(error)


def test_ambiguous_name_of_a_task_whose_id_is_no_text_is_a_problem_too() -> None:
    written = [
        {"id": 5, "name": "same"},
        {"id": "two", "name": "same"},
        {"id": "three", "dependencies": [{"name": "same"}]},
    ]

    assert "string_type [0].id" in problems_of(written)


# --- the tree's own fields


@pytest.mark.parametrize(
    ("written", "given", "name"),
    [
        (document(task("a"), name="own"), "file", "own"),
        (document(task("a"), name=None), "file", "file"),
        (document(task("a"), name=None), "My file (2)", "My-file-2-"),
        (document(task("a"), name=None), "..x", "x"),
        (document(task("a"), name=None), "x" * 80, "x" * 64),
        (document(task("a"), name=None), "é", "a"),
        (document(task("a"), name=None), None, "a"),
        ([{"id": "a"}], None, "a"),
    ],
)
def test_name_is_the_documents_else_the_files_else_the_first_tasks(
    written: Any, given: str | None, name: str
) -> None:
    assert load(written, name=given).name == name


def test_user_of_the_tasks_is_lifted_to_the_tree() -> None:
    tree = load([{"id": "a"}, {"id": "b", "user_id": "acme"}, {"id": "c", "user_id": "acme"}])

    assert tree.user_id == "acme"


@pytest.mark.parametrize("head", [{}, {"user_id": "acme"}])
def test_one_tree_has_one_user(head: dict[str, Any]) -> None:
    written = document(
        {"id": "a", "user_id": "acme"},
        {"id": "b", "children": [{"id": "c", "user_id": "x"}]},
        **head,
    )

    assert problems_of(written) == ["user_id tasks[1].children[0].user_id"]


def test_inputs_that_are_declared_can_be_set() -> None:
    tree = tree_of(task("a"), inputs={"n": 1, "m": 2})

    assert with_inputs(tree, {"n": 5}).inputs == {"n": 5, "m": 2}
    assert tree.inputs == {"n": 1, "m": 2}


def test_inputs_that_are_not_declared_are_refused_all_at_once() -> None:
    with pytest.raises(InvalidTree) as refused:
        with_inputs(tree_of(task("a"), inputs={"number": 1}), {"numbr": 5, "x": 1})

    assert [each.path for each in refused.value.problems] == [("inputs", "numbr"), ("inputs", "x")]
    assert "did you mean 'number'?" in str(refused.value)


@pytest.mark.parametrize(
    ("written", "rest", "engine"),
    [
        ({"name": "a", "engine": {"x": 1}}, {"name": "a"}, {"x": 1}),
        ({"name": "a", "engine": None}, {"name": "a"}, {}),
        ({"name": "a"}, {"name": "a"}, {}),
        ([1], [1], {}),
    ],
)
def test_engines_part_is_split_off(written: Any, rest: Any, engine: dict[str, Any]) -> None:
    assert without_engine(written) == (rest, engine)


# --- what is refused


@pytest.mark.parametrize(
    ("written", "problems"),
    [
        ("text", ["shape "]),
        (None, ["shape "]),
        ({}, ["missing tasks"]),
        ({"tasks": {}}, ["shape tasks"]),
        ({"tasks": []}, ["missing tasks"]),
        ([], ["missing "]),
        ({"tasks": ["a"]}, ["shape tasks[0]"]),
        ([{"id": "a", "children": {"id": "b"}}], ["shape [0].children"]),
        ([{"id": "a", "schemas": "x", "params": [1]}], ["shape [0].schemas", "shape [0].params"]),
        (document(task("a"), engine={}), ["reserved engine"]),
        (document({"executor": "x"}), ["missing tasks[0].id"]),
        (document(task("a"), version=2), ["literal_error version"]),
        (document(task("a"), max_in_flight=0), ["greater_than_equal max_in_flight"]),
        (document(task("a"), max_in_flight=501), ["less_than_equal max_in_flight"]),
        (document(task("a"), name="-a"), ["id name"]),
        (document(task("a"), user_id="é" * 33), ["user_id user_id"]),
        (document(task("a"), on_failure="explode"), ["literal_error on_failure"]),
        (document(task("a", priority=4)), ["less_than_equal tasks[0].priority"]),
        (document(task("a", priority=-1)), ["greater_than_equal tasks[0].priority"]),
        (document(task("a", priority="high")), ["int_type tasks[0].priority"]),
        (document(task("a", heartbeat_timeout="1 hour")), ["duration tasks[0].heartbeat_timeout"]),
        (document(task("a", retry=5)), ["model_type tasks[0].retry"]),
        (document(task("a", for_each=5)), ["for_each tasks[0].for_each"]),
        (document(task("a", for_each={"x": 1})), ["for_each tasks[0].for_each"]),
        (document(task("a", for_each=True)), ["for_each tasks[0].for_each"]),
        (document(task("a", dependencies="b")), ["tuple_type tasks[0].dependencies"]),
        (
            document(task("a", dependencies=[{"into": "x"}])),
            ["missing tasks[0].dependencies[0].id"],
        ),
        (document(task("a", parent_id="b", children=[])), ["unknown_parent tasks[0].parent_id"]),
        (
            document(task("a", children=[task("b", parent_id="c")]), task("c")),
            ["parent tasks[0].children[0].parent_id"],
        ),
    ],
)
def test_document_is_refused_with_the_place(written: Any, problems: list[str]) -> None:
    assert problems_of(written) == problems


@pytest.mark.parametrize(
    "task_id", ["", "a b", "-a", ".a", "a/b", "a[0]", "~a", "é", "a" * 65, "a\n"]
)
def test_id_outside_of_the_pattern_is_refused(task_id: str) -> None:
    error = refusal(document(task("first"), task(task_id)))

    assert [str(each.path) for each in error.problems] == ["('tasks', 1, 'id')"]
    assert "at most 64 characters" in str(error)


@pytest.mark.parametrize("task_id", ["a", "A-b_c.d", "0", "a" * 64])
def test_id_inside_of_the_pattern_is_kept(task_id: str) -> None:
    assert tree_of(task(task_id)).tasks[0].id == task_id


@pytest.mark.parametrize("task_id", ["a b", 5])
def test_first_tasks_bad_id_is_one_problem_though_the_tree_would_be_named_by_it(
    task_id: object,
) -> None:
    assert len(problems_of([{"id": task_id}])) == 1


def test_bad_user_id_is_reported_where_it_was_written() -> None:
    assert problems_of([{"id": "a", "user_id": 5}]) == ["string_type [0].user_id"]


def test_bad_id_of_a_parent_is_no_problem_of_its_children() -> None:
    assert problems_of([{"id": 5, "children": [{"id": "b"}]}]) == ["string_type [0].id"]


@pytest.mark.parametrize(
    ("written", "names"),
    [
        (document(task("a"), max_inflight=1), ("max_inflight", "max_in_flight")),
        (document(task("a"), defaults={"retri": {}}), ("defaults.retri", "retry")),
        (document(task("a", dependancies=[])), ("tasks[0].dependancies", "dependencies")),
        (
            document(task("a", retry={"max_attempts": 1})),
            ("tasks[0].retry.max_attempts", "maximum_attempts"),
        ),
        (
            document(task("b"), task("a", {"id": "b", "requird": True})),
            ("tasks[1].dependencies[0].requird", "required"),
        ),
        (document(task("a", zzz=1)), ("tasks[0].zzz", None)),
    ],
)
def test_unknown_key_is_refused_with_a_suggestion(
    written: Any, names: tuple[str, str | None]
) -> None:
    path, meant = names
    hint = f"; did you mean '{meant}'?" if meant else ""

    assert str(refusal(written)) == f"{path}: unknown key '{path.rpartition('.')[2]}'{hint}"


def test_every_kind_of_problem_is_reported_at_once_in_the_documents_order() -> None:
    written = {
        "name": "a tree",
        "max_in_flght": 1,
        "outputs": {"x": "${{ tasks.nothing.result }}"},
        "tasks": [
            task("one", "three", when="tasks.", priority=9),
            task("two", "two", "tow", parent_id="nobody", inputs={"x": "${{ inputs.y }}"}),
            {"id": "three", "children": [task("four", retri={}), "five", task("one", "two")]},
            task("three", "one", user_id="a"),
            task("six", user_id="b", inputs={"x": "${{ tasks.two.result }}"}),
        ],
    }

    assert problems_of(written) == [
        "id name",
        "unknown_key max_in_flght",
        "reference outputs.x",
        "less_than_equal tasks[0].priority",
        "expression tasks[0].when",
        "self_dependency tasks[1].dependencies[0]",
        "unknown_dependency tasks[1].dependencies[1]",
        "unknown_parent tasks[1].parent_id",
        "reference tasks[1].inputs.x",
        "shape tasks[2].children[1]",
        "unknown_key tasks[2].children[0].retri",
        "duplicate_id tasks[2].children[2].id",
        "duplicate_id tasks[3].id",
        "user_id tasks[4].user_id",
        "not_upstream tasks[4].inputs.x",
    ]


@pytest.mark.parametrize(
    "written",
    [
        document(
            task("a"),
            task("b"),
            task("c", "a", {"id": "b", "x": 1}, inputs={"x": "${{ tasks.a.result }}"}),
        ),
        document(task("a", inputs={"x": "${{ inputs.y }}"}), inputs=["y"]),
    ],
)
def test_a_wrong_field_makes_no_follow_up_problems(written: Any) -> None:
    assert len(problems_of(written)) == 1


def test_wrong_field_does_not_hide_what_is_wrong_with_the_graph() -> None:
    written = document(task("a", "b", priority=9), task("b", "a"))

    assert problems_of(written) == [
        "less_than_equal tasks[0].priority",
        "cycle tasks[0].dependencies",
    ]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"for_each": 5}, "for_each: must be a list, or an expression that gives one"),
        (
            {"for_each": [1], "tolerate": 1.5},
            "tolerate: write a number of items, or a share such as 10%",
        ),
        ({"retry": []}, "retry: must be a mapping"),
        (
            {"retry": {"non_retryable_error_types": "x"}},
            "retry.non_retryable_error_types: must be a list",
        ),
        (
            {"heartbeat_timeout": [5]},
            "heartbeat_timeout: write a duration like 30s, 1m30s, PT1M or a number of seconds",
        ),
        ({"dependencies": "b"}, "dependencies: must be a list"),
        (
            {"dependencies": [5]},
            "dependencies[0]: must be the id of a task, or a mapping that has it",
        ),
        ({"inputs": [1]}, "inputs: must be a mapping"),
        ({"compensate": "undo"}, "compensate: must be a mapping"),
        ({"tree": 5}, "tree: a tree is a mapping or a list, not int"),
    ],
)
def test_what_a_field_must_be_is_said_in_words_of_documents(
    fields: dict[str, Any], message: str
) -> None:
    assert str(refusal(document({"id": "a", **fields}))) == f"tasks[0].{message}"


# --- what JSON cannot hold


def nested(depth: int, leaf: Any = 1) -> Any:
    return leaf if depth == 0 else {"x": nested(depth - 1, leaf)}


def test_nesting_has_a_limit() -> None:
    assert not problems_of(document(task("a", inputs=nested(limits.MAX_NESTING - 3))))
    assert problems_of(document(task("a", inputs=nested(limits.MAX_NESTING - 2)))) == [
        "too_deep tasks[0].inputs"
    ]


def test_children_nested_too_deep_are_refused() -> None:
    written = task("t0")
    for at in range(60):
        written = task(f"t{at + 1}", children=[written])

    assert set(problems_of(document(written))) == {"too_deep tasks[0].children"}


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (float("nan"), "number tasks[0].inputs.x"),
        (float("-inf"), "number tasks[0].inputs.x"),
        ([{1: 2}], "key tasks[0].inputs.x[0]"),
        ({None: 2}, "key tasks[0].inputs.x"),
        ({"y": {1, 2}}, "not_json tasks[0].inputs.x.y"),
        (b"bytes", "not_json tasks[0].inputs.x"),
        pytest.param("\ud800", "text tasks[0].inputs.x"),
    ],
)
def test_what_json_cannot_hold_is_refused(value: Any, problem: str) -> None:
    assert problems_of(document(task("a", inputs={"x": value}))) == [problem]


def test_what_json_cannot_hold_is_reported_in_the_documents_order() -> None:
    written = document(*[task(f"t{at}", inputs={"x": {at}}) for at in range(3)])

    assert problems_of(written) == [f"not_json tasks[{at}].inputs.x" for at in range(3)]


def test_what_is_too_deep_is_one_problem() -> None:
    deep = nested(limits.MAX_NESTING - 3, leaf=list(range(100)))

    assert problems_of(document(task("a", inputs=deep))) == ["too_deep tasks[0].inputs"]


def test_too_many_tasks_are_one_problem() -> None:
    error = refusal([{"id": "a"}] * (limits.MAX_TASKS + 1))

    assert [each.code for each in error.problems] == ["too_many"]
    assert "100,001 tasks" in str(error)


def test_a_wrong_edge_does_not_hide_what_is_wrong_with_expressions() -> None:
    written = document(task("a", {"id": "b", "x": 1}), task("b"), task("c", when="tasks."))

    assert len(problems_of(written)) == 2


def test_parents_that_are_a_ring_only_for_an_id_used_twice_end_the_search() -> None:
    twice = [{"id": "a"}, {"id": "b", "parent_id": "a"}, {"id": "a", "parent_id": "b"}]
    reader = task("reader", inputs={"x": "${{ tasks.b.result }}"})

    assert problems_of(document(*twice, reader)) == [
        "duplicate_id tasks[2].id",
        "not_upstream tasks[3].inputs.x",
    ]
