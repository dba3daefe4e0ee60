"""One run of generated code: limits, door, spool and verification, and its record in the log."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import anyio

from broker_plane.errors import (
    TooLargeError,
    TransferInterruptedError,
    WrongChecksumError,
    WrongCompressionError,
    WrongSizeError,
)
from broker_plane.levels.canonical_digest import canonical_digest
from broker_plane.levels.keys import origin_of, parameters_of
from broker_plane.levels.ports import MAX_SOURCE_BYTES, DoorFactory, RunLog, RunRecord, RunStatus, SandboxLadder
from broker_plane.levels.redaction import redacted_detail
from broker_plane.levels.spool import Spool
from broker_plane.levels.watched_door import WatchedDoor
from broker_plane.plane.bodies.publish import Progress
from broker_plane.sandbox.ports import Job, RungName, RunLimits
from broker_plane.transfer.allowance import Allowance
from broker_plane.wire.descriptor import Descriptor

_OUTPUT_SLACK = 1 << 20
"""The spool refuses the first byte that is too many, and says why; the limit of the sandbox is only behind it."""

_WRONG_OUTPUT = (WrongSizeError, WrongChecksumError, WrongCompressionError, TransferInterruptedError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    """Code to run, and where it comes from. `prompt` is empty for code from the cache."""

    source: str
    level: Literal["1.5", "2"]
    provider: str
    tier: str = ""
    prompt: str = ""
    input_tokens: int | None = None
    output_tokens: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeRun:
    """How a run ended. `spool` has its verified output if `status` is `ok`; the caller closes it."""

    status: RunStatus
    detail: str = ""
    rung: RungName | None = None
    seconds: float = 0.0
    size: int = 0
    digest: str = ""
    unreachable: bool = False
    """Nothing that the code contacted answered."""
    spool: Spool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferOrder:
    """A transfer that generated code carries out; `allowance` limits its bytes, `progress` gets their number."""

    descriptor: Descriptor
    allowance: Allowance
    key: str
    progress: Progress | None = None


class CodeRunner:
    """Runs code for transfers, and logs each run. `max_seconds` limits a run; a descriptor may ask for less."""

    def __init__(
        self, ladder: SandboxLadder, door: DoorFactory, log: RunLog, *, max_seconds: float, now: Callable[[], float]
    ) -> None:
        self._ladder = ladder
        self._door = door
        self._log = log
        self._max_seconds = max_seconds
        self._now = now

    async def check_sandbox(self) -> None:
        """Return if there is a sandbox: otherwise code need not be written. Raises as `SandboxLadder.check`."""
        await self._ladder.check()

    async def run(self, order: TransferOrder, code: Code, attempt: int) -> CodeRun:
        """Run the code once.

        Raises:
            SandboxUnavailableError: no sandbox is there; nothing was run.
            TooLargeError: the output exceeds what a transfer without a size may have.
        """
        at = self._now()
        # Before the run: what cannot be logged is not run.
        digest = input_digest(order.descriptor, code.prompt)
        note = partial(self._note, order, code, attempt, at, digest)
        try:
            run = await self._run(order, code)
        except TooLargeError as error:
            await note(CodeRun(status="limit", detail=str(error)))
            raise
        try:
            await note(run)
        except BaseException:
            _close(run.spool)
            raise
        return run

    async def _run(self, order: TransferOrder, code: Code) -> CodeRun:
        size = len(code.source.encode(errors="replace"))
        if size > MAX_SOURCE_BYTES:
            return CodeRun(status="failed", detail=f"The code has {size} bytes; at most {MAX_SOURCE_BYTES} are run")
        spool = Spool(order.descriptor, order.allowance, order.progress)
        try:
            run = await self._spooled(order, code.source, spool)
        except BaseException:
            spool.close()
            raise
        if run.spool is None:
            spool.close()
        return run

    async def _spooled(self, order: TransferOrder, source: str, spool: Spool) -> CodeRun:
        limits = self._limits(order)
        door = WatchedDoor(self._door(order.descriptor, limits))
        started = anyio.current_time()
        found: dict[str, Any] = {}
        try:
            job = Job(source=source, inputs=inputs_of(order.descriptor), limits=limits)
            verdict = await self._ladder.run(job, door, spool)
            found = {"rung": verdict.rung, "seconds": verdict.seconds, "unreachable": door.unreachable}
            if verdict.status != "ok":
                detail = redacted_detail(verdict.detail, order.descriptor)
                return CodeRun(status=verdict.status, detail=detail, size=spool.size, **found)
            verified = await spool.verify()
        except _WRONG_OUTPUT as error:
            found.setdefault("seconds", anyio.current_time() - started)
            return CodeRun(status="wrong_output", detail=str(error), size=spool.size, **found)
        finally:
            with anyio.CancelScope(shield=True):
                await door.aclose()
        return CodeRun(status="ok", size=verified.size, digest=verified.digest, spool=spool, **found)

    def _limits(self, order: TransferOrder) -> RunLimits:
        sandbox = order.descriptor.sandbox
        # A descriptor may have a number of milliseconds that no float holds.
        seconds = min(sandbox.timeout_ms, self._max_seconds * 1000) / 1000 if sandbox else self._max_seconds
        most = order.allowance.limit
        return RunLimits(seconds=seconds, output_bytes=most + most // 8 + _OUTPUT_SLACK)

    async def _note(self, order: TransferOrder, code: Code, attempt: int, at: float, digest: str, run: CodeRun) -> None:
        descriptor = order.descriptor
        await self._log.note(
            RunRecord(
                at=at,
                transfer_id=descriptor.transfer_id,
                key=order.key,
                level=code.level,
                protocol=descriptor.protocol,
                endpoint=origin_of(descriptor),
                provider=code.provider,
                tier=code.tier,
                attempt=attempt,
                source=code.source[:MAX_SOURCE_BYTES],
                input_digest=digest,
                rung=run.rung,
                status=run.status,
                detail=run.detail,
                output_bytes=run.size,
                output_digest=run.digest,
                seconds=run.seconds,
                input_tokens=code.input_tokens,
                output_tokens=code.output_tokens,
            )
        )


def inputs_of(descriptor: Descriptor) -> dict[str, Any]:
    """The names that the code finds defined. None of them has the credential."""
    return {
        "ENDPOINT": descriptor.endpoint,
        "FORMAT": descriptor.format,
        "METHOD": descriptor.method,
        "SIZE_HINT": descriptor.size_hint,
        "PARAMETERS": parameters_of(descriptor),
    }


def input_digest(descriptor: Descriptor, prompt: str) -> str:
    """The SHA-256 (hex) of everything that went into a run: the descriptor without its credential, and the prompt."""
    fields = descriptor.to_wire()
    fields.get("auth", {}).pop("value", None)
    digest = hashlib.sha256(prompt.encode(errors="replace")).hexdigest() if prompt else ""
    return canonical_digest({"descriptor": fields, "prompt": digest})


def _close(spool: Spool | None) -> None:
    if spool is not None:
        spool.close()
