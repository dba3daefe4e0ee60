"""The handlers of protocols, their credentials and their limits. Pure."""

from __future__ import annotations

from typing import Any

import pytest

from broker_plane.errors import BrokerPlaneError, TooLargeError
from broker_plane.transfer.allowance import Allowance
from broker_plane.transfer.auth import auth_headers, signed_url
from broker_plane.transfer.registry import built_in_handlers
from broker_plane.wire.descriptor import Auth
from broker_plane.wire.protocols import BUILT_IN


def test_what_each_handler_can_do() -> None:
    found = built_in_handlers(follow=lambda endpoint, after: pytest.fail("not called"))
    assert {name: handler.protocol for name, handler in found.items()} == {name: BUILT_IN[name] for name in found}
    assert [name for name, handler in found.items() if handler.resume] == ["https", "http", "s3-presigned"]
    assert [name for name, handler in found.items() if handler.push] == ["https", "http", "s3-presigned"]
    assert [name for name, handler in found.items() if handler.follow] == ["ws", "wss", "sse", "nats"]
    assert built_in_handlers()["nats"].follow is None
    assert set(BUILT_IN) - set(found) == {"grpc", "ftp", "webtorrent", "webrtc"}


URL = "https://a.example/p?x=1"
HEADERS = [
    pytest.param(None, {}, id="none"),
    pytest.param(Auth(type="none"), {}, id="the type none"),
    pytest.param(Auth(type="bearer", value="t"), {"authorization": "Bearer t"}, id="bearer"),
    pytest.param(Auth(type="header", value="t"), {"authorization": "t"}, id="header"),
    pytest.param(Auth(type="header", value="t", header_name="X-Key"), {"X-Key": "t"}, id="a named header"),
    pytest.param(Auth(type="query", value="t"), {}, id="query"),
    pytest.param(
        Auth(type="hmac", value="key"),
        {
            "x-timestamp": "1000",
            "x-signature": "sha256=bc02aa7cf881cb054ae122208c576542933fe3cb14024f45c23f72dbafcda001",
        },
        id="hmac",
    ),
]


@pytest.mark.parametrize(("auth", "headers"), HEADERS)
def test_the_headers_of_a_credential(auth: Auth | None, headers: dict[str, str]) -> None:
    assert auth_headers(auth, "GET", URL, 1000.9) == headers


def test_a_credential_in_the_query() -> None:
    assert signed_url(URL, Auth(type="query", value="a b", query_param="k")) == f"{URL}&k=a%20b"
    assert signed_url(URL, None) == URL


LIMITS: list[Any] = [
    pytest.param(Allowance(100, 10), 10, None, id="at the limit"),
    pytest.param(Allowance(100, 10), 11, TooLargeError, id="unannounced"),
    pytest.param(Allowance(100, 10, 50), 50, None, id="announced"),
    pytest.param(Allowance(100, 10, 50), 51, TooLargeError, id="more than announced"),
    pytest.param(Allowance(100, 10, 50).unannounced(), 11, TooLargeError, id="without the announcement"),
]


@pytest.mark.parametrize(("allowance", "size", "error"), LIMITS)
def test_how_much_may_arrive(allowance: Allowance, size: int, error: type[BrokerPlaneError] | None) -> None:
    if error is None:
        allowance.check(size)
        return
    with pytest.raises(error):
        allowance.check(size)


def test_an_announcement_above_the_limit_is_refused() -> None:
    with pytest.raises(TooLargeError):
        Allowance(100, 10, 101)


def test_data_without_a_body_ends() -> None:
    allowance = Allowance(100, 10)
    for _ in range(10):
        allowance.spend(1 << 20)
        allowance.gain()
    allowance.spend(1 << 20)
    with pytest.raises(BrokerPlaneError):
        allowance.spend(1)
