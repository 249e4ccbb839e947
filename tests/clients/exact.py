"""Everything of two replayed captures, compared with the raw lines, digit by digit.

    exact.py URL DATA kept|rebased

The replay must wait for two subscribers. `kept` compares the stamps too."""

import asyncio
import sys
from decimal import Decimal

from common import FACTS, Book, Client, captures, check_final


def same(text, raw, what):
    """The same number, written without trailing zeros."""
    value = Decimal(raw)
    assert Decimal(text) == value, f"{what}: {text}, expected {raw}"
    canonical = format(value.normalize(), "f") if value else "0"
    assert text == canonical, f"{what}: {text}, expected {canonical}"


class Expected:
    """What is still to come of one symbol."""

    def __init__(self, symbol, capture, kept):
        self.symbol, self.capture, self.kept = symbol, capture, kept
        self.trades, self.quotes = iter(capture.trades), iter(capture.quotes)
        self.last = {"trade": 0, "quote": 0}
        self.events = capture.applied()
        self.next, self.book, self.oracle, self.good = 0, Book(), Book(), 0
        self.counts = {"trade": 0, "quote": 0}

    def stream(self, message, seq):
        channel = message["channel"]
        assert message["type"] == "update", message
        assert (message["seq"], message["prev"]) == (seq, self.last[channel]), message
        self.last[channel] = seq
        self.counts[channel] += 1

    def stamps(self, message, recv, event=None):
        if self.kept:
            wanted = {"recv": recv // 1000} | ({"event": event * 1000} if event else {})
            assert message["ts"] == wanted, (message, wanted)

    def trade(self, message):
        recv, raw = next(self.trades)
        self.stream(message, raw["t"])
        same(message["price"], raw["p"], message)
        same(message["qty"], raw["q"], message)
        # `m`: the buyer was the maker, so the taker sold.
        side = "sell" if raw["m"] else "buy"
        assert (message["id"], message["side"]) == (raw["t"], side), message
        self.stamps(message, recv, raw["T"])

    def quote(self, message):
        recv, raw = next(self.quotes)
        self.stream(message, raw["u"])
        for field, key in (("bid", "b"), ("bid_qty", "B"), ("ask", "a"), ("ask_qty", "A")):
            same(message[field], raw[key], message)
        self.stamps(message, recv)

    def take_book(self, message):
        if message["type"] == "snapshot":
            self.take(message)
            raw = self.capture.snapshot
            assert self.oracle.seq is None, "a second snapshot"
            assert message["seq"] == raw["lastUpdateId"], message["seq"]
            self.oracle.replace(raw["bids"], raw["asks"])
            self.oracle.seq = raw["lastUpdateId"]
            self.compare()
            return
        # Events that change nothing are not sent; the book is the same at each of them.
        while self.events[self.next]["u"] < message["seq"]:
            before = (dict(self.oracle.bids), dict(self.oracle.asks))
            self.apply()
            assert before == (self.oracle.bids, self.oracle.asks), f"no update {self.oracle.seq}"
            self.judge()
        self.apply()
        self.take(message)
        assert self.oracle.seq == message["seq"]
        self.judge()

    def take(self, message):
        wrong = self.book.take(message)
        assert wrong is None, (wrong, message)

    def apply(self):
        raw = self.events[self.next]
        self.next += 1
        self.oracle.change(raw["b"], raw["a"])
        self.oracle.seq = raw["u"]

    def judge(self):
        best = self.book.best()
        assert best == self.oracle.best(), (self.symbol, self.oracle.seq)
        self.good += best == self.capture.quote_at(self.oracle.seq)
        if self.next % 100 == 0 or self.is_done_book():
            self.compare()

    def compare(self):
        assert self.book.bids == self.oracle.bids, (self.symbol, self.oracle.seq)
        assert self.book.asks == self.oracle.asks, (self.symbol, self.oracle.seq)

    def is_done_book(self):
        return self.next == len(self.events)

    def is_done(self):
        trades, quotes = len(self.capture.trades), len(self.capture.quotes)
        return self.is_done_book() and self.counts == {"trade": trades, "quote": quotes}

    def check_end(self):
        events = FACTS[self.symbol.removeprefix("binance:")][0]
        assert (self.good, len(self.events)) == (events, events), (self.symbol, self.good)
        check_final(self.symbol, self.book)


async def late(url, expected):
    """One that comes after the end gets the final state."""
    async with Client(url) as client:
        symbols = list(expected)
        await client.subscribe("quote", symbols)
        for _ in symbols:
            message = await client.receive()
            raw = expected[message["symbol"]].capture.quotes[-1][1]
            assert (message["type"], message["seq"]) == ("snapshot", raw["u"]), message
            same(message["bid"], raw["b"], message)
            same(message["ask_qty"], raw["A"], message)
        await client.subscribe("book", symbols)
        for _ in symbols:
            message = await client.receive()
            book = Book()
            assert message["type"] == "snapshot" and book.take(message) is None
            check_final(message["symbol"], book)
        await client.subscribe("trade", symbols)


async def main(url, data, stamps):
    expected = {
        symbol: Expected(symbol, capture, stamps == "kept")
        for symbol, capture in captures(data).items()
    }
    async with Client(url) as client, Client(url) as starter:
        for channel in ("trade", "quote", "book"):
            await client.subscribe(channel, "*")
        await starter.subscribe("status", "*")
        while not all(one.is_done() for one in expected.values()):
            message = await client.receive()
            one = expected[message["symbol"]]
            {"trade": one.trade, "quote": one.quote, "book": one.take_book}[message["channel"]](message)
        # Nothing may come after the last.
        await client.send("ping")
        message = await client.receive()
        assert message["method"] == "pong", message
        states = {(await starter.receive())["state"] for _ in expected}
        assert states == {"live"}, states
    for one in expected.values():
        one.check_end()
        print(one.symbol, one.counts, f"{one.good} of {len(one.events)} book events")
    await late(url, expected)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
