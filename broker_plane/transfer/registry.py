"""The handlers of one process: the built-in ones, and plug-ins, which are looked for when a protocol needs one."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from importlib.util import find_spec

import anyio.to_thread

from broker_plane.errors import UnsupportedProtocolError
from broker_plane.plane.bodies.pull import body_bytes
from broker_plane.plane.ports import Puller
from broker_plane.transfer import live
from broker_plane.transfer.allowance import Allowance
from broker_plane.transfer.files import fs_source, sftp_source
from broker_plane.transfer.handler import Handler, Source
from broker_plane.transfer.http import http_source, put
from broker_plane.transfer.mqtt import mqtt_source
from broker_plane.transfer.plugins import ALL, plugin_handlers
from broker_plane.transfer.reach import Reach
from broker_plane.transfer.streams import sse_source
from broker_plane.transfer.websocket import ws_source
from broker_plane.wire.descriptor import Descriptor
from broker_plane.wire.protocols import BUILT_IN, Protocol
from broker_plane.wire.selector import WHOLE


class HandlerRegistry:
    """Handlers by protocol. `nats` pulls presigned subjects, `follow` reads live streams behind them.

    `plugins` names the packages whose handlers are used: the setting `handler_plugins`.
    """

    def __init__(
        self, nats: Puller | None = None, follow: live.FollowSubject | None = None, plugins: str = ALL
    ) -> None:
        self._nats = nats
        self._built_in = built_in_handlers(nats, follow)
        self._plugins = plugins

    async def ready(self, protocol: str) -> None:
        """Look for plug-ins, once a process, if no built-in handler knows `protocol`."""
        if protocol not in self._built_in:
            # Reading the metadata of all installed packages and importing some takes up to tens of milliseconds.
            await anyio.to_thread.run_sync(plugin_handlers, self._plugins)

    def find(self, protocol: str) -> Handler | None:
        """The handler of a protocol; None if there is none. Slow once, unless `ready` was awaited."""
        return self._built_in.get(protocol) or plugin_handlers(self._plugins).get(protocol)

    def get(self, protocol: str) -> Handler:
        """The handler of a protocol.

        Raises:
            UnsupportedProtocolError: there is none; the message lists the others.
        """
        found = self.find(protocol)
        if found is None:
            raise UnsupportedProtocolError(f"There is no handler for {protocol}; supported: {', '.join(self.all())}")
        return found

    def all(self) -> Mapping[str, Handler]:
        """Every handler, the built-in ones first."""
        return {**self._built_in, **plugin_handlers(self._plugins)}

    def protocols(self) -> Mapping[str, Protocol]:
        """The facts about every protocol, with a handler or without."""
        return known_protocols(self._plugins)

    def usable(self) -> list[str]:
        """The protocols that this process can carry out now: it has the modules, and the connection, that they need."""
        return [
            name
            for name, handler in self.all().items()
            if (name != "nats" or self._nats is not None) and (not handler.module or find_spec(handler.module))
        ]


def known_protocols(plugins: str = ALL) -> Mapping[str, Protocol]:
    """The facts about the built-in protocols, and about those of plug-ins. Slow the first time."""
    return {**BUILT_IN, **{name: handler.protocol for name, handler in plugin_handlers(plugins).items()}}


def built_in_handlers(nats: Puller | None = None, follow: live.FollowSubject | None = None) -> Mapping[str, Handler]:
    """The built-in handlers of Level 1 by protocol, in the order of `BUILT_IN`."""
    found = (
        *(_http(name) for name in ("https", "http", "s3-presigned")),
        Handler(protocol=BUILT_IN["sse"], source=sse_source, follow=live.follow),
        *(
            Handler(protocol=BUILT_IN[name], source=ws_source, follow=live.follow, module="websockets")
            for name in ("wss", "ws")
        ),
        Handler(protocol=BUILT_IN["mqtt"], source=mqtt_source, module="paho"),
        Handler(protocol=BUILT_IN["fs"], source=fs_source),
        Handler(protocol=BUILT_IN["sftp"], source=sftp_source, module="asyncssh"),
        Handler(
            protocol=BUILT_IN["nats"],
            source=_subject_source(nats),
            follow=None if follow is None else lambda descriptor, reach, after: follow(descriptor.endpoint, after),
        ),
    )
    by_name = {handler.protocol.name: handler for handler in found}
    return {name: by_name[name] for name in BUILT_IN if name in by_name}


def _http(name: str) -> Handler:
    return Handler(protocol=BUILT_IN[name], source=http_source, resume=http_source, push=put)


def _subject_source(puller: Puller | None) -> Source:
    async def source(descriptor: Descriptor, reach: Reach, allowance: Allowance) -> AsyncGenerator[bytes, None]:
        if puller is None:
            raise UnsupportedProtocolError("This process has no NATS connection for presigned subjects")
        async with (
            puller.pull(descriptor.endpoint, WHOLE) as incoming,
            aclosing(body_bytes(incoming, WHOLE)) as pieces,
        ):
            if incoming.size is not None:
                allowance.announce(incoming.size)
            async for piece in pieces:
                yield piece

    return source
