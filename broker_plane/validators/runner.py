"""The SessionValidators port: JSON Schemas of policies, and the named validators of this bridge."""

from __future__ import annotations

import asyncio
import re
import shlex
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal

from broker_plane.errors import ConfigError, WireError
from broker_plane.plane.redacted_logs import redacted_logger
from broker_plane.sessions.canonical import canonical
from broker_plane.sessions.replicas.port import ArtifactKind, Value
from broker_plane.validators.command import command_refusal
from broker_plane.validators.worker import ValidatorProcess

log = redacted_logger(__name__)

_AT_ONCE: Final = 4
_CHECK_SECONDS: Final = 10.0
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}\Z")
_FUNCTION = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*\Z")


@dataclass(frozen=True, slots=True)
class NamedValidator:
    """A validator that a policy may name: a Python callable (`module:function`), or a command."""

    kind: Literal["python", "command"]
    place: str


def parse_validators(text: str) -> dict[str, NamedValidator]:
    """The setting BROKER_PLANE_SESSION_VALIDATORS: `name=python:module:function` and `name=command:…`, one per line or
    separated by semicolons.

    Raises:
        ConfigError: a part has another form.
    """
    found: dict[str, NamedValidator] = {}
    for part in filter(None, (each.strip() for each in re.split(r"[;\n]", text))):
        name, _, value = part.partition("=")
        kind, _, place = value.partition(":")
        if not _NAME.match(name) or name in found or not place.strip():
            raise _wrong(part)
        if kind == "python" and _FUNCTION.match(place):
            found[name] = NamedValidator("python", place)
        elif kind == "command" and _words(place):
            found[name] = NamedValidator("command", place)
        else:
            raise _wrong(part)
    return found


class ValidatorRunner:
    """Runs up to four validators at once, each in a process of its own, which is killed after its limit."""

    def __init__(self, named: Mapping[str, NamedValidator]) -> None:
        self._named = named
        self._places = asyncio.Semaphore(_AT_ONCE)
        self._idle: list[ValidatorProcess] = []

    async def check(self, validators: Sequence[Mapping[str, Any]]) -> None:
        """As `SessionValidators.check`."""
        for validator in validators:
            if "name" in validator and validator["name"] not in self._named:
                raise WireError(
                    f"There is no validator {str(validator['name'])[:64]!r} here; BROKER_PLANE_SESSION_VALIDATORS has "
                    f"{', '.join(self._named) or 'none'}. Set it for this process and for the bridges"
                )
            if "json_schema" in validator:
                job = {"do": "check", "schema": validator["json_schema"]}
                fault = await self._limited(partial(self._in_process, job, _CHECK_SECONDS), _CHECK_SECONDS)
                if fault:
                    raise WireError(f"A JSON Schema of the policy cannot be used: {fault}")

    async def refusal(self, validator: Mapping[str, Any], kind: ArtifactKind, value: Value, seconds: float) -> str:
        """As `SessionValidators.refusal`."""
        if "json_schema" in validator:
            job = {"do": "schema", "schema": validator["json_schema"], "value": value}
            return await self._limited(partial(self._in_process, job, seconds), seconds)
        found = self._named.get(str(validator.get("name")))
        if found is None:
            log.warning("A session needs a validator that BROKER_PLANE_SESSION_VALIDATORS does not have here")
            return "this bridge has no validator of this name"
        if found.kind == "command":
            artifact = canonical(kind, value)
            return await self._limited(partial(command_refusal, _words(found.place), artifact, seconds), seconds)
        call = {"do": "call", "function": found.place, "value": value}
        return await self._limited(partial(self._in_process, call, seconds), seconds)

    async def close(self) -> None:
        """End the processes that wait for work."""
        while self._idle:
            await self._idle.pop().kill()

    async def _limited(self, run: Callable[[], Awaitable[str]], seconds: float) -> str:
        """The refusal of `run`; waiting for a place does not count towards its limit."""
        async with self._places:
            try:
                return await run()
            except TimeoutError:
                return f"it took longer than {seconds:g} s"
            except (OSError, EOFError) as error:
                log.warning("A validator of a session failed: %r", error)
                return "it could not be run, or ended without an answer"

    async def _in_process(self, job: Mapping[str, Any], seconds: float) -> str:
        process = self._idle.pop() if self._idle else await ValidatorProcess.start()
        try:
            return await process.refusal(job, seconds)
        finally:
            if process.usable:
                self._idle.append(process)
            else:
                await asyncio.shield(process.kill())


def _words(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError:
        return []


def _wrong(part: str) -> ConfigError:
    return ConfigError(
        f"BROKER_PLANE_SESSION_VALIDATORS has {part[:80]!r}; write name=python:module:function or name=command:program "
        "arguments, separated by semicolons"
    )
