"""Which pages there are, and the line by which each says where it comes from."""

from pathlib import Path
from typing import Final

from docs.generate import cli, document, errors, executors, python, settings

REFERENCE: Final = Path(__file__).parents[1] / "reference"
_ORIGIN: Final = "<!-- Made from the code by `make docs`; changes to this file are lost. -->"


def pages() -> dict[str, str]:
    """Give the text of every page of the reference, by file name."""
    bodies = {
        "cli.md": cli.page(),
        "document.md": document.page(),
        "executors.md": executors.page(),
        "settings.md": settings.page(),
        "errors.md": errors.page(),
        "python.md": python.page(),
    }
    return {name: f"{_ORIGIN}\n\n{body.strip()}\n" for name, body in bodies.items()}
