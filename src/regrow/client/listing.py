"""Lists of trees: what is asked of the server, and what a line of its answer says."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from temporalio.client import WorkflowExecution, WorkflowExecutionStatus

from regrow.core.attributes import TREE_NAME, TREE_STATUS, TREE_WAITING_ON, TreeState
from regrow.core.wire import MEMO_NAME, WORKFLOW_TYPE, Status
from regrow.workflows.attributes import FAILED_TASKS_KEY, NAME_KEY, STATUS_KEY, WAITING_ON_KEY

WAITING_NEEDS: Final = (TREE_STATUS, TREE_WAITING_ON)
"""The search attributes without which nobody knows which trees wait."""

_STATUSES: Final = {
    WorkflowExecutionStatus.RUNNING: Status.IN_PROGRESS,
    WorkflowExecutionStatus.COMPLETED: Status.COMPLETED,
    WorkflowExecutionStatus.FAILED: Status.FAILED,
    WorkflowExecutionStatus.CANCELED: Status.CANCELLED,
    WorkflowExecutionStatus.TERMINATED: Status.CANCELLED,
    WorkflowExecutionStatus.TIMED_OUT: Status.FAILED,
    WorkflowExecutionStatus.CONTINUED_AS_NEW: Status.IN_PROGRESS,
}
_MINE: Final = f"WorkflowType = '{WORKFLOW_TYPE}'"
_FAILED: Final = "ExecutionStatus IN ('Failed', 'TimedOut')"
_RUNNING: Final = "ExecutionStatus = 'Running'"
_WAITING: Final = (
    f"({_RUNNING} AND ({TREE_STATUS} = '{TreeState.WAITING}' OR {TREE_WAITING_ON} IS NOT NULL))"
)


@dataclass(frozen=True, slots=True)
class TreeSummary:
    """One line of a list of trees."""

    tree_id: str
    name: str
    status: Status
    started_at: datetime
    finished_at: datetime | None
    state: TreeState = TreeState.IN_PROGRESS
    """The status, or what an open tree is held up by; of that only a server with the search
    attributes knows, and likewise which tasks failed or wait."""
    failed_tasks: tuple[str, ...] = ()
    waiting_on: tuple[str, ...] = ()

    @property
    def waits(self) -> bool:
        """Whether it waits for people."""
        return self.state is TreeState.WAITING or bool(self.waiting_on)


@dataclass(frozen=True, slots=True)
class TreeFilter:
    """Which trees are wanted: in any of the ways of standing, and with this name and query."""

    query: str = ""
    failed: bool = False
    waiting: bool = False
    running: bool = False
    name: str | None = None

    def on_server(self, *, knows_names: bool) -> str:
        """Give Temporal's list filter; it may let through more than is wanted."""
        ways = {_FAILED: self.failed, _WAITING: self.waiting, _RUNNING: self.running}
        asked = " OR ".join(way for way, wanted in ways.items() if wanted)
        name = _named(self.name) if knows_names and self.name is not None else ""
        parts = (f"({part})" for part in (asked, name, self.query) if part)
        return " AND ".join([_MINE, *parts])

    def wants(self, execution: WorkflowExecution, summary: TreeSummary) -> bool:
        """Tell whether a line of the answer is wanted."""
        whole = not _is_part(execution) or (self.waiting and summary.waits)
        return whole and self._is_called(summary) and self._stands(summary)

    def _is_called(self, summary: TreeSummary) -> bool:
        return self.name is None or summary.name == self.name

    def _stands(self, summary: TreeSummary) -> bool:
        return (
            not (self.failed or self.waiting or self.running)
            or (self.failed and summary.status is Status.FAILED)
            or (self.waiting and summary.waits)
            or (self.running and summary.finished_at is None)
        )


async def summary_of(execution: WorkflowExecution) -> TreeSummary:
    """Read a line of the server's list."""
    told = execution.typed_search_attributes
    name = told.get(NAME_KEY) or await execution.memo_value(MEMO_NAME, execution.id)
    status, state = _standing(execution, told.get(STATUS_KEY))
    open_now = execution.close_time is None
    return TreeSummary(
        execution.id,
        str(name),
        status,
        execution.start_time,
        execution.close_time,
        state,
        tuple(told.get(FAILED_TASKS_KEY) or ()),
        tuple(told.get(WAITING_ON_KEY) or ()) if open_now else (),
    )


def _standing(execution: WorkflowExecution, told: str | None) -> tuple[Status, TreeState]:
    """Combine what the server knows by itself with what the tree told it last.

    A tree that was ended from outside said nothing, and one that was cancelled late had to fail.
    """
    status = _STATUSES[execution.status or WorkflowExecutionStatus.RUNNING]
    if execution.close_time is None:
        return status, TreeState(told) if told in _OPEN else TreeState.IN_PROGRESS
    if told == TreeState.CANCELLED:
        status = Status.CANCELLED
    return status, TreeState(status.value)


_OPEN: Final = (TreeState.WAITING, TreeState.PAUSED)


def _named(name: str) -> str:
    """Ask for a name; trees from before the server knew names are looked at one by one."""
    quoted = name.replace("\\", "\\\\").replace("'", "\\'")
    return f"{TREE_NAME} = '{quoted}' OR {TREE_NAME} IS NULL"


def _is_part(execution: WorkflowExecution) -> bool:
    """Tell whether this is no tree of its own: an earlier run of one, or inside another."""
    continued = execution.status is WorkflowExecutionStatus.CONTINUED_AS_NEW
    return continued or execution.id.startswith(f"{execution.parent_id}/")
