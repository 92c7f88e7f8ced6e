"""`sql_query` on a real PostgreSQL server and a real SQLite file."""

import asyncio
import getpass
import shutil
import socket
import sqlite3
import subprocess
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from tests.executors.running import as_text, cancel_one, run_one

from regrow import Status, TreeClient
from regrow.activities.catalogue.sql import MAX_BYTES, SqlResult, sql_query
from regrow.executors import Registry, TaskContext, TaskError

SQL_QUERY = Registry(sql_query)["sql_query"]
PASSWORD = "pw-of-the-test-database"
SECRET = "s3cr3t-value-of-the-test"
ENDLESS = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT count(*) FROM c"

asyncpg: Any = import_module("asyncpg")  # which has no types


def _binaries() -> Path | None:
    """Find PostgreSQL's programs; Debian keeps them apart from PATH."""
    on_path = shutil.which("initdb")
    if on_path and shutil.which("postgres"):
        return Path(on_path).resolve().parent
    return max(Path("/usr/lib/postgresql").glob("*/bin"), default=None)


def _as_nobody() -> list[str]:
    """PostgreSQL refuses to run as root."""
    return ["runuser", "-u", "nobody", "--"] if getpass.getuser() == "root" else []


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A PostgreSQL server on a free port; gives its URL."""
    binaries = _binaries()
    if binaries is None:
        pytest.skip("PostgreSQL isn't installed: no initdb on PATH or in /usr/lib/postgresql")
    folder = Path(tempfile.mkdtemp(prefix="regrow-postgres-"))
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
    try:
        process = _start_postgres(binaries, folder, port)
        try:
            _wait_until_ready(binaries, port, process)
            yield f"postgresql://regrow:{PASSWORD}@127.0.0.1:{port}/postgres"
        finally:
            process.terminate()
            process.wait(30)
    finally:
        shutil.rmtree(folder)


def _start_postgres(binaries: Path, folder: Path, port: int) -> subprocess.Popen[bytes]:
    secret = folder / "password"
    secret.write_text(PASSWORD)
    if _as_nobody():
        for path in (folder, secret):
            shutil.chown(path, "nobody")
    data, run = str(folder / "data"), _as_nobody()
    initdb = [str(binaries / "initdb"), "-D", data, "-U", "regrow", "-A", "scram-sha-256"]
    options = ["-E", "UTF8", "--locale=C", "--no-sync", f"--pwfile={secret}"]
    subprocess.run([*run, *initdb, *options], check=True, capture_output=True, cwd="/")
    server = [str(binaries / "postgres"), "-D", data, "-p", str(port), "-F", "-k", ""]
    return subprocess.Popen(
        [*run, *server, "-c", "listen_addresses=127.0.0.1"], cwd="/", stderr=subprocess.DEVNULL
    )


def _wait_until_ready(binaries: Path, port: int, process: subprocess.Popen[bytes]) -> None:
    ask = [str(binaries / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port)]
    until = time.monotonic() + 60
    while subprocess.run(ask, check=False).returncode != 0:
        assert process.poll() is None
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.fixture
async def postgres(address: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Any]:
    """A connection of the test's own to an emptied database that is called `pg`."""
    monkeypatch.setenv("REGROW_SQL_CONNECTIONS__PG", address)
    connection = await _emptied(address)
    yield connection
    await connection.close()


async def _emptied(address: str) -> Any:
    connection = await asyncpg.connect(address)
    await connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    return connection


