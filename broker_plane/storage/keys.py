"""Owners' keys in the key-value bucket `bp_keys`, one entry an owner: a msgpack list of secrets, the first seals."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable

import msgpack
import orjson

from broker_plane.errors import ConflictError
from broker_plane.storage.connection import Connection
from broker_plane.storage.streams import KEYS
from broker_plane.wire.grant import Key

_SUBJECT = f"$KV.{KEYS}."
_DIRECT_GET = f"$JS.API.DIRECT.GET.KV_{KEYS}"
_LIVE_KEYS = 2


class NatsKeys:
    """The Keys port for `owner`, whose first key is made where there is none."""

    def __init__(
        self, connection: Connection, owner: str, *, random_bytes: Callable[[int], bytes] = secrets.token_bytes
    ) -> None:
        self._connection = connection
        self._owner = owner
        self._random = random_bytes
        self._own: list[Key] = []
        self._by_id: dict[bytes, list[tuple[str, Key]]] = {}
        self._looking: asyncio.Task[None] | None = None

    async def sealing(self) -> Key:
        if not self._own:
            self._own = await self._load_or_make()
        return self._own[0]

    async def opening(self, key_id: bytes) -> list[tuple[str, Key]]:
        if key_id not in self._by_id:
            # A new owner, a new key, or a forgery: all who ask at the same time share one look, and its failure.
            late = self._looking is not None
            await self._look()
            if late and key_id not in self._by_id:  # that look may have begun before the key was there
                await self._look()
        return self._by_id.get(key_id, [])

    async def rotate(self) -> Key:
        """A new sealing key; the one before it still opens, older ones do not any more."""
        keys, revision = await self._load(self._owner)
        fresh = Key(self._random(32))
        await self._save([fresh, *keys][:_LIVE_KEYS], revision)
        self._own = []
        self._by_id = {}
        return fresh

    async def _load_or_make(self) -> list[Key]:
        keys, revision = await self._load(self._owner)
        if keys:
            return keys
        made = [Key(self._random(32))]
        try:
            await self._save(made, revision)
        except ConflictError:  # another process of this owner was faster
            return (await self._load(self._owner))[0]
        return made

    async def _load(self, owner: str) -> tuple[list[Key], int]:
        answer = await self._connection.request(f"{_DIRECT_GET}.{_SUBJECT}{owner}")
        headers = answer.headers or {}
        if headers.get("Status") or not answer.data:
            return [], int(headers.get("Nats-Sequence", "0"))
        return [Key(secret) for secret in msgpack.unpackb(answer.data)], int(headers["Nats-Sequence"])

    async def _save(self, keys: list[Key], revision: int) -> None:
        headers = {"Nats-Expected-Last-Subject-Sequence": str(revision)}
        await self._connection.store(_SUBJECT + self._owner, msgpack.packb([key.secret for key in keys]), headers)

    async def _look(self) -> None:
        if self._looking is None:
            self._looking = asyncio.create_task(self._read_all())
            self._looking.add_done_callback(self._looked)
        await asyncio.shield(self._looking)

    def _looked(self, task: asyncio.Task[None]) -> None:
        self._looking = None
        if not task.cancelled():
            task.exception()  # everybody who waited for it may have given up

    async def _read_all(self) -> None:
        """Read every owner's keys."""
        found: dict[bytes, list[tuple[str, Key]]] = {}
        inbox = self._connection.inbox()
        async with self._connection.listening(inbox) as subscription:
            request = orjson.dumps({"multi_last": [f"{_SUBJECT}>"]})
            await self._connection.publish(_DIRECT_GET, request, reply=inbox)
            while (message := await self._connection.next_message(subscription)).data:
                owner = (message.headers or {}).get("Nats-Subject", "").removeprefix(_SUBJECT)
                for secret in msgpack.unpackb(message.data):
                    key = Key(secret)
                    found.setdefault(key.id, []).append((owner, key))
        self._by_id = found
