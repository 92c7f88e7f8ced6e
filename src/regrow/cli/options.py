"""Options that commands share, named as in the `temporal` command line."""

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer

from regrow.cli import completion
from regrow.core.durations import parse_duration
from regrow.core.wire import TASK_QUEUE

_SQLITE: Final = b"SQLite format 3\0"


class Output(StrEnum):
    """How results are printed."""

    TEXT = "text"
    JSON = "json"
    JSONL = "jsonl"


def _not_empty(value: str | None) -> str | None:
    """Refuse `-w "$ID"` where the variable is not set."""
    if value == "":
        raise typer.BadParameter("it is empty")
    return value


def _duration(value: str | None) -> str | None:
    """Read a bare number as seconds, and refuse what is no duration."""
    if value is None:
        return None
    text = f"{value}s" if value.replace(".", "", 1).isdecimal() else value
    try:
        parse_duration(text)
    except ValueError as error:
        raise typer.BadParameter(f"{error}, not {value}") from None
    return text


def _database(value: Path | None) -> Path | None:
    """Refuse, in words, what the server cannot keep its state in."""
    if value is not None and (wrong := _wrong_with(value)) is not None:
        raise typer.BadParameter(f"{value} {wrong}; name a new file, or one that --db has written")
    return value


def _wrong_with(file: Path) -> str | None:
    if file.is_dir():
        return "is a directory"
    if file.exists():
        with file.open("rb") as opened:
            start = opened.read(len(_SQLITE))
        return "is no database of Temporal" if start and start != _SQLITE else None
    above = next(each for each in file.absolute().parents if each.exists())
    return None if os.access(above, os.W_OK) else f"cannot be written, since {above} cannot"


File = Annotated[
    str,
    typer.Argument(
        help="The tree: a YAML or JSON file, or - for standard input.",
        metavar="FILE",
        show_default=False,
    ),
]
_TREE_ID = typer.Option(
    "-w",
    "--workflow-id",
    metavar="ID",
    help="The tree's id, which is its workflow id.",
    callback=_not_empty,
    autocompletion=completion.trees,
)
TreeId = Annotated[str, _TREE_ID]
AnyTreeId = Annotated[str | None, _TREE_ID]
History = Annotated[
    list[str] | None,
    typer.Option(
        metavar="FILE",
        help="Read a downloaded history instead of asking a server, or - for standard input;"
        " repeatable, for a tree of several runs, the first one first.",
    ),
]
NewTreeId = Annotated[
    str | None,
    typer.Option(
        "-w",
        "--workflow-id",
        metavar="ID",
        help="The tree's id; default: its name and a random part.",
        callback=_not_empty,
    ),
]
Address = Annotated[
    str | None,
    typer.Option(
        metavar="HOST:PORT",
        help="Temporal's address; default: TEMPORAL_ADDRESS, then localhost:7233.",
    ),
]
Namespace = Annotated[
    str | None,
    typer.Option(
        "-n",
        "--namespace",
        metavar="NAME",
        help="Temporal's namespace; default: TEMPORAL_NAMESPACE, then default.",
    ),
]
Profile = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="A profile of Temporal's configuration file."),
]
TaskQueue = Annotated[
    str | None,
    typer.Option(
        "-t", "--task-queue", metavar="NAME", help=f"The task queue; default: {TASK_QUEUE}."
    ),
]
Executors = Annotated[
    list[str] | None,
    typer.Option(
        "--executors",
        metavar="MODULE|FILE.py",
        help="Where executors are: a module, a package (searched) or a file; repeatable.",
    ),
]
OutputOption = Annotated[
    Output,
    typer.Option(
        "-o", "--output", metavar="FORMAT", help=f"How to print the result: {', '.join(Output)}."
    ),
]
Timeout = Annotated[
    str | None,
    typer.Option(
        metavar="DURATION",
        help="Wait at most this long, such as 30s; then exit 5 while the tree goes on.",
        callback=_duration,
    ),
]
Database = Annotated[
    Path | None,
    typer.Option(
        "--db",
        metavar="FILE",
        help="Keep the embedded server's state in this file; default: in memory.",
        callback=_database,
    ),
]
Demo = Annotated[
    bool,
    typer.Option(
        "--demo", help="Call no executor: each answers with its demo result, and nobody waits."
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="NAME=VALUE", help="Set an input that the tree declares; repeatable."
    ),
]
