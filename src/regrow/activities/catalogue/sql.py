"""`sql_query`: one statement on a database that the operator names.

A document says which database by its name and never sees its address. Values reach the database as
parameters, not as text of the statement. Unless `write` is said, the transaction is read-only and
rolled back: a guard against mistakes; what a document may read and change is for the rights of the
database's user to say. Each task has a connection of its own, closed at its end.
"""

import asyncio
import base64
import json
import math
import os
import re
import socket
import sqlite3
import ssl
from collections.abc import AsyncGenerator, Awaitable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any, Final, cast
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from regrow.activities.catalogue.failures import (
    AUTHENTICATION_ERROR,
    CONNECTION_ERROR,
    NOT_FOUND,
    TLS_ERROR,
)
from regrow.core.durations import Duration
from regrow.core.limits import MIB
from regrow.core.models import Json
from regrow.core.result import json_size
from regrow.core.wire import ErrorType
from regrow.executors import TaskContext, TaskError, executor_register
from regrow.settings import load_settings

if TYPE_CHECKING:
    import aiosqlite
    from sqlalchemy import Connection, CursorResult, TextClause
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

SQL_ERROR: Final = "sql_error"
ERRORS: Final = {
    SQL_ERROR: "The database refused the statement; `sqlstate` (PostgreSQL) or `sqlite_error` is"
    " metadata. Retried where another attempt can help: a deadlock, a serialization failure, a"
    " lock, a server that is full or stops.",
}

MAX_BYTES: Final = MIB
"""Of all rows, as JSON; what is larger belongs into a table or a store, not into history."""

_KEY: Final = "idempotency_key"
_BATCH: Final = 100
_REASON_CHARS: Final = 500
_SHORTEST_SECRET: Final = 4
_LOCK_WAIT: Final = 5.0
"""Seconds that SQLite waits for a lock, as it does by default; no cancel reaches it there."""
_STEPS: Final = 10_000
"""Of SQLite's machine, between two looks for a cancel."""

_RETRYABLE_STATES: Final = ("08", "40", "53", "55P03", "57014", "57P")
_RETRYABLE_SQLITE: Final = (
    "SQLITE_BUSY",
    "SQLITE_FULL",
    "SQLITE_IOERR",
    "SQLITE_LOCKED",
    "SQLITE_NOMEM",
)
_READ_ONLY: Final = ("25006", "SQLITE_READONLY")
_TEXT_TYPES: Final = ("date", "interval", "numeric", "time", "timestamp", "timestamptz", "timetz")

_TELLS: Final = re.compile("(info|list|check)$")
"""PRAGMAs whose argument is a question, such as `table_info(users)`."""
_QUERIES: Final = {"select", "values", "table", "show", "explain", "pragma"}
_CHANGES: Final = {"insert", "update", "delete", "merge", "replace"}

Values = dict[str, Json]


class SqlQuery(BaseModel):
    """What to ask, and of which database."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)

    connection: str
    """A name of the operator's: `main` is what `REGROW_SQL_CONNECTIONS__MAIN` says."""
    query: Annotated[str, Field(min_length=1)]
    r"""One statement. A parameter is written `:name`, a colon that begins none `\:`, and a list
    without brackets: `WHERE id IN :ids`. With a type it is `CAST(:day AS date)`, not `:day::date`.
    """
    parameters: Values | Annotated[list[Values], Field(min_length=1)] = Field(
        default_factory=dict[str, Json]
    )
    """By name; those that the statement doesn't name are left out. A mapping is given as JSON text.
    A list of such mappings runs the statement once for each, all or none, and gives no rows."""
    write: bool = False
    """Whether it may change anything; else the transaction is read-only and rolled back."""
    max_rows: Annotated[int, Field(ge=1, le=10_000)] = 1_000
    """Rows that are given at most; they take 1 MiB at most, too."""
    timeout: Duration = timedelta(seconds=30)
    """For everything, from the connection to the commit."""

    @model_validator(mode="after")
    def _lists_are_for_one(self) -> "SqlQuery":
        if isinstance(self.parameters, list) and any(
            isinstance(value, list) for values in self.parameters for value in values.values()
        ):
            message = "a parameter may be a list only where the statement runs once"
            raise PydanticCustomError("parameters", message)
        return self


