"""A small project that runs, for `regrow init`; the files are packaged beside this module."""

from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path


def write_project(directory: Path) -> Iterator[Path]:
    """Write the project; gives each file as it is written."""
    directory.mkdir(parents=True, exist_ok=True)
    package = files("regrow")
    templates = [*(package / "cli" / "project").iterdir(), package / "tree.schema.json"]
    for template in sorted(templates, key=lambda template: template.name):
        target = directory / template.name.removesuffix(".txt")
        target.write_text(template.read_text(encoding="utf-8"), encoding="utf-8")
        yield target
