"""A process that answers durable requests: `python -m tests.faults.exchange_worker <server> <messages> <seconds>`.

It answers each after so many progress messages with a pause before each, and prints when it begins one. The effect of a
tool is a file in the folder EFFECTS for each idempotency key.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncGenerator
from contextlib import suppress
from pathlib import Path

from broker_plane.config import load_settings
from broker_plane.exchange.lines import IDEMPOTENCY_KEY
from broker_plane.exchange.messages import Said
from broker_plane.plane.exchanges.ports import Asked
from broker_plane.plane.exchanges.worker import ExchangeWorker
from broker_plane.plane.retry import retry_while_retryable
from broker_plane.runtime.wiring import wire
from broker_plane.storage.exchanges import NatsExchanges

LEASE_SECONDS = 2.0


class Printed:
    """The relay: prints what is passed on."""

    async def said(self, asked: Asked, said: Said) -> None:
        print(json.dumps({"said": said.seq, "last": said.last, "exchange": asked.key.exchange}), flush=True)

    async def alive(self, asked: Asked) -> None:
        pass


async def main(server: str, messages: int, pause: float) -> None:
    async def run(asked: Asked) -> AsyncGenerator[bytes, None]:
        print(json.dumps({"begun": asked.key.exchange, "attempt": asked.attempt}), flush=True)
        call = json.loads(asked.line)
        for number in range(1, messages + 1):
            await asyncio.sleep(pause)
            params = {"progressToken": 1, "progress": number}
            yield json.dumps({"jsonrpc": "2.0", "method": "notifications/progress", "params": params}).encode()
        _once(call["params"]["_meta"][IDEMPOTENCY_KEY])
        yield json.dumps({"jsonrpc": "2.0", "id": call["id"], "result": {"pid": os.getpid()}}).encode()

    settings = load_settings()
    wired = await retry_while_retryable(lambda: wire(settings.nats_url, settings), 10)
    store = NatsExchanges(wired.connection, lease_seconds=LEASE_SECONDS)
    worker = ExchangeWorker(
        store, server, "n", run, Printed(), now=wired.connection.clock.now, lease_seconds=LEASE_SECONDS
    )
    await worker.run()


def _once(key: str) -> None:
    """The effect of the tool, which is idempotent by its key."""
    with suppress(FileExistsError):
        (Path(os.environ["EFFECTS"]) / key).open("x").close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))
