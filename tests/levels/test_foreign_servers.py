"""The three foreign servers: clients that people wrote get the same file from each, over both versions of its API."""

from __future__ import annotations

import time
from hashlib import sha256
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from broker_plane.wire.descriptor import parse_descriptor
from demos.levels_protocols import PROTOCOLS
from demos.levels_rows import csv_of
from tests.levels.foreign import SECRET_OF_TESTS, foreign
from tests.levels.native import SECONDS, client_of, signed


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_both_versions_give_the_file_that_the_descriptor_describes(protocol: str) -> None:
    with foreign(protocol) as server:
        described = parse_descriptor(server.descriptor)
        first = client_of(protocol, server.port, server.secret, 1)
        server.change_api()
        changed = client_of(protocol, server.port, server.secret, 2)
        server.restart(2)
        assert server.descriptor["endpoint"] == described.endpoint
        again = client_of(protocol, server.port, server.secret, 2)
    assert first == changed == again == csv_of(server.rows)
    assert (sha256(first).hexdigest(), len(first)) == (described.digest, described.size_hint)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_single_row_arrives(protocol: str) -> None:
    with foreign(protocol, rows=1) as server:
        assert client_of(protocol, server.port, server.secret, 1) == csv_of(1)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_client_of_version_1_fails_at_version_2(protocol: str) -> None:
    with foreign(protocol) as server:
        server.change_api()
        with pytest.raises((AssertionError, HTTPError)):
            client_of(protocol, server.port, server.secret, 1)


@pytest.mark.parametrize(
    ("secret", "path", "skew"), [("other", "", 0), (SECRET_OF_TESTS, "&x=1", 0), (SECRET_OF_TESTS, "", 400)]
)
def test_a_request_that_is_not_signed_is_refused(secret: str, path: str, skew: int) -> None:
    with foreign("x-signed-pages") as server:
        request = signed(server.port, secret, "/gauges/7/readings?page=1", int(time.time()) - skew)
        request.full_url += path
        with pytest.raises(HTTPError) as refused:
            urlopen(request, timeout=SECONDS)  # noqa: S310 - ours
    assert refused.value.code == 401
    refused.value.close()


def test_a_stream_without_its_token_is_refused() -> None:
    with foreign("x-ticker-events") as server, pytest.raises(HTTPError) as refused:
        client_of("x-ticker-events", server.port, "other", 1)
    assert refused.value.code == 401
    refused.value.close()
