"""No expression holds up or blows up a run; ordinary ones give what the library gives."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from time import process_time
from typing import Any

import jmespath
import pytest

from regrow.core import limits
from regrow.core.bounded import Budget, LimitError, weigh
from regrow.core.models import Json
from regrow.core.references import ExpressionError, compile_expression, compile_items
from regrow.core.references import compile_template as template

ITEMS: list[Json] = [
    {"id": at, "price": at % 20, "name": f"item {at}", "tags": ["x", "y"]} for at in range(10_000)
]
LONG = "ab" * 900_000


@dataclass
class Seen:
    """What the expressions here see: inputs, and one task that gave many items."""

    inputs: Mapping[str, Json] = field(
        default_factory=lambda: {
            "word": "w",
            "items": ITEMS,
            "numbers": [at % 10 for at in range(900_000)],
            "same": [at % 10 for at in range(900_000)],
            "words": [f"{at * 7919 % 99_991:x}" for at in range(100_000)],
            "long": LONG,
            "quotes": '"' * 900_000,
            "large": int("7" * 4_000),
            "table": {f"k{at}": at for at in range(100_000)},
        }
    )
    tree: Mapping[str, Json] = field(default_factory=dict[str, Json])
    local: Mapping[str, Json] = field(default_factory=dict[str, Json])

    def task_view(self, task_id: str) -> dict[str, Json]:
        return {"status": "completed", "result": {"id": task_id, "items": ITEMS}}


SEEN = Seen()


def evaluate(text: str) -> Json:
    return compile_expression(text).evaluate(SEEN)


def refusal_of(text: str) -> str:
    """What is said of an expression that is refused; whatever it is, that takes no five seconds."""
    began = process_time()
    with pytest.raises(ExpressionError) as refused:
        evaluate(text)
    assert process_time() - began < 5
    assert "\n" not in str(refused.value)
    return str(refused.value)


def often(part: str, times: int, between: str = ",") -> str:
    return between.join([part] * times)


def times(number: int, written: Json) -> list[Json]:
    return [written] * number


DOUBLED = "inputs.word" + "|[@,@]" * 120
HUNDREDS = f"inputs.numbers | [{often('@', 900)}]"


# --- what is ordinary


@pytest.mark.parametrize(
    "text",
    [
        "tasks.a.result.items[?price > `10`].{id: id, price: price}",
        "inputs.items[?price > `10` && contains(tags, 'x')].{a: id, b: price, c: name, d: tags}",
        "inputs.items[*].tags[]",
        "inputs.items[?name == 'item 7' || id >= `9990`] | [0]",
        "inputs.items[10:20].id",
        "inputs.items[::-1] | [0]",
        "inputs.items != `[]`",
        "inputs.items[?tags == ['x', 'y']].id",
        "inputs.items[?id == `true`]",
        "inputs.items[?tags > `1`]",
        "inputs.numbers == inputs.same",
        "inputs.long[0:2]",
        "inputs.word[]",
        "{x: {y: {z: inputs.numbers}}}",
        "sum(inputs.numbers)",
        "sort(inputs.words) | [0]",
        "sort_by(inputs.items, &name)[*].id",
        "max_by(inputs.items, &price).id",
        "map(&name, inputs.items)",
        "length(inputs.numbers) > length(inputs.items)",
        "to_string(inputs.items)",
        "to_string(inputs.word)",
        "join(', ', inputs.items[*].name)",
        "contains(inputs.words, 'zz')",
        "contains(inputs.items[*].tags, ['x', 'y'])",
        "contains(inputs.long, 'ba')",
        "merge(inputs.table, {a: `1`}) | length(@)",
        "keys(inputs.table)",
        "not_null(inputs.none, inputs.word)",
        "reverse(inputs.word)",
        "inputs.none.*",
    ],
)
def test_ordinary_expression_gives_what_the_library_gives(text: str) -> None:
    seen = {"inputs": SEEN.inputs, "tasks": {"a": SEEN.task_view("a")}}

    assert evaluate(text) == jmespath.search(text, seen)


# --- what would never end


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(f"{DOUBLED} | [@,@] == [@,@]", id="compared"),
        pytest.param(f"{DOUBLED} | to_string(@)", id="written"),
        pytest.param(f"{DOUBLED} | contains(@, @)", id="searched"),
        pytest.param(f"{DOUBLED} | sort(@)", id="sorted"),
        pytest.param(f"{DOUBLED} | join('', @)", id="joined"),
        pytest.param("[inputs.word]" + "|[@,@][]" * 120, id="flattened again and again"),
        pytest.param(f"{HUNDREDS}[]", id="flattened at once"),
        pytest.param(f"{HUNDREDS} | [*][::1]", id="sliced"),
        pytest.param(f"{HUNDREDS} | [*].reverse(@)", id="reversed"),
        pytest.param(f"{HUNDREDS} | [*].sum(@)", id="added"),
        pytest.param(f"{HUNDREDS} | [*].contains(@, `77`)", id="searched for a number"),
        pytest.param(f"inputs.large | [{often('@', 1_900)}] | [*].to_string(@)", id="many digits"),
        pytest.param("join('', [inputs.word])" + "|join('', [@,@])" * 120, id="joined on"),
        pytest.param(f"join('', [{often('inputs.long', 200)}])", id="joined at once"),
        pytest.param(f"join(inputs.long, [{often('@.word', 200)}])".replace("@", "inputs")),
        pytest.param("to_string([inputs.word])" + "|to_string([@])" * 120, id="escaped"),
        pytest.param(f"inputs.long | [{often('@', 900)}] | [*].to_number(@)", id="read as numbers"),
        pytest.param(
            "inputs.{a: long, b: join('', [long])} | [" + often("a == b", 400) + "]",
            id="texts compared",
        ),
        pytest.param(
            "inputs.{a: numbers, b: same} | [" + often("a == b", 400) + "]", id="lists compared"
        ),
        pytest.param("inputs.numbers[*].[@, @]", id="a list for each number"),
        pytest.param("map(&{a: @, b: @}, inputs.numbers)", id="a mapping for each number"),
        pytest.param(
            f"inputs.items | [{often('@', 40)}] | [*][?id == `-1`]",
            id="nested projections",
        ),
        pytest.param(f"inputs.table | [{often('@', 900)}] | [*].*", id="values of mappings"),
        pytest.param(f"inputs.table | merge({often('@', 900)})", id="merged"),
        pytest.param("sort_by(inputs.words, &join('', [@,@,@,@]))", id="a costly key"),
    ],
)
def test_expression_that_takes_too_many_steps_is_refused(text: str) -> None:
    assert refusal_of(text).endswith(
        ": takes too many steps; select less, or let a task compute it"
    )


@pytest.mark.parametrize(
    "text",
    [
        DOUBLED,
        "inputs.word" + "|{a: @, b: @}" * 120,
        f"[{often('inputs.long', 2)}]",
        f"inputs.large | [{often('@', 900)}]",
        "to_string([inputs.quotes, inputs.quotes])",
        "inputs.items[*].{a: '" + "x" * 3_000 + "'}",
    ],
)
def test_expression_that_gives_too_much_is_refused(text: str) -> None:
    assert refusal_of(text).endswith(": gives more than 2,093,056 bytes; select what is needed")


def test_expression_that_nests_too_deep_is_refused() -> None:
    within = "inputs.word" + "|[@]" * limits.MAX_NESTING

    assert isinstance(evaluate(within), list)
    assert "gives a value nested more than 100 deep; make it flatter" in refusal_of(f"{within}|[@]")


@pytest.mark.parametrize("text", ["to_number('1e999')", "[to_number('1e999')]", "`[NaN]`"])
def test_number_that_json_cannot_hold_is_refused(text: str) -> None:
    assert "not JSON compliant" in refusal_of(text)


def test_error_shows_the_beginning_of_a_long_expression() -> None:
    assert refusal_of(DOUBLED).startswith(f"{DOUBLED[:200]}…: gives more")


def test_value_of_the_wrong_type_is_not_written_out_if_it_is_large() -> None:
    assert "invalid type for value: (a large one), expected one of" in refusal_of(
        f"{DOUBLED} | abs(@)"
    )
    assert "invalid type for value: ['w'], expected one of" in refusal_of("abs([inputs.word])")


def test_error_can_be_sent_whatever_the_text_in_it() -> None:
    assert "invalid type for value: ?, expected" in refusal_of(r'abs(`"\ud800"`)')


@pytest.mark.parametrize("text", ["merge(inputs.table, [[inputs.none, `1`]])", "merge('ab')"])
def test_only_mappings_are_merged(text: str) -> None:
    assert "merge() takes objects only" in refusal_of(text)


@pytest.mark.parametrize("text", ["sort('ba')", "join(`1`, ['a'])", "contains('a')", "abs()"])
def test_wrong_arguments_are_the_libraries_business(text: str) -> None:
    assert "expected" in refusal_of(text).lower()


# --- many expressions


def test_expressions_of_one_value_share_the_steps() -> None:
    several = times(3, "${{ sum(inputs.numbers) }}")

    with pytest.raises(ExpressionError, match="too many steps"):
        template(several).render(SEEN)
    with pytest.raises(ExpressionError, match="too many steps"):
        compile_items(several).render(SEEN)


def test_each_rendering_begins_with_all_steps() -> None:
    once = template("${{ sum(inputs.numbers) }}")

    assert [once.render(SEEN) for _ in range(3)] == [sum(at % 10 for at in range(900_000))] * 3


@pytest.mark.parametrize("name", ["long", "items", "quotes"])
def test_text_with_many_references_to_a_large_value_is_refused(name: str) -> None:
    with pytest.raises(ExpressionError) as refused:
        template(f"${{{{ inputs.{name} }}}} " * 100).render(SEEN)

    assert str(refused.value) == f"inputs.{name}: makes the text longer than 2,093,056 characters"


@pytest.mark.parametrize("written", ["x ${{ inputs.long }}", "x ${{ inputs.numbers }}"])
def test_many_large_texts_in_one_value_are_refused(written: str) -> None:
    assert isinstance(template(written).render(SEEN), str)
    with pytest.raises(ExpressionError, match=r"^inputs\.\w+: takes too many steps"):
        template(times(100, written)).render(SEEN)


def test_many_references_to_a_large_value_are_refused() -> None:
    with pytest.raises(ExpressionError) as refused:
        template(times(100, "${{ inputs.long }}")).render(SEEN)

    assert str(refused.value) == (
        "inputs.long: with the other 99 references it gives more than 8,372,224 bytes"
    )


def test_few_references_and_many_small_ones_are_fine() -> None:
    few = times(4, "${{ inputs.long }}")
    many = times(1_000, "${{ inputs.word }}")

    assert template(few).render(SEEN) == [LONG] * 4
    assert template(many).render(SEEN) == ["w"] * 1_000


def test_list_of_items_may_hold_many_large_ones() -> None:
    assert compile_items(times(10, "${{ inputs.long }}")).render(SEEN) == [LONG] * 10


# --- what a value weighs


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        0,
        -12_345,
        10**4_000,
        0.5,
        "",
        'a"b',
        [],
        {},
        [[]],
        [{}, {}],
        {"": ""},
        {"a": [1, 2.5, None, False, "é"], "b": {"c": {}}},
        [[1, 22, 333], ["a", ["b"]]],
        ITEMS,
    ],
)
def test_weight_is_a_lower_bound_of_the_json(value: Any) -> None:
    size = len(json.dumps(value, ensure_ascii=False, separators=(",", ":")))

    assert size / 5 <= weigh(value, 10**9) <= size


def test_weighing_ends_above_what_is_asked_for() -> None:
    endless: list[Any] = ["x"]
    for _ in range(1_000):
        endless = [endless, endless]

    assert 1_000 < weigh(endless, 1_000) < 2_000
    assert weigh(["x" * 10, *ITEMS], 5) > 5


def test_budget_can_be_spent_to_the_last_step() -> None:
    budget = Budget(2)

    budget.spend(2)

    with pytest.raises(LimitError):
        budget.spend(1)


# --- reading expressions


@pytest.mark.parametrize(
    "text",
    [
        "(" * 4_000,
        "(" * 2_000 + "inputs" + ")" * 2_000,
        "[" * 4_000,
        "[inputs," * 500,
        "{a:" * 1_300,
        "!" * 4_000 + "a",
        "&" * 4_000,
        "f(" * 2_000,
        "inputs" + "|[@]" * 1_000,
        "inputs" + "||a" * 1_300,
        "inputs" + "[]" * 2_000,
        "inputs" + "[*]" * 1_300,
        "inputs" + ".*" * 2_000,
        "inputs" + "[?a" * 1_300,
        "`" + "[" * 4_000 + "`",
        "tasks." * 680,
    ],
)
def test_unreadable_expression_of_4_kib_is_refused_at_once(text: str) -> None:
    began = process_time()

    with pytest.raises(ExpressionError, match=r"^cannot read '"):
        compile_expression(text)

    assert process_time() - began < 5


@pytest.mark.parametrize(
    "text", ["inputs" + ".b" * 2_000, "inputs" + "[0]" * 1_300, "inputs[0]" + ".a[0]" * 800]
)
def test_long_path_is_read_and_followed(text: str) -> None:
    assert evaluate(text) is None


def test_operators_may_be_nested_up_to_the_limit() -> None:
    deepest = "inputs.word" + "||inputs.word" * (limits.MAX_EXPRESSION_DEPTH - 2)

    assert evaluate(deepest) == "w"
    with pytest.raises(ExpressionError, match="it is nested more than 250 deep"):
        compile_expression(f"{deepest}||inputs.word")


def test_many_closing_braces_in_quotes_are_read_at_once() -> None:
    quoted = "}} " * 1_300
    written = times(500, f"${{{{ '{quoted}' }}}}")
    began = process_time()

    assert template(written).render(SEEN) == [quoted] * 500
    assert process_time() - began < 5
