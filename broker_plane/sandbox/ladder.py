"""Takes the best way to confine code that this machine has, and never runs code without one."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from broker_plane.errors import SandboxUnavailableError
from broker_plane.sandbox.bwrap import BwrapRung
from broker_plane.sandbox.monty import MontyRung
from broker_plane.sandbox.ports import Door, Job, Rung, RungName, RunVerdict, Sink
from broker_plane.sandbox.sandlock import SandlockRung


class Ladder:
    """The rungs, best first: an interpreter without I/O, then real Python in processes without network and files."""

    def __init__(self, rungs: Sequence[Rung] | None = None) -> None:
        self._rungs = list(default_rungs() if rungs is None else rungs)

    def available(self) -> list[RungName]:
        """The rungs that this machine has, best first."""
        return [rung.name for rung in self._rungs if not rung.unavailable()]

    def report(self) -> dict[str, str]:
        """Why this machine does not have a rung, by name, best first; empty if it has."""
        return {rung.name: rung.unavailable() for rung in self._rungs}

    async def check(self) -> None:
        """Return if this machine has a rung.

        Raises:
            SandboxUnavailableError: it has none; the message says what to install.
        """
        missing: dict[str, str] = {}
        for rung in self._rungs:
            why = await asyncio.to_thread(rung.unavailable)  # it may try it out
            if not why:
                return
            missing[rung.name] = why
        raise _no_rung(missing)

    async def run(self, job: Job, door: Door, sink: Sink) -> RunVerdict:
        """Run the job on the best rung; code that it cannot run goes to the next one, if it has emitted nothing.

        The verdict is that of the last rung that ran it.

        Raises:
            SandboxUnavailableError: this machine has no rung; the code was not run. Errors of `sink` are not caught.
        """
        verdict = None
        missing: dict[str, str] = {}
        for rung in self._rungs:
            if why := await asyncio.to_thread(rung.unavailable):  # it may try it out
                missing[rung.name] = why
                continue
            try:
                verdict = await rung.run(job, door, sink)
            except SandboxUnavailableError as error:
                missing[rung.name] = str(error)
                continue
            if verdict.status != "unsupported":
                return verdict
        if verdict is None:
            raise _no_rung(missing)
        return verdict


def _no_rung(missing: Mapping[str, str]) -> SandboxUnavailableError:
    reasons = "; ".join(f"{name}: {why}" for name, why in missing.items())
    return SandboxUnavailableError(f"This machine has no sandbox for generated code. {reasons}".rstrip())


def default_rungs() -> list[Rung]:
    """All rungs, best first."""
    return [MontyRung(), SandlockRung(), BwrapRung()]
