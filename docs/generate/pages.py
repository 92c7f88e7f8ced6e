"""Which pages there are, and the line by which each says where it comes from."""

from pathlib import Path
from typing import Final

from docs.generate import cli, document, errors, executors, python, settings

DOCS: Final = Path(__file__).parents[1]
FOLDERS: Final = ("reference", "executors")
_ORIGIN: Final = "<!-- Made from the code by `make docs`; changes to this file are lost. -->"


def pages() -> dict[str, str]:
    """Give the text of every page that is made, by its path below `docs`."""
    reference = {
        "cli.md": cli.page(),
        "document.md": document.page(),
        "settings.md": settings.page(),
        "errors.md": errors.page(),
        "python.md": python.page(),
    }
    built_in = {
        name: body.replace("](document.md", "](../reference/document.md")
        for name, body in executors.built_in_pages().items()
    }
    bodies = {f"reference/{name}": body for name, body in reference.items()}
    bodies |= {f"executors/{name}": body for name, body in built_in.items()}
    return {name: f"{_ORIGIN}\n\n{body.strip()}\n" for name, body in bodies.items()}
