"""`regrow graph`: draw a tree before anything runs, or how a run of it stands."""

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Annotated, Final, cast

import typer

from regrow.cli import options as opt
from regrow.cli.commands import Work
from regrow.cli.exits import ExitCode, say
from regrow.cli.histories import fold_of
from regrow.cli.session import Target
from regrow.cli.trees import read_tree
from regrow.client import Fold
from regrow.core.draw import dot, marks_of, mermaid, picture_of, svg
from regrow.core.draw.text import text
from regrow.core.models import TaskTree
from regrow.core.run import TreeRun

_MOST_LINES: Final = 200


class Format(StrEnum):
    """How a graph is written."""

    TEXT = "text"
    MERMAID = "mermaid"
    DOT = "dot"
    SVG = "svg"


def graph(
    file: Annotated[
        str | None,
        typer.Argument(help="A tree that has not run: a YAML or JSON file, or -.", metavar="FILE"),
    ] = None,
    workflow_id: opt.AnyTreeId = None,
    history: opt.History = None,
    format_: Annotated[
        Format, typer.Option("--format", help="For a terminal, or for whatever draws images.")
    ] = Format.TEXT,
    address: opt.Address = None,
    namespace: opt.Namespace = None,
    profile: opt.Profile = None,
) -> Work | ExitCode:
    """Draw a tree from its file, or from a run with how every task stands.

    A solid line is a required dependency, a dashed one an optional one; in text that is a question
    mark. More than 150 tasks are drawn by layers, each one node with its counts.

    Example: regrow graph tree.yaml --format svg > tree.svg

    Example: regrow graph -w nightly-7 --format mermaid
    """
    if [file, workflow_id, history].count(None) != 2:  # noqa: PLR2004 - one of three
        say("error: say what to draw: a FILE, -w ID, or --history FILE; one of them")
        return ExitCode.INVALID
    if file is not None:
        tree = read_tree(file, ())
        return _draw(tree, None, format_) if tree else ExitCode.INVALID
    if history is not None:
        fold = fold_of(history, None)
        return _draw_fold(fold, format_) if fold else ExitCode.INVALID

    async def work() -> ExitCode:
        handle = await Target(address, namespace, profile).open(workflow_id or "")
        fold = handle.new_fold()
        await handle.status(fold)
        return _draw_fold(fold, format_)

    return work()


def _draw_fold(fold: Fold, format_: Format) -> ExitCode:
    return _draw(cast("TaskTree", fold.tree), fold.run, format_)  # a refused one has been shown


def _draw(tree: TaskTree, run: TreeRun | None, format_: Format) -> ExitCode:
    marks = marks_of(run) if run else None
    if format_ is Format.TEXT:
        typer.echo(text(tree, marks, most=_MOST_LINES), nl=False)
        return ExitCode.DONE
    picture = picture_of(tree, marks, groups=run.plan.groups if run else None)
    write = {Format.MERMAID: mermaid, Format.DOT: dot, Format.SVG: svg}[format_]
    typer.echo(write(picture), nl=format_ is Format.SVG)
    return ExitCode.DONE


COMMANDS: Final[Mapping[str, Callable[..., Work | ExitCode]]] = {"graph": graph}
