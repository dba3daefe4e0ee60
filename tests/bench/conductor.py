"""One run: ours and theirs by turns, so that both meet the same machine."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from tests.bench.cases import BARE_NATS, HTTP, MCP_SD, NGINX, OURSELVES, YJS, Case
from tests.bench.lines import Driver, Reply, driving

VERIFIED = ("rows", "checksum")
DRIVERS = {
    MCP_SD: "peer_driver",
    NGINX: "nginx_driver",
    BARE_NATS: "nats_driver",
    OURSELVES: "our_driver",
    HTTP: "our_driver",
    YJS: "yjs_driver",
}
RATE = "edits/s"
UNITS = {"p50": "ms", "p99": "ms", RATE: RATE}
"""The units of measures other than `ms` itself; what is not here is memory, in MiB."""


@dataclass
class Measured:
    """Every sample of one measure of one case; a side that has no such thing is empty."""

    group: str
    name: str
    unit: str
    ours: list[float] = field(default_factory=list)
    theirs: list[float] = field(default_factory=list)
    peer: str = ""
    headline: str = ""

    @property
    def ratio(self) -> float | None:
        """The median of theirs over that of ours, of a rate ours over theirs: above 1, ours is the better.

        None where ours was there before.
        """
        if not (self.ours and self.theirs and median(self.ours) > 0):
            return None
        ratio = median(self.theirs) / median(self.ours)
        return 1 / ratio if self.unit == RATE else ratio

    def as_json(self) -> dict[str, Any]:
        """Name, unit, ratio and, for each side, its median and every sample."""
        sides = {"ours": self.ours, "theirs": self.theirs}
        found = {side: {"median": median(samples), "samples": samples} for side, samples in sides.items() if samples}
        return {"group": self.group, "name": self.name, "unit": self.unit, "ratio": self.ratio, **found}


@dataclass(frozen=True)
class Pair:
    """Our driver, and that of each peer by its name."""

    ours: Driver
    theirs: Mapping[str, Driver]

    async def versions(self) -> dict[str, Reply]:
        """What each side runs."""
        peers = [await driver.ask({"do": "about"}) for driver in self.theirs.values()]
        return {"ours": await self.ours.ask({"do": "about"}), "theirs": {k: v for one in peers for k, v in one.items()}}

    async def ask(self, case: Case) -> tuple[Reply, Reply]:
        """Both replies, ours asked first.

        Raises:
            RuntimeError: the two sides did not deliver the same rows.
        """
        ours, theirs = await self.ours.ask(case.ours), await self.theirs[case.peer].ask(case.theirs)
        if any(ours[name] != theirs[name] for name in VERIFIED):
            raise RuntimeError(f"{case.name}: ours delivered {ours}, theirs {theirs}")
        return ours, theirs


def settings_of(root: Path) -> dict[str, str]:
    """What a driver of ours is told: its store is below `root`, and webhooks and transfers may go to this machine."""
    networks = {f"BROKER_PLANE_{kind}_NETWORKS": "127.0.0.0/8" for kind in ("WEBHOOK", "TRANSFER")}
    return {"BROKER_PLANE_DATA_DIR": f"{root}/store", **networks}


@asynccontextmanager
async def pair(our_python: Path, peers: Mapping[str, Path], directory: Path) -> AsyncIterator[Pair]:
    """All drivers, running; ours with an embedded broker of its own below `directory`; `peers` are interpreters."""
    async with AsyncExitStack() as stack:

        async def start(side: str, name: str, python: Path) -> Driver:
            root = directory / side
            root.mkdir()
            return await stack.enter_async_context(driving(name, python, root, {**os.environ, **settings_of(root)}))

        ours = await start("ours", "our_driver", our_python)
        yield Pair(ours, {peer: await start(peer, DRIVERS[peer], python) for peer, python in peers.items()})


async def measure(drivers: Pair, case: Case, turned: Callable[[], None]) -> list[Measured]:
    """The case's rounds, by turns; `turned` is called after each. One `Measured` for each measure in the replies."""
    found: dict[str, Measured] = {}
    for turn in range(-1 if case.warm else 0, case.rounds):
        for side, reply in zip(("ours", "theirs"), await drivers.ask(case), strict=True):
            for key, value in reply.items():
                if turn >= 0 and key not in VERIFIED:
                    entry = found.setdefault(key, _empty(case, key))
                    getattr(entry, side).append(value)
        turned()
    return list(found.values())


def _empty(case: Case, key: str) -> Measured:
    if key == "ms":
        return Measured(case.group, case.name, "ms", peer=case.peer, headline=case.headline)
    headline = case.headline if key == "p50" else ""
    return Measured(case.group, f"{case.name}: {key}", UNITS.get(key, "MiB"), peer=case.peer, headline=headline)
