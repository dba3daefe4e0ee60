"""Which URLs the request guard allows: for webhooks, and for descriptors."""

from __future__ import annotations

import pytest

from broker_plane.client.guard import RequestGuard, RequestTarget, descriptor_guard, webhook_guard
from broker_plane.errors import UntrustedHostError
from broker_plane.wire.protocols import BUILT_IN, HTTP_SCHEMES, WEBSOCKET_SCHEMES, Scheme

pytestmark = pytest.mark.anyio
LOOPBACK = ("127.0.0.0/8", "::1/128")
ALLOWED = [
    pytest.param(webhook_guard(), "https://8.8.8.8/hook", id="a public webhook"),
    pytest.param(webhook_guard(), "https://8.8.8.8:8443/hook", id="the other port of https"),
    pytest.param(webhook_guard(LOOPBACK), "http://127.0.0.1:99/hook", id="a listed network"),
    pytest.param(descriptor_guard(), "sftp://8.8.8.8/file", id="another encrypted protocol"),
    pytest.param(descriptor_guard(), "mqtts://8.8.8.8/topic", id="mqtts"),
]
REFUSED = [
    pytest.param(webhook_guard(), "https://8.8.8.8:8883/hook", id="a port of another protocol"),
    pytest.param(webhook_guard(), "http://8.8.8.8/hook", id="plain text"),
    pytest.param(webhook_guard(), "https://10.0.0.1/hook", id="a private address"),
    pytest.param(webhook_guard(), "https://user@8.8.8.8/hook", id="a user"),
    pytest.param(webhook_guard(), "sftp://8.8.8.8/hook", id="another scheme"),
    pytest.param(webhook_guard(), "https://8.8.8.8:x/hook", id="no port"),
    pytest.param(descriptor_guard(), "ws://8.8.8.8/x", id="plain text of another protocol"),
    pytest.param(descriptor_guard(), "https://8.8.8.8:9999/x", id="an unusual port"),
    pytest.param(descriptor_guard(), "https://8.8.8.8:22/x", id="the port of another scheme"),
]


HTTPS, WS = HTTP_SCHEMES[0], WEBSOCKET_SCHEMES[1]
EVERY = {scheme.name: scheme for protocol in BUILT_IN.values() for scheme in protocol.schemes}


def schemes(guard: RequestGuard) -> tuple[Scheme, ...]:
    return HTTP_SCHEMES if guard.subject == "A webhook" else tuple(EVERY.values())


@pytest.mark.parametrize(("guard", "url"), ALLOWED)
async def test_allowed(guard: RequestGuard, url: str) -> None:
    target = await guard.check(url, schemes(guard))
    assert target.url.startswith(url.partition(":")[0])


@pytest.mark.parametrize(("guard", "url"), REFUSED)
async def test_refused(guard: RequestGuard, url: str) -> None:
    with pytest.raises(UntrustedHostError, match=guard.subject):
        await guard.check(url, schemes(guard))


@pytest.mark.parametrize(
    ("target", "authority"),
    [
        (RequestTarget(HTTPS, "1.2.3.4", 443, "a.example", "/"), "a.example"),
        (RequestTarget(HTTPS, "1.2.3.4", 8443, "a.example", "/"), "a.example:8443"),
        (RequestTarget(WS, "::1", 80, "::1", "/"), "[::1]"),
    ],
)
def test_the_host_header(target: RequestTarget, authority: str) -> None:
    assert target.authority == authority


def test_public_hosts_are_contacted_over_encrypted_schemes_only() -> None:
    assert all(scheme.encrypted == bool(scheme.public_ports) for scheme in EVERY.values())
    schemes = [scheme for protocol in BUILT_IN.values() for scheme in protocol.schemes]
    assert all(scheme == EVERY[scheme.name] for scheme in schemes)  # one record a scheme, whoever uses it
