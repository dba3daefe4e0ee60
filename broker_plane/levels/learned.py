"""Carries out descriptors whose protocol no handler knows: code from the cache (Level 1.5), or new code (Level 2).

The order: run the cached code; if there is none, or it failed, have new code written, once for all processes. The
failure of the cached code is in the first prompt. A failed run of new code is fed back once; then the description of
the next tier is used. A refusal is fed back once too, since the code may have named a wrong host, but a longer
description permits nothing more: after a second one it ends.
"""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path

import anyio

from broker_plane.errors import LevelsError, ProviderError, TransferInterruptedError, UnsupportedProtocolError
from broker_plane.files.atomic import write
from broker_plane.levels.code_runs import Code, CodeRun, CodeRunner, TransferOrder, input_digest
from broker_plane.levels.keys import code_key, origin_of
from broker_plane.levels.ports import CodeCache, CodeEntry, Level, Prompter, Provider, RunFailure
from broker_plane.levels.spool import Spool
from broker_plane.levels.tiers import tiers_of
from broker_plane.plane.bodies.publish import Progress as BytesProgress
from broker_plane.sandbox.ports import RungName
from broker_plane.transfer.allowance import Allowance
from broker_plane.transfer.checks import check_not_expired, checked
from broker_plane.wire.descriptor import Description, Descriptor

_TRIES = 2
"""Runs of new code for one tier: the first, and one after its failure was fed back."""

