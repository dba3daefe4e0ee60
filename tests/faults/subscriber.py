"""A subscriber that a test kills: `python -m tests.faults.subscriber <feed> <durable>`.

For every row that changed it appends the row's number to what is kept under the row's key, and says the version.
"""

from __future__ import annotations

import asyncio
import json
import sys

from broker_plane import Plane
from broker_plane.plane.feeds.message import FeedMessage
from broker_plane.plane.feeds.retry_schedule import RetrySchedule

PATIENT = RetrySchedule(delays=(0.1,) * 30)
"""A notice that is under way at a kill is delivered again; none is given up here."""

ACK_SECONDS = 1.0


async def main(feed: str, durable: str) -> None:
    async with Plane.connect() as plane:

        async def handle(message: FeedMessage) -> None:
            changes = await message.changes()
            for row in changes.added + changes.changed:
                async with message.once(f"contact-{row['id']}") as effect:
                    if effect.fresh:
                        effect.value = [*(effect.value or []), row["n"]]
            print(json.dumps(message.version), flush=True)

        await plane.on_notice(feed, handle, durable=durable, since="first", retries=PATIENT, ack_seconds=ACK_SECONDS)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
