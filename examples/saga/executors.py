"""The executors of the saga example: money and bookings in an SQLite file.

Every act writes a line into the journal, under its idempotency key and in the same transaction. A
repeat, after a crash between the commit and the answer say, finds its key and changes nothing.
"""

import sqlite3
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from pydantic import BaseModel

from regrow import TaskContext, TaskError, executor_register

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS accounts (
    owner TEXT PRIMARY KEY, euros INTEGER NOT NULL CHECK (euros >= 0)
);
CREATE TABLE IF NOT EXISTS bookings (
    booking TEXT PRIMARY KEY, what TEXT NOT NULL, price INTEGER NOT NULL, state TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS journal (
    line INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, what TEXT NOT NULL
);
"""


class Money(BaseModel):
    """An amount, and whose account it goes to or comes from."""

    database: Path
    owner: str
    euros: int


class Wish(BaseModel):
    """What is to be booked."""

    database: Path
    what: str
    price: int


class Booked(BaseModel):
    """A booking and what it costs."""

    booking: str
    price: int


class Cancellation(BaseModel):
    """Which booking is to be undone."""

    database: Path
    what: str
    booking: str


class Paid(BaseModel):
    """What was paid, and what is left."""

    paid: int
    left: int


@executor_register()
def deposit_money(inputs: Money, context: TaskContext) -> int:
    """Pay money into an account, opening it if need be; gives the balance."""
    act(
        inputs.database, context, f"deposited {inputs.euros}",
        "INSERT INTO accounts VALUES (?1, ?2) ON CONFLICT DO UPDATE SET euros = euros + ?2",
        inputs.owner, inputs.euros,
    )  # fmt: skip
    return balance(inputs.database, inputs.owner)


@executor_register()
def book(inputs: Wish, context: TaskContext) -> Booked:
    """Book something, to be paid later."""
    booking = context.idempotency_key
    act(
        inputs.database, context, f"booked {inputs.what}",
        "INSERT INTO bookings VALUES (?, ?, ?, 'booked')", booking, inputs.what, inputs.price,
    )  # fmt: skip
    return Booked(booking=booking, price=inputs.price)


@executor_register()
def cancel_booking(inputs: Cancellation, context: TaskContext) -> None:
    """Undo a booking."""
    act(
        inputs.database, context, f"cancelled {inputs.what}",
        "UPDATE bookings SET state = 'cancelled' WHERE booking = ?", inputs.booking,
    )  # fmt: skip


@executor_register()
def pay(inputs: Money, context: TaskContext) -> Paid:
    """Take money from an account; the database refuses to let it fall below zero."""
    try:
        act(
            inputs.database, context, f"paid {inputs.euros}",
            "UPDATE accounts SET euros = euros - ?2 WHERE owner = ?1", inputs.owner, inputs.euros,
        )  # fmt: skip
    except sqlite3.IntegrityError:
        left = balance(inputs.database, inputs.owner)
        message = f"{inputs.owner} has {left} euros, but {inputs.euros} are due"
        raise TaskError(message, error_type="insufficient_money") from None
    return Paid(paid=inputs.euros, left=balance(inputs.database, inputs.owner))


def act(database: Path, context: TaskContext, what: str, sql: str, *values: str | int) -> None:
    """Run one statement and write it into the journal, unless it stands there."""
    key = context.idempotency_key
    with transaction(database) as db:
        if db.execute("SELECT 1 FROM journal WHERE key = ?", (key,)).fetchone() is None:
            db.execute(sql, values)
            db.execute("INSERT INTO journal (key, what) VALUES (?, ?)", (key, what))


def balance(database: Path, owner: str) -> int:
    """Give the money in an account; nobody's account holds nothing."""
    with transaction(database) as db:
        row = db.execute("SELECT euros FROM accounts WHERE owner = ?", (owner,)).fetchone()
    return int(row[0]) if row else 0


@contextmanager
def transaction(database: Path) -> Generator[sqlite3.Connection]:
    """Commit at the end, or change nothing; others wait for their turn."""
    with closing(sqlite3.connect(database, timeout=30, isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        with db:
            for statement in SCHEMA.split(";"):
                db.execute(statement)
            yield db
