"""apflow, or aipartnerupflow, as it was called before: one task tree, kept as it comes.

The name of the package is the program's argument; both are used in the same way.
"""

# pyright: basic, reportMissingImports=false
# What it imports is not installed where types are checked.

import logging
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from importlib import import_module
from pathlib import Path
from typing import Any
from uuid import uuid4

from contract import Dependencies, Run, answer, work

flow = import_module(sys.argv[1])
storage = import_module(f"{flow.__name__}.core.storage.sqlalchemy.models")
creator = import_module(f"{flow.__name__}.core.execution.task_creator")


@flow.executor_register()
class Noop(flow.BaseTask):
    """Does nothing."""

    id = "noop"
    name = "Noop"
    description = "Does nothing"

    async def execute(self, inputs: dict[str, Any]) -> dict[str, int]:
        """Give the result of the task at this position."""
        return work(inputs["value"])


@asynccontextmanager
async def engine(folder: Path) -> AsyncGenerator[Run]:
    """Open the database; tasks run in this process."""
    session = flow.create_session(path=str(folder / "tasks.db"))

    async def run(dependencies: Dependencies) -> Sequence[Any]:
        tasks = _tasks(dependencies)
        tree = await creator.TaskCreator(session).create_task_tree_from_array(tasks)
        await flow.TaskManager(session).distribute_task_tree(tree)
        session.expire_all()
        ids = [task["id"] for task in tasks]
        rows = session.query(storage.TaskModel).filter(storage.TaskModel.id.in_(ids))
        results = {row.id: row.result for row in rows}
        return [results[each] for each in ids]

    yield run
    session.close()


def _tasks(dependencies: Dependencies) -> list[dict[str, Any]]:
    """Give the tasks, organised below the first; what runs when is up to the dependencies."""
    ids = [f"{uuid4()}" for _ in dependencies]
    return [
        {
            "id": ids[at],
            "name": f"Task {at}",
            "parent_id": ids[0] if at else None,
            "schemas": {"method": "noop"},
            "inputs": {"value": at},
            "dependencies": [{"id": ids[other], "required": True} for other in others],
        }
        for at, others in enumerate(dependencies)
    ]


if __name__ == "__main__":
    logging.disable()
    answer(engine)
