"""The orders example: run as a user runs it, and held to figures that SQL finds in the raw export.

The SQL here and the example's Python share no line: text tests by GLOB against regular expressions,
integer cents against Decimal, window functions against a set of what was seen.
"""

import asyncio
import csv
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest
from examples.orders import make_data, rates_service, tree
from examples.orders.executors import (
    COLUMNS,
    AggregateOrders,
    CleanOrders,
    EnrichOrders,
    FetchOrders,
    SaveOrders,
    write_rows,
)

from regrow import Status, TaskContext, TaskError
from regrow.client.documents import read_document
from regrow.core.hashing import document_hash
from regrow.embedded import EmbeddedServer
from regrow.executors import Registry
from regrow.settings import load_settings
from regrow.testing import assert_replays, worker_env
from regrow.worker import running_worker

EXAMPLE = Path(__file__).parents[2] / "examples" / "orders"
EXECUTORS: Sequence[Callable[..., Any]] = (
    FetchOrders,
    CleanOrders,
    EnrichOrders,
    AggregateOrders,
    SaveOrders,
)
REGROW = Path(sys.executable).with_name("regrow")
KIB = 1024

JUDGED = """
CREATE VIEW tidy AS SELECT line,
    trim(order_id, space) AS order_id, trim(customer, space) AS customer,
    upper(trim(country, space)) AS country, trim(product, space) AS product,
    trim(quantity, space) AS quantity, trim(unit_price, space) AS price,
    upper(trim(currency, space)) AS currency, trim(ordered_at, space) AS ordered_at,
    lower(trim(status, space)) AS status
FROM raw, (SELECT ' ' || char(9) AS space);

CREATE VIEW judged AS SELECT *, CASE
    WHEN order_id || customer || country || product || quantity || price || currency
        || ordered_at || status = '' THEN 'blank'
    WHEN '' IN (order_id, customer, country, product, quantity, price, currency, ordered_at,
        status) THEN 'incomplete'
    WHEN quantity GLOB '*[^0-9]*' OR quantity GLOB '0*'
        OR price NOT GLOB '[0-9]*' OR price GLOB '*[^0-9.]*' OR price GLOB '*.*.*'
        OR price GLOB '*.' OR price GLOB '*.[0-9][0-9][0-9]*' THEN 'wrong_number'
    WHEN julianday(ordered_at) IS NULL THEN 'wrong_date'
    WHEN status LIKE 'cancel%ed' THEN 'cancelled'
    END AS fault
FROM tidy;

CREATE VIEW fates AS SELECT *, CAST(round(price * 100) AS INTEGER) * quantity AS cents, coalesce(
    fault,
    CASE WHEN row_number() OVER (PARTITION BY order_id, fault IS NULL ORDER BY line) = 1
        THEN 'kept' ELSE 'repeated' END
    ) AS fate
FROM judged;
"""


@pytest.fixture(scope="module")
def counted() -> sqlite3.Connection:
    """The raw export in SQL, every row with its fate."""
    db = sqlite3.connect(":memory:")
    db.execute(f"CREATE TABLE raw (line INTEGER, {', '.join(COLUMNS)})")
    with (EXAMPLE / "orders.csv").open(encoding="utf-8", newline="") as file:
        next(rows := csv.reader(file))
        for line, row in enumerate(rows):
            padded = [*row, *[""] * (len(COLUMNS) - len(row))]
            db.execute(f"INSERT INTO raw VALUES ({', '.join('?' * 10)})", [line, *padded])
    db.executescript(JUDGED)
    return db


def totals_in_sql(counted: sqlite3.Connection) -> list[tuple[str, str, int]]:
    return counted.execute(
        "SELECT country, currency, sum(cents) FROM fates WHERE fate = 'kept'"
        " GROUP BY country, currency ORDER BY country, currency"
    ).fetchall()


def fates_in_sql(counted: sqlite3.Connection) -> dict[str, int]:
    return dict(counted.execute("SELECT fate, count(*) FROM fates GROUP BY fate").fetchall())


def in_cents(totals: dict[str, dict[str, str]]) -> list[tuple[str, str, int]]:
    """Read `12.30` as 1230 without the example's help."""
    return [
        (country, currency, int(amount.replace(".", "")))
        for country, amounts in totals.items()
        for currency, amount in amounts.items()
    ]


# The command, on a copy in a path with spaces, from another directory


