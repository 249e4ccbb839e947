"""What the third-party clients share: the raw captures, a book that knows nothing of the server's, and
a connection of the `websockets` package (https://websockets.readthedocs.io)."""

import bisect
import gzip
import json
from decimal import Decimal
from pathlib import Path

from websockets.asyncio.client import connect

# Facts about the captures, found without tickcast: depth events applied after the snapshot, the last
# update id, best bid and ask with their sizes, levels bid and ask.
FACTS = {
    "BTC-USDT": (3449, 50093421584, "61685.99 1.0087", "61686.00 2.29327", 1209, 2196),
    "ETH-USDT": (3432, 35346671849, "2682.50 3.3168", "2682.51 48.9739", 1195, 1158),
}


def pair(text):
    return tuple(Decimal(part) for part in text.split())


class Book:
    """Price to size, exact; `seq` is None until the first snapshot."""

    def __init__(self):
        self.bids, self.asks, self.seq = {}, {}, None

    def replace(self, bids, asks):
        self.bids, self.asks = {}, {}
        self.change(bids, asks)

    def change(self, bids, asks):
        for side, levels in ((self.bids, bids), (self.asks, asks)):
            for price, size in levels:
                price, size = Decimal(price), Decimal(size)
                if size:
                    side[price] = size
                else:
                    side.pop(price, None)

    def take(self, message):
        """Applies a server's message; says what is wrong with its place in the stream, if anything."""
        if message["type"] == "snapshot":
            self.replace(message["bids"], message["asks"])
        elif self.seq is None or message["prev"] != self.seq:
            return f"update after {message['prev']}, but the last was {self.seq}"
        else:
            self.change(message["bids"], message["asks"])
        if self.seq is not None and message["seq"] < self.seq:
            return f"sequence goes back from {self.seq} to {message['seq']}"
        self.seq = message["seq"]
        return None

    def best(self):
        bid, ask = max(self.bids, default=None), min(self.asks, default=None)
        return ((bid, self.bids.get(bid)), (ask, self.asks.get(ask)))

    def top(self, depth):
        return (
            sorted(self.bids.items(), reverse=True)[:depth],
            sorted(self.asks.items())[:depth],
        )

    def is_crossed(self):
        return bool(self.bids and self.asks) and max(self.bids) >= min(self.asks)


class Capture:
    """One symbol's raw lines."""

    def __init__(self, path):
        self.trades, self.quotes, self.depths = [], [], []
        with gzip.open(path, "rt") as lines:
            for line in lines:
                recv, text = line.split(" ", 1)
                message = json.loads(text)
                if "lastUpdateId" in message:
                    self.snapshot = message
                    continue
                data = message["data"]
                kind = message["stream"].split("@")[1]
                {"trade": self.trades, "bookTicker": self.quotes, "depth": self.depths}[kind].append(
                    (int(recv), data)
                )
        self.quote_ids = [quote["u"] for _, quote in self.quotes]

    def applied(self):
        """The depth events that come after the snapshot."""
        return [data for _, data in self.depths if data["u"] > self.snapshot["lastUpdateId"]]

    def quote_at(self, seq):
        """Best bid and ask of the newest bookTicker whose update id is not above `seq`."""
        quote = self.quotes[bisect.bisect_right(self.quote_ids, seq) - 1][1]
        return (
            (Decimal(quote["b"]), Decimal(quote["B"])),
            (Decimal(quote["a"]), Decimal(quote["A"])),
        )


def captures(data):
    """Both symbols' captures, by the server's symbol."""
    folder = Path(data) / "binance_spot"
    return {
        f"binance:{symbol}": Capture(
            folder / f"binance_spot_{symbol.replace('-', '').lower()}_20240808.jsonl.gz"
        )
        for symbol in FACTS
    }


def check_final(symbol, book, first_pass=True):
    """Compares a book with what is known of the capture's end; later passes have other sequences."""
    _, last, bid, ask, bids, asks = FACTS[symbol.removeprefix("binance:")]
    last = last if first_pass else book.seq
    got = (book.seq, book.best(), len(book.bids), len(book.asks))
    wanted = (last, (pair(bid), pair(ask)), bids, asks)
    assert got == wanted, f"{symbol}: {got}, expected {wanted}"


class Client:
    """A subscriber."""

    def __init__(self, url):
        self.url = url

    async def __aenter__(self):
        # One event loop has dozens of them: on a busy machine an answer that has long come is read late.
        self.socket = await connect(
            self.url,
            subprotocols=["tickcast.v1.json"],
            compression=None,
            max_size=None,
            open_timeout=60,
            ping_timeout=60,
            close_timeout=1,
        )
        assert self.socket.subprotocol == "tickcast.v1.json"
        return self

    async def __aexit__(self, *_):
        await self.socket.close()

    async def send(self, method, **params):
        await self.socket.send(json.dumps({"method": method, "params": params}))

    async def receive(self):
        """The next message that is not a heartbeat."""
        while True:
            message = json.loads(await self.socket.recv())
            if message.get("channel") != "heartbeat":
                return message

    async def receive_or_idle(self):
        """The next message; None after two heartbeats with nothing between them."""
        for _ in range(2):
            message = json.loads(await self.socket.recv())
            if message.get("channel") != "heartbeat":
                return message
        return None

    async def subscribe(self, channel, symbols, **more):
        """Subscribes on a connection that receives nothing else yet."""
        await self.send("subscribe", channel=channel, symbol=symbols, **more)
        answer = await self.receive()
        assert answer["method"] == "subscribe" and answer["success"], answer
        return answer
