"""Two versions of this package, running.

The present bench drives both. Where it cannot drive the other version, that version's own bench does.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.bench.cases import Case
from tests.bench.conductor import VERIFIED, settings_of
from tests.bench.lines import DRIVER_ENDED, Driver, Reply, driving
from tests.bench.ref_env import Side

FULL_BYTES = 1_000_000_000
END_SECONDS = 10
DRIVER = "our_driver"
DRIVEN_BY = {"ref": "", "ref-own": "(the other version is driven by its own bench)"}
"""What may drive the ref's code, the present driver first, with what a row says of it."""


@dataclass(frozen=True)
class Sides:
    """What is compared: the working tree, and the code of a ref."""

    now: Side
    ref: Side


class RefCannotError(Exception):
    """The ref's code cannot be asked for this row, neither by the present bench nor by its own."""


class Present:
    """Both, with a broker each below `directory`. They start when they are first asked."""

    def __init__(self, stack: AsyncExitStack, sides: Sides, directory: Path) -> None:
        self._stack = stack
        self._sides = sides
        self._directory = directory
        self._drivers: dict[str, Driver] = {}
        self._of_ref = "ref"
        self._is_broken = False

    async def choose(self, case: Case) -> str:
        """Ask both once, unrecorded, which makes them warm, and find what drives the ref's code. A note on that.

        Raises:
            RefCannotError: nothing does.
            RuntimeError: the working tree fails.
        """
        await self._ask("now", case)
        reasons = []
        for name, note in DRIVEN_BY.items():
            if name == "ref-own" and not self._sides.ref.has_own_bench:
                continue
            self._of_ref = name
            try:
                await self._ask(name, case)
            except RuntimeError as error:
                reasons.append(_brief(error))
            else:
                return note
        raise RefCannotError("; by its own bench: ".join(reasons))

    async def ask(self, case: Case, *, now_first: bool) -> tuple[Reply, Reply]:
        """Both replies, the working tree's and the ref's.

        Raises:
            RuntimeError: a side failed, or they did not deliver the same rows.
        """
        order = ("now", self._of_ref) if now_first else (self._of_ref, "now")
        replies = {name: await self._ask(name, case) for name in order}
        now, ref = replies["now"], replies[self._of_ref]
        if any(now[name] != ref.get(name) for name in VERIFIED):
            raise RuntimeError(f"The two sides did not deliver the same rows: {now} and {ref}")
        return now, ref

    def is_spent(self) -> bool:
        """New ones had better be made: the stores hold much, or a driver is of no more use."""
        return self._is_broken or _bytes_below(self._directory) > FULL_BYTES

    async def _ask(self, name: str, case: Case) -> Reply:
        if name not in self._drivers:
            self._drivers[name] = await self._start(name)
        try:
            return await self._drivers[name].ask(case.ours)
        except TimeoutError as error:
            self._is_broken = True  # its reply may come yet, to another question
            raise RuntimeError(f"{name} did not answer in time, asked {case.ours}") from error
        except RuntimeError:
            self._is_broken = self._is_broken or name == "now"
            raise

    async def _start(self, name: str) -> Driver:
        side = self._sides.now if name == "now" else self._sides.ref
        root = side.code if name == "ref-own" else side.root
        directory = self._directory / name
        directory.mkdir()
        environment = {**_environment(), **settings_of(directory)}
        return await self._stack.enter_async_context(driving(DRIVER, side.python, directory, environment, root))


def _brief(error: RuntimeError) -> str:
    """What a driver reported; of one that ended, the last line of its log."""
    said = str(error).strip().splitlines()
    return said[-1] if said[0].endswith(DRIVER_ENDED) else said[0].partition("}: ")[2] or said[0]


def _bytes_below(directory: Path) -> int:
    total = 0
    for folder, _, files in os.walk(directory):
        for file in files:
            with suppress(OSError):  # the broker has just removed it
                total += (Path(folder) / file).stat().st_size
    return total


@asynccontextmanager
async def sides(pair: Sides, directory: Path) -> AsyncIterator[Present]:
    """Both sides, started when they are first asked; nothing of them runs after the block."""
    try:
        async with AsyncExitStack() as stack:
            yield Present(stack, pair, directory)
    finally:
        _end_leftovers(directory)


def _environment() -> dict[str, str]:
    """Without what would set the two apart or point both at one broker. Modules are compiled, as if installed."""
    dropped = ("PYTHONPATH", "PYTHONDONTWRITEBYTECODE")
    return {k: v for k, v in os.environ.items() if k not in dropped and not k.startswith("BROKER_PLANE_")}


def _end_leftovers(directory: Path) -> None:
    """End what a killed driver left: processes that were started with, or work in, a path below `directory`.

    The directory is new and ours alone, so they are ours.
    """
    left = [process for process in psutil.process_iter() if _is_below(process, f"{directory}/")]
    for process in left:
        with suppress(psutil.NoSuchProcess):
            process.terminate()
    for process in psutil.wait_procs(left, END_SECONDS)[1]:
        with suppress(psutil.NoSuchProcess):
            process.kill()


def _is_below(process: psutil.Process, place: str) -> bool:
    try:
        return any(place in argument for argument in process.cmdline()) or process.cwd().startswith(place)
    except psutil.Error:
        return False