class SqlResult(BaseModel):
    """What the database gave.

    Numbers of type `numeric`, UUIDs, dates (ISO 8601) and intervals are texts, bytes are base64,
    JSON is JSON, and what JSON has no form for, `NaN` included, is a text.
    """

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    columns: list[str]
    """Empty for a statement that gives no rows."""
    rows: list[dict[str, Json]]
    row_count: int | None
    """Rows given or, without columns, changed; null where the database doesn't say."""
    truncated: bool
    """Whether there were more rows than are given."""


@executor_register(
    "sql_query",
    heartbeat_timeout="30s",
    tags=("sql",),
    requires={
        "sqlalchemy": "regrow[sql]",
        "aiosqlite": "regrow[sql]",
        "asyncpg": "regrow[sql]",
    },
    examples=(
        {
            "connection": "main",
            "query": "SELECT id, name FROM users WHERE id IN :user_ids",
            "parameters": {"user_ids": [1, 2, 3]},
        },
        {
            "connection": "main",
            "query": "INSERT INTO payments (key, amount) VALUES (:idempotency_key, :amount)"
            " ON CONFLICT (key) DO NOTHING",
            "parameters": {"amount": 12},
            "write": True,
        },
    ),
    demo={
        "columns": ["id", "name"],
        "rows": [{"id": 1, "name": "Ann"}, {"id": 2, "name": "Bob"}],
        "row_count": 2,
        "truncated": False,
    },
)
async def sql_query(inputs: SqlQuery, context: TaskContext) -> SqlResult:
    """Run one statement on PostgreSQL or SQLite and return its rows.

    The operator names the databases: `REGROW_SQL_CONNECTIONS__MAIN=postgresql://…` (or
    `sqlite:////path`) for one that is called `main`. Without `write: true` no table is changed, and
    it is safe to repeat; give the database's user no right to more than you mean. With it, a commit
    whose answer is lost is repeated: write what may be repeated, or keep the task's key, which
    `:idempotency_key` always is: `INSERT … VALUES (:idempotency_key, …) ON CONFLICT (key) DO
    NOTHING`. Retried are timeouts, lost connections, deadlocks, serialization failures, locks and
    servers that are full. A timeout or a cancel ends the statement in the database, and nothing is
    changed unless the commit had begun. SQLite may open no other file (`ATTACH`, `VACUUM`) and set
    no `PRAGMA`.
    """
    url = _url(inputs.connection)
    many = inputs.parameters if isinstance(inputs.parameters, list) else [inputs.parameters]
    values = [{_KEY: context.idempotency_key, **each} for each in many]
    try:
        async with asyncio.timeout(inputs.timeout.total_seconds()):
            return await _query(url, inputs, values)
    except TaskError:
        raise
    except TimeoutError:
        limit = inputs.timeout.total_seconds()
        message = f"{inputs.connection}: not done within the timeout of {limit:g}s"
        raise TaskError(message, error_type=ErrorType.TIMEOUT, retryable=True) from None
    except Exception as error:  # noqa: BLE001 - of three libraries; they show values and addresses
        raise _failure(error, inputs) from None


def _url(name: str) -> str:
    connections = load_settings().sql_connections
    if name not in connections:
        known = f"it knows {', '.join(sorted(connections))}" if connections else "it knows none"
        message = (
            f"this worker knows no database '{name}'; {known}. Its operator names one by"
            " REGROW_SQL_CONNECTIONS__NAME"
        )
        raise TaskError(message, error_type=NOT_FOUND)
    return connections[name].get_secret_value()


async def _query(url: str, inputs: SqlQuery, values: Sequence[Values]) -> SqlResult:
    query = _with_empty_lists(inputs.query, values[0]) if _is_postgresql(url) else inputs.query
    statement, many = _statement(query, values)
    async with _connected(url, inputs) as connection:
        result = await connection.run_sync(_run, statement, many, inputs)
        if inputs.write:
            await connection.commit()
    return result


def _is_postgresql(url: str) -> bool:
    return url.partition(":")[0].partition("+")[0] in ("postgresql", "postgres")


def _with_empty_lists(query: str, values: Values) -> str:
    """Say "none of them" without a type, which PostgreSQL would compare with the column's."""
    for name in (name for name, value in values.items() if value == []):
        place = rf"IN\s+:{re.escape(name)}\b"
        query = re.sub(rf"\bNOT\s+{place}", "<> ALL ('{}')", query, flags=re.IGNORECASE)
        query = re.sub(rf"\b{place}", "= ANY ('{}')", query, flags=re.IGNORECASE)
    return query


