"""ccxt, as it is, on the Binance dialect: only the URLs are changed.

    binance_ccxt.py HOST:PORT SYMBOL COUNT

SYMBOL is as ccxt writes it (`BTC/USDT`). Prints what it saw as lines of JSON: the markets, then COUNT of
each of trades, tickers, quotes and books, in the order in which they came. ccxt itself fails where
a book's updates do not link (`ChecksumError`). Package: ccxt (https://docs.ccxt.com)."""

import asyncio
import json
import sys

import ccxt.pro


def exchange(server):
    return ccxt.pro.binance(
        {
            # Its default is to load futures too, which this server has not.
            "options": {"fetchMarkets": {"types": ["spot"]}},
            "urls": {
                "api": {
                    "public": f"http://{server}/api/v3",
                    "ws": {"spot": f"ws://{server}/ws"},
                }
            },
        }
    )


def say(saw, **what):
    print(json.dumps({"saw": saw, **what}), flush=True)


def say_trades(trades):
    last = trades[-1]
    say("trade", **{key: last[key] for key in ("symbol", "id", "side", "price", "amount", "timestamp")})


def say_ticker(ticker):
    keys = ("symbol", "last", "open", "high", "low", "bid", "ask", "baseVolume", "quoteVolume")
    say("ticker", **{key: ticker[key] for key in keys})


def say_quote(quotes):
    for symbol, quote in quotes.items():
        keys = ("bid", "bidVolume", "ask", "askVolume")
        say("quote", symbol=symbol, **{key: quote[key] for key in keys})


def say_book(book):
    bids, asks = book["bids"], book["asks"]
    assert not bids or not asks or bids[0][0] < asks[0][0], (bids[0], asks[0])
    levels = {"levels": [len(bids), len(asks)], "bid": bids[:1], "ask": asks[:1]}
    say("book", symbol=book["symbol"], nonce=book["nonce"], **levels)


async def follow(count, watch, tell):
    for _ in range(count):
        tell(await watch())


async def main(server, symbol, count):
    client = exchange(server)
    try:
        markets = await client.load_markets()
        say("markets", symbols=sorted(markets), ids=sorted(client.markets_by_id))
        await asyncio.gather(
            follow(count, lambda: client.watch_trades(symbol), say_trades),
            follow(count, lambda: client.watch_ticker(symbol), say_ticker),
            follow(count, lambda: client.watch_bids_asks([symbol]), say_quote),
            follow(count, lambda: client.watch_order_book(symbol), say_book),
        )
    finally:
        await client.close()
    say("end")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