class Shop:
    """A copy of the example, and a directory to run it from."""

    def __init__(self, root: Path) -> None:
        self.example = root / "tmp dir" / "with space" / "orders"
        self.cwd = root / "somewhere else"
        self.database = self.cwd / "kept here" / "orders.sqlite3"
        self.cwd.mkdir()
        shutil.copytree(EXAMPLE, self.example, ignore=shutil.ignore_patterns("__pycache__"))

    def run(self, db: str, tree_id: str = "orders-2025") -> subprocess.CompletedProcess[str]:
        return self.regrow(
            "run", str(self.example / "tree.yaml"),
            "--executors", str(self.example / "executors.py"),
            "--set", "database=kept here/orders.sqlite3",
            "--db", db, "-w", tree_id, "-o", "json",
        )  # fmt: skip

    def regrow(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(REGROW), *arguments],
            cwd=self.cwd,
            env=plain_environment(),
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )

    def saved(self, query: str) -> list[Any]:
        with closing(sqlite3.connect(self.database)) as db:
            return db.execute(query).fetchall()

    @property
    def counts(self) -> dict[str, int]:
        tables = ("saves", "orders", "totals")
        return {table: self.saved(f"SELECT count(*) FROM {table}")[0][0] for table in tables}


def plain_environment(**more: str) -> dict[str, str]:
    """The environment without anybody's settings for Temporal or Regrow."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("TEMPORAL_", "REGROW_"))
    }
    return {**kept, **more}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    return Shop(tmp_path_factory.mktemp("orders"))


@pytest.fixture(scope="module")
def ran(shop: Shop) -> dict[str, Any]:
    """The result of the first run."""
    run = shop.run("state.db")
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def test_the_command_completes_the_tree(ran: dict[str, Any]) -> None:
    assert (ran["tree_id"], ran["name"], ran["status"]) == ("orders-2025", "orders", "completed")
    assert ran["counts"]["completed"] == 4
    assert ran["counts"]["failed"] == 1


def test_the_enrichment_fails_after_its_attempts_and_is_tolerated(ran: dict[str, Any]) -> None:
    enrich = ran["tasks"]["enrich"]
    [configured] = [
        task.retry.maximum_attempts for task in tree.build().tasks if task.id == "enrich"
    ]

    assert (enrich["status"], enrich["error_type"]) == ("failed", "rates_unavailable")
    assert enrich["attempts"] == configured == 3
    assert ran["tasks"]["aggregate"]["status"] == "completed"
    assert ran["outputs"]["in_euro"] is None


def test_the_totals_are_those_that_sql_finds(
    ran: dict[str, Any], counted: sqlite3.Connection
) -> None:
    assert in_cents(ran["outputs"]["totals"]) == totals_in_sql(counted)


def test_every_fetched_row_is_kept_or_dropped_for_the_reason_that_sql_finds(
    ran: dict[str, Any], counted: sqlite3.Connection
) -> None:
    fates = fates_in_sql(counted)
    kept = ran["tasks"]["clean"]["result"]["rows"]

    assert {"kept": kept, **ran["outputs"]["dropped"]} == fates
    assert ran["tasks"]["fetch"]["result"]["rows"] == sum(fates.values())


def test_the_database_holds_the_orders_and_totals(
    ran: dict[str, Any], shop: Shop, counted: sqlite3.Connection
) -> None:
    orders = counted.execute(
        "SELECT order_id, customer, country, product, CAST(quantity AS INTEGER), currency, cents"
        " FROM fates WHERE fate = 'kept' ORDER BY order_id"
    ).fetchall()

    assert ran["outputs"]["saved"]["orders"] == len(orders)
    assert orders == shop.saved(
        "SELECT order_id, customer, country, product, quantity, currency, amount_cents"
        " FROM orders ORDER BY order_id"
    )
    assert totals_in_sql(counted) == shop.saved(
        "SELECT country, currency, amount_cents FROM totals ORDER BY country, currency"
    )


def test_running_the_same_tree_again_attaches_and_saves_nothing_twice(
    ran: dict[str, Any], shop: Shop
) -> None:
    before = shop.counts

    again = shop.run("state.db")

    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout) == ran
    assert shop.counts == before


def test_a_save_that_is_repeated_by_a_server_that_forgot_it_writes_nothing_twice(
    ran: dict[str, Any], shop: Shop
) -> None:
    before = shop.counts

    again = json.loads(shop.run("another state.db").stdout)

    assert ran["tasks"]["save"]["metadata"]["cached"] is False
    assert again["tasks"]["save"]["metadata"]["cached"] is True
    assert again["tasks"]["save"]["result"] == ran["tasks"]["save"]["result"]
    assert shop.counts == before


def test_the_command_finds_nothing_to_say_against_the_tree(shop: Shop) -> None:
    checked = shop.regrow(
        "validate", str(shop.example / "tree.yaml"),
        "--executors", str(shop.example / "executors.py"),
    )  # fmt: skip

    assert checked.returncode == 0
    assert "warning" not in checked.stderr


# The tree


def test_the_tree_in_python_is_the_tree_in_yaml() -> None:
    written = read_document(EXAMPLE / "tree.yaml").tree()

    assert tree.build().as_document() == written.as_document()
    assert document_hash(tree.build()) == document_hash(written)


async def test_the_python_tree_runs_as_a_script(server: EmbeddedServer, tmp_path: Path) -> None:
    async with running_worker(server.client, Registry(*EXECUTORS), load_settings()):
        script = await asyncio.create_subprocess_exec(
            sys.executable,
            EXAMPLE / "tree.py",
            cwd=tmp_path,
            env=plain_environment(TEMPORAL_ADDRESS=server.address),
            stdout=asyncio.subprocess.PIPE,
        )
        output, _ = await asyncio.wait_for(script.communicate(), 60)

    started, _, outputs = output.decode().partition("\n")
    assert script.returncode == 0
    assert started.startswith("started orders-")
    assert json.loads(outputs)["saved"]["totals"] == 17


async def test_with_a_rates_service_everything_is_converted(
    server: EmbeddedServer, counted: sqlite3.Connection, tmp_path: Path
) -> None:
    async with (
        rates_at(rates_service.answer) as service,
        worker_env(server.client, *EXECUTORS) as client,
    ):
        handle = await client.start(EXAMPLE / "tree.yaml", inputs=inputs_in(tmp_path, service))
        result = await handle.result()

    def euro(country: str) -> float:
        worth = rates_service.IN_EURO
        return sum(
            cents * worth[currency] / 100
            for where, currency, cents in totals_in_sql(counted)
            if where == country
        )

    converted: Any = result.outputs["in_euro"]
    assert result.tasks["enrich"].status is Status.COMPLETED
    assert {country: float(amount) for country, amount in converted.items()} == {
        country: pytest.approx(euro(country), abs=0.0051) for country in make_data.CURRENCIES
    }


async def test_rows_stay_out_of_history_and_the_history_replays(
    server: EmbeddedServer, tmp_path: Path
) -> None:
    async with worker_env(server.client, *EXECUTORS) as client:
        handle = await client.start(
            EXAMPLE / "tree.yaml", inputs=inputs_in(tmp_path, "127.0.0.1:9")
        )
        await handle.result()
        history = await handle.workflow_handle.fetch_history()

    assert sum(event.ByteSize() for event in history.events) < 32 * KIB
    await assert_replays(history)


def inputs_in(folder: Path, service: str) -> dict[str, str]:
    return {
        "database": str(folder / "orders.sqlite3"),
        "workdir": str(folder / "work"),
        "rates": service,
    }


# The data


def test_the_export_is_what_its_script_writes_and_small(tmp_path: Path) -> None:
    make_data.write(tmp_path / "orders.csv")

    shipped = (EXAMPLE / "orders.csv").read_bytes()
    assert shipped == (tmp_path / "orders.csv").read_bytes()
    assert len(shipped) < 400 * KIB


def test_the_export_has_every_kind_of_dirt(counted: sqlite3.Connection) -> None:
    fates = fates_in_sql(counted)

    assert fates["kept"] > 3_000
    assert min(fates.values()) > 10
    assert set(fates) == {
        "kept", "blank", "incomplete", "wrong_number", "wrong_date", "cancelled", "repeated",
    }  # fmt: skip


# The executors alone, as the guide tests them

HEADER = ",".join(COLUMNS)
EXPORT = f"""{HEADER}
SO-1,Ann,de,Cup,2,1.10,eur,2025-01-01T08:00:00,paid
SO-2,Bob, GB ,Pot,1,19.9,GBP,2025-01-01T09:00:00,shipped
SO-1,Ann,DE,Cup,2,1.10,EUR,2025-01-01T08:00:00,paid

