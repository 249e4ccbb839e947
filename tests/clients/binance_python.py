"""python-binance, as it is, on the Binance dialect: only the URLs are changed.

    binance_python.py HOST:PORT SYMBOL COUNT

SYMBOL is as the dialect writes it (`BTCUSDT`). Prints what it saw as lines of JSON: COUNT trades of a
trade socket, and COUNT states of the book that its `DepthCacheManager` keeps. That starts over,
with another request for the book, whenever `U` is not one more than the last `u`: how often it did
is said at the end. Package: python-binance (https://python-binance.readthedocs.io)."""

import asyncio
import json
import sys

from binance import AsyncClient, BinanceSocketManager, DepthCacheManager


class Counted(AsyncClient):
    """Counts requests for the book."""

    books = 0

    async def get_order_book(self, **params):
        Counted.books += 1
        return await super().get_order_book(**params)


def say(saw, **what):
    print(json.dumps({"saw": saw, **what}), flush=True)


def check(message):
    """The package tells its own failures as messages."""
    assert message.get("e") != "error", message
    return message


async def trades(manager, symbol, count):
    async with manager.trade_socket(symbol) as socket:
        for _ in range(count):
            say("trade", message=check(await socket.recv()))


async def books(client, manager, symbol, count):
    async with DepthCacheManager(client, symbol, bm=manager, ws_interval=100) as cache:
        for _ in range(count):
            book = await cache.recv()
            assert not isinstance(book, dict), book
            bids, asks = book.get_bids(), book.get_asks()
            # A level that is gone has to be gone: the package knows it by the text of its size.
            assert all(size > 0 for _, size in bids + asks), "a level without size"
            levels = {"levels": [len(bids), len(asks)], "bid": bids[:1], "ask": asks[:1]}
            say("book", symbol=book.symbol, time=book.update_time, **levels)


async def main(server, symbol, count):
    AsyncClient.API_URL = f"http://{server}/api"
    BinanceSocketManager.STREAM_URL = f"ws://{server}/"
    # `create` asks for /api/v3/ping and /api/v3/time.
    client = await Counted.create()
    try:
        manager = BinanceSocketManager(client)
        await asyncio.gather(
            trades(manager, symbol, count), books(client, manager, symbol, count)
        )
    finally:
        await client.close_connection()
    say("end", books_asked_for=Counted.books)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
