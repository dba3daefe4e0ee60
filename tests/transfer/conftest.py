"""A body, and what carries out descriptors on loopback."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from broker_plane.client.trust import Trust
from broker_plane.transfer.fetch import Transfers
from broker_plane.transfer.reach import Reach
from broker_plane.wire.descriptor import Descriptor, parse_descriptor
from tests.transfer.servers import WebServer, web

BODY = random.Random(33).randbytes(650_000) + bytes(650_000)
DIGEST = "sha256:" + hashlib.sha256(BODY).hexdigest()
LOOPBACK = ("127.0.0.1/32",)

Describe = Callable[..., Descriptor]


def describe(protocol: str, endpoint: str, **fields: Any) -> Descriptor:
    """A descriptor of BODY; a field that is None is left out."""
    said = {
        "$schema": "mcp/transfer-descriptor/v1",
        "transfer_id": str(uuid4()),
        "mode": "fetch",
        "protocol": protocol,
        "endpoint": endpoint,
        "format": "application/octet-stream",
        "size_hint": len(BODY),
        "checksum": DIGEST,
    } | fields
    return parse_descriptor({name: value for name, value in said.items() if value is not None})


@pytest.fixture
def transfers(tmp_path: Path) -> Transfers:
    return Transfers(Reach(trust=Trust(), networks=LOOPBACK, directories=[tmp_path]), max_bytes=64 << 20)


@pytest.fixture
def server() -> Iterator[WebServer]:
    with web(BODY) as serving:
        yield serving
