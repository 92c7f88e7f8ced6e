"""The executors of the orders example: fetch, clean, enrich, aggregate, save.

Rows never travel through Temporal. What a task returns is kept in the tree's history, and given to
every task that depends on it, so it must stay small: the rows lie in files in a work directory, and
tasks hand on a path, a count and a checksum. Workers on several machines need a work directory that
they share.

Every file appears under its name only when it is complete, and the same input gives the same file,
so any of these tasks may be repeated: after a failure, a timeout or a crash.
"""

import asyncio
import csv
import json
import re
import sqlite3
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import datetime
from decimal import Decimal, InvalidOperation
from hashlib import file_digest, sha256
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO, Any, Final, TypeGuard

from regrow import BaseTask, TaskContext, TaskError, executor_register

HERE: Final = Path(__file__).resolve().parent
CENT: Final = Decimal("0.01")

COLUMNS: Final = (
    "order_id", "customer", "country", "product", "quantity", "unit_price", "currency",
    "ordered_at", "status",
)  # fmt: skip
ORDER_ID, COUNTRY, QUANTITY, UNIT_PRICE, CURRENCY, ORDERED_AT, STATUS = 0, 2, 4, 5, 6, 7, 8
AMOUNT: Final = len(COLUMNS)
"""The column that cleaning adds."""

CANCELLED: Final = ("cancelled", "canceled")
QUANTITIES: Final = re.compile(r"[1-9][0-9]{0,5}")
PRICES: Final = re.compile(r"[0-9]{1,9}(\.[0-9]{1,2})?")


@executor_register()
class FetchOrders(BaseTask):
    """
    Copies the shop's export into the work directory of this tree.

    What follows works on the copy, so an export that is replaced in the meantime changes nothing.
    It reads and writes files, which blocks; `execute` is not async, so it runs in a thread.

    Args (inputs):
        data (str): The CSV file; a relative path begins at this example's directory
        workdir (str): Where trees keep their files (default: "orders-work")

    Returns:
        dict: The copy as {"path", "rows", "sha256"}

    Example:
        Task(id="fetch", executor="fetch_orders", inputs={"data": "orders.csv"})
    """

    id = "fetch_orders"

    def execute(self, inputs: dict[str, Any], context: TaskContext) -> dict[str, Any]:
        """Copy and count."""
        data, workdir = inputs.get("data"), inputs.get("workdir", "orders-work")
        if not isinstance(data, str) or not data:
            return failed("data is required: the path of a CSV file", "validation_error")
        if not isinstance(workdir, str) or not workdir:
            return failed("workdir must be a path", "validation_error")
        source = HERE / data
        if not source.is_file():
            return failed(f"there is no file {source}", "file_not_found")

        folder = Path(workdir).resolve() / sha256(context.tree_id.encode()).hexdigest()[:16]
        try:
            rows = read_csv(source)
            if tuple(next(rows, ())) != COLUMNS:
                return failed(f"the first line must be {','.join(COLUMNS)}", "wrong_columns")
            orders = write_rows(folder / "fetched.csv", rows)
        except (csv.Error, UnicodeDecodeError) as error:
            return failed(f"{source} is no CSV file in UTF-8: {error}", "wrong_format")
        context.log.info("orders.fetched", rows=orders["rows"])
        return {"status": "completed", "result": orders}


