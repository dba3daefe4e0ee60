"""Runs where mcp-sd is installed: one call of its `DirectChannel`, as a consumer tool of its makes it.

Standard input: {"function", …its arguments}. Standard output: {"rows"}, or {"status", "body"}
where it raised for an HTTP error.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import httpx  # type: ignore[import-not-found]  # in their environment only
from mcp_sd import DirectChannel  # type: ignore[import-not-found]


async def call(function: str, **arguments: Any) -> dict[str, Any]:
    try:
        return {"rows": await getattr(DirectChannel, function)(**arguments)}
    except httpx.HTTPStatusError as error:
        return {"status": error.response.status_code, "body": error.response.json()}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(call(**json.load(sys.stdin)))))
