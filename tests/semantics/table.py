"""Reads docs/semantics.md: its tables, the trees in them, and the cells of the truth table.

The page is the one source of the rules; nothing about them is repeated here.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any, Final, NoReturn, cast

from regrow.client.yaml_text import parse_yaml
from regrow.core.durations import parse_duration
from regrow.core.script import Act, approves, fails, hangs, rejects, returns, sends

PAGE: Final = Path(__file__).parents[2] / "docs" / "semantics.md"
NONE: Final = "–"  # noqa: RUF001 - as the page writes it
KINDS: Final = ("plain", "map", "sub-tree", "group")

_EDGE = re.compile(r"([^\s?]+)(\??)(?: into (\S+))?")
_PIECE = re.compile(
    r"(?P<path>[^\s(]+)(?:\((?P<edges>[^)]*)\))?(?: in (?P<parent>\S+))?(?P<rest>.*)"
)
_LASTS = re.compile(r" after (\S+)")
_END = re.compile(r"(?P<unit>\S+) (?P<status>\w+)(?: \((?P<details>[^)]*)\))?(?:, |$)")

Row = dict[str, str]


@dataclass(frozen=True)
class Table:
    """One table of the page; `title` is the nearest heading above it."""

    title: str
    header: tuple[str, ...]
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class End:
    """How a task is said to end."""

    status: str
    details: tuple[str, ...] = ()


@dataclass
class Scenario:
    """A tree, and what happens while it runs."""

    document: dict[str, Any] = field(default_factory=lambda: {"name": "tree", "tasks": []})
    acts: dict[str, Act] = field(default_factory=dict[str, Act])
    """By unit of work, or by task for all its items."""
    cancelled: tuple[str, ...] = ()
    """Tasks that are cancelled by themselves."""
    cancel_after: float | None = None

    def act(self, unit: str) -> Act:
        """What a unit of work does; what is said of a task holds for all its items."""
        task = re.sub(r"\[\d+\]$", "", unit)
        keys = (unit, task, re.sub(r"\[\d+\]", "", unit))
        return next((self.acts[key] for key in keys if key in self.acts), returns())


@dataclass(frozen=True)
class Cell:
    """One cell of the truth table: a tree, and all that the page says of it."""

    upstream: str
    edge: str
    when: str
    kind: str
    written: tuple[str, ...]
    up: End
    tolerated: bool
    """Whether a failure of the upstream leaves the tree unharmed."""
    down: End
    because: str
    given: dict[str, Any] | None
    tree: str

    @property
    def id(self) -> str:
        upstream = self.upstream.replace(" ", "_")
        return f"{upstream}-{self.edge}-when_{self.when}-{self.kind}"

    @property
    def gets(self) -> dict[str, Any]:
        """What whoever runs for `down` is given, by unit of work."""
        if self.given is None:
            return {}
        return dict.fromkeys(_RUNS[self.kind], self.given)


_RUNS: Final[Mapping[str, tuple[str, ...]]] = {
    "plain": ("down",),
    "map": ("down[0]", "down[1]"),
    "sub-tree": ("down/inner",),
    "group": ("member",),
}


# --- the page


def tables() -> list[Table]:
    """Every table, in the page's order."""
    return list(_tables(PAGE.read_text().splitlines()))


def cells() -> list[Cell]:
    """Every cell of the truth table, in the page's order."""
    found = tables()
    parts = {name: _parts(found, name) for name in ("upstream", "edge", "when", "kind")}
    return [
        _cell(parts, table.title.removeprefix("Upstream: "), row, kind)
        for table in found
        if table.title.startswith("Upstream: ")
        for row, kind in product(table.rows, KINDS)
    ]


def rules() -> list[tuple[str, Row]]:
    """Every further row that gives a tree, with the heading it stands under."""
    return [
        (table.title, row)
        for table in tables()
        if table.header[:2] == ("rule", "written")
        for row in table.rows
    ]


def pieces(text: str) -> tuple[str, ...]:
    """What stands in backticks."""
    return tuple(re.findall(r"`([^`]+)`", text))


def ends(text: str) -> dict[str, End]:
    """Read `a completed, b skipped (dependency: a)`."""
    plain = text.replace("`", "")
    found = list(_END.finditer(plain))
    if "".join(match[0] for match in found) != plain:
        _unreadable(text)
    return {
        match["unit"]: End(match["status"], tuple((match["details"] or "").split("; ")))
        if match["details"]
        else End(match["status"])
        for match in found
    }


def values(text: str) -> dict[str, Any]:
    """Read a mapping in backticks."""
    return json.loads(text.strip("`"))