@executor_register()
class CleanOrders(BaseTask):
    """
    Keeps the first usable row of every order that wasn't cancelled, and tidies it.

    Args (inputs):
        orders (dict): The fetched rows as {"path", "rows", "sha256"}

    Returns:
        dict: The clean rows as {"path", "rows", "sha256"}, the currencies in them, and how many
        rows were dropped for which reason; kept and dropped rows add up to the fetched ones

    Example:
        Task(id="clean", executor="clean_orders", dependencies=[...])
    """

    id = "clean_orders"

    def execute(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """Sort the rows into good ones and reasons."""
        orders = inputs.get("orders")
        if not is_file_of_rows(orders):
            return failed("orders must be {path, rows, sha256}", "validation_error")

        dropped, currencies, seen = Counter[str](), set[str](), set[str]()

        def kept() -> Iterator[list[str]]:
            for raw in read_rows(orders):
                row = tidied(raw)
                fault = fault_of(row) or ("repeated" if row[ORDER_ID] in seen else None)
                if fault:
                    dropped[fault] += 1
                    continue
                seen.add(row[ORDER_ID])
                currencies.add(row[CURRENCY])
                amount = int(row[QUANTITY]) * Decimal(row[UNIT_PRICE])
                yield [*row, str(amount.quantize(CENT))]

        clean = write_rows(Path(orders["path"]).with_name("clean.csv"), kept())
        found = {"currencies": sorted(currencies), "dropped": dict(sorted(dropped.items()))}
        return {"status": "completed", "result": {**clean, **found}}


@executor_register()
class EnrichOrders(BaseTask):
    """
    Asks a rates service what each currency is worth in euro.

    The service answers a connection with one JSON object, such as {"EUR": 1, "USD": 0.92}, and
    closes it. As shipped, the tree names a port on which nobody listens: a real failure, tried
    again by the task's retry policy and then tolerated, since the figures are good without it.

    Args (inputs):
        service (str): Where the service listens, as HOST:PORT
        currencies (list): The currencies that are needed

    Returns:
        dict: Euro for one unit of each currency, as exact text

    Example:
        Task(id="enrich", executor="enrich_orders", inputs={"service": "127.0.0.1:9", ...})
    """

    id = "enrich_orders"

    async def execute(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """Ask once; waiting too long and asking again are the policy's business."""
        host, _, port = str(inputs.get("service", "")).rpartition(":")
        currencies = inputs.get("currencies")
        if not host or not port.isdecimal():
            return failed("service must be HOST:PORT", "validation_error")
        if not is_texts(currencies):
            return failed("currencies must be a list of texts", "type_error")

        try:
            reply = await ask(host, int(port))
        except OSError as error:
            reason = f"no exchange rates from {host}:{port}: {error.strerror or error}"
            return {**failed(reason, "rates_unavailable"), "retryable": True}
        try:
            rates = read_rates(reply)
        except ValueError as error:
            return failed(f"{host}:{port} did not answer rates: {error}", "rates_invalid")
        missing = [currency for currency in currencies if currency not in rates]
        if missing:
            return failed(f"no rate for {', '.join(missing)}", "rates_incomplete")
        return {"status": "completed", "result": {name: rates[name] for name in currencies}}


@executor_register()
class AggregateOrders(BaseTask):
    """
    Adds up what was ordered, for each country and currency.

    Money is counted with Decimal and returned as text, so that every figure is exact.

    Args (inputs):
        orders (dict): The clean rows as {"path", "rows", "sha256"}
        rates (dict): Euro for one unit of each currency; without it nothing is converted

    Returns:
        dict: totals {country: {currency: amount}} and in_euro {country: amount}, null without rates

    Example:
        Task(id="aggregate", executor="aggregate_orders", dependencies=[...])
    """

    id = "aggregate_orders"

    def execute(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """Add up in one pass."""
        orders, rates = inputs.get("orders"), inputs.get("rates")
        if not is_file_of_rows(orders):
            return failed("orders must be {path, rows, sha256}", "validation_error")
        if rates is not None and not is_mapping(rates):
            return failed("rates must be a mapping", "type_error")

        totals: dict[str, dict[str, Decimal]] = {}
        for row in read_rows(orders):
            of_country = totals.setdefault(row[COUNTRY], {})
            amount = Decimal(row[AMOUNT])
            of_country[row[CURRENCY]] = of_country.get(row[CURRENCY], Decimal(0)) + amount
        result = {
            "totals": {
                country: {currency: str(amount) for currency, amount in sorted(amounts.items())}
                for country, amounts in sorted(totals.items())
            },
            "in_euro": in_euro(totals, rates) if rates else None,
        }
        return {"status": "completed", "result": result}


@executor_register()
class SaveOrders(BaseTask):
    """
    Saves the orders and their totals into an SQLite database, once.

    Everything is written in one transaction, together with the task's idempotency key. A repeat,
    after a crash between the commit and the answer say, finds the key and writes nothing.

    Args (inputs):
        database (str): The database file; a relative path begins where the worker runs
        orders (dict): The clean rows as {"path", "rows", "sha256"}
        totals (dict): {country: {currency: amount}}

    Returns:
        dict: How many orders and totals are saved under which key; "cached" tells of a repeat

    Example:
        Task(id="save", executor="save_orders", inputs={"database": "orders.sqlite3", ...})
    """

    id = "save_orders"

    def execute(self, inputs: dict[str, Any], context: TaskContext) -> dict[str, Any]:
        """Save, unless it has been done."""
        database, orders, totals = (inputs.get(key) for key in ("database", "orders", "totals"))
        if not isinstance(database, str) or not database:
            return failed("database is required: the path of an SQLite file", "validation_error")
        if not is_file_of_rows(orders):
            return failed("orders must be {path, rows, sha256}", "validation_error")
        if not is_mapping(totals):
            return failed("totals must be {country: {currency: amount}}", "validation_error")

        key = context.idempotency_key
        with transaction(Path(database)) as db:
            known = saved(db, key)
            if known:
                return {"status": "completed", "result": known, "cached": True}
            db.execute("INSERT INTO saves VALUES (?, datetime('now'))", (key,))
            db.executemany(
                INSERT_ORDER, ([key, *row[:-1], cents(row[-1])] for row in read_rows(orders))
            )
            db.executemany(
                "INSERT INTO totals VALUES (?, ?, ?, ?)",
                (
                    (key, country, currency, cents(amount))
                    for country, amounts in totals.items()
                    for currency, amount in amounts.items()
                ),
            )
            return {"status": "completed", "result": saved(db, key), "cached": False}


# Money is kept in cents: SQLite has no decimals.
SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS saves (save_key TEXT PRIMARY KEY, saved_at TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS orders (
    save_key TEXT NOT NULL REFERENCES saves, order_id TEXT NOT NULL, customer TEXT, country TEXT,
    product TEXT, quantity INTEGER, unit_price TEXT, currency TEXT, ordered_at TEXT, status TEXT,
    amount_cents INTEGER, PRIMARY KEY (save_key, order_id)
);
CREATE TABLE IF NOT EXISTS totals (
    save_key TEXT NOT NULL REFERENCES saves, country TEXT, currency TEXT, amount_cents INTEGER,
    PRIMARY KEY (save_key, country, currency)
);
"""
INSERT_ORDER: Final = "INSERT INTO orders VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"


def failed(error: str, error_type: str) -> dict[str, Any]:
    """Say what went wrong, as executors do; not retried unless `retryable` is added."""
    return {"status": "failed", "error": error, "error_type": error_type}


def tidied(row: Sequence[str]) -> list[str]:
    """Give a row its full length, without stray whitespace and with one way to write codes."""
    padded = [value.strip() for value in (*row, *[""] * len(COLUMNS))][: len(COLUMNS)]
    padded[COUNTRY], padded[CURRENCY] = padded[COUNTRY].upper(), padded[CURRENCY].upper()
    padded[STATUS] = padded[STATUS].lower()
    return padded


def fault_of(row: Sequence[str]) -> str | None:
    """Tell why a tidied row cannot be used, if so."""
    if not any(row):
        return "blank"
    if not all(row):
        return "incomplete"
    if not (QUANTITIES.fullmatch(row[QUANTITY]) and PRICES.fullmatch(row[UNIT_PRICE])):
        return "wrong_number"
    if not is_moment(row[ORDERED_AT]):
        return "wrong_date"
    return "cancelled" if row[STATUS] in CANCELLED else None


def is_moment(text: str) -> bool:
    """Tell whether this is a date, or a date and time."""
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def cents(amount: str) -> int:
    """Give an amount in cents."""
    return int(Decimal(amount).scaleb(2))


async def ask(host: str, port: int) -> bytes:
    """Connect and read until the other side closes."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        return await reader.read()
    finally:
        writer.close()


def read_rates(reply: bytes) -> dict[str, str]:
    """Read {currency: rate}; raises ValueError for what is no such thing."""
    rates: object = json.loads(reply, parse_float=str, parse_int=str)
    if not is_mapping(rates):
        raise ValueError("not a JSON object")
    try:
        wrong = [
            name for name, rate in rates.items() if not 0 < Decimal(rate) < Decimal("Infinity")
        ]
    except (InvalidOperation, TypeError):
        raise ValueError("rates must be numbers") from None
    if wrong:
        raise ValueError(f"impossible rate for {', '.join(wrong)}")
    return rates


def in_euro(totals: dict[str, dict[str, Decimal]], rates: dict[str, str]) -> dict[str, str]:
    """Convert each country's totals; rounded once, at the end."""
    return {
        country: str(
            sum(
                (amount * Decimal(rates[currency]) for currency, amount in amounts.items()),
                Decimal(0),
            ).quantize(CENT)
        )
        for country, amounts in sorted(totals.items())
    }


def is_mapping(value: object) -> TypeGuard[dict[str, Any]]:
    """Tell whether this is a JSON object."""
    return isinstance(value, dict)


def is_texts(value: object) -> TypeGuard[list[str]]:
    """Tell whether this is a list of texts."""
    return isinstance(value, list) and all(isinstance(item, str) for item in value)  # pyright: ignore[reportUnknownVariableType] - what a guard is for


def is_file_of_rows(value: object) -> TypeGuard[dict[str, Any]]:
    """Tell whether this is what `write_rows` gives."""
    return is_mapping(value) and {"path", "rows", "sha256"} <= value.keys()


def write_rows(target: Path, rows: Iterable[Sequence[str]]) -> dict[str, Any]:
    """Write rows to a file and give what other tasks need to read it."""
    count = 0
    with appearing_whole(target) as file:
        writer = csv.writer(file, lineterminator="\n")
        for count, row in enumerate(rows, start=1):  # noqa: B007 - the last count is wanted
            writer.writerow(row)
    return {"path": str(target), "rows": count, "sha256": digest(target)}


def read_rows(orders: dict[str, Any]) -> Iterator[list[str]]:
    """Read the rows that another task wrote; raises `TaskError` if they aren't what it wrote."""
    path = Path(orders["path"])
    if not path.is_file():
        raise TaskError(f"{path} is gone; rerun from fetch", error_type="file_not_found")
    if digest(path) != orders["sha256"]:
        raise TaskError(f"{path} was changed; rerun from fetch", error_type="file_changed")
    return read_csv(path)


def read_csv(path: Path) -> Iterator[list[str]]:
    """Read every row, blank lines included."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        yield from csv.reader(file)


def digest(path: Path) -> str:
    """Give a file's checksum."""
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


@contextmanager
def appearing_whole(target: Path) -> Generator[IO[str]]:
    """Give a file that takes its name at the end; a task that dies half way leaves none."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with NamedTemporaryFile(
        "w", encoding="utf-8", newline="", dir=target.parent, suffix=".part", delete=False
    ) as file:
        try:
            yield file
        except BaseException:
            Path(file.name).unlink()
            raise
    Path(file.name).replace(target)


@contextmanager
def transaction(database: Path) -> Generator[sqlite3.Connection]:
    """Open the database and commit at the end, or change nothing; others wait for their turn."""
    database.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(database, timeout=30, isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        with db:
            for statement in SCHEMA.split(";"):
                db.execute(statement)
            yield db


def saved(db: sqlite3.Connection, key: str) -> dict[str, Any] | None:
    """Say what is saved under a key, if anything is."""
    if db.execute("SELECT 1 FROM saves WHERE save_key = ?", (key,)).fetchone() is None:
        return None
    orders, totals = (
        db.execute(f"SELECT count(*) FROM {table} WHERE save_key = ?", (key,)).fetchone()[0]  # noqa: S608 - two fixed names
        for table in ("orders", "totals")
    )
    return {"key": key, "orders": orders, "totals": totals}
