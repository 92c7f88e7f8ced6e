import pytest
from tests.unit.core.builders import (
    Document,
    approval,
    event,
    group,
    sleep,
    subtree,
    task,
    tree_of,
    undone,
)

from regrow.core.models import TaskTree
from regrow.core.script import check_script, returns
from regrow.core.simulate import simulate

FEATURES: Document = subtree("f", task("clean"), undone("save", executor="store"))


@pytest.fixture(scope="module")
def tree() -> TaskTree:
    return tree_of(
        *[task("a"), undone("b"), task("m", for_each=[1, 2]), task("q", executor="far")],
        *[FEATURES, {**FEATURES, "id": "each", "for_each": [1]}],
        *[approval("ok"), event("e"), sleep("nap"), group("g"), task("all", executor="group")],
        *[task("sum", executor="aggregate_results")],
        *[task("foreign", executor="sleep", task_queue="go")],
    )


@pytest.mark.parametrize(
    "name",
    [
        *["a", "work", "q", "far", "ok", "e", "approval", "wait_for_event", "foreign"],
        *["m", "m[0]", "m[12]", "b~compensate", "undo", "store"],
        *["f/clean", "f/save~compensate", "each/clean", "each[7]/clean", "each[0]/save~compensate"],
    ],
)
def test_name_of_what_does_something_may_be_scripted(name: str, tree: TaskTree) -> None:
    check_script({name: returns()}, tree)


@pytest.mark.parametrize(
    "name",
    [
        *["", "x", "clean", "f/x", "f/", "f/clean/x", "f/work", "a[0]", "f[0]/clean"],
        *["m[]", "m[01]", "m[-1]", "m[0]~compensate", "a~compensate", "each/clean[0]"],
    ],
)
def test_name_that_nothing_has_is_refused(name: str, tree: TaskTree) -> None:
    with pytest.raises(ValueError, match="nothing in the tree is scripted by"):
        check_script({name: returns()}, tree)


@pytest.mark.parametrize(
    "name", ["f", "each", "each[0]", "nap", "g", "all", "sum", "group", "tree"]
)
def test_what_does_nothing_by_itself_cannot_be_scripted(name: str, tree: TaskTree) -> None:
    with pytest.raises(ValueError, match=f"scripted by '{name.partition('[')[0]}"):
        check_script({name: returns()}, tree)


def test_every_wrong_name_is_told_with_what_was_probably_meant(tree: TaskTree) -> None:
    with pytest.raises(ValueError, match="nothing") as refused:
        check_script({"f/claen": returns(), "a": returns(), "zzz": returns()}, tree)

    assert str(refused.value).splitlines() == [
        "nothing in the tree is scripted by 'f/claen'; did you mean 'f/clean'?",
        "nothing in the tree is scripted by 'zzz'",
    ]


async def test_simulation_with_a_wrong_name_does_not_begin(tree: TaskTree) -> None:
    with pytest.raises(ValueError, match="scripted by 'worc'; did you mean 'work'"):
        await simulate(tree, {"worc": returns()})
