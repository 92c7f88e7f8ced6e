"""How a status looks, the same in every language of pictures.

The colours differ in lightness, for the colour-blind; outlines and glyphs say the same again.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

from regrow.core.wire import Status

INK: Final = "#1f2328"


class Look(NamedTuple):
    """A box: its ground, its outline, how wide that is, and its dashes, if it has any."""

    fill: str
    line: str
    width: int = 1
    dashes: str = ""


LOOKS: Final[Mapping[Status | None, Look]] = {
    None: Look("#f6f8fa", "#57606a"),
    Status.PENDING: Look("#f6f8fa", "#8c959f"),
    Status.IN_PROGRESS: Look("#cfe5ff", "#0b62c4", width=2),
    Status.COMPLETED: Look("#d3f2dc", "#1a7f37"),
    Status.FAILED: Look("#ffd5cc", "#c4230a", width=3),
    Status.CANCELLED: Look("#fbe6b4", "#8a6100", dashes="6 2"),
    Status.SKIPPED: Look("#eaecef", "#6e7781", dashes="3 3"),
}
"""None is what has not run."""