def _statement(query: str, values: Sequence[Values]) -> tuple["TextClause", list[dict[str, Any]]]:
    """Give the statement and, of the values, what it names."""
    import sqlalchemy  # noqa: PLC0415 - an extra, for those who have a database

    statement = sqlalchemy.text(query)
    names = tuple(statement.compile().params)
    for each in values:
        if missing := [name for name in names if name not in each]:
            message = (
                f"the query names :{missing[0]}, which isn't among its parameters; a colon that"
                r" begins no parameter is written \:"
            )
            raise TaskError(message, error_type=ErrorType.VALIDATION)
    lists = [name for name in names if any(isinstance(each[name], list) for each in values)]
    for name in lists:
        inside: sqlalchemy.BindParameter[Any] = sqlalchemy.bindparam(name, expanding=True)
        statement = statement.bindparams(inside)
    return statement, [{name: _given(each[name]) for name in names} for each in values]


def _given(value: Json) -> Any:
    if isinstance(value, list):
        return [_given(each) for each in value]
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else value


@asynccontextmanager
async def _connected(url: str, inputs: SqlQuery) -> AsyncGenerator["AsyncConnection"]:
    """Connect, and make the connection ready; whatever isn't committed is rolled back."""
    if _is_postgresql(url):
        engine, prepare = _postgresql(url, inputs), _prepare_postgresql
    elif url.startswith("sqlite"):
        engine, prepare = _sqlite(url, inputs), _prepare_sqlite
    else:
        message = (
            f"the database '{inputs.connection}' of this worker is of a kind that sql_query cannot"
            " open; its URL has to begin with postgresql:// or sqlite:///"
        )
        raise TaskError(message, error_type=SQL_ERROR)
    async with engine.connect() as connection:
        driver = (await connection.get_raw_connection()).driver_connection
        await prepare(cast("Any", driver), inputs)
        yield await connection.execution_options(postgresql_readonly=not inputs.write)


def _engine(dialect: str, connect: Any) -> "AsyncEngine":
    from sqlalchemy.ext.asyncio import create_async_engine  # noqa: PLC0415
    from sqlalchemy.pool import NullPool  # noqa: PLC0415

    return create_async_engine(
        f"{dialect}://", async_creator=connect, poolclass=NullPool, hide_parameters=True
    )


def _postgresql(url: str, inputs: SqlQuery) -> "AsyncEngine":
    """The driver reads the URL itself, with all that PostgreSQL's own tools know in it."""
    asyncpg: Any = import_module("asyncpg")  # which has no types
    dsn = f"postgresql:{url.partition(':')[2]}"
    limit = inputs.timeout.total_seconds()

    async def connect() -> Any:
        try:
            return await asyncpg.connect(dsn, timeout=limit)
        except ValueError:
            message = f"the URL of the database '{inputs.connection}' of this worker is no URL"
            raise TaskError(message, error_type=SQL_ERROR) from None

    return _engine("postgresql+asyncpg", connect)


async def _prepare_postgresql(driver: Any, _: SqlQuery) -> None:
    """Hand texts over as they are for types that JSON has none for; the server reads them."""
    for name in _TEXT_TYPES:
        await driver.set_type_codec(
            name, schema="pg_catalog", encoder=str, decoder=_iso, format="text"
        )
    for name in ("json", "jsonb"):
        await driver.set_type_codec(
            name, schema="pg_catalog", encoder=str, decoder=json.loads, format="text"
        )


def _iso(text: str) -> str:
    """`2026-05-31 10:00:00+02` → `2026-05-31T10:00:00+02:00`; other texts stay as they are."""
    text = re.sub(r"^(\d{4,}-\d\d-\d\d) (?=\d)", r"\1T", text)
    return re.sub(r"(?<=[\d:.])([+-]\d\d)$", r"\1:00", text) if ":" in text else text


def _sqlite(url: str, inputs: SqlQuery) -> "AsyncEngine":
    import aiosqlite  # noqa: PLC0415
    from sqlalchemy import make_url  # noqa: PLC0415

    path = quote(make_url(url).database or ":memory:")
    mode = "rwc" if inputs.write else "rw"  # who reads makes no file
    wait = min(_LOCK_WAIT, inputs.timeout.total_seconds() / 2)

    def connect() -> Awaitable["aiosqlite.Connection"]:
        return aiosqlite.connect(f"file:{path}?mode={mode}", uri=True, timeout=wait)

    return _engine("sqlite+aiosqlite", connect)


