"""The dialect of Binance, over ccxt (https://docs.ccxt.com): only its URLs are changed.

    dialect.py HOST:PORT SYMBOL=BOOK,TRADE...

ccxt loads markets and books over REST, keeps the book and the trades by itself, and fails where a book's
updates do not link (`ChecksumError`). The replay lists its symbols once it begins, so this client comes
when others have been there, and has a part of the trades. If it is so late that no more come, it asks for the
last."""

import asyncio
import sys
from pathlib import Path

import ccxt

sys.path.insert(0, str(Path(__file__).parent.parent))
from binance_ccxt import exchange
from ending import Kept, ends, ready, tell

# All levels: unless told, ccxt has the best 1,000.
LEVELS = 5_000


def name_of(symbol):
    return symbol.replace("-", "/")


async def listed(client, names):
    """Waits until the server has the books."""
    for name in names:
        while True:
            try:
                await client.load_markets(True)
                await client.fetch_order_book(name, LEVELS)
                break
            except (ccxt.BadSymbol, ccxt.ExchangeNotAvailable):
                await asyncio.sleep(0.05)


async def follow(watch):
    while True:
        await watch()


async def newest(client, name):
    """The last trade."""
    watched = client.trades.get(name)
    return watched[-1] if watched else (await client.fetch_trades(name, limit=1))[-1]


async def has_ended(client, symbol, end):
    book = client.orderbooks.get(name_of(symbol))
    return book and book["nonce"] == end[0] and int((await newest(client, name_of(symbol)))["id"]) == end[1]


async def kept(client, symbol):
    book, kept = client.orderbooks[name_of(symbol)], Kept()
    kept.book(book["nonce"], book["bids"], book["asks"])
    last = await newest(client, name_of(symbol))
    event_us = last["timestamp"] * 1000
    kept.trade(int(last["id"]), last["side"], last["price"], last["amount"], event_us)
    kept.trades = len(client.trades.get(name_of(symbol), []))
    return kept


async def main(server, wanted):
    client = exchange(server)
    client.options["fetchTradesMethod"] = "publicGetTrades"
    ready()
    names = [name_of(symbol) for symbol in wanted]
    await listed(client, names)
    watching = [
        asyncio.create_task(follow(lambda: client.watch_order_book_for_symbols(names, LEVELS))),
        asyncio.create_task(follow(lambda: client.watch_trades_for_symbols(names))),
    ]
    try:
        while not all([await has_ended(client, symbol, end) for symbol, end in wanted.items()]):
            done, _ = await asyncio.wait(watching, timeout=0.1)
            for task in done:
                task.result()
        tell({symbol: await kept(client, symbol) for symbol in wanted})
    finally:
        for task in watching:
            task.cancel()
        await client.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], ends(sys.argv[2:])))
