"""A small project that runs, for `regrow init`; the files are packaged beside this module."""

from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path


def write_project(directory: Path) -> Iterator[Path]:
    """Write the project; gives each file as it is written."""
    directory.mkdir(parents=True, exist_ok=True)
    for template in sorted(files("regrow.cli").joinpath("project").iterdir(), key=lambda t: t.name):
        target = directory / template.name.removesuffix(".txt")
        target.write_text(template.read_text(encoding="utf-8"), encoding="utf-8")
        yield target
