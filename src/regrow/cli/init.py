"""A small project that runs, for `regrow init`; the files are packaged beside this module."""

from collections.abc import Iterator, Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Final

_SUFFIX: Final = ".txt"
"""Keeps tools from taking a template for a part of this package."""


class FilesExist(Exception):  # noqa: N818 - a state of the directory, not a failure
    """Nothing was written, since `files` are there already."""

    def __init__(self, files: list[Path]) -> None:
        super().__init__(f"{', '.join(map(str, files))} would be overwritten")
        self.files = files


def write_project(directory: Path) -> list[Path]:
    """Write the project and give its files; raises `FilesExist` before anything is written."""
    texts = {directory / name: text for name, text in _templates().items()}
    there = [file for file in texts if file.exists()]
    if there:
        raise FilesExist(there)
    for file, text in texts.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    return list(texts)


def _templates() -> Mapping[str, str]:
    package = files("regrow")
    found = dict(_below(package / "cli" / "project"))
    found["tree.schema.json"] = (package / "tree.schema.json").read_text(encoding="utf-8")
    return dict(sorted(found.items()))


def _below(folder: Traversable, path: str = "") -> Iterator[tuple[str, str]]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _below(entry, f"{path}{entry.name}/")
        else:
            name = entry.name.removesuffix(_SUFFIX)
            yield f"{path}{name}", entry.read_text(encoding="utf-8")
