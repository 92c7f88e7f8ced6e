"""Options that commands share, named as in the `temporal` command line."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from regrow.core.wire import TASK_QUEUE


class Output(StrEnum):
    """How results are printed."""

    TEXT = "text"
    JSON = "json"
    JSONL = "jsonl"


File = Annotated[
    str,
    typer.Argument(help="The tree: a YAML or JSON file, or - for standard input.", metavar="FILE"),
]
TreeId = Annotated[
    str, typer.Option("-w", "--workflow-id", help="The tree's id, which is its workflow id.")
]
NewTreeId = Annotated[
    str | None,
    typer.Option("-w", "--workflow-id", help="The tree's id; default: its name and a random part."),
]
Address = Annotated[
    str | None,
    typer.Option(help="Temporal's address; default: TEMPORAL_ADDRESS, then localhost:7233."),
]
Namespace = Annotated[str | None, typer.Option("-n", "--namespace", help="Temporal's namespace.")]
Profile = Annotated[str | None, typer.Option(help="A profile of Temporal's configuration file.")]
TaskQueue = Annotated[
    str | None, typer.Option("-t", "--task-queue", help=f"The task queue; default: {TASK_QUEUE}.")
]
Executors = Annotated[
    list[str] | None,
    typer.Option(
        "--executors",
        metavar="MODULE|FILE.py",
        help="Where executors are: a module, a package (searched) or a file; repeatable.",
    ),
]
OutputOption = Annotated[Output, typer.Option("-o", "--output", help="How to print the result.")]
Timeout = Annotated[
    str | None,
    typer.Option(help="Wait at most this long, such as 30s; then exit 5 while the tree goes on."),
]
Database = Annotated[
    Path | None,
    typer.Option("--db", help="Keep the embedded server's state in this file; default: in memory."),
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="NAME=VALUE", help="Set an input that the tree declares; repeatable."
    ),
]
