"""`--help`: every command has a sentence, a place and examples, and fits in 80 columns."""

import re
import shlex
from collections.abc import Iterator
from typing import Any, Final

import pytest
from typer.main import get_command

from regrow.cli.help import PANELS, examples_of
from regrow.cli.main import app, main

WIDTH: Final = 80
ROOT: Final[Any] = get_command(app)


def commands(group: Any = ROOT, path: str = "regrow") -> Iterator[tuple[str, Any]]:
    """Give every command with the words that call it, those of groups too."""
    for name, command in group.commands.items():
        yield f"{path} {name}", command
        if hasattr(command, "commands"):
            yield from commands(command, f"{path} {name}")


ALL: Final = dict(commands())
LEAVES: Final = [path for path, command in ALL.items() if not hasattr(command, "commands")]


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(WIDTH))
    monkeypatch.setenv("TERM", "dumb")


def shown(capsys: pytest.CaptureFixture[str], path: str) -> list[str]:
    assert main([*path.split()[1:], "--help"]) == 0
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize("path", ["regrow", *ALL])
def test_help_fits_and_needs_no_colour(capsys: pytest.CaptureFixture[str], path: str) -> None:
    lines = shown(capsys, path)

    assert max(map(len, lines)) <= WIDTH
    assert "\x1b" not in "".join(lines)


@pytest.mark.parametrize("path", ALL)
def test_command_says_in_one_sentence_what_it_does(path: str) -> None:
    first = str(ALL[path].help).partition("\n")[0]

    assert re.fullmatch(r"[A-Z].{15,130}\.", first), first
    assert ". " not in first


@pytest.mark.parametrize("path", LEAVES)
def test_command_ends_with_examples_that_are_shown_whole(
    capsys: pytest.CaptureFixture[str], path: str
) -> None:
    examples = written(path)
    lines = [line.strip() for line in shown(capsys, path)]

    assert examples
    assert [line for line in lines if line][-len(examples) :] == examples
    assert any(path in example for example in examples)


@pytest.mark.parametrize(
    "example", [each for path in LEAVES for each in examples_of(str(ALL[path].callback.__doc__))]
)
def test_example_is_a_command_line_that_parses(example: str) -> None:
    for part in re.split(r" [|>] ", example):
        if part.startswith("regrow "):
            parse(shlex.split(part)[1:])


def parse(words: list[str]) -> None:
    """Read a command line down to its command, which is not run."""
    group, context = ROOT, ROOT.make_context("regrow", [], resilient_parsing=True)
    while hasattr(group, "commands"):
        _, group, words = group.resolve_command(context, words)
        resilient = hasattr(group, "commands")
        context = group.make_context(group.name, list(words), context, resilient_parsing=resilient)


def written(path: str) -> list[str]:
    return [line for line in str(ALL[path].epilog).replace("\\[", "[").splitlines()[1:] if line]


def test_every_command_has_its_panel() -> None:
    assert sorted(name for names in PANELS.values() for name in names) == sorted(ROOT.commands)


def test_panels_come_in_the_order_in_which_one_works(capsys: pytest.CaptureFixture[str]) -> None:
    titles = [line.split("─")[1].strip() for line in shown(capsys, "regrow") if line[:1] == "╭"]

    assert titles == ["Options", *PANELS]


def test_flags_show_no_type(capsys: pytest.CaptureFixture[str]) -> None:
    assert "<bool>" not in "\n".join(shown(capsys, "regrow run"))
