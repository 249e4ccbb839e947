"""Long polling, over the package `requests` (https://requests.readthedocs.io).

    poll.py HOST:PORT SYMBOL=BOOK,TRADE...

Books are their best 1,000 levels: a poll has no more."""

import sys

import requests
from ending import Kept, ends, message, ready, tell


def main(server, wanted):
    all_kept = {symbol: Kept() for symbol in wanted}
    with requests.Session() as session:
        query = {"subscribe": "trade:*,book:*:1000", "timeout": "10"}
        while any((all_kept[of].seq, (all_kept[of].last or {}).get("id")) != end for of, end in wanted.items()):
            response = session.get(f"http://{server}/v1/poll", params=query, timeout=60)
            response.raise_for_status()
            answer = response.json()
            if "cursor" not in query:
                ready()
            else:
                assert answer["recovered"], answer
            query["cursor"] = answer["cursor"]
            for came in answer["messages"]:
                kept = all_kept[came["symbol"].removeprefix("binance:")]
                if came["channel"] == "book":
                    kept.book(came["seq"], came["bids"], came["asks"])
                else:
                    message(kept, came)
    tell(all_kept)


if __name__ == "__main__":
    main(sys.argv[1], ends(sys.argv[2:]))
