"""`regrow cost`: what a tree will use, before it runs."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, Final

import typer

from regrow.activities.catalogue import built_in, make_registry
from regrow.activities.describe import describe
from regrow.cli import options as opt
from regrow.cli.check import check_built_in, check_with_executors
from regrow.cli.commands import Work
from regrow.cli.exits import ExitCode
from regrow.cli.lists import columns, print_one
from regrow.cli.simulation import Fail, Result, read_script
from regrow.cli.trees import read_both
from regrow.client.report.words import count, few, size
from regrow.core.attributes import SEARCH_ATTRIBUTES
from regrow.core.cost import Assumptions, Cost, estimate
from regrow.core.models import TaskTree
from regrow.core.resolve import Description, executor_ids
from regrow.core.script import Act
from regrow.core.simulate import everything_known
from regrow.core.wire import ENGINE_VERSION
from regrow.executors import Executor, Registry
from regrow.settings import load_settings

_SPAN: Final = re.compile(r"(\d+(?:\.\d+)?)(?:-(\d+(?:\.\d+)?))?")
_EXECUTORS_SHOWN: Final = 4
_MARGIN: Final = "  "


def _seconds(value: str) -> str:
    """Refuse what is neither a number of seconds nor a range of them."""
    match = _SPAN.fullmatch(value)
    if match is None or (match[2] and float(match[2]) < float(match[1])):
        raise typer.BadParameter(
            f"write seconds, such as 2, or 0.5-4 where they differ, not {value}"
        )
    return value


def cost_of_tree(
    file: opt.File,
    executors: opt.Executors = None,
    inputs: opt.Set = None,
    result: Result = None,
    fail: Fail = None,
    items: Annotated[
        int,
        typer.Option(
            metavar="N", min=0, help="The items of a map whose list only a run will know."
        ),
    ] = Assumptions().items,
    result_bytes: Annotated[
        int,
        typer.Option(metavar="N", min=0, help="The size of a result that nothing is known of."),
    ] = Assumptions().result_bytes,
    task_seconds: Annotated[
        str,
        typer.Option(
            metavar="SECONDS",
            help="How long a task takes, such as 2, or 0.5-4 where they differ.",
            callback=_seconds,
        ),
    ] = "0",
    output: opt.OutputOption = opt.Output.TEXT,
) -> ExitCode:
    """Say what a tree will use: events, bytes, workflow tasks, and actions of Temporal Cloud.

    Nothing is started: the tree runs in memory, as in simulate. With --executors your policies
    count, and demo results stand for results. What is assumed is said at the end; prices aren't
    computed.

    Example: regrow cost tree.yaml

    Example: regrow cost tree.yaml --set region=north --items 500 --task-seconds 0.5-4
    """
    document, tree = read_both(file, inputs or ())
    script = read_script(tree, result or (), fail or ()) if tree else None
    if document is None or tree is None or script is None:
        return ExitCode.INVALID
    sources = (*load_settings().executors, *(executors or ()))
    registry = make_registry(tuple(dict.fromkeys(sources))) if sources else built_in()
    check = check_with_executors if sources else _check_built_in
    if not check(document, tree, registry):
        return ExitCode.INVALID
    span = _SPAN.fullmatch(task_seconds)
    shortest, longest = span.groups() if span else ("0", None)
    given = Assumptions(
        result_bytes=result_bytes,
        task_seconds=(float(shortest), float(longest or shortest)),
        items=items,
        script={**_demos(tree, registry), **{name: _again(act) for name, act in script.items()}},
    )
    _show(tree, estimate(tree, given, _described(tree, registry)), output)
    return ExitCode.DONE


def _check_built_in(document: Any, tree: TaskTree, _: Registry) -> bool:
    return check_built_in(document, tree)


def _described(tree: TaskTree, registry: Registry) -> Description:
    """Give what a worker would say; executors that we don't have are taken to be somebody's own."""
    known, said = everything_known(tree), describe(registry, executor_ids(tree))
    return said.model_copy(
        update={
            "engine_version": ENGINE_VERSION,
            "search_attributes": tuple(SEARCH_ATTRIBUTES),
            "executors": {**known.executors, **said.executors},
            "unknown": known.unknown,
            "known": (),
        }
    )


def _demos(tree: TaskTree, registry: Registry) -> dict[str, Callable[[Any], Any]]:
    """Give the demo results of executors that declare one."""
    found = [registry[name] for name in executor_ids(tree) if name in registry]
    return {each.id: _demo(each) for each in found if each.demo is not None}


def _demo(executor: Executor) -> Callable[[Any], Any]:
    return lambda inputs: executor.demo(inputs) if callable(executor.demo) else executor.demo


def _again(act: Act) -> Act:
    """What fails is tried again, as often as its policy says."""
    return act if act.ok else replace(act, retryable=True)


def _show(tree: TaskTree, cost: Cost, output: opt.Output) -> None:
    if output is not opt.Output.TEXT:
        print_one({"name": tree.name, **cost.as_json()}, output)
        return
    for line in (*columns(list(_figures(cost))), *_lists(cost)):
        typer.echo(line)


def _figures(cost: Cost) -> Iterator[tuple[str, str, str]]:
    whole, largest = cost.as_json(), max(cost.runs, key=lambda run: run.events)
    by_executor = sorted(cost.activities.items(), key=lambda each: -each[1])
    yield "tasks", f"{cost.tasks:,}", ""
    executors = [f"{name} {number:,}" for name, number in by_executor]
    yield "activities", f"{sum(cost.activities.values()):,}", few(executors, _EXECUTORS_SHOWN)
    yield "workflow tasks", f"{cost.workflow_tasks:,}", ""
    most = f"up to {cost.most_events:,} if no two tasks end together"
    yield "events", f"{cost.events:,}", most if cost.most_events > cost.events else ""
    yield "history", size(cost.bytes), ""
    runs = f"{count(cost.workflows, 'workflow')}, {count(whole['continuations'], 'continuation')}"
    yield "runs", f"{len(cost.runs):,}", f"{runs}; the largest has {largest.events:,} events"
    kinds = [f"{kind.replace('_', ' ')} {number:,}" for kind, number in cost.actions.items()]
    shown = [kind for kind in kinds if not kind.endswith(" 0")]
    yield "actions", f"{sum(cost.actions.values()):,}", ", ".join(shown)


def _lists(cost: Cost) -> Iterator[str]:
    rows = [
        (
            f"{_MARGIN}{part.task}",
            f"[{part.executor}]",
            count(part.activities, "activity", "activities"),
            count(part.events, "event"),
            size(part.bytes),
            count(part.actions, "action"),
        )
        for part in cost.parts
    ]
    yield from _listed("most of it", columns(rows))
    yield from _listed("hints", _indented(cost.hints))
    yield from _listed("assumed", _indented(cost.assumptions))


def _listed(title: str, lines: Sequence[str]) -> Iterator[str]:
    if lines:
        yield from ("", title, *lines)


def _indented(lines: Sequence[str]) -> list[str]:
    return [f"{_MARGIN}{line}" for line in lines]


COMMANDS: Final[Mapping[str, Callable[..., Work | ExitCode]]] = {"cost": cost_of_tree}
