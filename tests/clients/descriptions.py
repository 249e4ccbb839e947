"""What the server says over HTTP, in streams of events and over the WebSocket against docs/openapi.json and docs/asyncapi.json, and
those against the rules of their formats.

    descriptions.py URL PID ASYNCAPI_SCHEMA

The server has a synthetic market; it is told to stop in the end. A field that a description does not name is
a fault here, although clients are told to ignore such."""

import asyncio
import json
import os
import signal
import sys
import urllib.error
import urllib.request
from pathlib import Path

import jsonschema
from openapi_spec_validator import validate as validate_openapi
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT7, DRAFT202012
from websockets.asyncio.client import connect

# Of everything something.
POLLED = "trade:*,quote:BTC-USD,book:ETH-USD:5,bar:*:1s,ticker:BTC-USD,status:*"
STREAMED = "trade:*,quote:*,book:*:5,book:BTC-USD,bar:*:1s,ticker:*,status:*"

DOCS = Path(__file__).resolve().parents[2] / "docs"


def strict(node):
    """Forbids what an object's schema does not name."""
    if isinstance(node, dict):
        if isinstance(node.get("properties"), dict):
            node["additionalProperties"] = False
        for value in node.values():
            strict(value)
    elif isinstance(node, list):
        for value in node:
            strict(value)


class Description:
    """A description, and validators of schemas by their place in it."""

    def __init__(self, name, specification, validator):
        self.document = json.loads((DOCS / name).read_text())
        copy = json.loads(json.dumps(self.document))
        strict(copy)
        self.uri = f"urn:{name}"
        resource = Resource(contents=copy, specification=specification)
        self.registry = Registry().with_resource(self.uri, resource)
        self.validator, self.validators = validator, {}

    def errors(self, value, *place):
        if place not in self.validators:
            escaped = (part.replace("~", "~0").replace("/", "~1") for part in place)
            schema = {"$ref": f"{self.uri}#/{'/'.join(escaped)}"}
            self.validators[place] = self.validator(schema, registry=self.registry)
        return list(self.validators[place].iter_errors(value))

    def refs(self, node=None):
        """Every reference, resolved."""
        node = self.document if node is None else node
        if isinstance(node, dict):
            ref = node.get("$ref")
            if isinstance(ref, str):
                at = self.document
                for part in ref.removeprefix("#/").split("/"):
                    at = at[part.replace("~1", "/").replace("~0", "~")]
                yield ref
            for value in node.values():
                yield from self.refs(value)
        elif isinstance(node, list):
            for value in node:
                yield from self.refs(value)


def fetch(url):
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def http(base):
    """Asks for every path of the description; returns how many answers were checked."""
    openapi = Description("openapi.json", DRAFT202012, jsonschema.Draft202012Validator)
    validate_openapi(openapi.document)
    assert list(openapi.refs())
    asked = [
        ("/v1/symbols", "", ["", "?venue=sim", "?venue=nope", "?x=1"]),
        ("/v1/snapshot", "", ["?symbols=BTC-USD,sim:ETH-USD", "?symbols=BTC-USD,nope&depth=1", "?symbols=sim:BTC-UDS", ""]),
        ("/v1/book/{symbol}", "sim:BTC-USD", ["", "?depth=3", "?depth=full", "?depth=0"]),
        ("/v1/trades/{symbol}", "sim%3ABTC-USD", ["", "?limit=1000", "?limit=5&before=100", "?limit=x"]),
        ("/v1/bars/{symbol}", "btc-usd", ["", "?interval=1s", "?interval=1h&limit=1", "?interval=1y"]),
        ("/v1/ticker/{symbol}", "BTC-USD", ["", "?x=1"]),
        ("/v1/ticker/{symbol}", "nope", [""]),
        # What is answered to a good one does not end, see `events`.
        ("/v1/sse", "", ["", "?subscribe=trade:nope", "?subscribe=bar:*&mode=conflate"]),
        ("/v1/poll", "", [f"?subscribe={POLLED}", f"?subscribe={POLLED}&cursor=x-1", "?subscribe=book:*", "?subscribe=trade:nope"]),
        ("/v1/openapi.json", "", [""]),
        ("/v1/asyncapi.json", "", [""]),
    ]
    assert {path for path, _, _ in asked} == set(openapi.document["paths"])
    checked = 0
    for path, symbol, queries in asked:
        for query in queries:
            status, value = fetch(base + path.replace("{symbol}", symbol) + query)
            place = ["paths", path, "get", "responses", str(status)]
            answer = openapi.document["paths"][path]["get"]["responses"][str(status)]
            if "$ref" in answer:
                place = answer["$ref"].removeprefix("#/").split("/")
            wrong = openapi.errors(value, *place, "content", "application/json", "schema")
            assert not wrong, f"{path}{query}: {wrong[0].message} at {list(wrong[0].path)}"
            checked += 1
    return checked


