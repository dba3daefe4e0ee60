"""`plane.levels`: transfers over protocols that no handler knows, by code that a model wrote (docs/levels.md)."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from functools import cached_property, partial
from hashlib import sha256
from pathlib import Path

import anyio
import anyio.to_thread

from broker_plane.client.addresses import parse_networks
from broker_plane.config import Settings
from broker_plane.errors import ConfigError, TransferInterruptedError, UntrustedHostError, WireError
from broker_plane.levels.code_cache import BucketCodeCache
from broker_plane.levels.code_runs import CodeRunner
from broker_plane.levels.door import HostDoor
from broker_plane.levels.learned import LearnedOutcome, LearnedTransfers
from broker_plane.levels.ports import CodeEntry, Generated, Provider, RunRecord
from broker_plane.levels.prompt import prompt_of
from broker_plane.levels.providers.choice import provider_of
from broker_plane.levels.providers.function import FunctionProvider
from broker_plane.levels.reach_list import reach_list
from broker_plane.levels.run_log import BucketRunLog
from broker_plane.plane.bodies.publish import Progress
from broker_plane.runtime.wiring import Wiring
from broker_plane.sandbox.ladder import Ladder
from broker_plane.sandbox.ports import DoorFailedError, DoorRefusedError, RunLimits
from broker_plane.storage.buckets import NatsBucket
from broker_plane.transfer.fetch import Transfers
from broker_plane.wire.descriptor import Descriptor

Writer = str | Provider | Callable[[str], Awaitable[str | Generated]]
"""A provider: its name as in BROKER_PLANE_LEVELS_PROVIDER, an object, or an async function from prompt to answer."""

_MIN_PREFIX = 6
_GRACE_SECONDS = 5.0
_DAY = 86_400


class Levels:
    """Transfers by generated code, its cache and the log of its runs. Needs the role `plane`."""

    def __init__(self, wiring: Wiring, settings: Settings, native: Callable[[], Transfers]) -> None:
        """`native` carries out the protocols that have a handler."""
        self._wiring = wiring
        self._settings = settings
        self._native = native

    async def run(
        self,
        descriptor: Descriptor,
        output: Path | str,
        *,
        provider: Writer | None = None,
        allow: Sequence[str] | None = None,
        progress: Progress | None = None,
    ) -> LearnedOutcome:
        """Carry out a descriptor into a file, which exists only once it is complete and verified.

        A protocol with a handler is fetched by it: Level 1, without code. Otherwise code from the cache is run, and if
        there is none or it fails, `provider` writes new code. Without a provider, the settings decide: they name one if
        BROKER_PLANE_LEVELS is `generate`. `allow` narrows the hosts (`host` or `host:port`) that the code may reach.
        `progress` is called with the number of bytes that arrived, which begins again with each run of code.

        Raises:
            UnsupportedProtocolError: there is no handler, no code in the cache, and no provider or no description.
            SandboxUnavailableError, ProviderError, LevelsError: the message says what to do.
            ConfigError: `provider` or `allow` is invalid. Else as `plane.transfers.fetch_to`.
        """
        transfers = self._native()
        if not await transfers.handles(descriptor.protocol):
            learned = self._learned(self._writer(provider), allow)
            return await learned.carry_out(descriptor, Path(output), progress)
        started = anyio.current_time()
        fetched = await transfers.fetch_to(descriptor, Path(output), progress)
        return LearnedOutcome(
            level="1",
            provider_calls=0,
            rung=None,
            bytes=fetched.size,
            sha256=descriptor.digest or await anyio.to_thread.run_sync(_digest, fetched.path),
            seconds=anyio.current_time() - started,
        )

    async def log(self) -> AsyncGenerator[RunRecord, None]:
        """Yield the record of each run of generated code, oldest first: also of those that failed."""
        async with aclosing(self._log.read()) as records:
            async for record in records:
                yield record

    async def entries(self) -> list[CodeEntry]:
        """Return the code in the cache, oldest first, with its counts."""
        async with aclosing(self._cache.entries()) as entries:
            return [entry async for entry in entries]

    async def show(self, key: str) -> CodeEntry:
        """Return the entry of a key, or of its first characters.

        Raises:
            WireError: there is none, or several.
        """
        found = [entry for entry in await self.entries() if entry.key.startswith(key)]
        if len(key) < _MIN_PREFIX or len(found) != 1:
            why = f"{len(found)} keys of the code cache begin with" if found else "No key of the code cache begins with"
            raise WireError(f"{why} {key[:64]!r}; give one as `broker-plane levels ls` prints it")
        return found[0]

    async def forget(self, key: str) -> CodeEntry:
        """Remove the code of a key, or of its first characters, and its counts; the log of its runs is kept.

        Raises:
            WireError: there is none, or several.
        """
        entry = await self.show(key)
        await self._cache.forget(entry.key)
        return entry

    def by_settings(self) -> LearnedTransfers:
        """Return what carries out unknown protocols for `plane.transfers`, as the settings say.

        Raises:
            ConfigError: the settings ask for generated code, and name no provider.
        """
        return self._learned(self._writer(None), None)

    def _learned(self, provider: Provider | None, allow: Sequence[str] | None) -> LearnedTransfers:
        settings, now = self._settings, self._wiring.now
        door = partial(
            _door,
            client=allow,
            operator=settings.levels_hosts,
            networks=parse_networks(settings.transfer_networks, "BROKER_PLANE_TRANSFER_NETWORKS"),
        )
        return LearnedTransfers(
            CodeRunner(Ladder(), door, self._log, max_seconds=settings.max_code_seconds, now=now),
            self._cache,
            prompt=prompt_of,
            provider=provider,
            sized=settings.max_body_bytes,
            unsized=settings.max_unsized_bytes,
            now=now,
            check_endpoint=partial(_check_endpoint, door),
            # A little more than the time that a provider allows itself, whose message says more.
            generation_seconds=settings.max_generation_seconds + _GRACE_SECONDS,
        )

    def _writer(self, provider: Writer | None) -> Provider | None:
        if provider is None:
            if self._settings.levels != "generate":
                return None
            provider = self._settings.levels_provider
            if not provider:
                raise ConfigError(
                    "BROKER_PLANE_LEVELS=generate needs BROKER_PLANE_LEVELS_PROVIDER: anthropic:MODEL, openai:MODEL or "
                    "command:PROGRAM"
                )
        if isinstance(provider, str):
            return provider_of(provider, self._settings)
        return FunctionProvider(provider) if callable(provider) else provider

    @cached_property
    def _cache(self) -> BucketCodeCache:
        connection = self._wiring.connection
        bucket = NatsBucket(connection, connection.names.code_bucket)
        return BucketCodeCache(bucket, ttl_seconds=self._settings.code_ttl_days * _DAY)

    @cached_property
    def _log(self) -> BucketRunLog:
        connection = self._wiring.connection
        return BucketRunLog(NatsBucket(connection, connection.names.runs_bucket), now=self._wiring.now)


def _door(
    descriptor: Descriptor,
    limits: RunLimits,
    *,
    client: Sequence[str] | None,
    operator: str,
    networks: Sequence[str],
) -> HostDoor:
    reach = reach_list(descriptor, client=client, operator=operator)
    return HostDoor(descriptor, limits, reach=reach, networks=networks)


async def _check_endpoint(door: Callable[[Descriptor, RunLimits], HostDoor], descriptor: Descriptor) -> None:
    """Refuse a transfer whose endpoint no code could reach, before a model is asked to write some."""
    opened = door(descriptor, RunLimits())
    try:
        await opened.check_endpoint()
    except DoorRefusedError as error:
        raise UntrustedHostError(str(error)) from None
    except DoorFailedError as error:
        raise TransferInterruptedError(f"{error}; try again later") from None
    finally:
        await opened.aclose()


def _digest(path: Path) -> str:
    digest = sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()
