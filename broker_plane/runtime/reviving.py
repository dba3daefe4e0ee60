"""The embedded broker as one process sees it: started again by the next call, and told apart from what was asked."""

from __future__ import annotations

import asyncio

import anyio.to_thread

from broker_plane.config import Settings
from broker_plane.embedded.broker import BRIDGE_COMMAND, Attachment, attach, is_alive
from broker_plane.embedded.settings_mismatch import warn_of_others


class Reviving:
    """Starts the broker of `settings` again where it has ended: killed, stopped by `down`, or with its host."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._starting = asyncio.Lock()

    async def attach(self) -> Attachment:
        """This process's share in the broker, which is started if there is none."""
        attachment = await anyio.to_thread.run_sync(lambda: attach(self._settings, bridge_command=BRIDGE_COMMAND))
        warn_of_others(attachment, self._settings)
        return attachment

    def alive(self) -> bool:
        """Whether it runs, or is about to."""
        return is_alive(self._settings.data_dir)

    async def nats_url(self) -> str:
        """Where it is, as the user `plane`."""
        async with self._starting:
            attachment = await self.attach()
            attachment.close()  # the share that this process has already goes on
        return attachment.running.nats_url

    async def asker_url(self) -> str:
        """The same as the user `asker`."""
        async with self._starting:
            attachment = await self.attach()
            attachment.close()
        return attachment.running.asker_url
