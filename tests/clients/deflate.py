"""The package `websockets`, which offers permessage-deflate unless told not to: both get the same.

    deflate.py ws://HOST:PORT COUNT

Follows all trades, quotes and books twice, with and without compression, COUNT messages each, and compares
what both have been told by its sequence. The dialect of Binance likewise, and what is echoed."""

import asyncio
import json
import sys

from websockets.asyncio.client import connect


def key(message):
    return tuple(str(message.get(name)) for name in ("channel", "type", "symbol", "depth", "seq"))


async def native(url, count, compression):
    got = {}
    async with connect(f"{url}/v1/ws", compression=compression, max_size=None) as socket:
        extensions = [type(one).__name__ for one in socket.protocol.extensions]
        assert extensions == (["PerMessageDeflate"] if compression else []), extensions
        for channel in ("trade", "quote", "book"):
            params = {"channel": channel, "symbol": "*"}
            await socket.send(json.dumps({"method": "subscribe", "params": params}))
        while len(got) < count:
            text = await socket.recv()
            message = json.loads(text)
            if message.get("channel") in ("trade", "quote", "book"):
                # Of what was told to those of the same form, who may have come later.
                message.pop("prev", None)
                got[key(message)] = message
    return got


async def binance(url, compression):
    got = {}
    async with connect(f"{url}/ws/s0000usd@trade", compression=compression) as socket:
        while len(got) < 50:
            text = await socket.recv()
            got[json.loads(text)["t"]] = text
    return got


async def echo(url):
    async with connect(f"{url}/v1/echo", compression="deflate") as socket:
        for text in ("", "a", "0123456789" * 6000, "€" * 100):
            await socket.send(text)
            assert await socket.recv() == text
        # In fragments.
        await socket.send(["one, ", "two, " * 1000, "three"])
        assert await socket.recv() == "one, " + "two, " * 1000 + "three"
        await socket.send(bytes(range(256)) * 10)
        assert await socket.recv() == bytes(range(256)) * 10


def compare(what, plain, packed):
    both = plain.keys() & packed.keys()
    assert len(both) > len(plain) / 4, f"{what}: {len(both)} of {len(plain)} in common"
    for one in both:
        assert plain[one] == packed[one], (plain[one], packed[one])
    print(f"{what}: {len(both)} messages in common, all alike")


async def main(url, count):
    compare("native", *await asyncio.gather(native(url, count, None), native(url, count, "deflate")))
    compare("binance", *await asyncio.gather(binance(url, None), binance(url, "deflate")))
    await echo(url)


asyncio.run(main(sys.argv[1], int(sys.argv[2])))