@pytest.fixture(autouse=True)
def lite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A SQLite file that is called `lite`."""
    file = tmp_path / "data base.db"
    sqlite3.connect(file).close()
    file.touch()
    monkeypatch.setenv("REGROW_SQL_CONNECTIONS__LITE", f"sqlite:///{file}")
    return file


@pytest.fixture(params=["pg", "lite"])
async def db(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """One database after the other, with a table of users."""
    if request.param == "pg":
        address = request.getfixturevalue("address")
        monkeypatch.setenv("REGROW_SQL_CONNECTIONS__PG", address)
        await (await _emptied(address)).close()
    await query(request.param, "CREATE TABLE users (id int PRIMARY KEY, name text)", write=True)
    rows = [{"id": n, "name": name} for n, name in enumerate(("Ann", "Bob", "Cid"), 1)]
    await query(request.param, "INSERT INTO users VALUES (:id, :name)", rows, write=True)
    return request.param


async def query(connection: str, text: str, parameters: Any = None, **inputs: Any) -> SqlResult:
    """Call as the host does: with JSON."""
    given: dict[str, Any] = {"connection": connection, "query": text, **inputs}
    if parameters is not None:
        given["parameters"] = parameters
    return await SQL_QUERY.call(given, TaskContext(tree_id="orders-7", task_id="pay"))


async def refusal(connection: str, text: str, parameters: Any = None, **inputs: Any) -> TaskError:
    with pytest.raises(TaskError) as raised:
        await query(connection, text, parameters, **inputs)
    return raised.value


async def value(connection: str, expression: str, parameters: Any = None) -> Any:
    result = await query(connection, f"SELECT {expression} AS it", parameters)
    return result.rows[0]["it"]


async def names(connection: str) -> list[Any]:
    return [row["name"] for row in (await query(connection, "SELECT name FROM users")).rows]


async def until(is_so: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(20):
        while not await is_so():  # noqa: ASYNC110 - others' state
            await asyncio.sleep(0.02)


async def sleepers(postgres: Any) -> int:
    """Count the statements that others run on the server."""
    text = "SELECT count(*) FROM pg_stat_activity WHERE state <> 'idle' AND query LIKE '%pg_sleep%'"
    return await postgres.fetchval(f"{text} AND pid <> pg_backend_pid()")


async def _threads(number: int) -> bool:
    """Tell whether so many connections to SQLite are at work: each has a thread."""
    named = [thread for thread in threading.enumerate() if "_connection_worker" in thread.name]
    return len(named) == number


# What is asked and given


async def test_a_query_gives_its_columns_and_rows(db: str) -> None:
    result = await query(db, "SELECT id, name FROM users WHERE id < :n", {"n": 3})

    assert result == SqlResult(
        columns=["id", "name"],
        rows=[{"id": 1, "name": "Ann"}, {"id": 2, "name": "Bob"}],
        row_count=2,
        truncated=False,
    )


@pytest.mark.parametrize(
    ("ids", "found"), [([1, 3], ["Ann", "Cid"]), ([2], ["Bob"]), ([], []), ([9], [])]
)
async def test_a_list_is_a_parameter_of_in(db: str, ids: list[int], found: list[str]) -> None:
    text = "SELECT name FROM users WHERE id IN :user_ids ORDER BY id"

    rows = (await query(db, text, {"user_ids": ids})).rows

    assert [row["name"] for row in rows] == found


async def test_an_empty_list_holds_nothing_whatever_the_columns_type(db: str) -> None:
    for column in ("id", "name"):
        inside = await query(db, f"SELECT id FROM users WHERE {column} IN :a", {"a": []})
        outside = await query(db, f"SELECT id FROM users WHERE {column} NOT IN :a", {"a": []})

        assert (inside.row_count, outside.row_count) == (0, 3)


async def test_values_are_no_text_of_the_statement(db: str) -> None:
    odd = "'; DROP TABLE users; --"

    await query(db, "UPDATE users SET name = :name WHERE id = 1", {"name": odd}, write=True)

    assert sorted(await names(db)) == sorted([odd, "Bob", "Cid"])


async def test_parameters_that_are_not_named_are_left_out(db: str) -> None:
    assert await value(db, "1", {"other": SECRET, "more": []}) == 1


async def test_a_write_says_how_many_rows_it_changed(db: str) -> None:
    changed = await query(db, "UPDATE users SET name = 'x' WHERE id > 1", write=True)

    assert (changed.row_count, changed.columns, changed.rows) == (2, [], [])
    assert sorted(await names(db)) == ["Ann", "x", "x"]


async def test_a_write_may_give_rows(db: str) -> None:
    text = "INSERT INTO users SELECT id + 10, name FROM users RETURNING id"

    result = await query(db, text, write=True, max_rows=2)

    assert (result.row_count, result.truncated) == (2, True)
    assert len(await names(db)) == 6


@pytest.mark.parametrize(
    "text",
    [
        "CREATE TABLE made AS SELECT 1 AS n",
        "INSERT INTO users VALUES (8, 'returning')",
        "WITH one AS (SELECT 8 AS id) INSERT INTO users SELECT id, 'Dan' FROM one",
        "/* SELECT */ -- SELECT\n INSERT INTO users VALUES (8, 'Dan')",
    ],
)
async def test_a_statement_without_rows_runs_exactly_once(db: str, text: str) -> None:
    result = await query(db, text, write=True)

    assert result.columns == []
    assert len(await names(db)) + ("made" in text) == 4


async def test_a_list_of_mappings_runs_once_for_each_all_or_none(db: str) -> None:
    text = "INSERT INTO users VALUES (:id, :name)"

    await query(db, text, [{"id": 4, "name": "D"}, {"id": 5, "name": "E"}], write=True)
    refused = await refusal(db, text, [{"id": 6, "name": "F"}, {"id": 4, "name": "?"}], write=True)

    assert refused.error_type == "sql_error"
    assert await names(db) == ["Ann", "Bob", "Cid", "D", "E"]


async def test_the_tasks_key_is_always_a_parameter(db: str) -> None:
    await query(db, "CREATE TABLE paid (key text PRIMARY KEY, amount int)", write=True)
    text = "INSERT INTO paid VALUES (:idempotency_key, :amount) ON CONFLICT (key) DO NOTHING"

    counts = [(await query(db, text, {"amount": 7}, write=True)).row_count for _ in range(2)]

    assert counts == [1, 0]
    assert (await query(db, "SELECT * FROM paid")).rows == [{"key": "orders-7/pay", "amount": 7}]


async def test_rows_beyond_the_wanted_number_are_left_out(db: str) -> None:
    result = await query(db, "SELECT id FROM users ORDER BY id", max_rows=2)
    whole = await query(db, "SELECT id FROM users", max_rows=3)

    assert (result.rows, result.truncated) == ([{"id": 1}, {"id": 2}], True)
    assert (whole.row_count, whole.truncated) == (3, False)


async def test_rows_of_more_than_a_mebibyte_are_left_out(db: str) -> None:
    text = "SELECT CAST(:long AS text) AS long FROM users"

    result = await query(db, text, {"long": "x" * 400_000})
    refused = await refusal(db, text, {"long": "x" * MAX_BYTES})

    assert (result.row_count, result.truncated) == (2, True)
    assert refused.error_type == "payload_too_large"
    assert refused.error == "one row takes 1,048,588 bytes as JSON; at most 1,048,576 are given"


async def test_an_endless_result_is_read_only_as_far_as_it_is_given(postgres: Any) -> None:
    series = "SELECT generate_series(1, 1000000000) AS n"

    result = await query("pg", series, max_rows=3)

    assert postgres
    assert (result.row_count, result.truncated) == (3, True)


# Values


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("CAST('2026-05-31' AS date)", "2026-05-31"),
        ("CAST('2026-05-31 10:00' AS timestamp)", "2026-05-31T10:00:00"),
        ("CAST('2026-05-31T10:00:00.5Z' AS timestamptz)", "2026-05-31T10:00:00.5+00:00"),
        ("CAST('infinity' AS timestamptz)", "infinity"),
        ("CAST('0044-03-15 BC' AS date)", "0044-03-15 BC"),
        ("CAST('10:00+02' AS timetz)", "10:00:00+02:00"),
        ("CAST('1 day' AS interval)", "1 day"),
        ("CAST('12.50' AS numeric)", "12.50"),
        ("CAST('NaN' AS float8)", "NaN"),
        ("CAST('-Infinity' AS float8)", "-Infinity"),
        ("CAST('1e3' AS float8)", 1000.0),
        ("decode('00ff', 'hex')", "AP8="),
        ("CAST('12345678-1234-1234-1234-123456789012' AS uuid)",) * 2,
        ("CAST('10.0.0.1' AS inet)", "10.0.0.1"),
        (r"""CAST('{"a"\: [1, null]}' AS jsonb)""", {"a": [1, None]}),
        ("ARRAY[CAST(1.5 AS numeric), NULL]", ["1.5", None]),
        ("9223372036854775807", 9223372036854775807),
        ("true", True),
        ("NULL", None),
    ],
)
async def test_what_values_of_postgresql_become(
    postgres: Any, expression: str, expected: Any
) -> None:
    if expression == expected:
        expected = expression.split("'")[1]

    assert await value("pg", expression) == expected
    assert postgres


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("x'00ff'", "AP8="),
        ("1.5", 1.5),
        ("1e999", "Infinity"),
        ("'Grüße'", "Grüße"),
        ("9223372036854775807", 9223372036854775807),
        ("NULL", None),
    ],
)
async def test_what_values_of_sqlite_become(expression: str, expected: Any) -> None:
    assert await value("lite", expression) == expected


async def test_texts_and_numbers_are_given_for_types_that_json_has_none_for(postgres: Any) -> None:
    await postgres.execute(
        "CREATE TABLE events (day date, at timestamptz, price numeric(9, 2), data jsonb, id uuid)"
    )
    given = {
        "day": "2026-05-31",
        "at": "2026-05-31T12:00:00+02:00",
        "price": 1.1,
        "data": {"a": ["ü"]},
        "id": "12345678-1234-1234-1234-123456789012",
    }

    await query(
        "pg", "INSERT INTO events VALUES (:day, :at, :price, :data, :id)", given, write=True
    )
    text = "SELECT * FROM events WHERE day IN :days AND at >= :at"
    rows = (await query("pg", text, {"days": ["2026-05-31"], "at": "2026-01-01"})).rows

    assert rows == [{**given, "at": "2026-05-31T10:00:00+00:00", "price": "1.10"}]


# What is refused


@pytest.mark.parametrize(
    "text",
    [
        "INSERT INTO users VALUES (9, 'x')",
        "INSERT INTO users VALUES (9, 'x') RETURNING id",
        "DELETE FROM users",
        "CREATE TABLE other (id int)",
        "DROP TABLE users",
    ],
)
async def test_nothing_is_changed_unless_write_is_said(db: str, text: str) -> None:
    refused = await refusal(db, text)
    many = await refusal(db, "DELETE FROM users WHERE id = :id", [{"id": 1}, {"id": 2}])

    for each in (refused, many):
        assert (each.error_type, each.retryable) == ("sql_error", False)
        assert each.error.endswith("; say write: true if it shall")
    assert await names(db) == ["Ann", "Bob", "Cid"]


async def test_a_statement_cannot_lift_the_guard(postgres: Any) -> None:
    await postgres.execute("CREATE TABLE users (id int)")

    lifted = "SET TRANSACTION READ WRITE"
    nested = "DO $$ BEGIN SET TRANSACTION READ WRITE; INSERT INTO users VALUES (1); END $$"

    assert (await refusal("pg", lifted)).error_type == "sql_error"
    assert (await refusal("pg", nested)).error_type == "sql_error"
    assert (await refusal("pg", "COMMIT; INSERT INTO users VALUES (1)")).error_type == "sql_error"
    assert await postgres.fetchval("SELECT count(*) FROM users") == 0


@pytest.mark.parametrize("write", [False, True])
@pytest.mark.parametrize(
    "text",
    [
        "ATTACH DATABASE '{}/other.db' AS other",
        "VACUUM INTO '{}/other.db'",
        "PRAGMA query_only = 0",
        "PRAGMA journal_mode = WAL",
        "PRAGMA writable_schema(1)",
    ],
)
async def test_a_statement_stays_in_its_file(text: str, write: bool, lite: Path) -> None:  # noqa: FBT001
    refused = await refusal("lite", text.format(lite.parent), write=write)

    assert (refused.error_type, refused.retryable) == ("not_allowed", False)
    assert refused.error == "lite: a statement may open no other file and set no PRAGMA"
    assert [path.name for path in lite.parent.iterdir()] == [lite.name]


async def test_a_pragma_that_asks_is_answered(lite: Path) -> None:
    sqlite3.connect(lite).execute("CREATE TABLE t (a, b)").connection.close()

    result = await query("lite", "PRAGMA table_info(t)")

    assert [row["name"] for row in result.rows] == ["a", "b"]


async def test_who_reads_makes_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGROW_SQL_CONNECTIONS__NEW", f"sqlite:///{tmp_path}/new.db")

    refused = await refusal("new", "SELECT 1")

    assert (refused.error_type, refused.retryable) == ("connection_error", True)
    assert refused.error == "new: unable to open database file"
    await query("new", "CREATE TABLE t (a)", write=True)
    assert (await query("new", "SELECT * FROM t")).row_count == 0


async def test_an_unknown_database_is_named_with_those_that_are_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url = f"postgresql://u:{PASSWORD}@h/db"
    monkeypatch.setenv("REGROW_SQL_CONNECTIONS__MAIN", url)

    refused = await refusal("man", "SELECT 1")
    as_url = await refusal("sqlite:///x.db", "SELECT 1")

    assert (refused.error_type, refused.retryable) == ("not_found", False)
    assert refused.error == (
        "this worker knows no database 'man'; it knows lite, main. Its operator names one by"
        " REGROW_SQL_CONNECTIONS__NAME"
    )
    assert as_url.error_type == "not_found"


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        (PASSWORD, "its URL has to begin with postgresql:// or sqlite:///"),
        (f"mysql://u:{PASSWORD}@h/db", "its URL has to begin with postgresql:// or sqlite:///"),
        (f"postgresql://u:{PASSWORD}@h:port/db", "the URL of the database 'odd' of this worker"),
    ],
)
async def test_a_url_that_is_none_is_said_without_it(
    url: str, problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REGROW_SQL_CONNECTIONS__ODD", url)

    refused = await refusal("odd", "SELECT 1")

    assert (refused.error_type, refused.retryable) == ("sql_error", False)
    assert problem in refused.error
    assert PASSWORD not in refused.error


@pytest.mark.parametrize(
    ("text", "parameters", "problem"),
    [
        ("SELECT :a", {}, "the query names :a, which isn't among its parameters"),
        ("SELECT :a", [{"a": 1}, {}], "the query names :a, which isn't among its parameters"),
        ("SELECT :a", [{"a": [1]}], "a parameter may be a list only where the statement runs once"),
        ("", {}, "query: String should have at least 1 character"),
    ],
)
async def test_inputs_that_do_not_fit_are_refused(text: str, parameters: Any, problem: str) -> None:
    refused = await refusal("lite", text, parameters)

    assert refused.error_type == "validation_error"
    assert problem in refused.error


# Failures


async def test_a_mistake_in_the_statement_fails_for_good(db: str) -> None:
    wrong = [
        await refusal(db, text, write=True)
        for text in (
            "SELEC 1",
            "SELECT nothing FROM users",
            "SELECT 1 AS a; SELECT 2",
            "INSERT INTO users VALUES (1, 'twice')",
            "SELECT id, name AS id FROM users",
        )
    ]

    assert {(each.error_type, each.retryable) for each in wrong} == {("sql_error", False)}
    assert wrong[3].details in (
        {"sqlstate": "23505"},
        {"sqlite_error": "SQLITE_CONSTRAINT_PRIMARYKEY"},
    )
    assert wrong[4].error == "two columns are called 'id'; give one of them another name with AS"


async def test_an_error_does_not_repeat_values(db: str) -> None:
    long = f"{SECRET} ({SECRET}) " * 5
    wrong = [
        await refusal(db, "INSERT INTO users VALUES (1, :name)", {"name": SECRET}, write=True),
        await refusal(db, "SELECT CAST(CAST(:a AS text) AS int) / 0, nope", {"a": SECRET}),
    ]
    if db == "pg":
        wrong += [
            await refusal(db, "SELECT id FROM users WHERE id = :a", {"a": long}),
            await refusal(db, "SELECT id FROM users WHERE id = :a", [{"a": long}] * 2),
            await refusal(db, "SELECT CAST(CAST(:a AS text) AS int)", {"a": SECRET}),
            await refusal(db, "SELECT CAST(:a AS date)", {"a": SECRET}),
        ]

    assert not any(SECRET[:8] in each.error + repr(each.details) for each in wrong)
    assert {each.error_type for each in wrong} == {"sql_error"}


@pytest.mark.parametrize("state", ["40001", "40P01", "53200", "55P03", "57P03"])
async def test_what_may_pass_is_worth_another_attempt(postgres: Any, state: str) -> None:
    text = f"DO $$ BEGIN RAISE EXCEPTION 'now' USING ERRCODE = '{state}'; END $$"

    refused = await refusal("pg", text, write=True)

    assert postgres
    assert (refused.error_type, refused.retryable) == ("sql_error", True)
    assert (refused.error, refused.details) == ("pg: now", {"sqlstate": state})


async def test_a_server_that_is_full_is_worth_another_attempt(
    postgres: Any, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await postgres.execute(f"CREATE ROLE many LOGIN CONNECTION LIMIT 0 PASSWORD '{PASSWORD}'")
    monkeypatch.setenv("REGROW_SQL_CONNECTIONS__FULL", address.replace("regrow:", "many:"))

    refused = await refusal("full", "SELECT 1")
    await postgres.execute("DROP ROLE many")

    assert (refused.error_type, refused.retryable) == ("sql_error", True)
    assert refused.error == 'full: too many connections for role "many"'


async def test_a_connection_that_is_lost_is_worth_another_attempt(postgres: Any) -> None:
    refused = await refusal("pg", "SELECT pg_terminate_backend(pg_backend_pid())")

    assert postgres
    assert refused.retryable
    assert refused.error_type in ("connection_error", "sql_error")


@pytest.mark.parametrize(
    ("url", "error_type", "error"),
    [
        (
            "postgresql://regrow:wrong-password@127.0.0.1:{1}/postgres",
            "authentication_error",
            'x: password authentication failed for user "regrow"',
        ),
        (
            "postgresql://regrow:{}@127.0.0.1:{}/none",
            "sql_error",
            'x: database "none" does not exist',
        ),
        (
            "postgresql://regrow:{}@127.0.0.1:{}/postgres?sslmode=require",
            "tls_error",
            "x: no encrypted connection: the server has no TLS, or no valid certificate",
        ),
        (
            "postgresql://regrow:{}@127.0.0.1:1/postgres",
            "connection_error",
            "x: no connection to the database: Connection refused",
        ),
        (
            "postgresql://regrow:{}@no-such-host.invalid:{}/postgres",
            "connection_error",
            "x: no connection to the database: its host cannot be found",
        ),
    ],
)
async def test_what_keeps_a_connection_from_coming(
    address: str, monkeypatch: pytest.MonkeyPatch, url: str, error_type: str, error: str
) -> None:
    port = address.rpartition(":")[2].partition("/")[0]
    monkeypatch.setenv("REGROW_SQL_CONNECTIONS__X", url.format(PASSWORD, port))

    refused = await refusal("x", "SELECT 1")

    assert (refused.error_type, refused.error) == (error_type, error)
    assert refused.retryable == (error_type == "connection_error")
    assert PASSWORD not in refused.error


async def test_the_url_may_hold_what_postgresqls_own_tools_know(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"{address}?sslmode=prefer&application_name=regrow"
    monkeypatch.setenv("REGROW_SQL_CONNECTIONS__X", url)

    assert await value("x", "current_setting('application_name')") == "regrow"


async def test_a_lock_that_somebody_holds_is_worth_another_attempt(lite: Path) -> None:
    other = sqlite3.connect(lite, isolation_level=None)
    other.execute("CREATE TABLE t (a)")
    other.execute("BEGIN IMMEDIATE")

    refused = await refusal("lite", "INSERT INTO t VALUES (1)", write=True, timeout="1s")
    other.close()

    assert (refused.error_type, refused.retryable) == ("sql_error", True)
    assert (refused.error, refused.details) == (
        "lite: database is locked",
        {"sqlite_error": "SQLITE_BUSY"},
    )


# Time


async def test_a_timeout_ends_the_statement_in_the_server(postgres: Any) -> None:
    refused = await refusal("pg", "SELECT pg_sleep(60)", timeout="500ms")

    assert (refused.error_type, refused.retryable) == ("timeout_error", True)
    assert refused.error == "pg: not done within the timeout of 0.5s"
    await until(lambda: _none(postgres))


async def _none(postgres: Any) -> bool:
    return await sleepers(postgres) == 0


async def test_a_timeout_ends_the_statement_in_a_file() -> None:
    refused = await refusal("lite", ENDLESS, timeout="500ms")

    assert (refused.error_type, refused.retryable) == ("timeout_error", True)
    await until(lambda: _threads(0))


async def test_the_server_knows_the_timeout_too_and_a_shorter_one_of_its_own_holds(
    postgres: Any, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REGROW_SQL_CONNECTIONS__SHORT", f"{address}?statement_timeout=300")

    assert postgres
    assert await value("pg", "current_setting('statement_timeout')") == "30s"
    assert await value("short", "current_setting('statement_timeout')") == "300ms"
    refused = await refusal("short", "SELECT pg_sleep(60)")
    assert (refused.error_type, refused.retryable) == ("sql_error", True)
    assert refused.details == {"sqlstate": "57014"}


async def test_a_write_that_is_stopped_changes_nothing(postgres: Any) -> None:
    await postgres.execute("CREATE TABLE users (id int)")
    text = "INSERT INTO users SELECT 1 FROM pg_sleep(60)"

    await refusal("pg", text, write=True, timeout="500ms")

    await until(lambda: _none(postgres))
    assert await postgres.fetchval("SELECT count(*) FROM users") == 0


# Through a tree


async def test_a_tree_asks_a_database(client: TreeClient, db: str) -> None:
    inputs = {
        "connection": db,
        "query": "SELECT name FROM users WHERE id IN :user_ids ORDER BY id",
        "parameters": {"user_ids": [1, 2]},
    }

    ended = await run_one(client, "sql_query", inputs)

    assert ended.result["rows"] == [{"name": "Ann"}, {"name": "Bob"}]
    assert PASSWORD not in ended.traces


async def test_a_mistake_is_tried_once(client: TreeClient, db: str) -> None:
    ended = await run_one(client, "sql_query", {"connection": db, "query": "SELEC 1"})

    assert ended.failure == ("sql_error", 1)
    assert PASSWORD not in ended.traces


async def test_a_database_that_is_away_is_tried_again_and_its_url_is_nowhere(
    client: TreeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"postgresql://regrow:{PASSWORD}@127.0.0.1:1/postgres"
    monkeypatch.setenv("REGROW_SQL_CONNECTIONS__AWAY", url)

    ended = await run_one(client, "sql_query", {"connection": "away", "query": "SELECT 1"})

    assert ended.failure == ("connection_error", 3)
    assert PASSWORD not in ended.traces + as_text(ended)
    assert "127.0.0.1" not in as_text(ended)


async def test_a_cancel_ends_the_statement_in_the_server(client: TreeClient, postgres: Any) -> None:
    async def begun() -> None:
        await until(lambda: _some(postgres))

    inputs = {"connection": "pg", "query": "SELECT pg_sleep(60)", "timeout": "1m"}
    ended = await cancel_one(client, "sql_query", inputs, when=begun)

    assert ended.task.status is Status.CANCELLED
    await until(lambda: _none(postgres))


async def _some(postgres: Any) -> bool:
    return await sleepers(postgres) > 0


async def test_a_cancel_ends_the_statement_in_a_file(client: TreeClient) -> None:
    inputs = {"connection": "lite", "query": ENDLESS, "timeout": "1m"}
    ended = await cancel_one(client, "sql_query", inputs, when=lambda: until(lambda: _threads(1)))

    assert ended.task.status is Status.CANCELLED
    await until(lambda: _threads(0))


async def test_a_secret_among_the_parameters_is_used_and_seen_nowhere(
    client: TreeClient, db: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REGROW_SECRET_TOKEN", SECRET)
    parameters = {"token": "${{ secrets.TOKEN }}"}
    change = "UPDATE users SET name = :token WHERE id = 1"

    done = await run_one(
        client,
        "sql_query",
        {"connection": db, "query": change, "parameters": parameters, "write": True},
    )
    failed = await run_one(
        client,
        "sql_query",
        {"connection": db, "query": "SELECT :token FROM nothing", "parameters": parameters},
    )

    assert done.result["row_count"] == 1
    assert SECRET in await names(db)
    assert failed.failure == ("sql_error", 1)
    assert SECRET not in done.traces + failed.traces
