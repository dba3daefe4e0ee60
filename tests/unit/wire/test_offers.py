"""What is offered in which order, and what a client takes of it: a table of cases."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest

from broker_plane.errors import WireError
from broker_plane.wire.capabilities import Capabilities, declared, parse_capabilities
from broker_plane.wire.descriptor import TOMCP, parse_descriptor
from broker_plane.wire.hosts import nearness
from broker_plane.wire.names import EXTENSION
from broker_plane.wire.offers import Cargo, Offer, Plain, Way, negotiate, rank

FAR = "bridge.example"
JSON = "application/json"
ROWS = "application/vnd.broker-plane.rows"
BIG = Cargo(size=100 << 20)
CROWD = Cargo(size=10_000, consumers=64)
LIVE = Cargo(live=True)
SMALL = Cargo(size=10_000)


def way(protocol: str, endpoint: str = "", **more: Any) -> Way:
    """A way whose endpoint is encrypted, unless another one is given."""
    scheme = {"sse": "https", "nats": "", "s3-presigned": "https", "custom": "https"}.get(protocol, protocol)
    said = {key: more.pop(key) for key in ("encrypted", "near") if key in more}
    fields = {
        "$schema": "mcp/transfer-descriptor/v1",
        "transfer_id": str(UUID(int=7)),
        "mode": "fetch",
        "protocol": protocol,
        "endpoint": endpoint or (f"{scheme}://{FAR}/x" if scheme else "bp.pull.x"),
        "format": ROWS,
        "expires": "2026-11-21T12:00:00Z",
        "checksum": "sha256:" + "0" * 64,
        "size_hint": 1,
    }
    present = {key: value for key, value in (fields | more).items() if value is not None}
    return Way(parse_descriptor(present), **said)


HTTPS, HTTP, NEAR = way("https"), way("http"), way("http", "http://10.0.0.7/x")
LOCAL = way("http", "http://127.0.0.1/x")
NATS = way("nats", encrypted=True, near="public")
NATS_PLAIN_FAR = way("nats", near="public")
NATS_LOCAL = way("nats", near="loopback")
SSE, WSS, WS = way("sse"), way("wss"), way("ws", "ws://127.0.0.1/x")
S3, SFTP = way("s3-presigned"), way("sftp")
TEXT = way("https", format=JSON, checksum=None, size_hint=None)
ZSTD = way("https", format=JSON, checksum=None, size_hint=None, compression="zstd")
UNVERIFIED = way("https", checksum=None)
LASTING = way("https", expires=None)
TORRENT = way("webtorrent", encrypted=True)
GUIDE = {"tier": "high", "text": "Ask for page after page."}
LEARNT = way("custom", description=GUIDE, sandbox={"runtime": "python", "allowed_hosts": [FAR]})
LEARNT_NODE = way("custom", description=GUIDE, sandbox={"runtime": "node", "allowed_hosts": [FAR]})


@dataclass(frozen=True)
class Ranked:
    says: str
    ways: tuple[Way, ...]
    order: tuple[Way, ...]
    cargo: Cargo = SMALL
    plain: Plain = "private"


RANKED = [
    Ranked("nothing gives nothing", (), ()),
    Ranked("plain text to a public host is never offered", (HTTP,), ()),
    Ranked("nor over NATS", (NATS_PLAIN_FAR,), ()),
    Ranked("nor over ftp", (way("ftp"),), ()),
    Ranked("nor over what cannot be told", (way("quic-like", "quic-like://example.com/x"),), ()),
    Ranked("an event stream on http is plain", (way("sse", f"http://{FAR}/x"),), ()),
    Ranked("an event stream on https is not", (SSE,), (SSE,)),
    Ranked("a private host where that was allowed", (NEAR,), (NEAR,)),
    Ranked("and not where only loopback was", (NEAR, LOCAL), (LOCAL,), plain="loopback"),
    Ranked("and nothing plain where nothing was", (NEAR, LOCAL, HTTPS), (HTTPS,), plain="never"),
    Ranked("encrypted before plain, though the plain one is cheaper", (LOCAL, TEXT), (TEXT, LOCAL)),
    Ranked("encrypted before plain NATS", (NATS_LOCAL, HTTPS), (HTTPS, NATS_LOCAL)),
    Ranked("verified before unverified", (UNVERIFIED, HTTPS), (HTTPS, UNVERIFIED)),
    Ranked("what ends before what lasts", (LASTING, HTTPS), (HTTPS, LASTING)),
    Ranked("security before efficiency: a crowd on plain NATS", (NATS_LOCAL, HTTPS), (HTTPS, NATS_LOCAL), CROWD),
    Ranked("a crowd: the broker", (HTTPS, NATS), (NATS, HTTPS), CROWD),
    Ranked("a crowd: the broker, then peers", (HTTPS, TORRENT, NATS), (NATS, TORRENT, HTTPS), CROWD),
    Ranked("live: a socket, then events, then the broker", (NATS, SSE, WSS), (WSS, SSE, NATS), LIVE),
    Ranked("live: what is no stream comes last", (HTTPS, SSE), (SSE, HTTPS), LIVE),
    Ranked("large: what resumes", (WSS, HTTPS), (HTTPS, WSS), BIG),
    Ranked("large: a view has no ranges", (way("https", size_hint=None), S3), (S3, way("https", size_hint=None)), BIG),
    Ranked("native before learnt", (LEARNT, HTTPS), (HTTPS, LEARNT)),
    Ranked("binary before text", (way("https", format=JSON), HTTPS), (HTTPS, way("https", format=JSON))),
    Ranked("large text compressed before bare", (TEXT, ZSTD), (ZSTD, TEXT), BIG),
    Ranked("small text in the order given", (TEXT, ZSTD), (TEXT, ZSTD)),
    Ranked("a connection that stays before one that may not", (HTTPS, NATS), (NATS, HTTPS)),
    Ranked("of equals the first", (S3, HTTPS, SFTP), (S3, HTTPS, SFTP)),
]


@pytest.mark.parametrize("case", RANKED, ids=lambda case: case.says)
def test_ways_are_ranked(case: Ranked) -> None:
    offered = rank(case.ways, case.cargo, case.plain)
    assert offered.descriptors == tuple(each.descriptor for each in case.order)


@dataclass(frozen=True)
class Negotiated:
    says: str
    ways: tuple[Way, ...]
    capabilities: dict[str, Any] | None
    taken: Way | None
    reason: str
    size: int | None = None


def can(*protocols: str, **more: Any) -> dict[str, Any]:
    return {"supportedProtocols": list(protocols), **more}


LEVEL2 = {"level2": True, "runtimes": ["python"]}
NEGOTIATED = [
    Negotiated("no declaration", (HTTPS,), None, None, "declares no capabilities"),
    Negotiated("an empty declaration", (HTTPS,), {}, None, "the client does not support https"),
    Negotiated("nothing to offer", (), can("https"), None, "nothing to offer"),
    Negotiated("the first that it can", (NATS, HTTPS), can("https"), HTTPS, "level 1"),
    Negotiated("the server orders", (NATS, HTTPS), can("https", "nats"), NATS, "level 1"),
    Negotiated("plain text only to who names it", (LOCAL,), can("https"), None, "does not support http"),
    Negotiated("and to who names it", (LOCAL,), can("https", "http"), LOCAL, "level 1"),
    Negotiated("none of the protocols", (NATS, HTTPS), can("grpc"), None, "does not support nats"),
    Negotiated("a format that it has", (TEXT,), can("https", supportedFormats=[JSON]), TEXT, "level 1"),
    Negotiated("by its short name", (TEXT,), can("https", supportedFormats=["json"]), TEXT, "level 1"),
    Negotiated("with a parameter", (TEXT,), can("https", supportedFormats=["application/json; q=1"]), TEXT, "level 1"),
    Negotiated("the next format", (HTTPS, TEXT), can("https", supportedFormats=["json"]), TEXT, "level 1"),
    Negotiated("no format of its", (TEXT,), can("https", supportedFormats=["csv"]), None, "the client does not accept"),
    Negotiated("no list of formats takes any", (HTTPS,), can("https", supportedFormats=[]), HTTPS, "level 1"),
    Negotiated("zstd", (ZSTD,), can("https", supportedCompressions=["zstd"]), ZSTD, "level 1"),
    Negotiated("no zstd", (ZSTD, TEXT), can("https", supportedCompressions=["gzip"]), TEXT, "level 1"),
    Negotiated("zstd alone", (ZSTD,), can("https", supportedCompressions=["none"]), None, "does not decompress"),
    Negotiated("level 2 off", (LEARNT,), can("https"), None, "does not support custom"),
    Negotiated("level 2 on", (LEARNT,), can("https", **LEVEL2), LEARNT, "level 2"),
    Negotiated("level 1 before 2", (LEARNT, HTTPS), can("https", **LEVEL2), HTTPS, "level 1"),
    Negotiated("another runtime", (LEARNT_NODE,), can("https", **LEVEL2), None, "does not support custom"),
    Negotiated(
        "no description to learn from", (way("grpc", encrypted=True),), can(**LEVEL2), None, "does not support grpc"
    ),
    Negotiated("a learnt protocol that it knows", (LEARNT,), can("custom"), LEARNT, "level 1"),
    Negotiated("below its threshold", (HTTPS,), can("https", threshold=100), None, "below the client's", size=99),
    Negotiated("at its threshold", (HTTPS,), can("https", threshold=100), HTTPS, "level 1", size=100),
    Negotiated("of unknown size", (HTTPS,), can("https", threshold=100), HTTPS, "level 1"),
    Negotiated("members that we do not know", (HTTPS,), can("https", later=[1]), HTTPS, "level 1"),
    Negotiated("nats, which it names", (HTTPS, NATS), can("nats"), NATS, "level 1"),
    Negotiated("a protocol in another case is another", (HTTPS,), can("HTTPS"), None, "does not support https"),
    Negotiated("of two of one protocol the first", (HTTPS, UNVERIFIED), can("https"), HTTPS, "level 1"),
    Negotiated("events, of sockets and events", (WSS, SSE), can("sse"), SSE, "level 1"),
    Negotiated("a socket in plain text, to who names it", (WS,), can("wss", "ws"), WS, "level 1"),
    Negotiated("and not to who names only the encrypted one", (WS,), can("wss"), None, "does not support ws"),
    Negotiated("presigned s3", (HTTPS, S3), can("s3-presigned"), S3, "level 1"),
    Negotiated("sftp, which it has, before https, which it has not", (HTTPS, SFTP), can("sftp"), SFTP, "level 1"),
    Negotiated("a format that is offered in another case", (TEXT,), can("https", supportedFormats=["JSON"]), TEXT, "1"),
    Negotiated("stored rows for who reads them", (TEXT, HTTPS), can("https", supportedFormats=[ROWS]), HTTPS, "1"),
    Negotiated("any of its formats", (HTTPS, TEXT), can("https", supportedFormats=["csv", "json"]), TEXT, "level 1"),
    Negotiated(
        "format and protocol both",
        (NATS, TEXT),
        can("nats", supportedFormats=["json"]),
        None,
        "the client does not accept",
    ),
    Negotiated("one that lasts, where there is no other", (LASTING,), can("https"), LASTING, "level 1"),
    Negotiated("one that nobody verifies, too", (UNVERIFIED,), can("https"), UNVERIFIED, "level 1"),
    Negotiated("compressed, and it says nothing of codings", (ZSTD,), can("https"), ZSTD, "level 1"),
    Negotiated("level 2 without a runtime", (LEARNT,), can(level2=True), None, "does not support custom"),
    Negotiated(
        "level 2 for a format that it has not",
        (LEARNT,),
        can(**LEVEL2, supportedFormats=["csv"]),
        None,
        "does not accept",
    ),
    Negotiated(
        "level 2 for another format of its", (LEARNT,), can(**LEVEL2, supportedFormats=[ROWS]), LEARNT, "level 2"
    ),
    Negotiated(
        "of two that it could learn the one that it can run",
        (LEARNT_NODE, LEARNT),
        can(**LEVEL2),
        LEARNT,
        "level 2",
    ),
    Negotiated("a threshold of nothing", (HTTPS,), can("https", threshold=0), HTTPS, "level 1", size=0),
    Negotiated("below its threshold, and none of its protocols", (NATS,), can(threshold=9), None, "below", size=8),
    Negotiated(
        "above its threshold, and none of its protocols",
        (NATS,),
        can(threshold=9),
        None,
        "does not support nats",
        size=9,
    ),
    Negotiated("the other spelling", (HTTPS,), {"supported_protocols": ["https"]}, HTTPS, "level 1"),
]


@pytest.mark.parametrize("case", NEGOTIATED, ids=lambda case: case.says)
def test_a_client_takes_the_first_that_it_can(case: Negotiated) -> None:
    offer = Offer(tuple(each.descriptor for each in case.ways))
    capabilities = None if case.capabilities is None else parse_capabilities(case.capabilities)
    choice = negotiate(offer, capabilities, size=case.size)
    assert choice.descriptor == (case.taken.descriptor if case.taken else None)
    assert case.reason in choice.reason
    assert FAR not in choice.reason


HOSTS = {
    "http://127.0.0.1:80/": "loopback",
    "http://127.9.9.9/": "loopback",
    "http://[::1]/": "loopback",
    "http://LOCALHOST./": "loopback",
    "http://bridge.localhost./": "loopback",
    "http://localhost../": "public",
    "http://127.0.0.1./": "public",
    "http://10.0.0.1./": "public",
    "http://nas.local./": "private",
    "http://a.internal../": "public",
    "http://bridge./": "public",
    "http://10.1.2.3/": "private",
    "http://[fd00::1]/": "private",
    "http://bridge:8080/": "private",
    "http://nas.local/": "private",
    "http://a.internal/": "private",
    "http://8.8.8.8/": "public",
    "http://localhost.example.com/": "public",
    "http://127.0.0.1.example.com/": "public",
    "http://127.0.0.1@8.8.8.8/": "public",
    "http://2130706433/": "public",
    "http://0x7f000001/": "public",
    "http://0.0.0.0/": "public",
    "http://[::ffff:8.8.8.8]/": "public",
    "http://[bad/": "public",
    "": "public",
}


@pytest.mark.parametrize(("url", "near"), HOSTS.items())
def test_a_host_is_as_near_as_its_name_says(url: str, near: str) -> None:
    assert nearness(url) == near


def test_an_offer_travels_as_its_choice_with_alternatives() -> None:
    offer = rank((HTTPS, NATS), SMALL)
    fields = offer.to_wire(HTTPS.descriptor, TOMCP)
    assert fields is not None
    again = rank((HTTPS, NATS), SMALL).to_wire(parse_descriptor(HTTPS.descriptor.to_wire()), TOMCP)
    assert again == fields  # the choice is the same whoever made it
    assert [each["protocol"] for each in fields.pop("alternatives")] == ["nats"]
    assert parse_descriptor(fields).protocol == "https"
    assert fields["$schema"] == TOMCP
    assert Offer().to_wire() is None


@pytest.mark.parametrize("settings", [5, {"supportedProtocols": 5}, {"level2": "perhaps"}, {"threshold": -1}])
def test_settings_that_are_none_are_an_error(settings: Any) -> None:
    with pytest.raises(WireError):
        parse_capabilities(settings)


def test_a_client_that_says_nothing_has_no_capabilities() -> None:
    assert declared(None) is None
    assert declared({"another/extension": {}}) is None
    assert declared({EXTENSION: can("nats")}) == Capabilities(protocols=("nats",))