def _tables(lines: list[str]) -> Iterator[Table]:
    title, block = "", list[list[str]]()
    for line in [*lines, ""]:
        if line.startswith("|"):
            block.append([each.strip() for each in line.strip("|").split("|")])
            continue
        if block:
            header, rows = block[0], block[2:]
            yield Table(
                title, tuple(header), tuple(dict(zip(header, row, strict=True)) for row in rows)
            )
            block = []
        if line.startswith("#"):
            title = line.lstrip("# ")


def _parts(found: list[Table], name: str) -> dict[str, Row]:
    """The table that says how one part of a cell is written."""
    table = next(table for table in found if table.header[:2] == (name, "written"))
    return {row[name]: row for row in table.rows}


def _cell(parts: Mapping[str, Mapping[str, Row]], upstream: str, row: Row, kind: str) -> Cell:
    chosen = {"upstream": upstream, "edge": row["edge"], "when": row["when"], "kind": kind}
    written = [parts[name][value]["written"] for name, value in chosen.items()]
    return Cell(
        **chosen,
        written=tuple(piece for text in written for piece in pieces(text)),
        up=ends(parts["upstream"][upstream]["ends"])["up"],
        tolerated=parts["edge"][row["edge"]]["a failure of `up`"] == "is tolerated",
        down=ends(f"down {row['status']}")["down"],
        because=row["because"],
        given=None if row[kind] == NONE else values(row[kind]),
        tree=row["tree"],
    )


# --- trees in short form


def scenario(written: tuple[str, ...]) -> Scenario:
    """Make the document, and what happens, from the short form."""
    made = Scenario()
    for piece in written:
        if piece.startswith("cancelled after "):
            made.cancel_after = _seconds(piece.removeprefix("cancelled after "))
            continue
        match = _PIECE.fullmatch(piece) or _unreadable(piece)
        path, rest = match["path"], match["rest"]
        act, fields = _act_and_fields(path, rest, made)
        if act is not None:
            made.acts[path] = act
        if path == "tree" or path.endswith("/tree"):
            _tree_at(made.document, path.split("/")[:-1]).update(fields)
        elif not set("[~") & set(path):
            edges = [] if match["edges"] is None else [_edge(e) for e in match["edges"].split(", ")]
            parent = {} if match["parent"] is None else {"parent_id": match["parent"]}
            task = _task_at(made.document, path.split("/"))
            task["dependencies"] += edges
            task.update({**parent, **fields})
    return made


def _tree_at(document: dict[str, Any], path: list[str]) -> dict[str, Any]:
    """The sub-tree of a task, which this makes a task that has one."""
    for task_id in path:
        task = _task_at(document, [task_id])
        task.pop("executor", None)
        document = task.setdefault("tree", {"tasks": []})
    return document


def _task_at(document: dict[str, Any], path: list[str]) -> dict[str, Any]:
    tasks = cast("list[dict[str, Any]]", _tree_at(document, path[:-1])["tasks"])
    known = [task for task in tasks if task["id"] == path[-1]]
    if not known:
        tasks.append({"id": path[-1], "executor": "work", "dependencies": []})
    return known[0] if known else tasks[-1]


def _edge(written: str) -> dict[str, Any]:
    task_id, optional, into = (_EDGE.fullmatch(written) or _unreadable(written)).groups()
    key = {} if into is None else {"into": None if into == "null" else into}
    return {"id": task_id, "required": not optional, **key}


def _act_and_fields(path: str, rest: str, made: Scenario) -> tuple[Act | None, dict[str, Any]]:
    act, rest = _act(path, rest.strip(), made)
    lasts = _LASTS.match(rest)
    if lasts and act is not None:
        act = replace(act, seconds=_seconds(lasts[1]))
        rest = rest[lasts.end() :]
    fields: Any = parse_yaml(rest or "{}")
    return act, cast("dict[str, Any]", fields) if isinstance(fields, dict) else _unreadable(rest)


def _act(path: str, text: str, made: Scenario) -> tuple[Act | None, str]:
    """Read the verb; gives the act, if there is one, and what follows."""
    verb, _, rest = text.partition(" ")
    if verb in ("returns", "sends"):
        value, end = json.JSONDecoder().raw_decode(rest)
        return (returns if verb == "returns" else sends)(value), rest[end:]
    if verb == "takes":
        seconds, _, rest = rest.partition(" ")
        return returns(seconds=_seconds(seconds)), rest
    if verb in _VERBS:
        return _VERBS[verb], text.removeprefix(verb)
    if text.startswith("is cancelled"):
        made.cancelled = (*made.cancelled, path)
        return None, text.removeprefix("is cancelled")
    return None, text


_VERBS: Final[Mapping[str, Act]] = {
    "fails": fails(),
    "hangs": hangs(),
    "approves": approves(),
    "rejects": rejects(),
}


def _seconds(written: str) -> float:
    return parse_duration(written).total_seconds()


def _unreadable(text: str) -> NoReturn:
    message = f"docs/semantics.md: cannot read {text!r}"
    raise ValueError(message)