_MOST_CACHED = 3
"""Runs of cached code in one transfer: other processes may replace it meanwhile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnedOutcome:
    """How a file arrived. `sha256` is in hex, tokens are None if no provider counted them.

    `rung` is the sandbox that ran the code; None at Level 1, where no code was generated.
    """

    level: Level
    provider_calls: int
    rung: RungName | None
    bytes: int
    sha256: str
    input_tokens: int | None = None
    output_tokens: int | None = None
    seconds: float = 0.0


@dataclass(slots=True)
class _Progress:
    """One transfer: what it used so far, and its verified output."""

    order: TransferOrder
    runs: int = 0
    provider_calls: int = 0
    input_tokens: int | None = None
    output_tokens: int | None = None
    level: Level = "1.5"
    run: CodeRun | None = None
    failure: RunFailure | None = None
    """The failure of cached code, which says what the API has changed."""

    @property
    def output(self) -> Spool:
        assert self.run is not None  # noqa: S101  # it arrived
        assert self.run.spool is not None  # noqa: S101
        return self.run.spool

    def close(self) -> None:
        """Free the output."""
        if self.run is not None and self.run.spool is not None:
            self.run.spool.close()


class LearnedTransfers:
    """The Learned port of `transfer`. Without a `provider` it only runs code from the cache.

    `sized` and `unsized` limit the bytes of `carry_out`, as `Transfers` limits those of `open`. A provider that has not
    answered after `generation_seconds` is given up: it holds the claim, for which other processes wait.
    `check_endpoint` raises, before a provider is asked, if no code could reach the endpoint.
    """

    def __init__(
        self,
        runner: CodeRunner,
        cache: CodeCache,
        *,
        prompt: Prompter,
        provider: Provider | None,
        sized: int,
        unsized: int,
        now: Callable[[], float],
        check_endpoint: Callable[[Descriptor], Awaitable[None]] | None = None,
        generation_seconds: float = math.inf,
    ) -> None:
        self._runner = runner
        self._cache = cache
        self._prompt = prompt
        self._provider = provider
        self._sized = sized
        self._unsized = unsized
        self._now = now
        self._check_endpoint = check_endpoint
        self._generation_seconds = generation_seconds

    async def open(self, descriptor: Descriptor, allowance: Allowance) -> AsyncGenerator[bytes, None]:
        """The bytes that the code emitted, after all of them were verified; compressed if the descriptor says so.

        Raises:
            UnsupportedProtocolError: there is no description, or no code in the cache and no provider.
            UntrustedHostError: no code could reach the endpoint, so none was written.
            SandboxUnavailableError, ProviderError, LevelsError, TooLargeError, DescriptorExpiredError.
            TransferInterruptedError: cached code could not reach the endpoint.
        """
        progress = _Progress(self._order(descriptor, allowance))
        try:
            await self._carry_out(progress)
            async with aclosing(progress.output.pieces()) as pieces:
                async for piece in pieces:
                    yield piece
        finally:
            progress.close()

    async def carry_out(
        self, descriptor: Descriptor, output: Path, report: BytesProgress | None = None
    ) -> LearnedOutcome:
        """Write the bytes to a file, which exists only once they are verified. Raises as `open`.

        `report` is called with the number of bytes that the code has emitted; each run begins at 0.
        """
        started = self._now()
        allowance = Allowance(self._sized, self._unsized, descriptor.size_hint)
        progress = _Progress(replace(self._order(descriptor, allowance), progress=report))
        try:
            run = await self._carry_out(progress)
            await write(checked(progress.output.pieces(), descriptor, allowance), output)
        finally:
            progress.close()
        return LearnedOutcome(
            level=progress.level,
            provider_calls=progress.provider_calls,
            rung=run.rung,
            bytes=run.size,
            sha256=run.digest,
            input_tokens=progress.input_tokens,
            output_tokens=progress.output_tokens,
            seconds=self._now() - started,
        )

    def _order(self, descriptor: Descriptor, allowance: Allowance) -> TransferOrder:
        if descriptor.mode not in ("fetch", "stream"):
            raise UnsupportedProtocolError(f"Generated code cannot carry out a descriptor of mode {descriptor.mode}")
        input_digest(descriptor, "")  # what cannot be logged is not carried out
        return TransferOrder(descriptor=descriptor, allowance=allowance, key=code_key(descriptor))

    async def _carry_out(self, progress: _Progress) -> CodeRun:
        """The run whose output is verified."""
        key = progress.order.key
        entry = await self._cache.get(key)
        if entry is None:
            await self._cache.missed(key)
        elif run := await self._run_cached(progress, entry):
            return run
        if self._provider is None:
            raise _not_generated(progress)
        while progress.runs < _MOST_CACHED:
            async with self._cache.claimed(key) as claimed:
                # Another task may have saved code before the claim, or while this one waited for it.
                newer = await self._cache.get(key)
                fresh = newer is not None and not newer.same_code(entry)
                if claimed and not fresh:
                    return await self._generate(progress, self._provider)
            if newer is not None and fresh:
                entry = newer
                if run := await self._run_cached(progress, entry):
                    return run
        raise _failed(progress)

    async def _run_cached(self, progress: _Progress, entry: CodeEntry) -> CodeRun | None:
        """Run code from the cache; None if it failed."""
        run = await self._run(progress, Code(source=entry.source, level="1.5", provider=entry.provider))
        if run.spool is not None:
            await self._cache.succeeded(entry)
            return run
        if run.unreachable:  # new code would not reach it either
            raise TransferInterruptedError(f"{origin_of(progress.order.descriptor)} cannot be reached; try again later")
        progress.failure = RunFailure(run.status, run.detail, entry.source)
        await self._cache.failed(entry)
        return None

    async def _generate(self, progress: _Progress, provider: Provider) -> CodeRun:
        """Have code written until it works, by tiers, and cache it."""
        await self._runner.check_sandbox()
        if self._check_endpoint is not None:
            await self._check_endpoint(progress.order.descriptor)
        progress.level = "2"
        description = progress.order.descriptor.description
        failure = progress.failure
        for tier in tiers_of(description) if description else ():
            for _ in range(_TRIES):
                code = await self._write(progress, provider, tier, failure)
                run = await self._run(progress, code)
                if run.spool is not None:
                    await self._keep(progress, code, run)
                    return run
                failure = RunFailure(run.status, run.detail, code.source)
            if run.status == "refused":
                break
            failure = None
        raise _failed(progress)

    async def _write(
        self, progress: _Progress, provider: Provider, description: Description, failure: RunFailure | None
    ) -> Code:
        """Ask the provider for code."""
        descriptor = progress.order.descriptor
        check_not_expired(descriptor)
        prompt = self._prompt(descriptor, description, failure)
        progress.provider_calls += 1
        try:
            with anyio.fail_after(self._generation_seconds):
                generated = await provider.generate(prompt)
        except TimeoutError:
            raise ProviderError(
                f"{provider.name} took longer than {self._generation_seconds:g} s. Try again, or raise "
                "BROKER_PLANE_MAX_GENERATION_SECONDS"
            ) from None
        progress.input_tokens = _sum(progress.input_tokens, generated.input_tokens)
        progress.output_tokens = _sum(progress.output_tokens, generated.output_tokens)
        return Code(
            # JSON of a service may have half of a surrogate pair, which can be neither run nor logged.
            source=generated.source.encode(errors="replace").decode(),
            level="2",
            provider=provider.name,
            tier=description.tier,
            prompt=prompt,
            input_tokens=generated.input_tokens,
            output_tokens=generated.output_tokens,
        )

    async def _run(self, progress: _Progress, code: Code) -> CodeRun:
        check_not_expired(progress.order.descriptor)
        progress.runs += 1
        progress.run = await self._runner.run(progress.order, code, progress.runs)
        return progress.run

    async def _keep(self, progress: _Progress, code: Code, run: CodeRun) -> None:
        """Cache code that worked. If it emitted nothing, nothing shows that it works."""
        if run.rung is None or not run.size:
            return
        descriptor = progress.order.descriptor
        await self._cache.save(
            CodeEntry(
                key=progress.order.key,
                protocol=descriptor.protocol,
                endpoint=origin_of(descriptor),
                source=code.source,
                provider=code.provider,
                rung=run.rung,
                made_at=self._now(),
            )
        )


def _not_generated(progress: _Progress) -> LevelsError | UnsupportedProtocolError:
    """The error if no provider may be asked."""
    descriptor = progress.order.descriptor
    advice = "allow a model to write it with BROKER_PLANE_LEVELS=generate, or name a provider"
    if progress.run is None:
        return UnsupportedProtocolError(
            f"There is no handler for {descriptor.protocol}, and no code for this endpoint in the cache; {advice}"
        )
    return LevelsError(f"The cached code for {descriptor.protocol} failed ({progress.run.status}); {advice}")


def _failed(progress: _Progress) -> LevelsError:
    descriptor, run = progress.order.descriptor, progress.run
    status = run.status if run is not None else "failed"
    message = (
        f"Generated code for {descriptor.protocol} did not produce the described bytes in {progress.runs} runs "
        f"(the last: {status}); `broker-plane levels log` shows each"
    )
    if descriptor.fallback == "inline":
        message += ". The descriptor's fallback is inline: answer transfer/unable, and the data comes inline"
    return LevelsError(message)


def _sum(one: int | None, other: int | None) -> int | None:
    return one if other is None else (one or 0) + other
