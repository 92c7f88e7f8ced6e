"""Follow a tree to its end: a live picture on a terminal, a line per change elsewhere."""

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncGenerator, Coroutine, Iterator
from typing import Any, Final

from pydantic import TypeAdapter
from rich.console import Group
from rich.live import Live

from regrow.cli.exits import ExitCode, code_of, people, say
from regrow.cli.options import Output
from regrow.cli.view import change_line, failure_lines, retry_line, summary_line, tree_lines
from regrow.client import (
    Attempt,
    Change,
    Fold,
    TreeCancelled,
    TreeFailed,
    TreeHandle,
    TreeTerminated,
)
from regrow.client.tree_client import DEFAULT_ADDRESS
from regrow.client.watching import Seen
from regrow.core.durations import parse_duration
from regrow.core.result import TreeResult
from regrow.core.wire import SLEEP, WAIT_FOR_EVENT

_FRAME_SECONDS = 0.25
_SPARE_LINES = 6
_LEAST_LINES = 5
_PATIENCE = 5.0
_MOST_HINTS = 3
_ATTEMPT: Final = TypeAdapter(Attempt)


async def follow_to_end(
    handle: TreeHandle,
    output: Output,
    timeout: str | None,
    *,
    quiet: bool = False,
    inside: bool = True,
) -> ExitCode:
    """Show every change until the tree has ended, then its result; gives the exit code.

    With `inside` those of sub-trees too.
    """
    limit = parse_duration(timeout).total_seconds() if timeout else None
    try:
        async with asyncio.timeout(limit):
            if not quiet:
                await _show_changes(handle, output, inside=inside)
            result = await result_of(handle)
    except TimeoutError:
        say(f"'{handle.id}' still runs after {timeout}")
        return ExitCode.STILL_RUNNING
    print_result(
        result, output, pictured=output is Output.TEXT and people.is_terminal and not quiet
    )
    return code_of(result.status)


async def result_of(handle: TreeHandle) -> TreeResult:
    """Wait for the result, whichever way the tree ends."""
    try:
        return await handle.result()
    except (TreeFailed, TreeCancelled, TreeTerminated) as ended:
        return ended.result


def print_result(result: TreeResult, output: Output, *, pictured: bool = False) -> None:
    """Print the result on stdout, and a summary for people on stderr if they saw no picture."""
    if output is Output.JSON:
        print_json(result.model_dump(mode="json"))
        return
    for line in () if pictured else (summary_line(result), *failure_lines(result)):
        say(line)
    if output is Output.TEXT and result.outputs:
        print_json(result.outputs)


def print_json(value: object) -> None:
    """Print indented JSON on stdout."""
    sys.stdout.write(f"{json.dumps(value, ensure_ascii=False, indent=2)}\n")
    sys.stdout.flush()


async def _show_changes(handle: TreeHandle, output: Output, *, inside: bool) -> None:
    seen = Seen(handle.new_fold())
    async with beside(_warn_if_untaken(seen.fold)):
        if output is Output.JSONL:
            async for change in handle.follow(seen, inside=inside):
                sys.stdout.write(f"{json.dumps(_change_json(change), ensure_ascii=False)}\n")
                sys.stdout.flush()
        elif people.is_terminal:
            await _show_live(handle, seen, inside=inside)
        else:
            await _show_lines(handle, seen, inside=inside)


async def _show_lines(handle: TreeHandle, seen: Seen, *, inside: bool) -> None:
    held = False
    async for change in handle.follow(seen, inside=inside):
        if change.attempt is not None:
            if change.is_retry:
                say(retry_line(change, change.attempt))
            continue
        say(change_line(seen.fold.tree, change))
        if (hint := _answer_hint(handle, seen, change.task_id)) is not None:
            say(hint)
        if (hint := _held_hint(handle, seen.fold)) is not None and not held:
            say(hint)
        held = hint is not None


def _answer_hint(handle: TreeHandle, seen: Seen, task_id: str | None) -> str | None:
    """Say how a wait that has just begun is answered, if it is one for people."""
    holder = seen.holder_of(task_id) if task_id else None
    if task_id is None or holder is None or holder.fold.run is None:
        return None
    own_id = task_id.rpartition("/")[2]
    wait = holder.fold.run.waits.get(own_id)
    if wait is None or wait.kind == SLEEP:
        return None
    where = _where(handle, holder.fold.tree_id)
    if wait.kind == WAIT_FOR_EVENT:
        return f"  it waits for: regrow event {wait.event} {where}"
    prompt = f'"{wait.prompt}"  ' if wait.prompt else ""
    return f"  {prompt}answer: regrow approve {own_id} {where}   (or --reject)"


def _held_hint(handle: TreeHandle, fold: Fold) -> str | None:
    """Say what goes on with a tree that is kept open until somebody mends it."""
    if fold.run is None or not fold.run.is_held:
        return None
    where = _where(handle, handle.id)
    return f"  it is held; go on: regrow retry {where}   (or: regrow skip TASK, regrow cancel)"


def _where(handle: TreeHandle, tree_id: str) -> str:
    address = handle.client.service_client.config.target_host
    return f"-w {tree_id}" + ("" if address == DEFAULT_ADDRESS else f" --address {address}")


async def _show_live(handle: TreeHandle, seen: Seen, *, inside: bool) -> None:
    fold = seen.fold

    def frame() -> Group:
        height = max(people.height - _SPARE_LINES, _LEAST_LINES)
        if fold.tree is None:
            return Group()
        hints = [_answer_hint(handle, seen, task_id) for task_id in _waiting(seen)][:_MOST_HINTS]
        hints.append(_held_hint(handle, fold))
        lines = tree_lines(fold.tree, fold.result(), height=height, seen=seen)
        return Group(*lines, *(hint for hint in hints if hint))

    async def refresh() -> None:
        while True:
            live.update(frame(), refresh=True)
            await asyncio.sleep(_FRAME_SECONDS)

    with Live(console=people, auto_refresh=False) as live:
        async with beside(refresh()):
            async for _ in handle.follow(seen, inside=inside):
                pass
        live.update(frame(), refresh=True)


def _waiting(seen: Seen, path: str = "") -> Iterator[str]:
    """Give the tasks that wait, those inside sub-trees by their paths."""
    if seen.fold.ended is None and seen.fold.run is not None:
        yield from (f"{path}{task_id}" for task_id in seen.fold.run.waits)
    for unit, inner in seen.inside.items():
        yield from _waiting(inner, f"{path}{unit}/")


async def _warn_if_untaken(fold: Fold) -> None:
    await asyncio.sleep(_PATIENCE)
    if fold.run is None and fold.ended is None:
        say("no worker has taken the tree yet; is one running on its task queue? (`regrow worker`)")


@contextlib.asynccontextmanager
async def beside(work: Coroutine[Any, Any, None]) -> AsyncGenerator[None]:
    """Do something beside the block, for as long as it lasts."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def _change_json(change: Change) -> dict[str, Any]:
    task = change.task.model_dump(mode="json") if change.task else {}
    entry = {"at": change.at.isoformat(), "task_id": change.task_id, **task}
    entry["status"] = change.status
    if change.attempt is not None:
        entry["attempt"] = _ATTEMPT.dump_python(change.attempt, mode="json")
        entry["is_retry"] = change.is_retry
    return entry
