"""Books of many symbols, rebuilt from a capture of a venue: none is ever crossed.

    uncrossed.py URL DATA BOOKS

The replay must wait for two subscribers, and show this many books."""

import asyncio
import json
import sys
import urllib.request

from common import Book, Client


def feed_has_ended(url):
    address = "http" + url.removeprefix("ws").removesuffix("/v1/ws") + "/v1/feeds"
    with urllib.request.urlopen(address, timeout=60) as answer:
        return all(feed["state"] == "ended" for feed in json.load(answer)["feeds"])


async def main(url, wanted):
    books, last, counts = {}, {}, {}
    async with Client(url) as client, Client(url) as starter:
        for channel in ("trade", "quote", "book"):
            await client.subscribe(channel, "*")
        await starter.subscribe("status", "*")
        ended = False
        while True:
            message = await client.receive_or_idle()
            if message is None:
                # Nothing but heartbeats: all of a feed has come that had ended before that.
                if ended:
                    break
                ended = await asyncio.to_thread(feed_has_ended, url)
                continue
            channel, symbol = message["channel"], message["symbol"]
            counts[channel] = counts.get(channel, 0) + 1
            if channel == "book":
                book = books.setdefault(symbol, Book())
                wrong = book.take(message)
                assert wrong is None, (symbol, wrong)
                assert not book.is_crossed(), (symbol, book.seq, book.best())
            else:
                assert message["prev"] == last.get((channel, symbol), 0) < message["seq"], message
                last[channel, symbol] = message["seq"]
    async with Client(url) as late:
        # Who comes afterwards gets the same books.
        await late.subscribe("book", "*")
        for _ in books:
            message = await late.receive()
            book = Book()
            assert book.take(message) is None
            known = books[message["symbol"]]
            assert (book.bids, book.asks, book.seq) == (known.bids, known.asks, known.seq), message
    assert len(books) == wanted, (len(books), wanted)
    assert min(counts.get(channel, 0) for channel in ("trade", "quote", "book")) > 0, counts
    print(len(books), "books,", counts)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[3])))
