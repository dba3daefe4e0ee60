"""The one reader of a live stream, which a test kills: `… -m tests.faults.stream_reader <way> <url> <signal> <log>`.

It writes down every item before it says that it has taken it, and begins after the last one that is written down. What
breaks off it asks again, as an EventSource does; it says a line once it has the end.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path
from time import sleep
from uuid import uuid4

import httpx2
from websockets.exceptions import InvalidStatus, WebSocketException
from websockets.sync.client import connect

from broker_plane import Plane
from broker_plane.errors import BrokerPlaneError
from broker_plane.wire.descriptor import V1, parse_descriptor

_PAUSE_SECONDS = 0.05
_TIMEOUT_SECONDS = 30
_OVER = (204, 404, 410)


class Log:
    """What was taken: a line for each item, `[number, row]`."""

    def __init__(self, path: Path) -> None:
        lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
        whole = [line for line in lines if line.endswith(b"\n")]  # a kill may leave half a line
        self.after = json.loads(whole[-1])[0] if whole else 0
        self.ended = False
        self._file = path.open("wb", buffering=0)
        self._file.write(b"".join(whole))

    def add(self, number: int, row: object) -> None:
        self._file.write(json.dumps([number, row]).encode() + b"\n")
        self.after = number


async def by_descriptor(protocol: str, url: str, log: Log) -> None:
    """As our own client reads; it bridges breaks itself."""
    scheme = "ws:" if protocol == "ws" else "http:"
    fields = {"$schema": V1, "transfer_id": str(uuid4()), "mode": "stream", "format": "application/x-ndjson"}
    descriptor = parse_descriptor(fields | {"protocol": protocol, "endpoint": url.replace("http:", scheme)})
    async with Plane.connect() as plane, aclosing(plane.transfers.follow(descriptor, log.after)) as items:
        async for number, row in items:
            log.add(number, row)


async def over_nats(url: str, log: Log) -> None:
    async with Plane.connect() as plane:
        while True:
            try:
                async with aclosing(plane.pulls.follow(url, log.after)) as items:
                    async for number, row in items:
                        log.add(number, row)
                return
            except BrokerPlaneError as error:
                if not error.retryable:
                    raise
                await asyncio.sleep(_PAUSE_SECONDS)


def over_events(url: str, signal: str, log: Log) -> bool:
    """One answer; whether the stream has ended, and that was taken."""
    headers = {"last-event-id": str(log.after + log.ended)} if log.after else {}
    with httpx2.stream("GET", url, headers=headers, trust_env=False, timeout=_TIMEOUT_SECONDS) as answer:
        if answer.status_code != 200:
            return log.ended and answer.status_code in _OVER
        kind, number = "", 0
        for line in answer.iter_lines():
            name, _, value = line.partition(": ")
            if name == "event":
                kind = value
            elif name == "id":
                number = int(value)
            elif name == "data" and kind == "item":
                log.add(number, json.loads(value)["data"])
            elif name == "data" and kind == "end":
                log.ended = value == signal
    return False


def over_socket(url: str, signal: str, log: Log) -> bool:
    """One connection; whether the stream has ended, and that was taken."""
    try:
        with connect(url.replace("http:", "ws:") + f"?after={log.after}", proxy=None) as socket:
            for message in socket:
                if message == signal:
                    log.ended = True
                    socket.send(json.dumps({"after": log.after + 1}))
                else:
                    fields = json.loads(message)
                    log.add(fields["id"], fields["data"])
                    socket.send(json.dumps({"after": log.after}))
    except InvalidStatus as error:
        return log.ended and error.response.status_code in _OVER
    return log.ended  # closed in order


def until_end(read: Callable[[str, str, Log], bool], url: str, signal: str, log: Log) -> None:
    while True:
        try:
            if read(url, signal, log):
                return
        except (httpx2.HTTPError, WebSocketException, OSError):
            pass
        sleep(_PAUSE_SECONDS)


def main(way: str, url: str, signal: str, path: str) -> None:
    log = Log(Path(path))
    if way == "nats":
        asyncio.run(over_nats(url, log))
    elif way.startswith("our "):
        asyncio.run(by_descriptor(way.removeprefix("our "), url, log))
    else:
        until_end({"sse": over_events, "ws": over_socket}[way], url, signal, log)
    print(json.dumps({"end": log.after}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
