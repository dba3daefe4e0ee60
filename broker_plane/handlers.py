"""What a package needs that adds a handler for a protocol of transfer descriptors (docs/handler-plugins.md).

A `Handler` is a `Protocol` (its name, `Scheme`s and ports, and what it can do) and the functions that carry it out. The
package names it as an entry point of the group `broker_plane.handlers`. Its errors are those of `broker_plane.errors`.
"""

from __future__ import annotations

from broker_plane.client.guard import RequestTarget
from broker_plane.transfer.allowance import Allowance
from broker_plane.transfer.handler import Follow, Handler, Push, RangeSource, Source
from broker_plane.transfer.reach import Reach
from broker_plane.wire.descriptor import Descriptor
from broker_plane.wire.protocols import Protocol, Scheme

__all__ = [
    "Allowance",
    "Descriptor",
    "Follow",
    "Handler",
    "Protocol",
    "Push",
    "RangeSource",
    "Reach",
    "RequestTarget",
    "Scheme",
    "Source",
]
