"""Runs arrays of tasks with apflow; it belongs into an environment of its own.

Each line of standard input is `{"name", "tasks"}`, and each line of output says how that tree
ended. `"starts": 2` starts it once more, `"export": true` exports it in the end. With the name of a
database file every tree is in there; otherwise each has one of its own, in memory.
"""

# pyright: basic, reportMissingImports=false
# What it imports is not installed where types are checked.

import asyncio
import copy
import json
import logging
import sys

import probe
from apflow.core.execution.task_executor import TaskExecutor
from apflow.core.storage import create_session
from apflow.core.storage.sqlalchemy.models import TaskModel
from apflow.core.storage.sqlalchemy.task_repository import TaskRepository
from sqlalchemy.orm import Session


async def main(database: str = ":memory:") -> None:
    for line in sys.stdin:
        request = json.loads(line)
        session = create_session(f"sqlite:///{database}")
        told = [
            await told_by(session, copy.deepcopy(request["tasks"]))
            for _ in range(request.get("starts", 1))
        ]
        events = probe.EVENTS.get(request["name"], [])
        exported = await export(session) if request.get("export") else None
        end = {"told": told, "events": events, "tasks": rows(session), "exported": exported}
        sys.stdout.write(f"{json.dumps(end)}\n")
        sys.stdout.flush()  # the next one may kill this process
        session.close()


async def told_by(session: Session, tasks: list[dict]) -> str:
    """Start a tree and give what the caller is told: a status, or an error."""
    try:
        return (await TaskExecutor().execute_tasks(tasks, db_session=session))["status"]
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the answer
        return f"{type(error).__name__}: {error}"


def rows(session: Session) -> dict[str, dict]:
    session.expire_all()
    return {
        row.id: {"status": row.status, "result": row.result, "error": row.error}
        for row in session.query(TaskModel).all()
    }


async def export(session: Session) -> dict:
    """Give the tree as their interfaces export it."""
    repository = TaskRepository(session)
    root = session.query(TaskModel).filter_by(parent_id=None).first()
    return (await repository.build_task_tree(root)).output()


if __name__ == "__main__":
    logging.disable()
    asyncio.run(main(*sys.argv[1:]))
