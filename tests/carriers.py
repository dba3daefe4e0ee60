"""How a server is put behind each carrier, and how the SDK's client reaches it there."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

import httpx2
from mcp import Client
from mcp.client import Transport
from mcp.client.streamable_http import streamable_http_client

Carrier = Literal["http", "nats", "nats-core", "webhook"]
"""Streamable HTTP; NATS, where calls are durable unless said otherwise; webhooks."""

KEPT_CONNECTIONS, KEPT_SECONDS = 100, 2.0
"""Idle connections of HTTP; uvicorn closes them after five seconds, and then a request on them may fail."""


def serve_arguments(carrier: Carrier, name: str, port: int, server: str) -> list[str]:
    """The words of `broker-plane` that serve a Python server; `port` is for webhooks."""
    webhook = ["--webhook", str(port)] if carrier == "webhook" else []
    return ["serve", "--json", "--nats", name, *webhook, server]


def target_of(carrier: Carrier, name: str, port: int) -> str:
    """What names the server to a client."""
    return f"http://127.0.0.1:{port}/mcp" if carrier in ("http", "webhook") else name


@asynccontextmanager
async def client_of(carrier: Carrier, target: str) -> AsyncIterator[Client]:
    """A client of the server that `target` names."""
    if carrier == "http":
        async with http_client(target) as client:
            yield client
    else:
        async with Client(transport_of(carrier, target)) as client:
            yield client


@asynccontextmanager
async def http_client(url: str) -> AsyncIterator[Client]:
    """A client of a server at a URL. The SDK's own has 100 connections, and a call occupies one."""
    limits = httpx2.Limits(
        max_connections=None, max_keepalive_connections=KEPT_CONNECTIONS, keepalive_expiry=KEPT_SECONDS
    )
    async with (
        httpx2.AsyncClient(timeout=httpx2.Timeout(30, read=300), limits=limits, trust_env=False) as http,
        Client(streamable_http_client(url, http_client=http)) as client,
    ):
        yield client


def transport_of(carrier: Carrier, target: str, *, state: Path | None = None) -> Transport:
    """A transport for the SDK's client. `state` is where a webhook session is kept."""
    if carrier == "webhook":
        from broker_plane.transports.webhook.client import webhook_client

        return webhook_client(target, state=state)
    from broker_plane.transports.nats.client import nats_client

    return nats_client(target, durable=carrier == "nats")
