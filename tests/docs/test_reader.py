"""A page that is wrong is found out, and named with its line."""

import pytest
from tests.docs.pages import ROOT, Block, Step, blocks_of, commands_of, steps_of
from tests.docs.reader import Reader, check, refusal_of

TREE = "tasks:\n  - {id: b, dependencies: [a]}\n"


def block(language: str, text: str, **more: str) -> Block:
    return Block("page.md", 7, language, text, **more)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (block("console", "$ echo one\none\n$ echo two\nthree\n"), r"page\.md:9: \$ echo two"),
        (block("console", "$ echo well; false\nwell\n"), "ends with 1"),
        (block("sh", "false\necho never\n"), r"page\.md:7: ends with 1"),
        (block("python", "n = 1\nassert n == 2\n"), r"page\.md.*line 8"),
        (block("sh", "if true; then\n", reason="no"), r"page\.md:7"),
    ],
)
def test_what_is_not_as_shown_fails(reader: Reader, wrong: Block, said: str) -> None:
    with pytest.raises(AssertionError, match=rf"(?s){said}"):
        reader.do(wrong)


def test_a_tree_that_is_none_fails(reader: Reader) -> None:
    with pytest.raises(ValueError, match="there is no task 'a'"):
        check(block("yaml", TREE), reader.directory)


def test_a_page_goes_on_where_it_was(reader: Reader) -> None:
    reader.do(block("python", "2", title="a/two.txt"))
    reader.do(block("sh", "cd a\nexport N=1\n"))
    reader.do(block("console", "$ cat two.txt; echo $N\n21\n"))
    reader.do(block("console", "$ echo failed; false\nfailed\n$ echo $?\n1\n"))
    reader.do(block("python", "from asyncio import sleep\nn = await sleep(0, 1)\n"))
    reader.do(block("python", "assert n == 1\n"))


def test_times_vary_and_an_ellipsis_stands_for_anything(reader: Reader) -> None:
    reader.do(block("console", "$ echo took 12ms and more\ntook 7.5s and …\n"))


def test_steps_know_their_lines() -> None:
    steps = steps_of(block("console", "$ a \\\n  b\nshown\n$ c &\n"))

    assert steps == [Step("a \\\n  b", "shown", "page.md:7"), Step("c &", "", "page.md:10")]
    assert [step.goes_on for step in steps] == [False, True]


def test_commands_are_found_wherever_they_stand() -> None:
    first = "a | regrow list --failed 2>&1 > f  # regrow x"
    second = "X=1 .venv/bin/regrow run t; regrow \\\n dev &"

    assert [*commands_of(block("sh", f"{first}\n{second}"))] == [
        ["list", "--failed"],
        ["run", "t"],
        ["dev"],
    ]


@pytest.mark.parametrize(
    ("words", "refusal"),
    [
        (["run", "tree.yaml", "--sett", "a=1"], "--sett"),
        (["rum"], "there is no command 'rum'"),
        (["schedule", "list"], None),
        (["--help"], None),
    ],
)
def test_commands_that_do_not_exist_are_refused(words: list[str], refusal: str | None) -> None:
    said = refusal_of(words)

    assert said is refusal or (refusal is not None and refusal in (said or ""))


def test_a_reason_stands_directly_before_its_block() -> None:
    reasons = [each.reason for each in blocks_of(ROOT / "docs" / "testing.md") if each.reason]

    assert reasons == ["the tests run where it is installed"]
