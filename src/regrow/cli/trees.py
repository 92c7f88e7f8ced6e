"""Commands about trees: check, run, start, follow, look, stop."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from google.protobuf.json_format import ParseError
from temporalio.client import WorkflowHistory

from regrow.activities.catalogue import make_registry
from regrow.cli import options as opt
from regrow.cli.check import check_with_executors, parse_inputs
from regrow.cli.commands import Work
from regrow.cli.exits import ExitCode, say, show_problems
from regrow.cli.follow import follow_to_end, print_json
from regrow.cli.lists import print_list
from regrow.cli.session import Session, Target, session
from regrow.cli.view import tree_lines
from regrow.client import Document, Fold, TreeHandle, TreeSummary, read_document
from regrow.client.watching import Seen
from regrow.core.durations import parse_duration
from regrow.core.loading import with_inputs
from regrow.core.models import TaskTree
from regrow.core.problems import InvalidTree
from regrow.core.result import TreeResult
from regrow.core.wire import WORKFLOW_TYPE
from regrow.logs import configure_logs
from regrow.worker import stop_signals

_ALL_LINES = 1_000_000
_LIST_HEADER = ("ID", "NAME", "STATUS", "STARTED", "ENDED", "TASKS")
_TIME = "%Y-%m-%d %H:%M:%S"
_TASKS_SHOWN = 3


def validate(file: opt.File, executors: opt.Executors = None) -> ExitCode:
    """Check a tree without running it; every problem is printed with its place.

    With --executors it is also checked that the executors exist and know the inputs.
    """
    document, tree = _read(file, ())
    if tree is None or document is None:
        return ExitCode.INVALID
    if executors and not check_with_executors(document, tree, make_registry(tuple(executors))):
        return ExitCode.INVALID
    edges = sum(len(task.dependencies) for task in tree.tasks)
    say(f"{file}: fine: {len(tree.tasks):,} tasks, {edges:,} dependencies")
    return ExitCode.DONE


def run(
    file: opt.File,
    executors: opt.Executors = None,
    inputs: opt.Set = None,
    workflow_id: opt.NewTreeId = None,
    db: opt.Database = None,
    output: opt.OutputOption = opt.Output.TEXT,
    timeout: opt.Timeout = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep the embedded server up at the end, until Ctrl-C.")
    ] = False,
    address: opt.Address = None,
    namespace: opt.Namespace = None,
    profile: opt.Profile = None,
    task_queue: opt.TaskQueue = None,
) -> Work | ExitCode:
    """Run a tree and follow it to its end.

    With no server configured and none on localhost:7233, an embedded Temporal and a worker are
    started for this run and stopped at its end.

    Example: regrow run tree.yaml --executors executors.py --set user_id=123
    """
    document, tree = _read(file, inputs or ())
    if document is None or tree is None or not _is_limit(timeout):
        return ExitCode.INVALID
    target = Target(address, namespace, profile, task_queue)

    async def work() -> ExitCode:
        configure_logs(level="ERROR")
        async with session(target, executors, db) as here:
            if here.registry and not check_with_executors(document, tree, here.registry):
                if not executors:
                    say("name what has your executors: --executors MODULE|FILE.py")
                return ExitCode.INVALID
            handle = await here.client.start(tree, id=workflow_id)
            _announce(here, handle)
            code = await _followed(document, handle, output, timeout)
            if code is ExitCode.STILL_RUNNING and here.is_embedded:
                say("it stops now, with its server; with --db and -w a later run goes on")
            if keep and here.is_embedded:
                say("the server stays up until Ctrl-C")
                with stop_signals() as stop:
                    await stop.wait()
            return code

    return work()


def start(
    file: opt.File,
    inputs: opt.Set = None,
    workflow_id: opt.NewTreeId = None,
    again: Annotated[
        bool, typer.Option("--again", help="Also if a tree with this id has ended.")
    ] = False,
    address: opt.Address = None,
    namespace: opt.Namespace = None,
    profile: opt.Profile = None,
    task_queue: opt.TaskQueue = None,
) -> Work | ExitCode:
    """Start a tree and print its id; a worker must be running.

    The same id with the same document attaches to the tree there is, also to one that has ended;
    with another document that is an error, which says what differs.
    """
    tree = read_tree(file, inputs or ())
    if tree is None:
        return ExitCode.INVALID

    async def work() -> ExitCode:
        client = await Target(address, namespace, profile, task_queue).connect()
        handle = await client.start(tree, id=workflow_id, again=again)
        typer.echo(handle.id)
        return ExitCode.DONE

    return work()


def watch(
    workflow_id: opt.TreeId,
    output: opt.OutputOption = opt.Output.TEXT,
    timeout: opt.Timeout = None,
    inside: Annotated[
        bool,
        typer.Option(
            "--inside/--no-inside", help="Follow the tasks of sub-trees too, of 20 at once."
        ),
    ] = True,
    address: opt.Address = None,
    namespace: opt.Namespace = None,
    profile: opt.Profile = None,
) -> Work | ExitCode:
    """Follow a tree from its beginning to its end; exits as `run` does.

    Whoever comes late sees everything so far first. With -o jsonl every change is a line of JSON.

    Example: regrow watch -w nightly-7
    """
    if not _is_limit(timeout):
        return ExitCode.INVALID

    async def work() -> ExitCode:
        client = await Target(address, namespace, profile).connect()
        return await _followed(None, client.get(workflow_id), output, timeout, inside=inside)

    return work()


def show(
    workflow_id: Annotated[
        str | None,
        typer.Option("-w", "--workflow-id", help="The tree's id, which is its workflow id."),
    ] = None,
    task: Annotated[
        str | None, typer.Option("--task", help="Show everything about one task.")
    ] = None,
    history: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE",
            help="Read a downloaded history instead of asking a server, or - for standard input;"
            " repeatable, for a tree of several runs, the first one first.",
        ),
    ] = None,
    output: opt.OutputOption = opt.Output.TEXT,
    address: opt.Address = None,
    namespace: opt.Namespace = None,
    profile: opt.Profile = None,
) -> Work | ExitCode:
    """Show how a tree stands now, read from its history; needs no worker, or not even a server.

    Example: temporal workflow show -w nightly-7 -o json | regrow show --history -
    """
    if history:
        fold = _fold_of(history, workflow_id)
        if fold is None:
            return ExitCode.INVALID
        return _show(Seen(fold), fold.result(), task, output)
    if workflow_id is None:
        say("error: say which tree: -w ID, or --history FILE")
        return ExitCode.INVALID

    async def work() -> ExitCode:
        client = await Target(address, namespace, profile).connect()
        handle = client.get(workflow_id)
        fold = handle.new_fold()
        result = await handle.status(fold)
        known = await handle.attempts() if fold.activities else {}
        return _show(Seen(fold, known), result, task, output)

    return work()


def _fold_of(files: Sequence[str], tree_id: str | None) -> Fold | None:
    """Read downloaded histories; what is wrong has been printed when there is no fold."""
    fold: Fold | None = None
    for file in files:
        text = sys.stdin.read() if file == "-" else Path(file).read_text()
        try:
            events = WorkflowHistory.from_json("", text).events
        except (ValueError, ParseError) as error:
            say(f"error: {file}: this is no history as JSON: {error}")
            return None
        start = events[0].workflow_execution_started_event_attributes if events else None
        if start is None or start.workflow_type.name != WORKFLOW_TYPE:
            say(f"error: {file}: this is no history of a tree, or not its beginning")
            return None
        fold = fold or Fold(tree_id or start.workflow_id or Path(file).stem)
        fold.feed(events)
    if fold is not None:
        fold.finish()
    return fold


def _show(seen: Seen, result: TreeResult, task: str | None, output: opt.Output) -> ExitCode:
    if task is not None:
        if task not in result.tasks:
            say(f"error: the tree has no task '{task}'; its tasks: {', '.join(result.tasks)}")
            return ExitCode.INVALID
        print_json(result.tasks[task].model_dump(mode="json"))
    elif output is not opt.Output.TEXT or seen.fold.tree is None:
        print_json(result.model_dump(mode="json"))
    else:
        for line in tree_lines(seen.fold.tree, result, height=_ALL_LINES, seen=seen):
            typer.echo(line.plain)
    return ExitCode.DONE


def result(
    workflow_id: opt.TreeId,
    output: opt.OutputOption = opt.Output.TEXT,
    timeout: opt.Timeout = None,
    address: opt.Address = None,
    namespace: opt.Namespace = None,
    profile: opt.Profile = None,
) -> Work | ExitCode:
    """Wait for a tree's end and print its result; exits as `run` does."""
    if not _is_limit(timeout):
        return ExitCode.INVALID

    async def work() -> ExitCode:
        client = await Target(address, namespace, profile).connect()
        return await follow_to_end(client.get(workflow_id), output, timeout, quiet=True)

    return work()


