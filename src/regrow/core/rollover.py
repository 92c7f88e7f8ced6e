"""When a run hands over to a fresh one, so that no history grows without bound.

Nothing may be in flight at that moment, so new starts are held back for a while; one long task must
not hold up the others for ever, so the hold ends and is tried again later.
"""

from datetime import datetime, timedelta

from regrow.core import limits

_SOON = timedelta(milliseconds=1)


class Rollover:
    """Decides, from the size of the history, whether to hold back new starts."""

    def __init__(self, size: int) -> None:
        """`size` is that of the history as the run begins: a large document is in it already."""
        self._due_at_events = limits.ROLLOVER_EVENTS
        self._due_at_bytes = size + limits.ROLLOVER_BYTES
        self._heeds_server = True
        """Until a hand-over had to be put off: the server goes on suggesting it."""
        self._held_since: datetime | None = None

    @property
    def is_held(self) -> bool:
        """Whether starts are held back."""
        return self._held_since is not None

    def holds(self, events: int, size: int, suggested: bool, now: datetime) -> bool:  # noqa: FBT001
        """Tell whether starts are held back now; `suggested` is the server's own opinion."""
        if self._held_since is not None:
            if (
                events >= limits.ROLLOVER_FORCE_EVENTS
                or now - self._held_since < limits.ROLLOVER_HOLD
            ):
                return True
            self.postpone(events, size)
            return False
        if (
            events >= self._due_at_events
            or size >= self._due_at_bytes
            or (suggested and self._heeds_server)
        ):
            self._held_since = now
        return self._held_since is not None

    def left(self, events: int, now: datetime) -> timedelta | None:
        """Give how long the hold still lasts; None if there is none, or if it has no end."""
        if self._held_since is None or events >= limits.ROLLOVER_FORCE_EVENTS:
            return None
        return max(self._held_since + limits.ROLLOVER_HOLD - now, _SOON)

    def postpone(self, events: int, size: int) -> None:
        """Let starts go on and try again later: a task runs too long, or the state is too large."""
        self._held_since = None
        self._heeds_server = False
        self._due_at_events = events + limits.ROLLOVER_RETRY_EVENTS
        self._due_at_bytes = size + limits.ROLLOVER_BYTES

    @staticmethod
    def is_last(events: int, size: int) -> bool:
        """Tell whether the history is so full that the server would soon end the run."""
        return events >= limits.LAST_EVENTS or size >= limits.LAST_BYTES
