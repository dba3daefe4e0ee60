"""Chains: A → transform → C as a list of descriptors, each step's output into the next; no agent sees a byte.

A step is a descriptor. `fetch` gives the next step its bytes; `push` takes them and gives on what the endpoint
answers, or the same bytes where it answers nothing: a step that transforms is a push to whoever transforms. What a step
gave stands in a file beside the report, so a chain that broke goes on at the first step without one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import anyio
import anyio.to_thread
import orjson

from broker_plane.errors import BrokerPlaneError, ChainError, TransferError
from broker_plane.plane.publish import Progress
from broker_plane.transfer.fetch import Transfers
from broker_plane.wire.descriptor import Descriptor

_REPORT = "report.json"
_OUTPUT = "step-{}.out"

State = Literal["waiting", "done", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What became of one step: `size` in bytes and `digest` (SHA-256 in hex) are of its output.

    `resumed` says that an earlier run had done it; `code` is the error's of one that failed.
    """

    number: int
    transfer_id: str
    mode: str
    protocol: str
    state: State = "waiting"
    size: int = 0
    digest: str = ""
    resumed: bool = False
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


async def run_chain(
    transfers: Transfers,
    descriptors: Sequence[Descriptor],
    directory: Path,
    *,
    told: Told | None = None,
    progress: Progress | None = None,
) -> Report:
    """Carry out the steps in their order, with their outputs in `directory`; `told` after each of them.

    Raises:
        ChainFailedError: a step failed; those before it are kept.
        TransferError: this directory has the outputs of another chain.
    """
    if not descriptors or descriptors[0].mode != "fetch" or any(each.mode == "collaborate" for each in descriptors):
        raise TransferError("A chain begins with a fetch, and goes on with fetches and pushes")
    await anyio.Path(directory).mkdir(parents=True, exist_ok=True)
    steps = await _begun(directory, descriptors)
    for number, descriptor in enumerate(descriptors):
        output = directory / _OUTPUT.format(number)
        if steps[number].state == "done" and await _digest(output) == steps[number].digest:
            steps[number] = replace(steps[number], resumed=True)
            continue
        steps[number + 1 :] = [replace(step, state="waiting") for step in steps[number + 1 :]]
        try:
            await _carry_out(transfers, descriptor, directory / _OUTPUT.format(number - 1), output, progress)
        except BrokerPlaneError as error:
            steps[number] = replace(steps[number], state="failed", resumed=False, code=error.code, error=str(error))
            await _write(directory, steps)
            raise ChainFailedError(f"Step {number} failed: {error}", Report(tuple(steps))) from error
        size = (await anyio.Path(output).stat()).st_size
        digest = await _digest(output)
        steps[number] = replace(steps[number], state="done", size=size, digest=digest, resumed=False, code="", error="")
        await _write(directory, steps)
        if told is not None:
            told(Report(tuple(steps)))
    return Report(tuple(steps), directory / _OUTPUT.format(len(steps) - 1))


async def _carry_out(
    transfers: Transfers, descriptor: Descriptor, before: Path, output: Path, progress: Progress | None
) -> None:
    if descriptor.mode == "push":
        await transfers.push_through(descriptor, before, output, progress)
    else:
        await transfers.fetch_to(descriptor, output, progress)


async def _begun(directory: Path, descriptors: Sequence[Descriptor]) -> list[Step]:
    """The steps as an earlier run left them."""
    fresh = [
        Step(number=number, transfer_id=each.transfer_id, mode=each.mode, protocol=each.protocol)
        for number, each in enumerate(descriptors)
    ]
    file = anyio.Path(directory / _REPORT)
    if not await file.exists():
        return fresh
    try:
        found = [Step(**fields) for fields in orjson.loads(await file.read_bytes())["steps"]]
    except (ValueError, TypeError, KeyError) as error:
        raise TransferError("The report in this directory is none of a chain; take an empty directory") from error
    if [step.transfer_id for step in found] != [step.transfer_id for step in fresh]:
        raise TransferError("This directory has the outputs of another chain; take an empty one")
    return found


async def _write(directory: Path, steps: Sequence[Step]) -> None:
    part = anyio.Path(directory / f"{_REPORT}.part")
    await part.write_bytes(orjson.dumps({"steps": [asdict(step) for step in steps]}, option=orjson.OPT_INDENT_2))
    await part.replace(directory / _REPORT)


async def _digest(path: Path) -> str:
    """SHA-256 in hex; empty where there is no file."""

    def read() -> str:
        try:
            with path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except FileNotFoundError:
            return ""

    return await anyio.to_thread.run_sync(read)
