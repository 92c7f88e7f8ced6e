"""The command that runs an ended tree again."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Final

import typer

from regrow.cli import completion
from regrow.cli import options as opt
from regrow.cli.check import parse_inputs
from regrow.cli.commands import Work
from regrow.cli.exits import ExitCode, say
from regrow.cli.lists import print_one
from regrow.cli.session import Target
from regrow.cli.trees import read_tree
from regrow.client import TreeHandle
from regrow.client.tree_handle import started_document
from regrow.core.loading import load
from regrow.core.models import TaskTree
from regrow.core.rerun import RerunPlan
from regrow.core.wire import split_unit


def rerun(
    workflow_id: opt.TreeId,
    file: Annotated[
        str | None,
        typer.Argument(help="The tree as it is written now; default: as it was.", metavar="[FILE]"),
    ] = None,
    failed: Annotated[
        bool,
        typer.Option("--failed", help="Keep what completed; run the rest and what depends on it."),
    ] = False,
    from_tasks: Annotated[
        list[str] | None,
        typer.Option(
            "--from",
            metavar="TASK",
            help="Like --failed, and this task; repeatable.",
            autocompletion=completion.tasks,
        ),
    ] = None,
    items: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TASK=0,3", help="Like --failed, and these items of a map; repeatable."
        ),
    ] = None,
    inputs: opt.Set = None,
    new_id: Annotated[
        str | None,
        typer.Option("--id", metavar="ID", help="The new tree's id; default: <root>.r<n>."),
    ] = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="Say what would be kept and what would run, and why.")
    ] = False,
    output: opt.OutputOption = opt.Output.TEXT,
    address: opt.Address = None,
    namespace: opt.Namespace = None,
    profile: opt.Profile = None,
) -> Work | ExitCode:
    """Run an ended tree again as a new one, and print its id.

    With --failed, --from or --items, what completed and is written as it was is kept: nothing is
    executed for it. What names an input that is set anew runs. Without them everything runs.

    Example: regrow rerun -w nightly-7 --failed --plan

    Example: regrow rerun -w nightly-7 --from save --set batch=20
    """
    chosen = _items(items or ())
    document = read_tree(file, ()) if file else None
    if chosen is None or (file and document is None):
        return ExitCode.INVALID

    async def work() -> ExitCode:
        handle = await Target(address, namespace, profile).open(workflow_id)
        asked: dict[str, Any] = {
            "failed": failed,
            "from_tasks": tuple(from_tasks or ()),
            "items": chosen,
            "inputs": await _inputs(handle, document, inputs or ()),
            "document": document,
        }
        if document is not None:
            await _say_what_stays(handle, document, asked["inputs"])
        if plan:
            _show_plan(handle.id, await handle.plan_rerun(**asked), output)
            return ExitCode.DONE
        again = await handle.rerun(**asked, id=new_id)
        say(f"a rerun of {handle.id}; `regrow watch -w {again.id}` follows it")
        if output is opt.Output.TEXT:
            typer.echo(again.id)
        else:
            print_one({"tree_id": again.id, "rerun_of": handle.id}, output)
        return ExitCode.DONE

    return work()


def _items(written: Sequence[str]) -> dict[str, list[int]] | None:
    """Read `TASK=0,3`; says what is wrong and gives None if it cannot be read."""
    found: dict[str, list[int]] = {}
    for each in written:
        task_id, _, indices = each.partition("=")
        try:
            found.setdefault(task_id, []).extend(int(index) for index in indices.split(","))
        except ValueError:
            say(f"error: --items {each}: write TASK=0,3, counting from 0")
            return None
    return found


async def _inputs(
    handle: TreeHandle, document: TaskTree | None, settings: Sequence[str]
) -> Mapping[str, Any]:
    if not settings:
        return {}
    tree = document or load(await started_document(handle.client, handle.id))
    return parse_inputs(tree, settings)


async def _say_what_stays(
    handle: TreeHandle, document: TaskTree, settings: Mapping[str, Any]
) -> None:
    """Point at inputs that stay as they were, though the file says otherwise."""
    old = load(await started_document(handle.client, handle.id)).inputs
    for name, value in document.inputs.items():
        if name in old and old[name] != value and name not in settings:
            say(f"note: the input '{name}' stays as it was; --set {name}=… takes another value")


def _show_plan(tree_id: str, plan: RerunPlan, output: opt.Output) -> None:
    if output is not opt.Output.TEXT:
        print_one({"rerun_of": tree_id, **_plan_json(plan)}, output)
        return
    for line in _plan_lines(tree_id, plan):
        typer.echo(line)


def _plan_lines(tree_id: str, plan: RerunPlan) -> Iterator[str]:
    derived = len(plan.tree.tasks) - len(plan.kept) - len(plan.runs)
    rest = f", {derived:,} follow from the others" if derived else ""
    yield f"a rerun of {tree_id}: {len(plan.kept):,} kept, {len(plan.runs):,} run{rest}"
    rows = list(_rows(plan, ""))
    width = max(len(path) for _, path, _ in rows)
    for glyph, path, why in rows:
        yield f"  {glyph} {path:{width}}  {why}"


def _rows(plan: RerunPlan, above: str) -> Iterator[tuple[str, str, str]]:
    """Give each task with its path, what is inside of sub-trees after the task that runs them."""
    kept = dict.fromkeys(plan.kept, "kept")
    for task in plan.tree.tasks:
        glyph = "✔" if task.id in kept else "▶" if task.id in plan.runs else "·"
        why = kept.get(task.id) or plan.runs.get(task.id, "as the others end")
        yield glyph, f"{above}{task.id}", why
        for unit, inner in plan.inside.items():
            if split_unit(unit)[0] == task.id:
                yield from _rows(inner, f"{above}{unit}/")


def _plan_json(plan: RerunPlan) -> dict[str, Any]:
    inside = {unit: _plan_json(inner) for unit, inner in plan.inside.items()}
    own = {"kept": list(plan.kept), "runs": dict(plan.runs)}
    return {**own, "inside": inside} if inside else own


COMMANDS: Final[Mapping[str, Callable[..., Work | ExitCode]]] = {"rerun": rerun}
