"""What the four kinds of client of tests/four_clients.rs have in common: what each of them says in the end.

A client is told the last sequences of each symbol, `BTC-USDT=BOOK,TRADE`, follows books and trades up to
these, and prints one line of JSON, {symbol: {"seq", "bids", "asks", "trades", "last"}}: the book best level
first, how many trades came, and the last one. Numbers are exact and written without trailing zeros."""

import json
from decimal import Decimal


def ends(args):
    """The last sequences of book and trades, by symbol."""
    parted = (arg.split("=") for arg in args)
    return {symbol: tuple(int(seq) for seq in seqs.split(",")) for symbol, seqs in parted}


def plain(number):
    """`0.50` is `0.5`; a float is what is shown of it."""
    value = Decimal(str(number))
    return format(value.normalize(), "f") if value else "0"


def ready():
    """It is connected, and misses nothing from here on."""
    print("ready", flush=True)


class Kept:
    """One symbol's book and trades, as a client keeps them."""

    def __init__(self):
        self.seq, self.bids, self.asks, self.trades, self.last = 0, [], [], 0, None

    def book(self, seq, bids, asks):
        """Levels in any order."""
        levels = [[(Decimal(str(price)), size) for price, size in side] for side in (bids, asks)]
        self.seq = seq
        self.bids, self.asks = (
            [[plain(price), plain(size)] for price, size in sorted(side, reverse=reverse)]
            for side, reverse in zip(levels, (True, False))
        )

    def trade(self, id, side, price, qty, event_us):
        self.trades += 1
        self.last = {"id": id, "side": side, "price": plain(price), "qty": plain(qty), "event": event_us}


def message(kept, message):
    """Takes a trade of the native protocol; each follows the one before."""
    if kept.last:
        assert message["prev"] == kept.last["id"], message
    ts = message["ts"]["event"]
    kept.trade(message["seq"], message["side"], message["price"], message["qty"], ts)


def tell(all_kept):
    print(json.dumps({symbol: vars(kept) for symbol, kept in all_kept.items()}), flush=True)
