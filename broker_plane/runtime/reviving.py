"""The embedded broker of one process: the next call restarts it if it has ended."""

from __future__ import annotations

import asyncio

import anyio.to_thread

from broker_plane.config import Settings
from broker_plane.embedded.broker import BRIDGE_COMMAND, Attachment, SupervisorWatch, attach
from broker_plane.embedded.settings_mismatch import warn_of_others


class Reviving:
    """Restarts the broker of `settings` if it was killed, was stopped by `down`, or ended with its host."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._supervisor = SupervisorWatch(settings.data_dir)
        self._starting = asyncio.Lock()

    async def attach(self) -> Attachment:
        """Return this process's share in the broker, which is started if it does not run."""
        attachment = await anyio.to_thread.run_sync(lambda: attach(self._settings, bridge_command=BRIDGE_COMMAND))
        warn_of_others(attachment, self._settings)
        return attachment

    def alive(self) -> bool:
        """Return whether it runs or is starting."""
        return self._supervisor.is_alive()

    def close(self) -> None:
        """Release what `alive` holds open."""
        self._supervisor.close()

    async def nats_url(self) -> str:
        """Return its URL for the user `plane`; starts it if needed."""
        async with self._starting:
            attachment = await self.attach()
            attachment.close()  # the share that this process already has is kept
        return attachment.running.nats_url

    async def asker_url(self) -> str:
        """Return its URL for the user `asker`; starts it if needed."""
        async with self._starting:
            attachment = await self.attach()
            attachment.close()
        return attachment.running.asker_url
