"""Trees of task objects, started and looked at; what is kept is in Temporal.

A session holds the connection and the task objects that went through it. A tree's id is the id of
its root, as in that system, so a root is enough to find a tree that somebody else started.
"""

from typing import Any

from regrow.client import TreeCancelled, TreeClient, TreeFailed, TreeNotFound
from regrow.client.tree_handle import started_document
from regrow.compat.tasks import TaskModel, TaskTreeNode, create_task
from regrow.core.loading import load
from regrow.core.models import Task
from regrow.core.result import TreeResult


class Session:
    """The connection, made when it is first needed, and the tasks that are known by now."""

    def __init__(self, client: TreeClient | None = None) -> None:
        self._client = client
        self.tasks: dict[str, TaskModel] = {}
        self.trees: dict[str, str] = {}
        """In which tree a task is, once that has been started."""

    async def client(self) -> TreeClient:
        """Connect as Temporal's own configuration says; raises `ServerUnreachable`."""
        if self._client is None:
            self._client = await TreeClient.connect()
        return self._client


def create_session(client: TreeClient | None = None) -> Session:
    """Give what a `TaskManager` works with, on a connection that is there already, or its own."""
    return Session(client)


class TaskRepository:
    """The tasks of a session, and by their root those of any tree."""

    def __init__(self, db: Session) -> None:
        self.db = db

    async def create_task(self, name: str, **fields: Any) -> TaskModel:
        """Make a task, as `create_task` does, and keep it in the session."""
        task = create_task(name, **fields)
        self.db.tasks[task.id] = task
        return task

    async def get_task_by_id(self, task_id: str) -> TaskModel | None:
        """Give a task as it stands now, None if it isn't known.

        Of a tree that was started elsewhere, its root is found; after that all its tasks are.
        """
        tree_id = self.db.trees.get(task_id, task_id)
        task = self.db.tasks.get(task_id)
        if task is None or (task_id in self.db.trees and not _is_over(task)):
            await self._read(tree_id)
        return self.db.tasks.get(task_id)

    async def _read(self, tree_id: str) -> None:
        client = await self.db.client()
        try:
            result = await client.get(tree_id).status()
            if tree_id not in self.db.trees:
                tree = load(await started_document(client.client, tree_id))
                self.db.tasks |= {each.id: _model_of(each, tree.user_id) for each in tree.tasks}
        except TreeNotFound:
            return
        self.keep(tree_id, result)

    def keep(self, tree_id: str, result: TreeResult) -> None:
        """Write how a tree stands into its task objects."""
        for task_id, end in result.tasks.items():
            self.db.trees[task_id] = tree_id
            self.db.tasks[task_id].take(end)


class TaskManager:
    """Runs trees of task objects; with `use_demo` no executor is called, they are only shown."""

    def __init__(self, db: Session, *, use_demo: bool = False) -> None:
        self.db = db
        self.use_demo = use_demo
        self.task_repository = TaskRepository(db)

    async def distribute_task_tree(self, task_tree: TaskTreeNode) -> TaskTreeNode:
        """Run a tree to its end and write into its tasks how they ended; a failure doesn't raise.

        The tree's id is its root's: a second call for the same tree waits for the same run. Raises
        `InvalidTree` for a tree that can't run, `TreeConflict` if the id is another tree's, and
        `TreeTerminated` if it was ended from outside.
        """
        root = task_tree.task.id
        client = await self.db.client()
        handle = await client.start(task_tree.as_document(), id=root, demo=self.use_demo)
        for task, _ in task_tree.walk():
            self.db.tasks[task.id] = task
            self.db.trees[task.id] = root
        try:
            result = await handle.result()
        except (TreeFailed, TreeCancelled) as end:
            result = end.result
        self.task_repository.keep(root, result)
        return task_tree


def _is_over(task: TaskModel) -> bool:
    return task.completed_at is not None


def _model_of(task: Task, user_id: str | None) -> TaskModel:
    return TaskModel(
        id=task.id,
        name=task.name or task.id,
        user_id=user_id,
        parent_id=task.parent_id,
        priority=task.priority,
        dependencies=[{"id": each.id, "required": each.required} for each in task.dependencies],
        inputs=dict(task.inputs or {}),
    )
