"""How a command is told about: its panel, its sentences, and the examples at its end.

The text is the function's docstring: the sentences first, and at the end paragraphs that begin with
`Example:`, each of them one command line.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import typer
from rich.markup import escape
from typer.core import TyperCommand, TyperGroup

from regrow.cli.commands import Work, as_command
from regrow.cli.exits import ExitCode

PANELS: Final[Mapping[str, Sequence[str]]] = {
    "Write trees": (
        "init",
        "validate",
        "simulate",
        "cost",
        "graph",
        "executors",
        "schema",
        "convert",
    ),
    "Run trees": ("run", "start", "rerun", "schedule"),
    "Look": ("list", "watch", "show", "explain", "result", "report"),
    "Steer": ("approve", "event", "pause", "resume", "cancel", "retry", "skip"),
    "Operate": ("dev", "worker", "setup"),
}
"""The commands by what they are for, in the order in which help shows them."""

_EXAMPLE: Final = "Example:"


class Command(TyperCommand):
    """A command as help shows it."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Give the parameters, flags without a type."""
        return _plain_flags(super().get_params(ctx))


class Group(TyperGroup):
    """A group of commands as help shows it."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Give the parameters, flags without a type."""
        return _plain_flags(super().get_params(ctx))


def _plain_flags(params: list[Any]) -> list[Any]:
    """Let help show `--keep`, not `--keep <bool>`, since flags take no value."""
    for param in params:
        if getattr(param, "is_flag", False):
            param.metavar = ""
    return params


def add_commands(
    app: typer.Typer,
    commands: Mapping[str, Callable[..., Work | ExitCode]],
    panels: Mapping[str, Sequence[str]],
) -> None:
    """Make commands of functions, in the order of the panels; what is in none comes last."""
    panel_of = {name: panel for panel, names in panels.items() for name in names}
    order = [*panel_of, *commands]
    for name in sorted(commands, key=order.index):
        text = inspect.getdoc(commands[name]) or ""
        app.command(
            name,
            cls=Command,
            help=_sentences(text),
            epilog=_epilog(examples_of(text)),
            rich_help_panel=panel_of.get(name),
        )(as_command(commands[name]))


def examples_of(text: str) -> list[str]:
    """Give the command lines that a docstring shows, as they are typed."""
    return [part.removeprefix(_EXAMPLE).strip() for part in _parts(text, examples=True)]


def _sentences(text: str) -> str:
    """Give the paragraphs, each on one line, so that they fill whatever width there is."""
    return escape("\n\n".join(_parts(text, examples=False)))


def _epilog(examples: Sequence[str]) -> str:
    title = f"{_EXAMPLE[:-1]}s:" if len(examples) > 1 else _EXAMPLE
    return escape("\n".join([title, *examples])) if examples else ""


def _parts(text: str, *, examples: bool) -> list[str]:
    parts = [" ".join(part.split()) for part in text.split("\n\n")]
    return [part for part in parts if part.startswith(_EXAMPLE) == examples]
