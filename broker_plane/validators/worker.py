"""A process that runs validators, from the bridge's side (child.py is the other one)."""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

import msgpack

from broker_plane.validators.child import pack
from broker_plane.validators.programs import end_group

_START_SECONDS: Final = 60.0
_MOST_ANSWER_BYTES: Final = 1 << 16


class ValidatorProcess:
    """One process; it runs one validator at a time."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._ready = False
        self._busy = False

    @classmethod
    async def start(cls) -> ValidatorProcess:
        """Start a process in a session of its own, so that it can be killed with its children."""
        return cls(
            await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "broker_plane.validators.child",
                stdin=PIPE,
                stdout=PIPE,
                stderr=DEVNULL,
                start_new_session=True,
            )
        )

    @property
    def usable(self) -> bool:
        """Whether another job may be sent to it."""
        return not self._busy and self._process.returncode is None

    async def refusal(self, job: Mapping[str, Any], seconds: float) -> str:
        """The answer of the process; empty if it accepts.

        Raises:
            TimeoutError: it took longer than `seconds`. EOFError: the process has ended.
        """
        await self._wait_ready()
        self._busy = True
        async with asyncio.timeout(seconds):
            await self._send({**job, "seconds": seconds})
            said = await self._receive()
        self._busy = False
        return str(said.get("refusal", "it gave an answer that is not one"))

    async def kill(self) -> None:
        """End the process and its children. Idempotent."""
        await end_group(self._process)

    async def _wait_ready(self) -> None:
        if not self._ready:
            async with asyncio.timeout(_START_SECONDS):
                await self._receive()
            self._ready = True

    async def _send(self, message: Mapping[str, Any]) -> None:
        pipe = self._process.stdin
        assert pipe is not None  # noqa: S101  # it was started with one
        with suppress(ConnectionError):  # then its end says so
            pipe.write(pack(message))
            await pipe.drain()

    async def _receive(self) -> dict[str, Any]:
        pipe = self._process.stdout
        assert pipe is not None  # noqa: S101  # it was started with one
        size = int.from_bytes(await pipe.readexactly(4))
        if size > _MOST_ANSWER_BYTES:
            raise EOFError("an answer that is not one")
        found = msgpack.unpackb(await pipe.readexactly(size))
        return found if isinstance(found, dict) else {}
