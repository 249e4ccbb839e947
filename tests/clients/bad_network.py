"""Clients behind a network that delays, stalls and cuts: each comes back with what it has, and misses nothing.

    bad_network.py HOST:PORT CLIENTS MESSAGES CUTS

Each client follows trades and full books until it has so many messages and was cut off so often. The package `websockets` is the client."""

import asyncio
import json
import pathlib
import sys

import websockets

PROXY = pathlib.Path(__file__).parents[2] / "scripts/proxy"
NETWORK = ["--delay-ms", "30", "--jitter-ms", "20", "--stall-every", "0.5", "--stall-ms", "300", "--cut-every", "1.5"]


class Follower:
    def __init__(self, url, number):
        self.url, self.number = url, number
        self.epoch, self.last = None, {"trade": {}, "book": {}}
        self.messages = self.cuts = self.resumed = 0

    def subscribe(self, channel):
        params = {"channel": channel, "symbol": "sim:*"}
        if self.last[channel]:
            params["since"] = {"epoch": self.epoch, "seq": self.last[channel]}
        return json.dumps({"method": "subscribe", "params": params})

    async def follow(self, messages, cuts):
        while self.messages < messages or self.cuts < cuts:
            try:
                async with websockets.connect(self.url, open_timeout=30, max_size=None) as socket:
                    for channel in self.last:
                        await socket.send(self.subscribe(channel))
                    async for text in socket:
                        self.take(json.loads(text))
                        if self.messages >= messages and self.cuts >= cuts:
                            return
            except websockets.ConnectionClosedError as closed:
                # The network's doing; a close of the server's is a failure.
                assert closed.rcvd is None, closed
            except (websockets.InvalidHandshake, OSError, EOFError, TimeoutError):
                pass
            self.cuts += 1

    def take(self, message):
        channel = message.get("channel")
        if message.get("method") == "subscribe":
            assert message["success"], message
            self.epoch = message["result"][0]["epoch"]
        if channel not in self.last:
            return
        symbol, last = message["symbol"], self.last[channel]
        if message["type"] == "resume":
            assert message["recovered"] and message["seq"] == last[symbol], message
            self.resumed += 1
            return
        if message["type"] == "snapshot":
            assert symbol not in last, f"begins anew: {message}"
        elif symbol in last:
            assert message["prev"] == last[symbol], f"{last[symbol]} and then {message}"
        last[symbol] = message["seq"]
        self.messages += 1


async def main():
    address, clients, messages, cuts = sys.argv[1], *map(int, sys.argv[2:])
    proxy = await asyncio.create_subprocess_exec(
        sys.executable, PROXY, "--to", address, *NETWORK, stdout=asyncio.subprocess.PIPE
    )
    try:
        listening = (await proxy.stdout.readline()).decode().split()[-1]
        followers = [Follower(f"ws://{listening}/v1/ws", number) for number in range(clients)]
        await asyncio.gather(*(follower.follow(messages, cuts) for follower in followers))
    finally:
        proxy.terminate()
        await proxy.wait()
    print(json.dumps({name: sum(getattr(f, name) for f in followers) for name in ("messages", "cuts", "resumed")}))


asyncio.run(main())
