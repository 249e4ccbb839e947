"""Subscribers who come at random moments of a replay, and who look at the best N levels only: all end
with the book that is known to be right.

    moments.py URL DATA SEED

The replay must wait for six subscribers."""

import asyncio
import random
import sys

from common import FACTS, Book, Client, check_final

DEPTHS = (1, 5, 25, 1000)
MOMENTS = 50
SYMBOLS = [f"binance:{symbol}" for symbol in FACTS]


async def follow(client, books, ended=None):
    """Keeps books by (symbol, depth) until the full ones (depth None) have ended."""
    full = {symbol for symbol, depth in books if depth is None}
    while full:
        message = await client.receive()
        if message.get("channel") != "book":
            continue
        symbol = message["symbol"]
        book = books[symbol, message.get("depth")]
        wrong = book.take(message)
        assert wrong is None, (symbol, message.get("depth"), wrong)
        if ended and message["type"] == "update":
            ended(message)
        if "depth" not in message and book.seq == FACTS[symbol.removeprefix("binance:")][1]:
            full.discard(symbol)
    # A message of another depth may follow that of the full book, but stands before this answer.
    await client.send("ping")
    while (message := await client.receive()).get("method") != "pong":
        wrong = books[message["symbol"], message.get("depth")].take(message)
        assert wrong is None, wrong


async def top_n(url, depth, ready):
    """A view of the best levels, beside the full book."""
    async with Client(url) as client:
        # Nothing is listed before the replay begins, and it begins when all are here.
        await client.subscribe("book", "*", depth=depth)
        await client.subscribe("book", "*")
        ready.release()
        books = {(symbol, d): Book() for symbol in SYMBOLS for d in (depth, None)}
        await follow(client, books)
        for symbol in SYMBOLS:
            full, view = books[symbol, None], books[symbol, depth]
            check_final(symbol, full)
            # Nothing beyond the best N either.
            held = (sorted(view.bids.items(), reverse=True), sorted(view.asks.items()))
            assert held == full.top(depth), f"{symbol}: not the best {depth}"


async def latecomer(url, symbol):
    async with Client(url) as client:
        await client.send("subscribe", channel="book", symbol=symbol)
        answer = await client.receive()
        assert answer["method"] == "subscribe" and answer["success"], answer
        books = {(symbol, None): Book()}
        await follow(client, books)
        check_final(symbol, books[symbol, None])


async def main(url, seed):
    rng = random.Random(int(seed))
    ready = asyncio.Semaphore(0)
    tasks = [asyncio.create_task(top_n(url, depth, ready)) for depth in DEPTHS]
    for _ in tasks:
        await ready.acquire()
    events = sum(fact[0] for fact in FACTS.values())
    moments = sorted(rng.sample(range(events - 100), MOMENTS))
    seen = 0

    def at(_message):
        nonlocal seen
        seen += 1
        while moments and moments[0] <= seen:
            moments.pop(0)
            tasks.append(asyncio.create_task(latecomer(url, SYMBOLS[len(tasks) % 2])))

    async with Client(url) as conductor, Client(url) as starter:
        await conductor.subscribe("book", "*")
        await starter.subscribe("status", "*")
        await follow(conductor, {(symbol, None): Book() for symbol in SYMBOLS}, at)
    assert not moments, f"{len(moments)} moments did not come"
    await asyncio.gather(*tasks)
    print(len(tasks), "clients, all with the same book")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[3]))
