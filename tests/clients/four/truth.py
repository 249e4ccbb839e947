"""What the captures come to, found without the server and compared with what is known of them.

    truth.py DATA"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
from common import Book, captures, check_final
from ending import Kept, tell


def kept(symbol, capture):
    book, kept = Book(), Kept()
    book.replace(capture.snapshot["bids"], capture.snapshot["asks"])
    for event in capture.applied():
        book.change(event["b"], event["a"])
        book.seq = event["u"]
    check_final(symbol, book)
    kept.book(book.seq, book.bids.items(), book.asks.items())
    for _, raw in capture.trades:
        # `m`: the buyer was the maker, so the taker sold.
        kept.trade(raw["t"], "sell" if raw["m"] else "buy", raw["p"], raw["q"], raw["T"] * 1000)
    return kept


if __name__ == "__main__":
    found = captures(sys.argv[1]).items()
    tell({symbol.removeprefix("binance:"): kept(symbol, capture) for symbol, capture in found})
