"""Secrets are named by authors, stay names on the way, and are put in at known places only."""

from typing import Any

import pytest
from tests.unit.core.builders import begin, start_all, task, tree_of

from regrow.core.loading import load
from regrow.core.problems import InvalidTree
from regrow.core.record import Start
from regrow.core.secrets import (
    Sealed,
    SecretPlace,
    hide,
    is_kept,
    mark_of,
    reveal,
    sealed,
    secret_name,
    secret_places,
)

VALUES = {"KEY": "12345678", "OTHER": "${{ secrets.KEY }}"}


def rendered(written: dict[str, Any], **head: Any) -> Start:
    [start] = start_all(begin(tree_of(task("a", inputs=written), **head)))
    return start


def shown(start: Start) -> Any:
    return reveal(dict(start.inputs), list(start.secrets), VALUES.__getitem__)


@pytest.mark.parametrize(
    ("expression", "name"),
    [
        ("secrets.KEY", "KEY"),
        ("secrets._a1", "_a1"),
        ("secrets", None),
        ("secrets.a-b", None),
        ("secrets.1a", None),
        ("secrets.a.b", None),
        ("tasks.a.result", None),
    ],
)
def test_a_secret_is_named_by_letters_digits_and_underscores(expression: str, name: Any) -> None:
    assert secret_name(expression) == name


def test_inputs_keep_the_name_and_say_where_it_stands() -> None:
    start = rendered({"a": "${{secrets.KEY}}", "b": ["x", {"c": "Bearer ${{ secrets.KEY }}."}]})

    assert start.inputs == {"a": mark_of("KEY"), "b": ["x", {"c": f"Bearer {mark_of('KEY')}."}]}
    assert start.secrets == (
        {"at": ["a"], "marks": [(0, "KEY")]},
        {"at": ["b", 1, "c"], "marks": [(7, "KEY")]},
    )
    assert shown(start) == {"a": "12345678", "b": ["x", {"c": "Bearer 12345678."}]}


def test_the_same_text_from_elsewhere_stays_as_it_is() -> None:
    text = mark_of("KEY")
    start = rendered(
        {"plain": "${{ inputs.given }}", "mixed": "${{ inputs.given }}|${{ secrets.KEY }}"},
        inputs={"given": text},
    )

    assert start.secrets == ({"at": ["mixed"], "marks": [(len(text) + 1, "KEY")]},)
    assert shown(start) == {"plain": text, "mixed": f"{text}|12345678"}


def test_a_value_that_looks_like_a_name_is_not_read_again() -> None:
    start = rendered({"a": "${{ secrets.OTHER }}${{ secrets.KEY }}"})

    assert shown(start) == {"a": f"{mark_of('KEY')}12345678"}


def test_inputs_without_secrets_have_no_places() -> None:
    assert rendered({"a": "${{ tree.name }}"}).secrets == ()
    assert secret_places({"a": [1, {"b": mark_of("KEY")}]}) == ()


def test_what_is_revealed_shares_nothing_with_what_was_given() -> None:
    inputs: Any = {"a": [mark_of("KEY")], "b": [1]}
    place: SecretPlace = {"at": ["a", 0], "marks": [(0, "KEY")]}

    assert reveal(inputs, [place], VALUES.__getitem__) == {"a": ["12345678"], "b": [1]}
    assert inputs == {"a": [mark_of("KEY")], "b": [1]}


@pytest.mark.parametrize(
    ("inputs", "at", "marks", "found"),
    [
        ({"a": 1}, ["a"], [(0, "KEY")], "no text where"),
        ({"a": "x"}, ["b"], [(0, "KEY")], "there is no 'b'"),
        ({"a": ["x"]}, ["a", 1], [(0, "KEY")], "there is no 1"),
        ({"a": "x"}, ["a", 0], [(0, "KEY")], "there is no 0"),
        ({"a": ["x"]}, ["a", "b"], [(0, "KEY")], "there is no 'b'"),
        ({"a": {"0": "x"}}, ["a", 0], [(0, "KEY")], "there is no 0"),
        ({"a": f" {mark_of('KEY')}"}, ["a"], [(0, "KEY")], "doesn't name the secret 'KEY'"),
        ({"a": mark_of("OTHER")}, ["a"], [(0, "KEY")], "doesn't name the secret 'KEY'"),
    ],
)
def test_places_that_do_not_belong_to_the_inputs_are_refused(
    inputs: Any, at: Any, marks: Any, found: str
) -> None:
    place: SecretPlace = {"at": at, "marks": marks}

    with pytest.raises(ValueError, match=found):
        reveal(inputs, [place], VALUES.__getitem__)


def test_a_place_is_kept_only_where_the_very_text_still_stands() -> None:
    text = mark_of("KEY")
    place: SecretPlace = {"at": ["a", 1], "marks": [(0, "KEY")]}
    before: Any = sealed({"a": [text, text, text]}, [place])
    mine = before["a"][1]

    assert isinstance(mine, Sealed)
    assert is_kept(place, before, {"a": ["y", mine]})
    assert not is_kept(place, before, {"a": [mine, text]})
    assert not is_kept(place, before, {"a": ["x"]})
    assert not is_kept(place, before, {"a": None})


def test_hiding_leaves_no_text_with_a_secret() -> None:
    value: Any = {"a 12345678": ["x12345678y", 1, None, {"b": "1234"}]}

    assert hide(value, ["12345678"]) == {"a ***": ["x***y", 1, None, {"b": "1234"}]}


@pytest.mark.parametrize(
    "written",
    [
        'a"b/c d\n=',
        "a%22b%2Fc%20d%0A%3D",
        "a%22b/c+d%0a=",
        'a\\"b/c d\\n=',
    ],
)
def test_a_secret_is_hidden_as_urls_json_and_python_write_it(written: str) -> None:
    assert hide(f"<{written}>", ['a"b/c d\n=']) == "<***>"


def test_whatever_holds_a_secret_is_looked_through() -> None:
    error = RuntimeError("12345678")
    value = {1: ("12345678", {"12345678"}), "e": error, "n": 1.5, "no": None, "b": True}

    assert hide(value, ["12345678"]) == {
        1: ["***", ["***"]],
        "e": "RuntimeError('***')",
        "n": 1.5,
        "no": None,
        "b": True,
    }


def test_the_longer_secret_is_hidden_first_and_short_ones_are_not_looked_for() -> None:
    assert hide("abcdefgh abcd abc", ["abcd", "abcdefgh", "abc"]) == "*** *** abc"
    assert hide("abc", ["abc", ""]) == "abc"


def test_items_of_a_map_name_them_too() -> None:
    each = task("a", for_each=[1], inputs={"x": "${{ item }} ${{ secrets.KEY }}"})
    [start] = start_all(begin(tree_of(each)))

    assert start.secrets == ({"at": ["x"], "marks": [(2, "KEY")]},)


@pytest.mark.parametrize(
    "task",
    [
        {"when": "secrets.KEY"},
        {"for_each": ["${{ secrets.KEY }}"]},
        {"executor": "sleep", "inputs": {"duration": "${{ secrets.KEY }}"}},
        {"inputs": {"x": "${{ join('', [secrets.KEY]) }}"}},
    ],
)
def test_they_are_refused_where_no_worker_puts_them_in(task: dict[str, Any]) -> None:
    with pytest.raises(InvalidTree, match="a secret can only be"):
        load({"tasks": [{"id": "a", **task}]})
