"""A replay that starts over: no sequence goes back, every link holds, and a snapshot replaces the book.

    looped.py URL DATA PASSES

The replay must wait for two subscribers."""

import asyncio
import sys

from common import FACTS, Book, Client, check_final


async def main(url, passes):
    symbols = [f"binance:{symbol}" for symbol in FACTS]
    last = {(channel, symbol): 0 for channel in ("trade", "quote") for symbol in symbols}
    books = {symbol: Book() for symbol in symbols}
    starts = {symbol: 0 for symbol in symbols}
    async with Client(url) as client, Client(url) as starter:
        for channel in ("trade", "quote", "book"):
            await client.subscribe(channel, "*")
        await starter.subscribe("status", "*")
        while min(starts.values()) <= passes:
            message = await client.receive()
            channel, symbol = message["channel"], message["symbol"]
            if channel != "book":
                before = last[channel, symbol]
                assert message["type"] == "update" and message["prev"] == before, message
                assert message["seq"] > before, message
                last[channel, symbol] = message["seq"]
                continue
            book = books[symbol]
            if message["type"] == "snapshot":
                starts[symbol] += 1
                if starts[symbol] > 1:
                    # Each pass ends with the book that is known to be right; later ones with
                    # higher sequences.
                    check_final(symbol, book, first_pass=(starts[symbol] == 2))
            before = book.seq
            wrong = book.take(message)
            assert wrong is None and (before is None or book.seq > before), (wrong, message["seq"])
            assert not book.is_crossed(), (symbol, book.seq)
    print(starts, "starts")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[3])))
