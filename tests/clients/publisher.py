"""A feed in Python, as docs/PUBLISH.md shows it: trades, a quote and a book of `py:BTC-USD`.

    publisher.py tcp HOST PORT
    publisher.py http HOST PORT TOKEN
    publisher.py ws HOST PORT TOKEN

Ends when its standard input does; what the server answers goes to the standard output."""

import json
import socket
import sys
import urllib.request

LINES = [
    {"channel": "book", "type": "snapshot", "symbol": "py:BTC-USD", "seq": 10,
     "bids": [["100", "1"], ["99.5", "2"]], "asks": [["101", "1"]]},
    {"channel": "quote", "symbol": "py:BTC-USD", "bid": 100, "bid_qty": 1, "ask": 101, "ask_qty": 1},
    {"channel": "trade", "symbol": "py:BTC-USD", "price": "100.25", "qty": 0.125, "side": "sell", "id": 77},
    {"channel": "trade", "symbol": "py:BTC-USD", "price": "oops", "qty": 1, "side": "buy"},
    {"channel": "book", "type": "update", "symbol": "py:BTC-USD", "seq": 11, "prev": 10, "bids": [["99.5", "0"]]},
]
TEXT = "".join(json.dumps(line) + "\n" for line in LINES)


def tcp(host, port):
    with socket.create_connection((host, int(port))) as publisher, publisher.makefile("rw") as file:
        file.write(TEXT)
        file.flush()
        print(file.readline(), end="", flush=True)
        sys.stdin.read()


def http(host, port, token):
    request = urllib.request.Request(
        f"http://{host}:{port}/v1/publish", data=TEXT.encode(), headers={"Authorization": f"Bearer {token}"}
    )
    with urllib.request.urlopen(request) as answer:
        print(answer.read().decode(), flush=True)
    sys.stdin.read()


def ws(host, port, token):
    from websockets.sync.client import connect

    headers = {"Authorization": f"Bearer {token}"}
    with connect(f"ws://{host}:{port}/v1/publish?ack=true", additional_headers=headers) as publisher:
        publisher.send(TEXT)
        print(publisher.recv(), flush=True)
        print(publisher.recv(), flush=True)
        sys.stdin.read()


{"tcp": tcp, "http": http, "ws": ws}[sys.argv[1]](*sys.argv[2:])
