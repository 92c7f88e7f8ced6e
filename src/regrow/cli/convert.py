"""The command that rewrites what another system has written."""

import json
from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer

from regrow.cli.commands import Work
from regrow.cli.exits import ExitCode, say, show_problems
from regrow.client.convert import as_yaml, convert_file
from regrow.core.convert import Converted
from regrow.core.problems import InvalidTree


class Form(StrEnum):
    """How a document is written."""

    YAML = "yaml"
    JSON = "json"


def convert(
    file: Annotated[
        str,
        typer.Argument(
            help="A JSON or YAML file of aipartnerupflow or apflow, or - for standard input.",
            metavar="FILE",
            show_default=False,
        ),
    ],
    output: Annotated[
        Form | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FORMAT",
            help=f"How to write it: {', '.join(Form)}; default: as the name of -O says, or yaml.",
        ),
    ] = None,
    target: Annotated[
        Path | None,
        typer.Option("-O", "--output-file", help="Write it to this file.", metavar="FILE"),
    ] = None,
) -> ExitCode:
    """Rewrite a task array of aipartnerupflow or apflow as a native tree.

    It takes an array, rows of their task table, or a nested tree. What has no counterpart is left
    out and named. An array runs as it is, too; nothing has to be converted.

    Example: regrow convert tree.json -O tree.yaml
    """
    try:
        converted = convert_file(file)
        text = _written(converted, output or _form_of(target))
    except InvalidTree as error:
        show_problems(error.problems, file)
        return ExitCode.INVALID
    if target is None:
        typer.echo(text, nl=False)
    else:
        target.write_text(text, encoding="utf-8")
        say(f"wrote {target}")
    for note in converted.notes:
        say(f"{file}: {note}")
    return ExitCode.DONE


def _form_of(target: Path | None) -> Form:
    return Form.JSON if target is not None and target.suffix == ".json" else Form.YAML


def _written(converted: Converted, form: Form) -> str:
    if form is Form.YAML:
        return as_yaml(converted.document)
    return json.dumps(converted.document, ensure_ascii=False, indent=2) + "\n"


COMMANDS: Final[Mapping[str, Callable[..., Work | ExitCode]]] = {"convert": convert}
