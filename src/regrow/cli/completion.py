"""What the shell offers at Tab: trees, and the tasks and events of the one that `-w` names.

A server is asked and has a second to answer. Whatever goes wrong, nothing is offered and nothing is
said: somebody is in the middle of typing.
"""

import asyncio
import os
import shlex
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from itertools import pairwise
from typing import Final

import typer

from regrow.cli.session import Target
from regrow.client import TreeClient, TreeSummary
from regrow.client.listing import summary_of
from regrow.client.tree_handle import started_document
from regrow.core.loading import load
from regrow.core.models import Task
from regrow.core.references import OPEN
from regrow.core.wire import APPROVAL, WAIT_FOR_EVENT

_PATIENCE: Final = 1.0
_MOST_TREES: Final = 100
_MOST_READ: Final = 10
_TREE_OPTIONS: Final = ("-w", "--workflow-id")

Offer = tuple[str, str]
"""A word and what it stands for, which zsh and fish show beside it."""
Question = Callable[[TreeClient], AsyncIterator[Offer]]


def trees(ctx: typer.Context, incomplete: str) -> list[Offer]:
    """Offer trees, open ones first."""
    quoted = incomplete.replace("\\", "\\\\").replace("'", "\\'")

    async def question(client: TreeClient) -> AsyncIterator[Offer]:
        async for tree in client.list(f"WorkflowId STARTS_WITH '{quoted}'", limit=_MOST_TREES):
            yield tree.tree_id, f"{tree.name}, {tree.state.value}"

    return _answers(ctx, question, incomplete)


def tasks(ctx: typer.Context, incomplete: str) -> list[Offer]:
    """Offer every task of the tree."""
    return _answers(ctx, lambda client: _tasks(client, _tree_id(ctx)), incomplete)


def failed_tasks(ctx: typer.Context, incomplete: str) -> list[Offer]:
    """Offer what failed, as far as the server knows; else every task."""
    return _answers(ctx, lambda client: _failed(client, _tree_id(ctx)), incomplete)


def approvals(ctx: typer.Context, incomplete: str) -> list[Offer]:
    """Offer the approvals that wait, if no tree is named those of the first few that wait."""
    return _answers(ctx, lambda client: _approvals(client, _tree_id(ctx)), incomplete)


def events(ctx: typer.Context, incomplete: str) -> list[Offer]:
    """Offer the events that a tree has waits for."""

    async def question(client: TreeClient) -> AsyncIterator[Offer]:
        for task in (await _document(client, _tree_id(ctx))).values():
            name = task.inputs.get("event")
            if task.executor_id == WAIT_FOR_EVENT and isinstance(name, str) and OPEN not in name:
                yield name, f"{task.id} waits for it"

    return _answers(ctx, question, incomplete)


def schedules(ctx: typer.Context, incomplete: str) -> list[Offer]:
    """Offer the schedules that start trees."""

    async def question(client: TreeClient) -> AsyncIterator[Offer]:
        async for schedule in client.schedules.list():
            yield schedule.id, "schedule"

    return _answers(ctx, question, incomplete)


async def _failed(client: TreeClient, tree_id: str) -> AsyncIterator[Offer]:
    tasks = await _document(client, tree_id)
    failed = (await _summary(client, tree_id)).failed_tasks
    for task_id in failed or tasks:
        yield _offer(tasks[task_id])


async def _approvals(client: TreeClient, tree_id: str) -> AsyncIterator[Offer]:
    if tree_id:
        named = [await _summary(client, tree_id)]
    else:
        named = [tree async for tree in client.list(waiting=True, limit=_MOST_READ)]
    for tree in named:
        for task in (await _document(client, tree.tree_id)).values():
            if task.executor_id == APPROVAL and (task.id in tree.waiting_on or not tree.waiting_on):
                yield _offer(task)


async def _summary(client: TreeClient, tree_id: str) -> TreeSummary:
    return await summary_of(await client.get(tree_id).workflow_handle.describe())


async def _tasks(client: TreeClient, tree_id: str) -> AsyncIterator[Offer]:
    for task in (await _document(client, tree_id)).values():
        yield _offer(task)


async def _document(client: TreeClient, tree_id: str) -> Mapping[str, Task]:
    """Read the tasks where they are cheap to have: in the event that started the tree."""
    tree = load(await started_document(client.client, tree_id))
    return {task.id: task for task in tree.tasks}


def _offer(task: Task) -> Offer:
    return task.id, task.name or task.executor_id


def _answers(ctx: typer.Context, question: Question, incomplete: str) -> list[Offer]:
    try:
        offers = asyncio.run(asyncio.wait_for(_ask(ctx, question), _PATIENCE))
    except Exception:  # noqa: BLE001 - see above
        return []
    return [offer for offer in offers if offer[0].startswith(incomplete)]


async def _ask(ctx: typer.Context, question: Question) -> list[Offer]:
    named = (ctx.params.get(name) for name in ("address", "namespace", "profile"))
    client = await Target(*named).connect()
    return [offer async for offer in question(client)]


def _tree_id(ctx: typer.Context) -> str:
    """Find the tree that is meant: said before the cursor, or after it, which only bash tells."""
    return str(ctx.params.get("workflow_id") or next(_said_in_bash(), ""))


def _said_in_bash() -> Iterator[str]:
    words = shlex.split(os.environ.get("COMP_WORDS", ""))
    for option, value in pairwise(words):
        if option in _TREE_OPTIONS:
            yield value