async def _prepare_sqlite(driver: "aiosqlite.Connection", inputs: SqlQuery) -> None:
    """Keep the statement inside its file, and end it when the task is cancelled."""
    task = asyncio.current_task()

    def unwanted() -> bool:
        return task is not None and task.cancelling() > 0

    def allow(action: int, name: str | None, value: str | None, *_: object) -> int:
        sets = action == sqlite3.SQLITE_PRAGMA and value and not _TELLS.search(name or "")
        return sqlite3.SQLITE_DENY if sets or action == sqlite3.SQLITE_ATTACH else sqlite3.SQLITE_OK

    await driver.set_progress_handler(cast("Any", unwanted), _STEPS)
    await driver.execute(f"PRAGMA query_only = {int(not inputs.write)}")
    await driver.set_authorizer(allow)


def _run(
    connection: "Connection",
    statement: "TextClause",
    values: list[dict[str, Any]],
    inputs: SqlQuery,
) -> SqlResult:
    """Run on SQLAlchemy's side, where its driver's waits look like plain calls."""
    if connection.dialect.name == "postgresql":
        _limit(connection, inputs.timeout)
    if isinstance(inputs.parameters, list):
        return _changed(connection.execute(statement, values))
    streamed = _gives_rows(inputs.query)  # a plain one would take in all rows that there are
    options = connection.execution_options(stream_results=streamed, max_row_buffer=_BATCH)
    result = options.execute(statement, values[0])
    return _fetched(result, inputs.max_rows) if result.returns_rows else _changed(result)


def _gives_rows(query: str) -> bool:
    """Tell by its words; of a statement that is mistaken for a query, the count is lost."""
    words = re.findall(r"\w+", re.sub(r"--[^\n]*|/\*.*?\*/", " ", query, flags=re.DOTALL).lower())
    if "returning" in words or words[:1] == ["with"]:
        return "returning" in words or not set(words) & _CHANGES
    return bool(set(words[:1]) & _QUERIES)


def _limit(connection: "Connection", timeout: timedelta) -> None:
    """Have the server end the statement itself, should this worker be gone by then."""
    milliseconds = max(1, math.ceil(timeout.total_seconds() * 1000))
    connection.exec_driver_sql(
        f"SELECT set_config('statement_timeout', '{milliseconds}', true) FROM pg_settings"  # noqa: S608
        f" WHERE name = 'statement_timeout' AND setting::bigint NOT BETWEEN 1 AND {milliseconds}"
    )


def _changed(result: "CursorResult[Any]") -> SqlResult:
    count = result.rowcount if result.rowcount >= 0 else None
    return SqlResult(columns=[], rows=[], row_count=count, truncated=False)


def _fetched(result: "CursorResult[Any]", max_rows: int) -> SqlResult:
    columns = list(result.keys())
    if twice := next((name for name in columns if columns.count(name) > 1), None):
        message = f"two columns are called '{twice}'; give one of them another name with AS"
        raise TaskError(message, error_type=SQL_ERROR)
    rows: list[dict[str, Json]] = []
    size, truncated = 0, False
    for row in _each(result):
        named = dict(zip(columns, map(_json, row), strict=True))
        size += json_size(named) + 1
        if truncated := len(rows) == max_rows or size > MAX_BYTES:
            break
        rows.append(named)
    result.close()
    if truncated and not rows:
        message = f"one row takes {size:,} bytes as JSON; at most {MAX_BYTES:,} are given"
        raise TaskError(message, error_type=ErrorType.PAYLOAD_TOO_LARGE)
    return SqlResult(columns=columns, rows=rows, row_count=len(rows), truncated=truncated)


def _each(result: "CursorResult[Any]") -> Iterator[Sequence[Any]]:
    while batch := result.fetchmany(_BATCH):
        yield from batch


def _json(value: Any) -> Json:
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if math.isfinite(value) else _ODD[str(value)]
        case bytes():
            return base64.b64encode(value).decode()
        case Mapping():
            return {str(key): _json(each) for key, each in value.items()}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
        case list() | tuple():
            return [_json(each) for each in cast("Iterable[Any]", value)]
        case _:
            return str(value)


_ARGUMENT: Final = re.compile(
    r"invalid input for query argument (\$\d+)[^:]*: .*\(((?:[^()]|\([^()]*\))*)\)$"
)
"""The driver's words: which parameter, its value (cut, so it can't be replaced), the reason."""
_ODD: Final = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}


