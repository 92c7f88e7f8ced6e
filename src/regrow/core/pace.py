"""How much one workflow task may start, so that neither its answer nor its time grows too large.

A workflow task that runs local tasks goes on for as long as they do, through many decisions. What
is written at its end are the inputs of what it started and the results of the local tasks, all
together; until then none of it is safe, and nobody else is heard.

Once it is spent, one more task starts, though not as a local one: its end brings the next workflow
task much sooner than a timer would.
"""

from datetime import datetime

from regrow.core import limits


class Pace:
    """Counts what a workflow task has started and will have to write."""

    def __init__(self, now: datetime) -> None:
        self.begin(now)

    def begin(self, now: datetime) -> None:
        """Begin to count anew, for another workflow task."""
        self._since = now
        self._started = 0
        self._size = 0
        self.is_over = False
        """Whether the one more has started too."""

    def started(self, size: int, *, is_last: bool) -> None:
        """Count a start, and the bytes that it writes."""
        self._started += 1
        self._size += size
        self.is_over = is_last

    def wrote(self, size: int) -> None:
        """Count the bytes of what a local task gave."""
        self._size += size

    def is_spent(self, local_in_flight: int, now: datetime) -> bool:
        """Tell whether this was enough; what is in flight has yet to write its results."""
        size = self._size + local_in_flight * limits.MAX_LOCAL_RESULT
        full = self._started >= limits.MAX_LOCAL_STARTS or size >= limits.MAX_BYTES_PER_TASK
        return full or now - self._since >= limits.MAX_LOCAL_PACE
