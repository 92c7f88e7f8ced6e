"""How lists are printed: aligned for people, and whole for programs."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import typer

from regrow.cli.exits import say
from regrow.cli.follow import print_json
from regrow.cli.options import Output


def print_list(
    entries: Sequence[Mapping[str, Any]],
    rows: Sequence[Sequence[str]],
    output: Output,
    *,
    header: Sequence[str],
    none: str,
) -> None:
    """Print the entries as JSON, one array or one a line, or the rows for people."""
    if output is Output.JSON:
        print_json(entries)
    elif output is Output.JSONL:
        for entry in entries:
            print_line(entry)
    elif rows:
        for line in columns([header, *rows]):
            typer.echo(line)
    else:
        say(none)


def columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Align; a line may be longer than the terminal, since ids must stay whole to be copied."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    aligned = (map(str.ljust, row, widths) for row in rows)
    return ["  ".join(row).rstrip() for row in aligned]


def print_one(value: Mapping[str, Any], output: Output) -> None:
    """Print one value as JSON, indented or on one line."""
    if output is Output.JSON:
        print_json(value)
    else:
        print_line(value)


def print_line(value: Mapping[str, Any]) -> None:
    """Print JSON on one line."""
    typer.echo(json.dumps(value, ensure_ascii=False))
