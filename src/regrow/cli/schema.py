"""The command that says what a tree looks like, for editors and for tools that write trees."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from pydantic import PydanticUserError

from regrow.activities.catalogue import make_registry
from regrow.cli import options as opt
from regrow.cli.commands import Work
from regrow.cli.exits import ExitCode, say
from regrow.cli.follow import print_json
from regrow.core.schema import tree_schema
from regrow.executors import Executor


def schema(
    executors: opt.Executors = None,
    file: Annotated[
        Path | None,
        typer.Option("-O", "--output-file", help="Write it to this file.", metavar="FILE"),
    ] = None,
) -> ExitCode:
    """Print the JSON Schema of a tree, with which editors complete and check it.

    With --executors the inputs of their tasks are checked too, those of built-in ones included.

    An editor finds it by the first line of a tree:
    # yaml-language-server: $schema=tree.schema.json

    Example: regrow schema --executors executors.py -O tree.schema.json
    """
    registry = make_registry(tuple(executors)) if executors else ()
    described = tree_schema({executor.id: _inputs_of(executor) for executor in registry})
    if file is None:
        print_json(described)
        return ExitCode.DONE
    text = json.dumps(described, ensure_ascii=False, indent=2)
    file.write_text(f"{text}\n", encoding="utf-8")
    say(f"wrote {file}")
    return ExitCode.DONE


def _inputs_of(executor: Executor) -> dict[str, Any]:
    try:
        return executor.input_schema()
    except PydanticUserError:  # of a type that has no schema
        return {}


COMMANDS: Final[Mapping[str, Callable[..., Work | ExitCode]]] = {"schema": schema}
