"""Grants are used in every way, and then looked for: no log, metric, problem or monitoring page has one of them."""

from __future__ import annotations

import json
import logging
from base64 import b64encode
from collections.abc import AsyncIterator, Iterator
from http.client import HTTPConnection
from urllib.parse import urlsplit

import anyio.to_thread
import pytest

from broker_plane import Plane
from broker_plane.errors import BrokerPlaneError
from broker_plane.wire.grant import grant_of
from tests.boundary.conftest import Admit, Join
from tests.deploy.running import Running
from tests.interaction.tables import wide

pytestmark = pytest.mark.anyio
PAGES = (
    *("/varz", "/routez", "/gatewayz", "/leafz", "/healthz", "/accstatz?unused=1", "/ipqueuesz?all=1", "/raftz"),
    *("/connz?subs=detail&auth=1", "/connz?subs=1&auth=1&state=closed", "/connz?subs=1&auth=1&state=all"),
    *("/subsz?subs=1&limit=4096", "/jsz?accounts=1&streams=1&consumers=1&config=1&raft=1", "/accountz"),
    *(f"/accountz?acc={account}" for account in ("PLANE", "SOURCE", "GUEST", "AUTH", "SYS")),
)
PART = 24
"""Characters of a grant that nobody else's text has by chance, and that its seal begins or ends with."""


def hits(text: str, grants: list[str]) -> list[str]:
    """Parts of grants in `text`, as they are or within what was encoded once more (a JWT has permissions in it)."""
    return [part for grant in grants for part in _spellings(grant) if part in text]


def _spellings(grant: str) -> Iterator[str]:
    for start in range(0, len(grant) - PART + 1, PART):
        part = grant[start : start + PART]
        yield part
        for shift in range(3):
            # Without the ends, which depend on what stands beside it.
            encoded = b64encode(b"." * shift + part.encode()).decode()
            yield encoded[4:-4]
            yield encoded[4:-4].translate(str.maketrans("+/", "-_"))


async def page(base: str, path: str, method: str = "GET", body: bytes | None = None) -> str:
    """Status line, headers and body of an answer."""

    def ask() -> str:
        connection = HTTPConnection(urlsplit(base).netloc, timeout=10)
        try:
            connection.request(method, path, body)
            answer = connection.getresponse()
            return f"{answer.status} {answer.getheaders()} {answer.read().decode('latin-1')}"
        finally:
            connection.close()

    return await anyio.to_thread.run_sync(ask)


async def problems(bridge: str, grants: list[str]) -> AsyncIterator[str]:
    """What the bridge says to requests that are wrong in each of its ways."""
    for grant in grants:
        path = f"/s2sp/data/{grant}"
        for method, rest, body in (
            *(("GET", "?columns=nothing", None), ("POST", "", b"{"), ("POST", "", b'{"row_ids": [99999999]}')),
            *(("POST", "/confirm", b'{"lease": "none"}'), ("POST", "/look", b'{"sample": -1}'), ("PATCH", "", None)),
            *(("HEAD", "", None), ("GET", "/nowhere", None), ("GET", "x", None)),
        ):
            yield await page(bridge, path + rest, method, body)


async def test_no_grant_is_to_be_found_where_people_look(
    weather: Plane,
    plane: Plane,
    broker: Running,
    join: Join,
    admit: Admit,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    published = [await weather.publish(wide(2_000), uses=uses or "unlimited") for uses in (0, 0, 1, 3)]
    roots = [one.resource_url for one in published]
    narrowed = [plane.narrow(url, columns=["c1"], uses=2).resource_url for url in roots]
    own = await plane.publish(wide(10), uses=1)
    given = [url for _, url in await plane.grants.mint_many(own.body.id, 4, uses=1)]
    urls = [*roots, *narrowed, own.resource_url, *given]
    grants = [grant_of(url) for url in urls]
    forged = [grant[:-1] + ("A" if grant[-1] != "A" else "B") for grant in grants]

    guests = [await admit(grants[0]), await admit(grants[len(roots)])]
    for guest in guests:
        assert await guest.subscribe(f"bp.dlv.{guest.asker}.>") == []
    await join("stats")
    await plane.revoke(roots[1])
    async with Plane.guest(broker.address) as asker:
        for url in [*urls, *urls, *(f"{plane.bridge_url}/s2sp/data/{text}" for text in forged)]:
            for pulling in (plane.pull(url, via="http"), plane.pull(url, via="nats"), asker.pull(grant_of(url))):
                try:
                    await pulling
                except BrokerPlaneError as error:
                    assert hits(f"{error} {error.reason} {error!r}", grants + forged) == []

    found = {}
    said = [answer async for answer in problems(plane.bridge_url, [*grants[:2], grants[4], forged[0]])]
    found["problem details"] = hits("\n".join(said), grants + forged)
    assert {answer[:3] for answer in said} >= {"400", "404", "405", "410"}
    for path in PAGES:
        text = await page(broker.monitoring, path)
        found[path] = hits(text, grants + forged)
    connections = await page(broker.monitoring, "/connz?subs=detail&auth=1")
    assert all(guest.asker in connections for guest in guests)  # they were there to be seen
    found["metrics"] = hits(await page(plane.bridge_url, "/metrics"), grants + forged)
    found["our logs"] = hits(caplog.text, grants + forged)
    assert "Refused" in caplog.text
    log = (broker.directory / "log").read_text()
    found["nats-server's log"] = hits(log, grants + forged)
    audit = [entry.to_wire() for one in (*published, own) for entry in await plane.bodies.audit(one.body.id)]
    found["audit"] = hits(json.dumps(audit), grants + forged)
    assert {where: parts for where, parts in found.items() if parts} == {}


def test_a_hit_is_seen_also_where_it_was_encoded_once_more() -> None:
    grant = "AQ" + "abcdefghijklmnopqrstuvwxyz0123456789-_" * 2 + "xy"
    for shift in range(3):
        encoded = b64encode(b"y" * shift + f"bp.pull.{grant}.x".encode()).decode()
        assert hits(encoded, [grant])
    assert hits(f"GET /s2sp/data/{grant}", [grant])
    assert not hits("nothing of it", [grant])
