"""Trees in files, with the file, line and column of every problem.

A sub-tree may stand in a file of its own: `tree: features.yaml` is read here and takes the place
of its name, so that what is checked, started and recorded is one whole document.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, cast

from regrow.client.files import MAX_JSON_BYTES, STDIN, File, read_file
from regrow.client.yaml_text import MAX_YAML_BYTES, Places
from regrow.core.limits import MIB
from regrow.core.loading import as_id, load
from regrow.core.models import TaskTree
from regrow.core.problems import InvalidTree, Problem, within
from regrow.core.problems import Path as Place

MAX_FILES: Final = 1_000
"""Files that one tree may include, each time it is named counted."""

_TREE: Final = "tree"


@dataclass(frozen=True, slots=True)
class Document:
    """A tree's file and the files of its sub-trees, read but not checked."""

    file: File
    value: Any
    """The whole, with every included file in its place."""
    parts: dict[Place, File] = field(default_factory=dict[Place, File])
    """The included files, by where they stand in the whole."""

    @property
    def name(self) -> str:
        """The file as it was given."""
        return self.file.name

    def tree(self) -> TaskTree:
        """Check it; raises `InvalidTree` whose problems have a line and a column."""
        try:
            _refuse_other(self.value)
            return load(self.value, name=self.file.stem)
        except InvalidTree as error:
            raise InvalidTree(self.place(error.problems)) from None

    def place(self, problems: Sequence[Problem]) -> list[Problem]:
        """Add file, line and column, and sort by them; over 1 MiB that would take minutes."""
        placed: list[Problem] = []
        for at, inside in self._by_file(problems):
            file = self.parts.get(at, self.file)
            small = len(file.text) <= MAX_YAML_BYTES
            placed += _placed(inside, file, at) if small else inside
        return placed

    def _by_file(self, problems: Sequence[Problem]) -> Iterator[tuple[Place, list[Problem]]]:
        innermost_first = sorted(self.parts, key=len, reverse=True)
        found: dict[Place, list[Problem]] = {}
        for problem in problems:
            around = (at for at in innermost_first if problem.path[: len(at)] == at)
            found.setdefault(next(around, ()), []).append(problem)
        for at in [(), *self.parts]:
            if at in found:
                yield at, found[at]


def read_document(path: str | Path) -> Document:
    """Read a tree from a file, or from standard input for `-`, with the files it includes.

    Raises `InvalidTree` for what cannot be parsed or included, and OSError for what cannot be read.
    """
    file = read_file(str(path))
    includes = _Includes(file)
    includes.fill(file.value, (), (file,))
    document = Document(file, file.value, includes.parts)
    if includes.problems:
        raise InvalidTree(document.place(includes.problems))
    return document


class _Includes:
    """Puts files in the place of their names, none of them outside the first one's directory."""

    def __init__(self, top: File) -> None:
        self.parts: dict[Place, File] = {}
        self.problems: list[Problem] = []
        self._root = None if top.name == STDIN else Path(top.name).resolve().parent
        self._bytes = len(top.text)

    def fill(self, tree: Any, place: Place, chain: tuple[File, ...]) -> None:
        """Fill in what a tree names; `chain` is the files around it, the innermost last."""
        inside: Any = cast("dict[str, Any]", tree).get("tasks") if isinstance(tree, dict) else tree
        where = (*place, "tasks") if isinstance(tree, dict) else place
        rest = _tasks(inside, where)
        for task, at in rest:  # grows while it is read
            rest += _tasks(task.get("children"), (*at, "children"))
            here = (*at, _TREE)
            subtree = task.get(_TREE)
            if isinstance(subtree, str):
                self._include(task, subtree, here, chain)
            elif subtree is not None:
                self.fill(subtree, here, chain)

    def _include(self, task: dict[str, Any], name: str, at: Place, chain: tuple[File, ...]) -> None:
        try:
            file = self._read(name, chain)
        except InvalidTree as error:
            self.problems += within(at, error.problems)
            return
        self.parts[at] = file
        tree: Any = file.value
        if isinstance(tree, dict) and (name := as_id(file.stem)):  # else its task's id
            cast("dict[str, Any]", tree).setdefault("name", name)
        task[_TREE] = tree
        self.fill(tree, at, (*chain, file))

    def _locate(self, name: str, chain: tuple[File, ...]) -> Path:
        """Find the file that a name means, if it is one that may be read."""
        if self._root is None:
            raise _refusal(name, "a tree from standard input names no files")
        path = Path(chain[-1].name).parent / name
        try:
            resolved = path.resolve()
            special = resolved.exists() and not resolved.is_file()
        except (OSError, RuntimeError, ValueError) as error:  # a ring of links, a NUL
            raise _refusal(name, f"it cannot be found: {error}") from None
        if special or str(path) == STDIN:
            raise _refusal(name, "it is no file")
        if not resolved.is_relative_to(self._root):
            raise _refusal(name, f"it is outside the directory of {chain[0].name}")
        if any(Path(file.name).resolve() == resolved for file in chain):
            raise _refusal(name, "a tree cannot be inside itself")
        return path

    def _read(self, name: str, chain: tuple[File, ...]) -> File:
        path = self._locate(name, chain)
        try:
            file = read_file(str(path))
        except OSError as error:
            raise _refusal(name, error.strerror or str(error)) from None
        except InvalidTree as error:
            raise InvalidTree(
                [replace(problem, file=str(path)) for problem in error.problems]
            ) from None
        if not isinstance(file.value, dict | list):
            raise _refusal(name, "it holds no tree")
        if len(self.parts) >= MAX_FILES:
            raise _refusal(name, f"the tree includes more than {MAX_FILES:,} files")
        self._bytes += len(file.text)
        if self._bytes > MAX_JSON_BYTES:
            raise _refusal(name, f"the files together are larger than {MAX_JSON_BYTES // MIB} MiB")
        return file


def _refuse_other(value: Any) -> None:
    """Refuse a file that holds no tree; raises `InvalidTree`."""
    if isinstance(value, dict | list):
        return
    what = "nothing" if value is None else "text" if isinstance(value, str) else f"only {value!r}"
    raise InvalidTree([Problem("tree", (), f"the file holds {what}, not a tree with its `tasks`")])


def _tasks(value: Any, where: Place) -> list[tuple[dict[str, Any], Place]]:
    """Give those that are mappings; what isn't is found wrong when the whole is checked."""
    tasks = cast("list[Any]", value) if isinstance(value, list) else []
    return [(task, (*where, at)) for at, task in enumerate(tasks) if isinstance(task, dict)]


def _refusal(name: str, reason: str) -> InvalidTree:
    return InvalidTree([Problem("tree", (), f"cannot include '{name}': {reason}")])


def _placed(problems: Sequence[Problem], file: File, at: Place) -> list[Problem]:
    places, name = Places(file.text), file.name if at else None
    named = [replace(problem, file=problem.file or name) for problem in problems]
    placed = [
        problem if problem.line is not None else problem.at(*places.of(problem.path[len(at) :]))
        for problem in named
    ]
    return sorted(placed, key=lambda problem: (problem.line or 0, problem.column or 0))
