"""The native protocol, over the package `websockets` (https://websockets.readthedocs.io).

    native.py HOST:PORT SYMBOL=BOOK,TRADE..."""

import asyncio
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
from common import Book, Client
from ending import Kept, ends, message, ready, tell


async def main(server, wanted):
    books, all_kept = ({symbol: make() for symbol in wanted} for make in (Book, Kept))
    async with Client(f"ws://{server}/v1/ws") as client:
        await client.subscribe("book", "*")
        await client.subscribe("trade", "*")
        ready()
        while any((books[of].seq, (all_kept[of].last or {}).get("id")) != end for of, end in wanted.items()):
            came = await client.receive()
            symbol = came["symbol"].removeprefix("binance:")
            if came["channel"] == "book":
                wrong = books[symbol].take(came)
                assert wrong is None, (wrong, came)
            else:
                message(all_kept[symbol], came)
    for symbol, book in books.items():
        all_kept[symbol].book(book.seq, book.bids.items(), book.asks.items())
    tell(all_kept)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], ends(sys.argv[2:])))
