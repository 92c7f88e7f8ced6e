"""Follow a tree to its end: a live picture on a terminal, a line per change elsewhere."""

import asyncio
import json
import sys
from typing import Any, Final

from pydantic import TypeAdapter
from rich.padding import Padding
from rich.text import Text

from regrow.cli.beside import beside
from regrow.cli.exits import ExitCode, code_of, people, say
from regrow.cli.live import show_live
from regrow.cli.options import Output
from regrow.cli.still import is_screen
from regrow.cli.view import change_line, failure_lines, retry_line, summary_line
from regrow.cli.view.hints import (
    Place,
    answer_line,
    held_line,
    next_lines,
    question_of,
    tolerated_lines,
    trouble_lines,
)
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
from regrow.core.wire import Status

_PATIENCE = 5.0
_INDENTED: Final = (0, 0, 0, 2)
_ATTEMPT: Final = TypeAdapter(Attempt)


async def follow_to_end(
    handle: TreeHandle,
    output: Output,
    timeout: str | None,
    *,
    quiet: bool = False,
    inside: bool = True,
    stays: bool = False,
) -> ExitCode:
    """Show every change until the tree has ended, then its result; gives the exit code.

    With `inside` those of sub-trees too. What to type next is said if the server `stays` for it.
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
    pictured = output is Output.TEXT and is_screen(people) and not quiet
    print_result(result, output, pictured=pictured)
    if pictured:
        _say_what_failed(result, place_of(handle) if stays else None)
    return code_of(result.status)


def place_of(handle: TreeHandle) -> Place:
    """Give what commands about a tree must be told of its server."""
    address = handle.client.service_client.config.target_host
    return Place(None if address == DEFAULT_ADDRESS else address, handle.client.namespace)


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


def _say_what_failed(result: TreeResult, place: Place | None) -> None:
    """Say below the picture, in full, what went wrong, and what to type next."""
    trouble = trouble_lines(result) if result.status is not Status.COMPLETED else ()
    for line in (*tolerated_lines(result), *trouble):
        people.print(
            Padding(Text(line.strip(), style="red"), _INDENTED, expand=False), soft_wrap=False
        )
    for line in next_lines(result, place) if place else ():
        people.print(line, style="bold", markup=False)


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
        elif is_screen(people):
            await show_live(handle, seen, people, place_of(handle), inside=inside)
        else:
            await _show_lines(handle, seen, inside=inside)


async def _show_lines(handle: TreeHandle, seen: Seen, *, inside: bool) -> None:
    held, place = False, place_of(handle)
    async for change in handle.follow(seen, inside=inside):
        if change.attempt is not None:
            if change.is_retry:
                say(retry_line(change, change.attempt))
            continue
        say(change_line(seen.fold.tree, change))
        if change.task_id and (question := question_of(seen, change.task_id)) is not None:
            say(answer_line(question, place))
        if (hint := held_line(seen.fold, place)) is not None and not held:
            say(hint)
        held = hint is not None


async def _warn_if_untaken(fold: Fold) -> None:
    await asyncio.sleep(_PATIENCE)
    if fold.run is None and fold.ended is None:
        say("no worker has taken the tree yet; is one running on its task queue? (`regrow worker`)")


def _change_json(change: Change) -> dict[str, Any]:
    task = change.task.model_dump(mode="json") if change.task else {}
    entry = {"at": change.at.isoformat(), "task_id": change.task_id, **task}
    entry["status"] = change.status
    if change.attempt is not None:
        entry["attempt"] = _ATTEMPT.dump_python(change.attempt, mode="json")
        entry["is_retry"] = change.is_retry
    return entry
