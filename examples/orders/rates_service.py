"""A rates service to go with the example: answers every connection with one JSON object.

Run it with: python rates_service.py
"""

import asyncio
import json
from typing import Final

PORT: Final = 8777
IN_EURO: Final = {"EUR": 1, "CHF": 1.07, "CZK": 0.04, "GBP": 1.15, "PLN": 0.24, "USD": 0.92}


async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Say what each currency is worth, and hang up."""
    writer.write(json.dumps(IN_EURO).encode())
    await writer.drain()
    writer.close()


async def main() -> None:
    """Answer until Ctrl-C."""
    server = await asyncio.start_server(answer, "127.0.0.1", PORT)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
