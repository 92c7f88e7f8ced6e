"""The targets of speed and scale: what each asks, and which command answers it."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Target:
    """A target; rows of results answer it whose id is its own, or that with `.` or `-` and more."""

    id: str
    what: str
    target: str
    command: str

    def is_answered_by(self, row: str) -> bool:
        """Whether a row of results belongs to this target."""
        return row == self.id or row.startswith((f"{self.id}.", f"{self.id}-"))


_END_TO_END: Final = "python -m benchmarks.end_to_end"
_SIZES: Final = f"{_END_TO_END} --sizes 1000,10000"

RATIO: Final = "≤ 1.05"
STOCK: Final = "≤ 0.45"
FLAT: Final = "≤ 1.10"
LOCAL: Final = "≤ 0.4"
BATCH: Final = "≥ 20,000"
FAN_EVENTS: Final = "≤ 3.1"
PARTITIONED_EVENTS: Final = "≤ 3.4"
CHAIN_EVENTS: Final = "≤ 6.1"
RUN_EVENTS: Final = "≤ 4,000"
RUN_BYTES: Final = "≤ 1,048,576"
RUN_REPLAY: Final = "≤ 1 s"
RECOVERY_SLACK: Final = 2.0

TARGETS: Final = (
    Target("replay", "Tree ÷ hand-written, CPU of a replay", RATIO, "python -m benchmarks.replay"),
    Target("end_to_end.wall", "Tree ÷ hand-written, wall", RATIO, _END_TO_END),
    Target("end_to_end.cpu", "Tree ÷ hand-written, worker CPU", RATIO, _END_TO_END),
    Target("stock.cpu", "Regrow's worker ÷ stock, CPU", STOCK, f"{_END_TO_END} --versus-stock"),
    Target("stock.wall", "Regrow's worker ÷ stock, wall", STOCK, f"{_END_TO_END} --versus-stock"),
    Target("events.fan", "Events per task, fan of 200 or more", FAN_EVENTS, _END_TO_END),
    Target("events.partitioned", "Events per task, partitioned", PARTITIONED_EVENTS, _SIZES),
    Target("events.chain", "Events per task, chain", CHAIN_EVENTS, _END_TO_END),
    Target("sizes.cpu", "Worker CPU per task, large ÷ 1,000 tasks", FLAT, f"{_SIZES},100000"),
    Target("largest.events", "Largest single run, events", RUN_EVENTS, _SIZES),
    Target("largest.bytes", "Largest single run, bytes", RUN_BYTES, _SIZES),
    Target("largest.replay", "Largest single run, CPU of its replay", RUN_REPLAY, _SIZES),
    Target("local.wall", "Local ÷ regular tasks, wall", LOCAL, f"{_END_TO_END} --local"),
    Target("batch.items", "Items a second of one batch of 500", BATCH, f"{_END_TO_END} --local"),
    Target(
        "recovery",
        "Time lost by kill -9 of the worker",
        "≤ heartbeat timeout + worker start + 2 s",
        "python -m benchmarks.recovery",
    ),
)