class Messages:
    """What is said both ways, each message checked against the one description that it must fit."""

    def __init__(self, description):
        self.asyncapi = description
        self.seen = {}
        operations = description.document["operations"]
        self.requests = {name for name, one in operations.items() if one["action"] == "receive"}
        self.server = set(description.document["components"]["messages"]) - self.requests

    def may_be(self, message, name):
        """Whether the fields that it must have with but one value (`channel`, `type`, ...) have it."""
        payload = self.asyncapi.document["components"]["messages"][name]["payload"]
        if payload["type"] == "array" or isinstance(message, list):
            return payload["type"] == "array" and isinstance(message, list)
        fields = ((field, payload["properties"][field]) for field in payload["required"])
        return all(message.get(field) == one["const"] for field, one in fields if "const" in one)

    def check(self, message, names):
        errors = {
            name: self.asyncapi.errors(message, "components", "messages", name, "payload")
            for name in sorted(names)
            if self.may_be(message, name)
        }
        fits = [name for name, wrong in errors.items() if not wrong]
        assert len(fits) == 1, f"{message} fits {fits}: " + "; ".join(
            f"{name}: {wrong[0].message}" for name, wrong in errors.items() if wrong
        )
        self.seen[fits[0]] = self.seen.get(fits[0], 0) + 1

    def over_http(self, base):
        """The same messages in a stream of events, from its beginning and from an id on, and in polls."""
        address = f"{base}/v1/sse?subscribe={STREAMED}&history=3"
        last = self.events(address, {}, 300)
        self.events(address, {"Last-Event-ID": last}, 100)
        self.events(f"{base}/v1/sse?subscribe=trade:*&max_hz=20", {}, 20)
        self.events(f"{base}/v1/sse?subscribe=trade:*&mode=batch&batch_ms=50", {}, 20)
        address = f"{base}/v1/poll?subscribe={POLLED}"
        cursor, polled = "", 0
        while polled < 200:
            _, answer = fetch(address + cursor)
            cursor = f"&cursor={answer['cursor']}"
            polled += len(answer["messages"])
            for message in answer["messages"]:
                self.check(message, self.server)

    def events(self, address, headers, count):
        """Checks so many events and those up to the next id, which it returns."""
        request = urllib.request.Request(address, headers=headers)
        with urllib.request.urlopen(request, timeout=60) as stream:
            assert stream.headers["Content-Type"] == "text/event-stream"
            for line in stream:
                field, _, value = line.decode().rstrip("\n").partition(": ")
                if field == "data":
                    self.check(json.loads(value), self.server)
                    count -= 1
                elif field == "id" and count <= 0:
                    return value
                assert field in ("data", "id", "retry", "", ":"), line
        raise AssertionError("the stream ended")

    async def converse(self, url, pid):
        async with connect(url, max_size=None, compression=None, ping_interval=None) as socket:

            async def say(method, refused=False, **params):
                message = {"method": method, "req_id": len(self.seen), "params": params}
                if not refused:
                    self.check(message, self.requests)
                await socket.send(json.dumps(message))

            async def hear(until):
                while True:
                    message = json.loads(await socket.recv())
                    self.check(message, self.server)
                    message = message if isinstance(message, dict) else {"batch": message}
                    if until(message):
                        return message

            async def answered(method):
                return await hear(lambda message: message.get("method") == method)

            # Before there is anything else to send.
            await hear(lambda message: message.get("channel") == "heartbeat")
            for channel, more in [
                ("trade", {"history": 5}),
                ("quote", {"mode": "conflate"}),
                ("book", {"depth": 5}),
                ("book", {"depth": "full", "max_age_ms": 50}),
                ("bar", {"interval": "1s", "history": 2}),
                ("bar", {}),
                ("ticker", {}),
                ("status", {}),
            ]:
                await say("subscribe", channel=channel, symbol=["sim:BTC-USD", "ETH-USD", "nope"], **more)
                await answered("subscribe")
            await say("subscribe", channel="quote", symbol="*")
            await answered("subscribe")
            for _ in range(500):
                await hear(lambda _: True)
            await hear(lambda message: message.get("final") is True)
            last = await hear(lambda message: message.get("channel") == "trade")
            await say("subscribe", channel="status", symbol="*")
            epoch = (await answered("subscribe"))["result"][0]["epoch"]
            for since in ({"epoch": epoch, "seq": last["seq"]}, {"epoch": "x", "seq": {last["symbol"]: 1}}):
                await say("subscribe", channel="trade", symbol=last["symbol"], since=since)
                await hear(lambda message: message.get("recovered") is (since["epoch"] == epoch))
            for way, told in (({"mode": "batch"}, "batch"), ({"max_hz": 10}, "count")):
                await say("subscribe", channel="trade", symbol="sim:BTC-USD", **way)
                await answered("subscribe")
                await hear(lambda message: told in message)
            for method, params in [
                ("auth", {"token": "whatever it is, where everybody may see everything"}),
                ("list_subscriptions", {}),
                ("list_symbols", {"venue": "sim"}),
                ("unsubscribe", {"channel": "book", "symbol": "sim:BTC-USD"}),
                ("unsubscribe", {"channel": "bar", "symbol": ["sim:BTC-USD"], "interval": "1s"}),
                ("unsubscribe", {"channel": "quote", "symbol": ["*", "nope"]}),
            ]:
                await say(method, **params)
                await answered(method)
            await say("ping", t=-5)
            await answered("pong")
            for method, params in [
                ("subscribe", {"channel": "book", "symbol": "sim:BTC-USD", "dept": 5}),
                ("subscribe", {"symbol": "sim:BTC-USD"}),
                ("subscribe", {"channel": "book", "symbol": "sim:BTC-USD", "depth": 0}),
                ("nope", {}),
            ]:
                await say(method, refused=True, **params)
                await hear(lambda message: message.get("success") is False)
            await socket.send("[1]")
            await answered("")
            os.kill(pid, signal.SIGTERM)
            await hear(lambda message: message.get("type") == "drain")


def main(base, pid, schema):
    checked = http(base)
    asyncapi = Description("asyncapi.json", DRAFT7, jsonschema.Draft7Validator)
    format_rules = jsonschema.Draft7Validator(json.loads(Path(schema).read_text()))
    wrong = [error.message for error in format_rules.iter_errors(asyncapi.document)]
    assert not wrong, wrong[0][:2000]
    assert list(asyncapi.refs())
    messages = asyncapi.document["components"]["messages"]
    for name, message in messages.items():
        assert message["examples"], name
        for example in message["examples"]:
            wrong = asyncapi.errors(example["payload"], "components", "messages", name, "payload")
            assert not wrong, f"example of {name}: {wrong[0].message}"
    said = Messages(asyncapi)
    said.over_http(base)
    asyncio.run(said.converse(base.replace("http:", "ws:") + "/v1/ws", pid))
    # A client that reads is not told that it lags, and one without a token not that it expires.
    assert set(messages) - set(said.seen) == {"lag", "tokenStatus"}, set(messages) - set(said.seen)
    print(checked, "answers over HTTP,", sum(said.seen.values()), "messages:", said.seen)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
