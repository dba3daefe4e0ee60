"""ToMCP, the reference implementation of SEP-2433, as recorded facts: its wire forms are read and written, and what was
seen to be wrong in it when it was run is right here.

The inputs are in our own words, made from what is known of it at its commit 89c9482; none of its code is here.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from broker_plane.errors import (
    BrokerPlaneError,
    DescriptorExpiredError,
    ForbiddenPathError,
    WireError,
    WrongChecksumError,
    WrongCompressionError,
    WrongSizeError,
)
from broker_plane.transfer.chain import run_chain
from broker_plane.transfer.fetch import Transfers
from broker_plane.wire.capabilities import declared
from broker_plane.wire.descriptor import TOMCP, V1, parse_descriptor
from broker_plane.wire.names import EXTENSION
from broker_plane.wire.offers import Offer, negotiate
from tests.transfer.conftest import BODY, DIGEST, describe
from tests.transfer.servers import SECRET, WebServer

pytestmark = pytest.mark.anyio
ID = "550e8400-e29b-41d4-a716-446655440000"

FETCH: dict[str, Any] = {
    "$schema": TOMCP,
    "transfer_id": ID,
    "mode": "fetch",
    "protocol": "https",
    "endpoint": "https://data.example/export",
    "format": "application/json",
    "method": "GET",
    "expires": "2099-01-01T00:00:00.000Z",
}
"""What its builder writes for Level 1."""

RECORDED = [
    pytest.param(FETCH, id="level 1"),
    pytest.param(FETCH | {"auth": {"type": "bearer", "value": "t"}}, id="bearer"),
    pytest.param(FETCH | {"auth": {"type": "hmac", "value": "key", "header_name": "X-Sig"}}, id="hmac"),
    pytest.param(FETCH | {"auth": {"type": "query", "value": "t", "query_param": "sig"}}, id="query"),
    pytest.param(
        FETCH
        | {
            "description": {"tier": "mid", "text": "Pages of 100.", "examples": ["GET ?page=2"], "constraints": []},
            "sandbox": {"runtime": "node", "timeout_ms": 30000, "allowed_hosts": ["data.example"]},
        },
        id="level 2",
    ),
    pytest.param(
        FETCH | {"mode": "stream", "protocol": "sse", "stream": {"reconnect": True, "end_signal": "end"}},
        id="stream",
    ),
    pytest.param(FETCH | {"mode": "push", "method": "PUT"}, id="push"),
    pytest.param(FETCH | {"x_later": {"kept": True}}, id="a member that nobody knows"),
]


@pytest.mark.parametrize("fields", RECORDED)
def test_its_descriptors_are_read_and_written_again(fields: dict[str, Any]) -> None:
    found = parse_descriptor(fields)
    written = found.to_wire(TOMCP)
    assert written.pop("expires").startswith("2099-01-01T00:00:00")
    assert written == {name: value for name, value in fields.items() if name != "expires"}
    assert parse_descriptor(found.to_wire(V1)).to_wire(TOMCP) == found.to_wire(TOMCP)


@pytest.mark.parametrize(
    ("fields", "written"),
    [
        pytest.param({"auth": {"type": "none"}}, {}, id="its parser does not know the auth none"),
        pytest.param(
            {"sandbox": {"runtime": "node"}},
            {"sandbox": {"runtime": "node", "allowed_hosts": []}},
            id="its parser wants the hosts of a sandbox",
        ),
    ],
)
def test_quirks_of_its_parser_are_met(fields: dict[str, Any], written: dict[str, Any]) -> None:
    found = parse_descriptor(FETCH | {"$schema": V1} | fields).to_wire(TOMCP)
    assert {name: found[name] for name in ("auth", "sandbox") if name in found} == written


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"sandbox": {"runtime": "shell"}}, id="shell"),
        pytest.param({"mode": "collaborate", "collaborate": {"session_id": "s", "role": "editor"}}, id="a session"),
    ],
)
def test_what_it_has_no_form_for_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(WireError):
        parse_descriptor(FETCH | {"$schema": V1} | fields).to_wire(TOMCP)


def test_its_capabilities_are_understood() -> None:
    """It declares supportedProtocols and the like, and its negotiation returns what was selected and why."""
    capabilities = declared({EXTENSION: {"supportedProtocols": ["http", "https", "fs"], "supportedFormats": ["json"]}})
    choice = negotiate(Offer((parse_descriptor(FETCH),)), capabilities)
    assert choice.descriptor == parse_descriptor(FETCH)
    assert choice.level == 1
    assert "https" in choice.reason
    assert negotiate(Offer((parse_descriptor(FETCH),)), None).descriptor is None  # no declaration: inline


def local(server: WebServer, path: str = "/body", **fields: Any) -> Any:
    """A descriptor in its spelling, for a body on loopback."""
    return describe("http", server.url + path, **{"$schema": TOMCP} | fields)


IGNORED = [
    pytest.param({"checksum": "sha256:" + "0" * 64}, WrongChecksumError, id="checksum"),
    pytest.param({"expires": "2020-01-01T00:00:00Z"}, DescriptorExpiredError, id="expiry"),
    pytest.param({"compression": "gzip"}, WrongCompressionError, id="compression"),
]


@pytest.mark.parametrize(("fields", "error"), IGNORED)
async def test_what_it_ignores_is_checked(
    transfers: Transfers, server: WebServer, fields: dict[str, Any], error: type[BrokerPlaneError]
) -> None:
    with pytest.raises(error):
        await transfers.fetch(local(server, **fields))


CREDENTIALS = [
    pytest.param("/secret?a=b%2F", {"type": "query", "query_param": "key", "value": SECRET}, id="query"),
    pytest.param("/secret", {"type": "hmac", "value": SECRET}, id="hmac"),
]


@pytest.mark.parametrize(("path", "auth"), CREDENTIALS)
async def test_credentials_that_it_leaves_out_are_sent(
    transfers: Transfers, server: WebServer, path: str, auth: dict[str, Any]
) -> None:
    assert await transfers.fetch(local(server, path, auth=auth)) == BODY


@pytest.mark.parametrize("estimate", [len(BODY) - 7, len(BODY) + 7, 3])
async def test_its_size_is_an_estimate(transfers: Transfers, server: WebServer, estimate: int) -> None:
    """Its demonstration gives 4700 bytes for 47 records, and its proxy the number of UTF-16 units."""
    assert await transfers.fetch(local(server, size_hint=estimate, checksum=None)) == BODY
    with pytest.raises(WrongSizeError):  # the bytes were measured
        await transfers.fetch(local(server, "/whole", size_hint=len(BODY) + 7))


async def test_a_binary_body_is_not_corrupted(transfers: Transfers, server: WebServer) -> None:
    assert await transfers.fetch(local(server)) == BODY


async def test_an_empty_body_is_no_failure(transfers: Transfers, server: WebServer) -> None:
    server.body = b""
    empty = "sha256:" + hashlib.sha256(b"").hexdigest()
    assert await transfers.fetch(local(server, size_hint=0, checksum=empty)) == b""


async def test_fs_reads_only_what_the_user_allowed(transfers: Transfers, tmp_path: Path) -> None:
    (tmp_path / "inside").write_bytes(BODY)
    assert await transfers.fetch(describe("fs", str(tmp_path / "inside"))) == BODY
    for path in ("/etc/hostname", f"{tmp_path}/../outside", "file:///etc/hostname"):
        with pytest.raises(ForbiddenPathError):
            await transfers.fetch(describe("fs", path))


async def test_a_push_sends_the_bytes(transfers: Transfers, server: WebServer, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(BODY)
    await transfers.push(local(server, "/sink", mode="push", size_hint=None, checksum=None), source)
    assert server.put == {"/sink": BODY}


async def test_a_chain_passes_the_output_on(transfers: Transfers, server: WebServer, tmp_path: Path) -> None:
    steps = [local(server), local(server, "/sink", mode="push", method="PUT", size_hint=None, checksum=None)]
    report = await run_chain(transfers, steps, tmp_path / "chain")
    assert [step.state for step in report.steps] == ["done", "done"]
    assert report.steps[0].digest == DIGEST.removeprefix("sha256:")
    assert server.put == {"/sink": BODY}