def explain(
    task: Annotated[str, typer.Argument(help="The task's id.", metavar="TASK")],
    workflow_id: opt.TreeId,
    output: opt.OutputOption = opt.Output.TEXT,
    address: opt.Address = None,
    namespace: opt.Namespace = None,
    profile: opt.Profile = None,
) -> Work:
    """Say why a task waits, was skipped, failed or is being retried.

    Example: regrow explain save -w nightly-7
    """

    async def work() -> ExitCode:
        client = await Target(address, namespace, profile).connect()
        told = await client.get(workflow_id).explain(task)
        if output is not opt.Output.TEXT:
            print_json({"task_id": told.task_id, "status": told.status, "because": told.lines})
            return ExitCode.DONE
        typer.echo(f"{told.task_id} is {told.status.value.replace('_', ' ')}")
        for line in told.lines:
            typer.echo(f"  {line}")
        return ExitCode.DONE

    return work()


def list_trees(
    failed: Annotated[bool, typer.Option("--failed", help="Those that failed.")] = False,
    waiting: Annotated[
        bool, typer.Option("--waiting", help="Those that wait for people; see `regrow setup`.")
    ] = False,
    running: Annotated[bool, typer.Option("--running", help="Those that have not ended.")] = False,
    name: Annotated[str | None, typer.Option(help="Those with this name.")] = None,
    query: Annotated[
        str, typer.Option(help="A Temporal list filter, such as \"StartTime > '2026-01-31'\".")
    ] = "",
    limit: Annotated[int, typer.Option(min=1, help="The most trees to list.")] = 100,
    output: opt.OutputOption = opt.Output.TEXT,
    address: opt.Address = None,
    namespace: opt.Namespace = None,
    profile: opt.Profile = None,
) -> Work:
    """List trees, open ones first, then the latest to end.

    With several of --failed, --waiting and --running, those that are any of it. What waits, only a
    server that is set up knows.

    Example: regrow list --failed --waiting --name nightly
    """

    async def work() -> ExitCode:
        client = await Target(address, namespace, profile).connect()
        found = client.list(
            query, failed=failed, waiting=waiting, running=running, name=name, limit=limit
        )
        trees = [tree async for tree in found]
        entries, rows = [*map(_summary_json, trees)], [*map(_summary_row, trees)]
        print_list(entries, rows, output, header=_LIST_HEADER, none="no trees")
        return ExitCode.DONE

    return work()


