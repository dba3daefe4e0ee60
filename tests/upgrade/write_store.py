"""Fills a store with an earlier version of the package: it runs in a process of its own, with that version's code.

It uses the names that the version had. What it made goes to standard output, as JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from stored import HALF, RAW, ROWS  # type: ignore[import-not-found, unused-ignore]

from broker_plane.config import load_settings  # type: ignore[import-not-found, unused-ignore]
from broker_plane.runtime.connect import Plane  # type: ignore[attr-defined, import-not-found, unused-ignore]


async def main(data_dir: Path) -> dict[str, Any]:
    async with Plane.connect(load_settings(data_dir=data_dir)) as connected:
        plane: Any = connected
        counted = await plane.publish(ROWS, abstract=["number"], uses=3)
        assert await plane.pull(counted.resource_url) == ROWS
        spent = await plane.publish(ROWS[:10], uses=1)
        await plane.pull(spent.resource_url)
        revoked = await plane.publish(ROWS[:10], uses=5)
        await plane.revoke(revoked.grant)
        free = await plane.publish(RAW, uses=0, name="bytes.bin", media_type="application/x-test")
        narrowed = plane.narrow(free.resource_url, uses=1)
        columns = plane.narrow(counted.resource_url, columns=["text"], first=5)
        for last in (10, 12, 13):
            await plane.publish(ROWS[:last], feed="numbers", key="number", uses=0)
        async for message in plane.subscribe("numbers", durable="reader", since=0):
            if message.notice.version == 2:
                break  # the first version is acknowledged, the second one is not
        upload = await plane.upload_grant(ttl=86_400, bytes=len(RAW))
        begin(upload.upload_url)
        return {
            "counted": counted.resource_url,
            "spent": spent.resource_url,
            "revoked": revoked.resource_url,
            "free": free.resource_url,
            "subject": free.subject,
            "narrowed": narrowed.resource_url,
            "columns": columns.resource_url,
            "upload": upload.upload_url,
            "body": free.body.id,
        }


def begin(url: str) -> None:
    """The first half of an upload."""
    headers = {"Upload-Complete": "?0", "Content-Type": "application/x-test"}
    with urlopen(Request(url, RAW[:HALF], headers, method="POST"), timeout=30) as answer:  # noqa: S310
        assert answer.status == 201


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(Path(sys.argv[1])))))
