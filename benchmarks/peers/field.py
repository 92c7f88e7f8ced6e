"""Who takes part, on what storage, and in what shapes of work."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Final

from benchmarks.peers.environments import Environment
from benchmarks.shapes import Shape, chain, fan, layered

_SQLITE_WAL: Final = "SQLite, WAL, synchronous=NORMAL"
_A_KILL: Final = "a killed process"
_A_POWER_CUT: Final = "a power cut"


@dataclass(frozen=True, slots=True)
class Peer:
    """A product, used in one way."""

    name: str
    title: str
    program: str
    storage: str
    survives: str
    """What finished tasks survive."""
    arguments: tuple[str, ...] = ()
    environment: Environment | None = None
    """None for this one."""
    most: int | None = None
    """At most so many repetitions, for those that take minutes."""


@dataclass(frozen=True, slots=True)
class Course:
    """A shape of work, and how often one program runs it; its figure is the median."""

    name: str
    title: str
    shape: Shape
    times: int = 1


_DBOS: Final = Environment("dbos", ("dbos==3.4.0", "SQLAlchemy==2.1.9"))
_RESTATE: Final = Environment(
    "restate",
    ("restate-sdk[client]==1.2.0", "hypercorn==0.18.0"),
    ("@restatedev/restate-server@1.7.12",),
)
_PREFECT: Final = Environment(
    "prefect", ("prefect==3.9.1", "fastapi==0.150.0", "starlette==1.10.0", "SQLAlchemy==2.1.9")
)
_DAGSTER: Final = Environment("dagster", ("dagster==1.13.28", "SQLAlchemy==2.1.9"))
_APFLOW: Final = Environment("apflow", ("apflow==0.24.0", "greenlet==3.5.6", "SQLAlchemy==2.1.9"))
_AIPARTNERUPFLOW: Final = Environment(
    "aipartnerupflow",
    ("aipartnerupflow==0.9.0", "greenlet==3.5.6", "SQLAlchemy==2.1.9", "duckdb==2.0.1"),
)

PEERS: Final[Sequence[Peer]] = (
    Peer("regrow", f"Regrow {version('regrow')}", "regrow", _SQLITE_WAL, _A_KILL),
    Peer(
        "regrow-local",
        "Regrow, tasks with `local: true`",
        "regrow",
        _SQLITE_WAL,
        _A_KILL,
        ("local",),
    ),
    Peer(
        "temporal",
        f"Temporal by hand, SDK {version('temporalio')}",
        "temporal",
        _SQLITE_WAL,
        _A_KILL,
    ),
    Peer(
        "restate",
        "Restate 1.7.12",
        "restate",
        "RocksDB, its log synced",
        _A_POWER_CUT,
        environment=_RESTATE,
    ),
    Peer(
        "dbos",
        "DBOS 3.4.0",
        "dbos",
        "SQLite, rollback journal, synchronous=FULL",
        _A_POWER_CUT,
        environment=_DBOS,
    ),
    Peer("dbos-wal", "DBOS 3.4.0, WAL", "dbos", _SQLITE_WAL, _A_KILL, ("wal",), _DBOS),
    Peer(
        "prefect",
        "Prefect 3.9.1",
        "prefect",
        f"{_SQLITE_WAL}; results in files, not synced",
        _A_KILL,
        environment=_PREFECT,
    ),
    Peer(
        "dagster",
        "Dagster 1.13.28",
        "dagster",
        "SQLite, WAL, each commit synced; results in files, not synced",
        _A_KILL,
        environment=_DAGSTER,
        most=1,
    ),
    Peer("apflow", "apflow 0.24.0", "apflow", _SQLITE_WAL, _A_KILL, ("apflow",), _APFLOW, most=1),
    Peer(
        "aipartnerupflow",
        "aipartnerupflow 0.9.0",
        "apflow",
        "DuckDB, each commit synced",
        _A_POWER_CUT,
        ("aipartnerupflow",),
        _AIPARTNERUPFLOW,
        most=1,
    ),
)

COURSES: Final[Sequence[Course]] = (
    Course("fan-1000", "Fan of 1,000", fan(1000)),
    Course("chain-300", "Chain of 300", chain(300)),
    Course("layered-10x50", "10 layers of 50", layered(10, 50)),
    Course("latency-1", "1 task, p50", chain(1), times=21),
    Course("latency-3", "Chain of 3, p50", chain(3), times=21),
)