SO-3,Cem,DE,Pot,one,19.90,EUR,2025-01-01T10:00:00,paid
SO-3,Cem,DE,Pot,1,20,EUR,2025-01-01T10:00:00,paid
SO-4,Dee,FR,Pot,1,20.00,EUR,2025-01-01T11:00:00,Cancelled
SO-5,,FR,Pot,1,20.00,EUR,2025-01-01T11:00:00,paid
SO-6,Eve,FR
SO-7,Fay,FR,Pot,1,20.00,EUR,tomorrow,paid
"""
CLEAN = (
    ("SO-1", "Ann", "DE", "Cup", "2", "1.10", "EUR", "2025-01-01T08:00:00", "paid", "2.20"),
    ("SO-2", "Bob", "GB", "Pot", "1", "19.9", "GBP", "2025-01-01T09:00:00", "shipped", "19.90"),
    ("SO-3", "Cem", "DE", "Pot", "1", "20", "EUR", "2025-01-01T10:00:00", "paid", "20.00"),
)
CONTEXT = TaskContext(tree_id="orders/1")


def fetched(folder: Path, export: str = EXPORT) -> dict[str, Any]:
    (folder / "export.csv").write_text(export, encoding="utf-8")
    inputs = {"data": str(folder / "export.csv"), "workdir": str(folder / "work")}
    return FetchOrders().execute(inputs, CONTEXT)


def test_fetch_copies_the_export_and_counts_its_rows(tmp_path: Path) -> None:
    first, second = fetched(tmp_path), fetched(tmp_path)

    assert first["status"] == "completed"
    assert first["result"]["rows"] == 10
    assert Path(first["result"]["path"]).is_relative_to(tmp_path / "work")
    assert first == second


def test_fetch_keeps_the_files_of_two_trees_apart(tmp_path: Path) -> None:
    inputs = {"data": "orders.csv", "workdir": str(tmp_path)}

    one, other = (
        FetchOrders().execute(inputs, TaskContext(tree_id=name))["result"] for name in ("..", "/")
    )

    assert one["path"] != other["path"]
    assert Path(one["path"]).parents[1] == Path(other["path"]).parents[1] == tmp_path


@pytest.mark.parametrize(
    ("inputs", "error_type"),
    [
        ({}, "validation_error"),
        ({"data": 7}, "validation_error"),
        ({"data": "orders.csv", "workdir": ""}, "validation_error"),
        ({"data": "nowhere.csv"}, "file_not_found"),
        ({"data": "tree.yaml"}, "wrong_columns"),
    ],
)
def test_fetch_refuses(inputs: dict[str, Any], error_type: str, tmp_path: Path) -> None:
    result = FetchOrders().execute({"workdir": str(tmp_path), **inputs}, CONTEXT)

    assert (result["status"], result["error_type"]) == ("failed", error_type)
    assert result["error"]


def test_fetch_refuses_what_is_not_utf_8_and_leaves_no_file(tmp_path: Path) -> None:
    (tmp_path / "latin.csv").write_bytes(f"{HEADER}\n".encode() + "SO-1,Zoë".encode("latin-1"))
    inputs = {"data": str(tmp_path / "latin.csv"), "workdir": str(tmp_path / "work")}

    result = FetchOrders().execute(inputs, CONTEXT)

    assert (result["status"], result["error_type"]) == ("failed", "wrong_format")
    assert not [path for path in (tmp_path / "work").rglob("*") if path.is_file()]


def test_clean_keeps_the_first_usable_row_of_every_order(tmp_path: Path) -> None:
    result = CleanOrders().execute({"orders": fetched(tmp_path)["result"]})

    assert result["status"] == "completed"
    assert result["result"]["rows"] == 3
    assert result["result"]["currencies"] == ["EUR", "GBP"]
    assert result["result"]["dropped"] == {
        "blank": 1, "cancelled": 1, "incomplete": 2, "repeated": 1, "wrong_date": 1,
        "wrong_number": 1,
    }  # fmt: skip
    assert Path(result["result"]["path"]).read_text(encoding="utf-8").splitlines() == [
        ",".join(row) for row in CLEAN
    ]


def test_a_file_that_changed_since_is_noticed(tmp_path: Path) -> None:
    orders = fetched(tmp_path)["result"]
    Path(orders["path"]).write_text("SO-9\n", encoding="utf-8")

    with pytest.raises(TaskError) as changed:
        CleanOrders().execute({"orders": orders})
    Path(orders["path"]).unlink()
    with pytest.raises(TaskError) as gone:
        CleanOrders().execute({"orders": orders})

    assert (changed.value.error_type, changed.value.retryable) == ("file_changed", False)
    assert (gone.value.error_type, gone.value.retryable) == ("file_not_found", False)


def test_aggregate_adds_up_exactly_and_converts_if_it_can(tmp_path: Path) -> None:
    orders = write_rows(tmp_path / "clean.csv", CLEAN)

    plain = AggregateOrders().execute({"orders": orders})
    converted = AggregateOrders().execute({"orders": orders, "rates": {"EUR": "1", "GBP": "1.17"}})

    assert plain["result"] == {
        "totals": {"DE": {"EUR": "22.20"}, "GB": {"GBP": "19.90"}},
        "in_euro": None,
    }
    assert converted["result"]["in_euro"] == {"DE": "22.20", "GB": "23.28"}


def test_save_writes_once_for_each_key(tmp_path: Path) -> None:
    database = tmp_path / "new folder" / "orders.sqlite3"
    inputs = {
        "database": str(database),
        "orders": write_rows(tmp_path / "clean.csv", CLEAN),
        "totals": {"DE": {"EUR": "22.20"}, "GB": {"GBP": "19.90"}},
    }

    first = SaveOrders().execute(inputs, TaskContext(tree_id="a", task_id="save"))
    again = SaveOrders().execute(inputs, TaskContext(tree_id="a", task_id="save", attempt=2))
    other = SaveOrders().execute(inputs, TaskContext(tree_id="b", task_id="save"))

    assert first["result"] == {"key": "a/save", "orders": 3, "totals": 2}
    assert (first["cached"], again["cached"], other["cached"]) == (False, True, False)
    assert again["result"] == first["result"]
    with closing(sqlite3.connect(database)) as db:
        assert db.execute("SELECT count(*), sum(amount_cents) FROM orders").fetchone() == (6, 8420)


def test_a_save_that_fails_half_way_leaves_nothing(tmp_path: Path) -> None:
    inputs = {
        "database": str(tmp_path / "orders.sqlite3"),
        "orders": write_rows(tmp_path / "clean.csv", [*CLEAN, CLEAN[0]]),
        "totals": {},
    }

    with pytest.raises(sqlite3.IntegrityError):
        SaveOrders().execute(inputs, CONTEXT)
    inputs["orders"] = write_rows(tmp_path / "clean.csv", CLEAN)

    assert SaveOrders().execute(inputs, CONTEXT)["cached"] is False


@pytest.mark.parametrize(
    "inputs", [{}, {"database": ""}, {"database": "x"}, {"database": "x", "orders": {"path": "y"}}]
)
def test_clean_aggregate_and_save_refuse_incomplete_inputs(inputs: dict[str, Any]) -> None:
    results = (
        CleanOrders().execute(inputs),
        AggregateOrders().execute(inputs),
        SaveOrders().execute(inputs, CONTEXT),
    )

    for result in results:
        assert (result["status"], result["error_type"]) == ("failed", "validation_error")


@asynccontextmanager
async def rates_at(
    answer: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any],
) -> AsyncGenerator[str]:
    """A service on a free port."""
    async with await asyncio.start_server(answer, "127.0.0.1", 0) as service:
        yield f"127.0.0.1:{service.sockets[0].getsockname()[1]}"


async def answers(reply: str, currencies: Sequence[str] = ("EUR", "USD")) -> dict[str, Any]:
    """What the executor makes of a reply."""

    async def say(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(reply.encode())
        writer.close()

    async with rates_at(say) as service:
        return await EnrichOrders().execute({"service": service, "currencies": [*currencies]})


async def test_enrich_gives_the_rates_that_are_needed_exactly() -> None:
    result = await answers('{"EUR": 1, "USD": 0.92, "JPY": 0.0061}')

    assert result == {"status": "completed", "result": {"EUR": "1", "USD": "0.92"}}


@pytest.mark.parametrize(
    ("reply", "error_type"),
    [
        ("", "rates_invalid"),
        ("[1]", "rates_invalid"),
        ('{"EUR": null}', "rates_invalid"),
        ('{"EUR": 1, "USD": -1}', "rates_invalid"),
        ('{"EUR": 1, "USD": NaN}', "rates_invalid"),
        ('{"EUR": 1}', "rates_incomplete"),
    ],
)
async def test_enrich_refuses_a_strange_answer(reply: str, error_type: str) -> None:
    result = await answers(reply)

    assert (result["status"], result["error_type"]) == ("failed", error_type)
    assert "retryable" not in result


async def test_enrich_can_be_tried_again_when_nobody_listens() -> None:
    async with rates_at(rates_service.answer) as closed:
        pass

    result = await EnrichOrders().execute({"service": closed, "currencies": []})

    assert (result["status"], result["error_type"]) == ("failed", "rates_unavailable")
    assert result["retryable"] is True


@pytest.mark.parametrize(
    ("inputs", "error_type"),
    [
        ({}, "validation_error"),
        ({"service": "somewhere"}, "validation_error"),
        ({"service": "127.0.0.1:9", "currencies": "EUR"}, "type_error"),
    ],
)
async def test_enrich_refuses(inputs: dict[str, Any], error_type: str) -> None:
    result = await EnrichOrders().execute(inputs)

    assert (result["status"], result["error_type"]) == ("failed", error_type)
