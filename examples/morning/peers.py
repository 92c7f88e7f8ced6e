"""What is around the shop: its database, prices, a courier, a screen and a mail server.

Run it with: python peers.py

Each start is the same morning again. It prints what it is asked and told; the worker comes over the
network, as to real ones.
"""

import asyncio
import email
import json
import sqlite3
from contextlib import closing
from email import policy
from pathlib import Path
from typing import Final

from aiohttp import web

HOST: Final = "127.0.0.1"
PORT: Final = 8790
MAIL_PORT: Final = 8791
KEY: Final = "not-a-real-key"
EUROS: Final = {"teapot": 34.25, "cup": 8.25, "tray": 26.0}
ORDERS: Final = (
    ("Ann", "teapot", 1, "open"),
    ("Bob", "cup", 6, "open"),
    ("Cem", "tray", 3, "open"),
    ("Dee", "cup", 2, "packing"),
)


def open_shop() -> None:
    """Write the shop's database, and make the folders that the worker writes into."""
    Path("shop.sqlite3").unlink(missing_ok=True)
    for folder in ("counter", "archive"):
        Path(folder).mkdir(exist_ok=True)
    with closing(sqlite3.connect("shop.sqlite3")) as db, db:
        db.execute(
            "CREATE TABLE orders"
            " (id INTEGER PRIMARY KEY, customer, article, quantity, state, euros)"
        )
        db.executemany(
            "INSERT INTO orders (customer, article, quantity, state) VALUES (?, ?, ?, ?)", ORDERS
        )


def say(line: str) -> None:
    """Print at once, also into a file."""
    print(line, flush=True)


async def price(request: web.Request) -> web.Response:
    """Say what an order comes to, to those who have the key."""
    if request.headers.get("Authorization") != f"Bearer {KEY}":
        say("prices: asked with a wrong key")
        return web.json_response({"error": "wrong key"}, status=401)
    order, article, quantity = (request.query[name] for name in ("order", "article", "quantity"))
    say(f"prices: order {order}, {quantity} x {article}")
    return web.json_response({"order": int(order), "euros": EUROS[article] * int(quantity)})


async def courier(request: web.Request) -> web.Response:
    """Say when the courier comes."""
    say(f"courier: {request.query['parcels']} parcels")
    return web.json_response({"comes": "at 11"})


async def screen(request: web.Request) -> web.WebSocketResponse:
    """Show what comes, and say so."""
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    async for message in socket:
        say(f"screen: pack {', '.join(json.loads(message.data)['pack'])}")
        await socket.send_str("shown")
    return socket


async def take_mail(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Speak just enough SMTP to take mails from one connection."""
    writer.write(b"220 post.shop.example\r\n")
    while line := await reader.readline():
        match line.split()[0].upper():
            case b"DATA":
                writer.write(b"354 go on\r\n")
                show_mail((await reader.readuntil(b"\r\n.\r\n"))[:-3])
                writer.write(b"250 taken\r\n")
            case b"QUIT":
                writer.write(b"221 bye\r\n")
                break
            case _:
                writer.write(b"250 fine\r\n")
    writer.close()


def show_mail(raw: bytes) -> None:
    """Print a mail as its reader sees it."""
    mail = email.message_from_bytes(raw, policy=policy.default)
    say(f"mail: to {mail['To']}: {mail['Subject']}")
    for line in mail.get_content().strip().splitlines():
        say(f"    {line}".rstrip())


async def main() -> None:
    """Serve until Ctrl-C."""
    open_shop()
    app = web.Application()
    app.add_routes([
        web.get("/price", price), web.get("/courier", courier), web.get("/screen", screen)
    ])  # fmt: skip
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, HOST, PORT).start()
    async with await asyncio.start_server(take_mail, HOST, MAIL_PORT) as server:
        say(f"prices, courier and screen on {HOST}:{PORT}, mail on {HOST}:{MAIL_PORT}")
        await server.serve_forever()


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except KeyboardInterrupt:
        say("the shop is closed")
