"""Draw the pictures anew, after a change that is meant: `python -m tests.unit.cli.redraw`.

Look at what `git diff` says of them then.
"""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.unit.cli.scenes import FIVE_RUNS, SCENES

PICTURES: Final = Path(__file__).parent / "pictures"
WIDTHS: Final = (80, 120)


def drawn() -> Iterator[tuple[str, str]]:
    """Give every picture with its name."""
    for name, scene in SCENES.items():
        for width in WIDTHS:
            lines = scene().shown(width, estimate=FIVE_RUNS)
            yield f"{name}.{width}", "\n".join(lines) + "\n"


if __name__ == "__main__":
    os.environ["TZ"] = "UTC"
    time.tzset()
    for name, picture in drawn():
        (PICTURES / f"{name}.txt").write_text(picture)
