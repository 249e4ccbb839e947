"""ccxt, as it is, reading a book's updates at a tenth of their rate.

    binance_ccxt_slow.py HOST:PORT SYMBOL SECONDS

Between ccxt and the server's WebSockets stands a relay that measures for a sixth of the time how many
bytes come, and from then on passes on a tenth as many. ccxt itself fails where a book's updates do not link
(`ChecksumError`). In the end the relay lets everything through, and the book has to come to one that
the server gives over HTTP, in its best levels. Prints what it saw as lines of JSON. Package: ccxt
(https://docs.ccxt.com)."""

import asyncio
import json
import socket
import sys
import time
import urllib.request

from binance_ccxt import exchange, say


# ccxt asks for 1,000 at the start and knows no others: so many are sure to be whole.
LEVELS = 100


class Relay:
    """Passes on what a server says at so many bytes a second, and what a client says at once."""

    def __init__(self, server):
        self.host, port = server.rsplit(":", 1)
        self.port = int(port)
        self.passed, self.rate, self.connections = 0, None, 0

    async def open(self):
        listening = await asyncio.start_server(self.connected, "127.0.0.1", 0)
        return "127.0.0.1:%d" % listening.sockets[0].getsockname()[1]

    async def connected(self, reader, writer):
        self.connections += 1
        there = socket.socket()
        # What the kernel holds is read as far as the server knows.
        there.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)
        there.setblocking(False)
        await asyncio.get_running_loop().sock_connect(there, (self.host, self.port))
        from_server, to_server = await asyncio.open_connection(sock=there, limit=4_096)
        await asyncio.gather(self.slowly(from_server, writer), self.at_once(reader, to_server))

    async def slowly(self, reader, writer):
        while part := await reader.read(4_096):
            self.passed += len(part)
            writer.write(part)
            await writer.drain()
            if self.rate:
                await asyncio.sleep(len(part) / self.rate)
        writer.close()

    async def at_once(self, reader, writer):
        while part := await reader.read(4_096):
            writer.write(part)
        writer.close()


def whole(server, symbol):
    url = f"http://{server}/api/v3/depth?symbol={symbol}&limit={LEVELS}"
    with urllib.request.urlopen(url) as answer:
        book = json.load(answer)
    sides = [[[float(price), float(size)] for price, size in book[side]] for side in ("bids", "asks")]
    return book["lastUpdateId"], sides


async def main(server, symbol, seconds):
    relay = Relay(server)
    client = exchange(server)
    client.urls["api"]["ws"]["spot"] = f"ws://{await relay.open()}/ws"
    asked, fetch = 0, client.fetch_rest_order_book_safe

    async def counted(*args):
        nonlocal asked
        asked += 1
        return await fetch(*args)

    client.fetch_rest_order_book_safe = counted
    states, took = 0, {}
    try:
        await client.load_markets()
        id_ = client.market(symbol)["id"]
        began = time.monotonic()
        while (gone := time.monotonic() - began) < seconds:
            book = await client.watch_order_book(symbol)
            states += 1
            assert book["bids"][0][0] < book["asks"][0][0], (book["bids"][0], book["asks"][0])
            if relay.rate is None and gone > seconds / 6:
                relay.rate, took["full"] = relay.passed / gone / 10, [states, relay.passed, gone]
                states, relay.passed = 0, 0
        took["tenth"] = [states, relay.passed, gone - took["full"][2]]
        relay.rate = None
        # The book of a request is one of the stream's, which ccxt may go past in one step.
        for attempt in range(100):
            last, sides = await asyncio.to_thread(whole, server, id_)
            while (book := await client.watch_order_book(symbol))["nonce"] < last:
                pass
            if book["nonce"] == last:
                mine = [book[side][:LEVELS] for side in ("bids", "asks")]
                assert mine == sides, "another book"
                break
        assert book["nonce"] == last, "never at the state of a request"
    finally:
        await client.close()
    say("end", asked=asked, connections=relay.connections, took=took, attempts=attempt + 1)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], float(sys.argv[3])))
