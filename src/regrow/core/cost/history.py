"""What one run of a workflow leaves in its history, counted by kind of event.

The bytes beside payloads and names were measured on Temporal Server 1.32 with the Python SDK 1.35;
they differ by a few with the names of hosts and task queues. Actions are those that the page
"Temporal Cloud Actions" (docs.temporal.io/cloud/actions) lists; a child workflow is counted twice,
for being asked for and for being started.
"""

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

QUEUE: Final = len("task-trees")


class Action(StrEnum):
    """What Temporal Cloud counts; the names are keys of the estimate."""

    WORKFLOW = "workflows_started"
    CONTINUED = "continued_as_new"
    CHILD = "child_workflows"
    ACTIVITY = "activity_attempts"
    HEARTBEAT = "heartbeats"
    LOCAL = "local_activities"
    """One for each workflow task that has any."""
    TIMER = "timers"
    UPDATE = "updates"
    SIGNAL = "signals"
    UPSERT = "search_attribute_upserts"


SIZES: Final = {
    "workflow_execution_started": 398 + QUEUE,
    "workflow_task_scheduled": 92,
    "workflow_task_started": 121,
    "workflow_task_completed": 84,
    "marker_recorded": 455,
    "activity_task_scheduled": 229 + QUEUE,
    "activity_task_started": 116,
    "activity_task_completed": 81,
    "activity_task_failed": 3_300,
    "activity_task_cancel_requested": 40,
    "activity_task_canceled": 180,
    "timer_started": 39,
    "timer_fired": 33,
    "timer_canceled": 46,
    "start_child_workflow_execution_initiated": 253 + QUEUE,
    "child_workflow_execution_started": 133,
    "child_workflow_execution_completed": 167,
    "child_workflow_execution_failed": 400,
    "child_workflow_execution_canceled": 167,
    "request_cancel_external_workflow_execution_initiated": 150,
    "external_workflow_execution_cancel_requested": 140,
    "workflow_execution_cancel_requested": 120,
    "workflow_execution_signaled": 150,
    "signal_external_workflow_execution_initiated": 250,
    "external_workflow_execution_signaled": 140,
    "workflow_execution_update_accepted": 195,
    "workflow_execution_update_completed": 103,
    "upsert_workflow_search_attributes": 42,
    "workflow_execution_completed": 63,
    "workflow_execution_failed": 700,
    "workflow_execution_canceled": 60,
    "workflow_execution_continued_as_new": 400,
}
"""Bytes of each kind of event beside its payloads and names."""

RAISED: Final = 3_300
"""A failed attempt in the event of the next one: mostly two stack traces."""
ATTRIBUTE: Final = 53
"""One search attribute beside its name and value."""
SUMMARY: Final = 30
"""The label of a timer, beside its text."""


@dataclass(slots=True)
class Share:
    """What is there for one task, or for all the rest."""

    events: int = 0
    bytes: int = 0
    actions: int = 0
    activities: int = 0

    def add(self, other: "Share") -> None:
        """Take in what is there for a part of it."""
        self.events += other.events
        self.bytes += other.bytes
        self.actions += other.actions
        self.activities += other.activities


@dataclass(slots=True)
class History:
    """The history of one run, and what it cost beside."""

    shares: dict[str, Share]
    """By the path of a task, over all runs; workflow tasks and the like are in the one named ""."""
    kinds: Counter[str] = field(default_factory=Counter[str])
    actions: Counter[Action] = field(default_factory=Counter[Action])
    size: int = 0
    news: int = 0
    """What could have had a workflow task of its own."""

    @property
    def events(self) -> int:
        """How many there are."""
        return self.kinds.total()

    def add(self, kind: str, payload: int = 0, owner: str = "") -> None:
        """Add an event with so many bytes of payloads and names."""
        size = SIZES[kind] + payload
        self.kinds[kind] += 1
        self.size += size
        share = self.shares.setdefault(owner, Share())
        share.events += 1
        share.bytes += size

    def act(self, action: Action, count: int = 1, owner: str = "") -> None:
        """Count what is billed."""
        self.actions[action] += count
        self.shares.setdefault(owner, Share()).actions += count

    def add_workflow_task(self) -> None:
        """Add the three events with which decisions are made."""
        for step in ("scheduled", "started", "completed"):
            self.add(f"workflow_task_{step}")