def _failure(error: Exception, inputs: SqlQuery) -> TaskError:
    cause = _cause(error)
    if isinstance(cause, sqlite3.Error):
        return _sqlite_failure(cause, inputs)
    state = getattr(cause, "sqlstate", None)
    if isinstance(state, str):
        return _postgresql_failure(cause, state, inputs)
    return _lost(cause, inputs.connection)


def _cause(error: BaseException) -> BaseException:
    """Give what the driver raised, without SQLAlchemy's wrapping, which shows the statement."""
    inner = getattr(error, "orig", None)
    if isinstance(inner, BaseException):
        return inner.__cause__ or inner
    return error


def _postgresql_failure(cause: BaseException, state: str, inputs: SqlQuery) -> TaskError:
    message = f"{inputs.connection}: {_reason(cause, inputs)}"
    if state.startswith("28"):
        return TaskError(message, error_type=AUTHENTICATION_ERROR, sqlstate=state)
    hint = "; say write: true if it shall" if state in _READ_ONLY and not inputs.write else ""
    return TaskError(
        message + hint,
        error_type=CONNECTION_ERROR if state.startswith("08") else SQL_ERROR,
        retryable=state.startswith(_RETRYABLE_STATES),
        sqlstate=state,
    )


def _sqlite_failure(cause: sqlite3.Error, inputs: SqlQuery) -> TaskError:
    code = getattr(cause, "sqlite_errorname", "SQLITE_MISUSE")
    message = f"{inputs.connection}: {_reason(cause, inputs)}"
    if code.startswith("SQLITE_CANTOPEN"):
        return TaskError(message, error_type=CONNECTION_ERROR, retryable=True, sqlite_error=code)
    if code == "SQLITE_AUTH":
        message = f"{inputs.connection}: a statement may open no other file and set no PRAGMA"
        return TaskError(message, error_type=ErrorType.NOT_ALLOWED, sqlite_error=code)
    hint = "; say write: true if it shall" if code in _READ_ONLY and not inputs.write else ""
    return TaskError(
        message + hint,
        error_type=SQL_ERROR,
        retryable=code.startswith(_RETRYABLE_SQLITE),
        sqlite_error=code,
    )


def _lost(cause: BaseException, name: str) -> TaskError:
    """Tell of what no database said; such texts show addresses, so they are told in ours."""
    if isinstance(cause, ssl.SSLError) or "rejected SSL upgrade" in str(cause):
        message = f"{name}: no encrypted connection: the server has no TLS, or no valid certificate"
        return TaskError(message, error_type=TLS_ERROR)
    if isinstance(cause, OSError):
        message = f"{name}: no connection to the database: {_system_reason(cause)}"
        return TaskError(message, error_type=CONNECTION_ERROR, retryable=True)
    if type(cause).__name__ == "InterfaceError":
        message = f"{name}: the connection to the database broke"
        return TaskError(message, error_type=CONNECTION_ERROR, retryable=True)
    if isinstance(cause, OverflowError):
        message = f"{name}: a number among the parameters is too large for the database"
        return TaskError(message, error_type=SQL_ERROR)
    message = (
        f"{name}: the driver cannot handle the statement, a parameter or a value"
        f" ({type(cause).__name__}); a value of an unusual type can be read by CAST(value AS text)"
    )
    return TaskError(message, error_type=SQL_ERROR)


def _system_reason(error: OSError) -> str:
    """Say it without the address, which asyncio writes into an error's own text."""
    if isinstance(error, socket.gaierror):
        return "its host cannot be found"
    return os.strerror(error.errno) if error.errno else type(error).__name__


def _reason(cause: BaseException, inputs: SqlQuery) -> str:
    """Give the first line of what the database said, without the values that it repeats."""
    text = str(cause).strip().partition("\n")[0]
    if found := _ARGUMENT.match(text):
        text = f"invalid input for parameter {found[1]} of the query: {found[2]}"
    many = inputs.parameters if isinstance(inputs.parameters, list) else [inputs.parameters]
    for secret in sorted(set(_texts(many)), key=len, reverse=True):
        if len(secret) >= _SHORTEST_SECRET:
            text = text.replace(secret, "***")
    return text[:_REASON_CHARS]


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | dict):
        for each in value.values() if isinstance(value, dict) else value:  # pyright: ignore[reportUnknownVariableType]
            yield from _texts(each)