def _summary_row(tree: TreeSummary) -> tuple[str, ...]:
    ended = f"{tree.finished_at:{_TIME}}" if tree.finished_at else ""
    started = f"{tree.started_at:{_TIME}}"
    tasks = [*_tasks("waiting", tree.waiting_on), *_tasks("failed", tree.failed_tasks)]
    return tree.tree_id, tree.name, tree.state.value, started, ended, "; ".join(tasks)


def _tasks(how: str, task_ids: Sequence[str]) -> Iterator[str]:
    """Name the first few tasks."""
    more = len(task_ids) - _TASKS_SHOWN
    rest = f" and {more} more" if more > 0 else ""
    if task_ids:
        yield f"{how}: {', '.join(task_ids[:_TASKS_SHOWN])}{rest}"


def _summary_json(tree: TreeSummary) -> dict[str, Any]:
    return {
        "tree_id": tree.tree_id,
        "name": tree.name,
        "status": tree.status.value,
        "state": tree.state.value,
        "started_at": tree.started_at.isoformat(),
        "finished_at": tree.finished_at.isoformat() if tree.finished_at else None,
        "failed_tasks": list(tree.failed_tasks),
        "waiting_on": list(tree.waiting_on),
    }


def read_tree(file: str, settings: Sequence[str]) -> TaskTree | None:
    """Read and check a file; what is wrong has been printed when there is no tree."""
    return _read(file, settings)[1]


def _read(file: str, settings: Sequence[str]) -> tuple[Document | None, TaskTree | None]:
    """Read and check a file; what is wrong has been printed when there is no tree."""
    try:
        document = read_document(file)
        tree = document.tree()
        return document, with_inputs(tree, parse_inputs(tree, settings)) if settings else tree
    except InvalidTree as error:
        show_problems(error.problems, file)
    except OSError as error:
        say(f"error: {file}: {error.strerror}")
    return None, None


def _is_limit(timeout: str | None) -> bool:
    """Check, before anything starts, for how long is to be waited; says what is wrong."""
    try:
        parse_duration(timeout or 0)
    except ValueError as error:
        say(f"error: --timeout: {error}")
        return False
    return True


async def _followed(
    document: Document | None,
    handle: TreeHandle,
    output: opt.Output,
    timeout: str | None,
    *,
    inside: bool = True,
) -> ExitCode:
    """Follow to the end; a document that the worker refused is shown with its places."""
    try:
        quiet = output is opt.Output.JSON
        return await follow_to_end(handle, output, timeout, quiet=quiet, inside=inside)
    except InvalidTree as error:
        if document is None:
            show_problems(error.problems)
        else:
            show_problems(document.place(error.problems), document.name)
        return ExitCode.INVALID


def _announce(here: Session, handle: TreeHandle) -> None:
    page = here.page(handle.id)
    attached = " (it was there already)" if handle.attached else ""
    say(f"tree {handle.id}{attached}" + (f"  {page}" if page else ""))


COMMANDS: Final[Mapping[str, Callable[..., Work | ExitCode]]] = {
    "validate": validate,
    "run": run,
    "start": start,
    "watch": watch,
    "show": show,
    "result": result,
    "explain": explain,
    "list": list_trees,
}
