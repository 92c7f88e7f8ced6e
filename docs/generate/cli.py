"""Every command with its arguments and options, from the commands themselves."""

import inspect
import types
import typing
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any, Final, cast

import typer.main
from docs.generate.markdown import code, fenced, joined, one_line, prose, table
from rich.text import Text

from regrow.cli.exits import ExitCode
from regrow.cli.main import app

_EXITS: Final = {
    ExitCode.DONE: "Done; for `run`, `watch` and `result`: the tree completed.",
    ExitCode.ERROR: "An error: no server, no such tree, a request that was refused.",
    ExitCode.INVALID: "A document with problems, or a command line that cannot be read.",
    ExitCode.FAILED: "The tree failed.",
    ExitCode.CANCELLED: "The tree was cancelled, terminated, or timed out as a workflow.",
    ExitCode.STILL_RUNNING: "`--timeout` ran out while the tree goes on.",
    ExitCode.INTERRUPTED: "Interrupted: Ctrl-C or SIGTERM.",
}
_VALUES: Final = {str: "TEXT", int: "N", float: "N", Path: "FILE"}
_INTRO: Final = """
# Command line

Every command explains itself with `--help`; `regrow --install-completion` makes the shell complete
them. What a command gives goes to stdout, what it tells people to stderr. Options are named as
those of the `temporal` command.
"""


def page() -> str:
    """Give the page."""
    commands = _commands(typer.main.get_command(app), "regrow")
    return joined(
        _INTRO,
        "## Exit codes",
        table(("code", "means"), [(code(int(each)), _EXITS[each]) for each in ExitCode]),
        *(_command(name, command) for name, command in commands),
    )


def _commands(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Give a command's own commands, those of groups after the group."""
    for word, inner in command.commands.items():
        if not inner.hidden:
            yield f"{name} {word}", inner
            if hasattr(inner, "commands"):
                yield from _commands(inner, f"{name} {word}")


def _command(name: str, command: Any) -> str:
    heading = f"## {name}" if name.count(" ") == 1 else f"### {name}"
    if hasattr(command, "commands"):
        return joined(heading, prose(command.help))
    shown = [each for each in command.params if not getattr(each, "hidden", False)]
    arguments = [each for each in shown if each.param_type_name == "argument"]
    options = [each for each in shown if each.param_type_name == "option" and each.name != "help"]
    kinds = typing.get_type_hints(command.callback)
    return joined(
        heading,
        prose(_without_markup(command.help)),
        fenced(" ".join([name, "[OPTIONS]", *(_usage(each) for each in arguments)])),
        table(("argument", "meaning"), [(code(_word(each)), _meaning(each)) for each in arguments]),
        table(
            ("option", "value", "default", "meaning"),
            [
                (_names(each), _value(each, kinds), _default(each), _meaning(each))
                for each in options
            ],
        ),
        _examples(command.epilog),
    )


def _examples(epilog: str | None) -> str:
    """Give the command lines under a command's help, without their title."""
    lines = _without_markup(epilog).splitlines()[1:]
    return joined("For example:", fenced("\n".join(lines), "sh")) if lines else ""


def _without_markup(text: str | None) -> str:
    """Leave out Rich's `[bold]` and the like."""
    lines = inspect.cleandoc(text or "").splitlines()
    return "\n".join(Text.from_markup(line).plain for line in lines)


def _word(argument: Any) -> str:
    return cast("str", argument.metavar or argument.name.upper())


def _usage(argument: Any) -> str:
    word = _word(argument) + ("..." if argument.nargs == -1 else "")
    return word if argument.required else f"[{word.strip('[]')}]"


def _names(option: Any) -> str:
    short_last = sorted([*option.opts, *option.secondary_opts], key=lambda name: name[1] != "-")
    return ", ".join(map(code, short_last))


def _value(option: Any, kinds: dict[str, Any]) -> str:
    kind = _bare(kinds[option.name])
    if kind is bool:
        return ""
    if option.metavar:
        return code(option.metavar)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return ", ".join(code(member.value) for member in kind)
    return code(_VALUES.get(cast("type", kind), "TEXT"))


def _bare(kind: Any) -> Any:
    """Take the type out of `T | None` and `list[T]`."""
    parts = [part for part in typing.get_args(kind) if part is not types.NoneType]
    is_wrapped = isinstance(kind, types.UnionType) or typing.get_origin(kind) in (
        typing.Union,
        list,
    )
    return _bare(parts[0]) if is_wrapped and parts else kind


def _default(option: Any) -> str:
    if option.required:
        return "required"
    given = option.default
    if given is None or given is False or given == ():
        return ""
    return code(given.value if isinstance(given, Enum) else "on" if given is True else given)


def _meaning(parameter: Any) -> str:
    return one_line(_without_markup(parameter.help))
