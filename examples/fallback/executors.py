"""The executors of the fallback example: ask for rates, read the shipped ones, convert prices."""

import csv
from contextlib import closing
from datetime import date
from decimal import Decimal
from http import HTTPStatus
from http.client import HTTPConnection
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ValidationError

from regrow import TaskError, executor_register

HERE: Final = Path(__file__).resolve().parent
CENT: Final = Decimal("0.01")


class Rates(BaseModel):
    """What one unit of each currency was worth in euro on a day."""

    as_of: date
    in_euro: dict[str, Decimal]


class Service(BaseModel):
    """Where a rates service listens, as HOST:PORT."""

    address: str


class RatesFile(BaseModel):
    """A file of rates; a relative path begins at this example."""

    file: Path


class PriceList(BaseModel):
    """What is to be converted, where to, and the rates there are."""

    prices: Path
    target: Path
    live: Rates | None = None
    shipped: Rates | None = None


class Converted(BaseModel):
    """The list in euro."""

    target: Path
    products: int
    rates: str
    as_of: date


@executor_register(start_to_close_timeout="10s")
def fetch_rates(inputs: Service) -> Rates:
    """Ask a web server for its rates.json, once; asking again is the policy's business."""
    try:
        with closing(HTTPConnection(inputs.address, timeout=5)) as connection:
            connection.request("GET", "/rates.json")
            response = connection.getresponse()
            body = response.read()
    except OSError as error:
        raise _unavailable(inputs.address, error.strerror or str(error)) from error
    if response.status != HTTPStatus.OK:
        raise _unavailable(inputs.address, f"{response.status} {response.reason}")
    return _read(body, inputs.address)


@executor_register()
def read_rates(inputs: RatesFile) -> Rates:
    """Read the rates that were good enough when they were kept."""
    return _read((HERE / inputs.file).read_bytes(), str(inputs.file))


@executor_register()
def convert_prices(inputs: PriceList) -> Converted:
    """Write the list in euro, with the freshest rates there are."""
    rates = inputs.live or inputs.shipped
    if rates is None:
        raise TaskError("neither live nor shipped rates", error_type="no_rates")
    with (HERE / inputs.prices).open(encoding="utf-8", newline="") as file:
        products = [(row["product"], _in_euro(row, rates)) for row in csv.DictReader(file)]
    part = inputs.target.with_name(f"{inputs.target.name}.part")
    with part.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([("product", "euro"), *products])
    part.replace(inputs.target)
    return Converted(
        target=inputs.target,
        products=len(products),
        rates="live" if inputs.live else "shipped",
        as_of=rates.as_of,
    )


def _unavailable(address: str, reason: str) -> TaskError:
    message = f"no rates from {address}: {reason}"
    return TaskError(message, error_type="rates_unavailable", retryable=True)


def _read(body: bytes, source: str) -> Rates:
    try:
        return Rates.model_validate_json(body)
    except ValidationError as error:
        raise TaskError(f"{source} holds no rates: {error}", error_type="rates_invalid") from error


def _in_euro(row: dict[str, str], rates: Rates) -> Decimal:
    rate = rates.in_euro.get(row["currency"])
    if rate is None:
        raise TaskError(f"no rate for {row['currency']}", error_type="rates_incomplete")
    return (Decimal(row["price"]) * rate).quantize(CENT)
