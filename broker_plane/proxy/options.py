"""The user's options of the proxy and of the middleware, as the rules take them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from broker_plane.config import Settings
from broker_plane.proxy.rules import ProxyRules
from broker_plane.proxy.tool_listing import parse_consumer
from broker_plane.reading.clients import Threshold, parse_tokens
from broker_plane.runtime.plane import Plane
from broker_plane.runtime.readers import tools_here


@dataclass(frozen=True, slots=True)
class ProxyOptions:
    """`threshold` is as for `parse_tokens`, or empty: what the client itself shows. `consumers` are `TOOL:ARGUMENT`,
    `shapes` are `TOOL:SHAPE`. With `reads` the model gets the reading tools."""

    threshold: str = ""
    consumers: Iterable[str] = ()
    shapes: Iterable[str] = ()
    reads: bool = True

    def rules(self, connect: Callable[[], Awaitable[Plane]], settings: Settings) -> ProxyRules:
        """Rules with these options, over the plane of these settings.

        Raises:
            ConfigError: an option is wrong.
        """
        threshold = Threshold(parse_tokens(self.threshold) if self.threshold else None)
        consumers = {item.tool: item for item in map(parse_consumer, self.consumers)}
        rules = ProxyRules(connect, threshold, consumers, tools_here(settings) if self.reads else ())
        rules.tools.declare(self.shapes)
        return rules
