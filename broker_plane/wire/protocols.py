"""The protocols of transfer descriptors and the URL schemes of their endpoints: one record each. Pure.

`transfer/registry.py` adds the handlers; ranking, negotiation and the request-forgery guard read the facts from here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheme:
    """A URL scheme: its default port, whether it encrypts, and the ports at which public hosts may be contacted."""

    port: int
    encrypted: bool = False
    public_ports: frozenset[int] = frozenset()


SCHEMES: Mapping[str, Scheme] = MappingProxyType(
    {
        "http": Scheme(port=80),
        "https": Scheme(port=443, encrypted=True, public_ports=frozenset({443, 8443})),
        "ws": Scheme(port=80),
        "wss": Scheme(port=443, encrypted=True, public_ports=frozenset({443, 8443})),
        "mqtt": Scheme(port=1883),
        "mqtts": Scheme(port=8883, encrypted=True, public_ports=frozenset({8883})),
        "sftp": Scheme(port=22, encrypted=True, public_ports=frozenset({22})),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """The facts about a protocol for ranking and negotiation.

    `secure` and `plain` say that its endpoints are always, or never, encrypted; if neither holds, the endpoint's scheme
    decides. `schemes` are the URL schemes of its endpoints; empty if they are not URLs or not contacted here.
    """

    name: str
    schemes: tuple[str, ...] = ()
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


HTTP_SCHEMES = ("https", "http")
_WEBSOCKET = ("wss", "ws")

PROTOCOLS: Mapping[str, Protocol] = MappingProxyType(
    {
        record.name: record
        for record in (
            Protocol(name="https", schemes=HTTP_SCHEMES, secure=True, resumable=True),
            Protocol(name="http", schemes=HTTP_SCHEMES, plain=True, resumable=True),
            Protocol(name="s3-presigned", schemes=HTTP_SCHEMES, secure=True, resumable=True),
            Protocol(name="ws", schemes=_WEBSOCKET, plain=True, stays_open=True, live_rank=1),
            Protocol(name="wss", schemes=_WEBSOCKET, secure=True, stays_open=True, live_rank=0),
            Protocol(name="sse", schemes=HTTP_SCHEMES, live_rank=2),
            Protocol(name="grpc", stays_open=True, live_rank=5),
            Protocol(name="fs", secure=True, resumable=True),
            Protocol(name="sftp", schemes=("sftp",), secure=True, resumable=True),
            Protocol(name="ftp", plain=True),
            Protocol(name="mqtt", schemes=("mqtts", "mqtt"), stays_open=True, live_rank=4, fan_out_rank=1),
            Protocol(name="webtorrent", resumable=True, fan_out_rank=2, verifies=True),
            Protocol(name="webrtc", secure=True),
            Protocol(name="nats", resumable=True, stays_open=True, live_rank=3, fan_out_rank=0, verifies=True),
        )
    }
)
"""The protocols that SEP-2433 names, and `nats`, whose endpoint is a presigned subject. Descriptors may name others."""

_UNKNOWN = Protocol(name="")


def protocol_of(name: str) -> Protocol:
    """The record of a protocol; one without any property if nothing is known of it."""
    return PROTOCOLS.get(name, _UNKNOWN)
