"""Server-sent events, over the package `sseclient-py` (https://github.com/mpetazzoni/sseclient).

    events.py HOST:PORT SYMBOL=BOOK,TRADE..."""

import json
import sys
from pathlib import Path

import requests
from sseclient import SSEClient

sys.path.insert(0, str(Path(__file__).parent.parent))
from common import Book
from ending import Kept, ends, message, ready, tell


def follow(events, wanted):
    books, all_kept = ({symbol: make() for symbol in wanted} for make in (Book, Kept))
    answers = 0
    while any((books[of].seq, (all_kept[of].last or {}).get("id")) != end for of, end in wanted.items()):
        event = next(events)
        assert event.event == "message", event
        came = json.loads(event.data)
        if "method" in came:
            assert came["success"], came
            answers += 1
            if answers == 2:
                ready()
            continue
        symbol = came["symbol"].removeprefix("binance:")
        if came["channel"] == "book":
            wrong = books[symbol].take(came)
            assert wrong is None, (wrong, came)
        else:
            message(all_kept[symbol], came)
    for symbol, book in books.items():
        all_kept[symbol].book(book.seq, book.bids.items(), book.asks.items())
    tell(all_kept)


def main(server, wanted):
    query = {"subscribe": "book:*,trade:*"}
    url = f"http://{server}/v1/sse"
    with requests.get(url, params=query, stream=True, timeout=60) as response:
        response.raise_for_status()
        follow(SSEClient(response).events(), wanted)


if __name__ == "__main__":
    main(sys.argv[1], ends(sys.argv[2:]))
