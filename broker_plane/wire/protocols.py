"""The facts about protocols of transfer descriptors: one record each, with the URL schemes of its endpoints. Pure.

`BUILT_IN` has the protocols that this package knows. A handler, here or in a package of others, carries its record
(`transfer/handler.py`), so what ranks, negotiates or guards takes records and knows no list of names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheme:
    """A URL scheme: its default port, whether it encrypts, and the ports at which public hosts may be contacted."""

    name: str
    port: int
    encrypted: bool = False
    public_ports: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """The facts about a protocol for ranking, negotiation and the request-forgery guard.

    `schemes` are the URL schemes of its endpoints. `secure` and `plain` say that its endpoints are always, or never,
    encrypted; a scheme that is known has the last word.
    """

    name: str
    schemes: tuple[Scheme, ...] = ()
    contacted: bool = True
    """Whether its endpoints are URLs of hosts. False for files and subjects, which the guard has no rule for."""
    secure: bool = False
    plain: bool = False
    resumable: bool = False
    """Whether an interrupted transfer can continue at a byte offset."""
    stays_open: bool = False
    """Whether one connection carries many messages."""
    live_rank: int | None = None
    """Rank for live streams, best first; None if it has no live streams."""
    fan_out_rank: int | None = None
    """Rank for many consumers, best first; None if each consumer costs the same."""
    verifies: bool = False
    """Whether the protocol itself verifies a whole body."""


_HTTPS_PORTS = frozenset({443, 8443})

HTTP_SCHEMES = (
    Scheme(name="https", port=443, encrypted=True, public_ports=_HTTPS_PORTS),
    Scheme(name="http", port=80),
)
WEBSOCKET_SCHEMES = (
    Scheme(name="wss", port=443, encrypted=True, public_ports=_HTTPS_PORTS),
    Scheme(name="ws", port=80),
)
MQTT_SCHEMES = (
    Scheme(name="mqtts", port=8883, encrypted=True, public_ports=frozenset({8883})),
    Scheme(name="mqtt", port=1883),
)
SFTP_SCHEMES = (Scheme(name="sftp", port=22, encrypted=True, public_ports=frozenset({22})),)

BUILT_IN: Mapping[str, Protocol] = MappingProxyType(
    {
        record.name: record
        for record in (
            Protocol(name="https", schemes=HTTP_SCHEMES, secure=True, resumable=True),
            Protocol(name="http", schemes=HTTP_SCHEMES, plain=True, resumable=True),
            Protocol(name="s3-presigned", schemes=HTTP_SCHEMES, secure=True, resumable=True),
            Protocol(name="ws", schemes=WEBSOCKET_SCHEMES, plain=True, stays_open=True, live_rank=1),
            Protocol(name="wss", schemes=WEBSOCKET_SCHEMES, secure=True, stays_open=True, live_rank=0),
            Protocol(name="sse", schemes=HTTP_SCHEMES, live_rank=2),
            Protocol(name="grpc", stays_open=True, live_rank=5),
            Protocol(name="fs", contacted=False, secure=True, resumable=True),
            Protocol(name="sftp", schemes=SFTP_SCHEMES, secure=True, resumable=True),
            Protocol(name="ftp", schemes=(Scheme(name="ftp", port=21),), plain=True),
            Protocol(name="mqtt", schemes=MQTT_SCHEMES, stays_open=True, live_rank=4, fan_out_rank=1),
            Protocol(name="webtorrent", resumable=True, fan_out_rank=2, verifies=True),
            Protocol(name="webrtc", secure=True),
            Protocol(
                name="nats",
                contacted=False,
                resumable=True,
                stays_open=True,
                live_rank=3,
                fan_out_rank=0,
                verifies=True,
            ),
        )
    }
)
"""The protocols that SEP-2433 names, and `nats`, whose endpoint is a presigned subject. Descriptors may name others."""

_UNKNOWN = Protocol(name="")


def protocol_of(name: str, known: Mapping[str, Protocol] = BUILT_IN) -> Protocol:
    """The record of a protocol; one without any property if nothing is known of it."""
    return known.get(name, _UNKNOWN)


def scheme_of(url: str, known: Mapping[str, Protocol] = BUILT_IN) -> Scheme | None:
    """The record of the scheme of `url`; None if no known protocol has this scheme."""
    name = url.partition(":")[0].lower()
    schemes = (scheme for protocol in known.values() for scheme in protocol.schemes)
    return next((scheme for scheme in schemes if scheme.name == name), None)
