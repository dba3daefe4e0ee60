"""A front in a process of its own: `python -m tests.webhook_transport.front_program PORT`; it prints its URL."""

from __future__ import annotations

import asyncio
import sys

from broker_plane.config import load_settings
from broker_plane.proxy.options import ProxyOptions
from broker_plane.proxy.run import connected_rules
from broker_plane.runtime.wiring import wire
from broker_plane.transports.hosting import ServerHost
from broker_plane.transports.opening import in_process
from broker_plane.transports.webhook.front_process import FrontOptions
from broker_plane.transports.webhook.sending_rules import SendingRules
from broker_plane.transports.webhook.serving import webhook_front
from tests.webhook_transport.sample import mcp


async def main(server: str, port: int) -> None:
    settings = load_settings()
    wiring = await wire(settings.nats_url, settings)
    async with connected_rules(ProxyOptions(), settings) as rules:
        host = ServerHost(in_process(mcp), rules)
        quick = FrontOptions(rules=SendingRules(first_seconds=0.1, longest_seconds=1.0))
        async with webhook_front(wiring.connection, host, server, settings, port=port, options=quick) as url:
            print(f'{{"url": "{url}"}}', flush=True)
            await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
