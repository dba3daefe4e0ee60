"""Chains: A → transform → C as a list of descriptors, each step's output into the next; no agent sees a byte.

A step is a descriptor. `fetch` gives the next step its bytes; `push` takes them and gives on what the endpoint
answers, or the same bytes where it answers nothing: a step that transforms is a push to whoever transforms. What a step
gave stands in a file beside the report. An output is there only when it is whole, and outputs go before their step is
done anew; so a chain whose process was killed anywhere goes on at the first step without one.
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
import orjson

from broker_plane.errors import BrokerPlaneError, ChainError, TransferError
from broker_plane.files.atomic import part_of, write_at_once
from broker_plane.files.locks import FileLock
from broker_plane.transfer.fetch import Transfers
from broker_plane.wire.descriptor import Descriptor

_REPORT = "report.json"
_LOCK = "lock"
_OUTPUT = "step-{}.out"

State = Literal["waiting", "done", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What became of one step: `size` in bytes and `digest` (SHA-256 in hex) are of its output.

    `resumed` says that an earlier run had done it; `code` is the error's of one that failed. `resource_url` is a grant
    for the body that an upload to a bridge of ours became.
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
    """A chain by step. `output` is the last step's, once all are done."""

    steps: tuple[Step, ...]
    output: Path | None = None


class ChainFailedError(ChainError):
    """A step failed; `report` says which. Run the same chain in the same directory to go on at it."""

    def __init__(self, message: str, report: Report) -> None:
        super().__init__(message)
        self.report = report


Told = Callable[[Report], None]
StepProgress = Callable[[int, int, int | None], None]
"""`progress(step, done, total)`, in bytes; `total` is None where nobody said it."""


async def run_chain(
    transfers: Transfers,
    descriptors: Sequence[Descriptor],
    directory: Path,
    *,
    told: Told | None = None,
    progress: StepProgress | None = None,
) -> Report:
    """Carry out the steps in their order, with their outputs in `directory`; `told` after each of them.

    A descriptor of a step that is not done yet may be another one than before: the old one may have expired.

    Raises:
        ChainFailedError: a step failed; those before it are kept.
        ChainError: another process runs it now.
        TransferError: this directory has the outputs of another chain.
    """
    if not descriptors or descriptors[0].mode != "fetch" or any(each.mode == "collaborate" for each in descriptors):
        raise TransferError("A chain begins with a fetch, and goes on with fetches and pushes")
    await anyio.Path(directory).mkdir(mode=0o700, parents=True, exist_ok=True)
    with _alone(directory):
        running = _Running(transfers, descriptors, directory, progress)
        await running.begin()
        for number in range(len(descriptors)):
            if await running.is_done(number):
                continue
            await running.carry_out(number)
            if told is not None:
                told(running.report())
        return running.report()


class _Running:
    """A chain that this process runs."""

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
        """The steps are as an earlier run left them."""
        fresh = [_fresh(number, each) for number, each in enumerate(self._descriptors)]
        found = await _read(self._directory / _REPORT)
        same = 0
        while same < min(len(found), len(fresh)) and found[same].transfer_id == fresh[same].transfer_id:
            same += 1
        if found and (len(found) != len(fresh) or any(step.state == "done" for step in found[same:])):
            raise TransferError("This directory has the outputs of another chain; take an empty one")
        self._steps = found[:same] + fresh[same:]
        await self._forget(same)

    async def is_done(self, number: int) -> bool:
        """Whether an earlier run did it; what it gave is still the same."""
        output, step = self._output(number), self._steps[number]
        digest = await _digest(output)
        if not digest or (step.state == "done" and step.digest != digest):
            return False
        await self._done(number, digest, resumed=True)
        return True

    async def carry_out(self, number: int) -> None:
        descriptor, output = self._descriptors[number], self._output(number)
        if self._steps[number].state == "done":
            await self._forget(number)  # what it gave was changed: so was what those after it were given
        try:
            if descriptor.mode == "push":
                before = self._output(number - 1)
                await self._transfers.push_through(descriptor, before, output, self._told(number))
            else:
                await self._transfers.fetch_to(descriptor, output, self._told(number), resume=True)
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
            url = str(orjson.loads(await output.read_bytes())["resource_url"])
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
        """The steps from `number` on have given nothing."""
        for later in range(number, len(self._steps)):
            output = self._output(later)
            for path in (output, part_of(output)):
                await anyio.Path(path).unlink(missing_ok=True)
            self._steps[later] = _fresh(later, self._descriptors[later])
        await self._write()

    async def _write(self) -> None:
        fields = {"steps": [asdict(step) for step in self._steps]}
        await write_at_once(self._directory / _REPORT, orjson.dumps(fields, option=orjson.OPT_INDENT_2))

    def _output(self, number: int) -> Path:
        return self._directory / _OUTPUT.format(number)

    def _told(self, number: int) -> Callable[[int, int | None], None] | None:
        progress = self._progress
        return None if progress is None else lambda done, total: progress(number, done, total)


def _fresh(number: int, descriptor: Descriptor) -> Step:
    return Step(number=number, transfer_id=descriptor.transfer_id, mode=descriptor.mode, protocol=descriptor.protocol)


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    lock = FileLock(directory / _LOCK)
    try:
        if not lock.try_exclusive():
            raise ChainError("Another process runs this chain now; wait for it, or take another directory")
        yield
    finally:
        lock.close()


async def _read(report: Path) -> list[Step]:
    file = anyio.Path(report)
    if not await file.exists():
        return []
    try:
        return [Step(**fields) for fields in orjson.loads(await file.read_bytes())["steps"]]
    except (ValueError, TypeError, KeyError) as error:
        raise TransferError("The report in this directory is none of a chain; take an empty directory") from error


async def _digest(path: Path) -> str:
    """SHA-256 in hex; empty where there is no file."""

    def read() -> str:
        try:
            with path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except FileNotFoundError:
            return ""

    return await anyio.to_thread.run_sync(read)
