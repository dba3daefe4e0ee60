"""Chains: A → transform → C as a list of descriptors; each step's output is the next step's input, unseen by any agent.

A step is a descriptor. `fetch` produces bytes; `push` sends them and produces the endpoint's response, or the same
bytes if the response is empty: to transform is to push to a service that transforms. Each step's output is a file
beside the report. An output exists only once it is complete, and is deleted before its step runs again, so a chain
whose process was killed resumes at the first step without an output.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import anyio
import anyio.to_thread
import msgspec

from broker_plane.errors import BrokerPlaneError, ChainError, TransferError
from broker_plane.files.atomic import part_of, write_at_once
from broker_plane.files.locks import FileLock
from broker_plane.transfer.fetch import Transfers
from broker_plane.wire.descriptor import Descriptor
from broker_plane.wire.exact_json import MALFORMED, dumps, loads

_REPORT = "report.json"
_LOCK = "lock"
_OUTPUT = "step-{}.out"

State = Literal["waiting", "done", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """The state of one step; `size` (bytes) and `digest` (SHA-256 in hex) describe its output.

    `resumed` says that an earlier run completed it; `code` is the error code of a failed step. `resource_url` is a
    grant for the body that an upload to one of our bridges created.
    """

    number: int
    transfer_id: str
    mode: str
    protocol: str
    state: State = "waiting"
    size: int = 0
    digest: str = ""
    resumed: bool = False
    resource_url: str = ""
    code: str = ""
    error: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """The state of a chain. `output` is the last step's output once all steps are done."""

    steps: tuple[Step, ...]
    output: Path | None = None


class ChainFailedError(ChainError):
    """A step failed; `report` says which. Run the same chain in the same directory to resume it there."""

    def __init__(self, message: str, report: Report) -> None:
        super().__init__(message)
        self.report = report


ReportListener = Callable[[Report], None]
StepProgress = Callable[[int, int, int | None], None]
"""`progress(step, done, total)`, in bytes; `total` is None if unknown."""


async def run_chain(
    transfers: Transfers,
    descriptors: Sequence[Descriptor],
    directory: Path,
    *,
    on_report: ReportListener | None = None,
    progress: StepProgress | None = None,
) -> Report:
    """Carry out the steps in order, with their outputs in `directory`; `on_report` is called after each step.

    When a chain is resumed, a step that is not done may have a new descriptor, because the old one may have expired.

    Raises:
        ChainFailedError: a step failed; the outputs of earlier steps are kept.
        ChainError: another process is run this chain.
        TransferError: this directory has the outputs of another chain.
    """
    if not descriptors or descriptors[0].mode != "fetch" or any(each.mode == "collaborate" for each in descriptors):
        raise TransferError("A chain starts with a fetch, followed by fetches and pushes")
    await anyio.Path(directory).mkdir(mode=0o700, parents=True, exist_ok=True)
    with _alone(directory):
        run = _Run(transfers, descriptors, directory, progress)
        await run.begin()
        for number in range(len(descriptors)):
            if await run.is_done(number):
                continue
            await run.carry_out(number)
            if on_report is not None:
                on_report(run.report())
        return run.report()


class _Run:
    """One run of a chain."""

    def __init__(
        self, transfers: Transfers, descriptors: Sequence[Descriptor], directory: Path, progress: StepProgress | None
    ) -> None:
        self._transfers = transfers
        self._descriptors = descriptors
        self._directory = directory
        self._progress = progress
        self._steps: list[Step] = []

    def report(self) -> Report:
        done = all(step.state == "done" for step in self._steps)
        return Report(tuple(self._steps), self._output(len(self._steps) - 1) if done else None)

    async def begin(self) -> None:
        """Restore the steps that an earlier run left."""
        fresh = [_fresh(number, each) for number, each in enumerate(self._descriptors)]
        found = await _read(self._directory / _REPORT)
        same = 0
        while same < min(len(found), len(fresh)) and found[same].transfer_id == fresh[same].transfer_id:
            same += 1
        if found and (len(found) != len(fresh) or any(step.state == "done" for step in found[same:])):
            raise TransferError("This directory has the outputs of another chain; use an empty one")
        self._steps = found[:same] + fresh[same:]
        await self._forget(same)

    async def is_done(self, number: int) -> bool:
        """Whether an earlier run completed this step and its output is unchanged."""
        output, step = self._output(number), self._steps[number]
        digest = await _digest(output)
        if not digest or (step.state == "done" and step.digest != digest):
            return False
        await self._done(number, digest, resumed=True)
        return True

    async def carry_out(self, number: int) -> None:
        descriptor, output = self._descriptors[number], self._output(number)
        if self._steps[number].state == "done":
            await self._forget(number)  # its output was changed, so the inputs of later steps were too
        try:
            if descriptor.mode == "push":
                before = self._output(number - 1)
                await self._transfers.push_through(descriptor, before, output, self._step_progress(number))
            else:
                await self._transfers.fetch_to(descriptor, output, self._step_progress(number), resume=True)
        except BrokerPlaneError as error:
            failed = replace(self._steps[number], state="failed", code=error.code, error=str(error))
            self._steps[number] = failed
            await self._write()
            raise ChainFailedError(f"Step {number} failed: {error}", self.report()) from error
        await self._done(number, await _digest(output), resumed=False)

    async def _done(self, number: int, digest: str, *, resumed: bool) -> None:
        output = anyio.Path(self._output(number))
        url = ""
        if self._transfers.publishes(self._descriptors[number]):
            url = str(loads(await output.read_bytes())["resource_url"])
        self._steps[number] = replace(
            self._steps[number],
            state="done",
            size=(await output.stat()).st_size,
            digest=digest,
            resumed=resumed,
            resource_url=url,
            code="",
            error="",
        )
        await self._write()

    async def _forget(self, number: int) -> None:
        """Delete the outputs of the steps from `number` on."""
        for later in range(number, len(self._steps)):
            output = self._output(later)
            for path in (output, part_of(output)):
                await anyio.Path(path).unlink(missing_ok=True)
            self._steps[later] = _fresh(later, self._descriptors[later])
        await self._write()

    async def _write(self) -> None:
        fields = {"steps": [asdict(step) for step in self._steps]}
        await write_at_once(self._directory / _REPORT, msgspec.json.format(dumps(fields), indent=2))

    def _output(self, number: int) -> Path:
        return self._directory / _OUTPUT.format(number)

    def _step_progress(self, number: int) -> Callable[[int, int | None], None] | None:
        progress = self._progress
        return None if progress is None else lambda done, total: progress(number, done, total)


def _fresh(number: int, descriptor: Descriptor) -> Step:
    return Step(number=number, transfer_id=descriptor.transfer_id, mode=descriptor.mode, protocol=descriptor.protocol)


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    lock = FileLock(directory / _LOCK)
    try:
        if not lock.try_exclusive():
            raise ChainError("Another process is running this chain; wait for it, or use another directory")
        yield
    finally:
        lock.close()


async def _read(report: Path) -> list[Step]:
    file = anyio.Path(report)
    if not await file.exists():
        return []
    try:
        return [Step(**fields) for fields in loads(await file.read_bytes())["steps"]]
    except (*MALFORMED, ValueError, TypeError, KeyError) as error:
        raise TransferError("The report in this directory is not of a chain; use an empty directory") from error


async def _digest(path: Path) -> str:
    """SHA-256 in hex; empty if there is no file."""

    def read() -> str:
        try:
            with path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except FileNotFoundError:
            return ""

    return await anyio.to_thread.run_sync(read)
