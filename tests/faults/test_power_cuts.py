"""Power cuts: what the disk had not been told to keep is gone, and nothing that was acknowledged is among it."""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker_plane import Plane
from broker_plane.config import load_settings
from broker_plane.errors import GrantUsedError
from broker_plane.testing.server import NatsServer
from broker_plane.wire.grant import grant_of
from tests.figures import Figure
from tests.mounts import Mounts

pytestmark = pytest.mark.anyio
_EXT4_IOC_SHUTDOWN = 0x8004587D
_NOLOGFLUSH = 2
"""Not even the journal in memory is written: linux/ext4.h."""


@pytest.fixture
def mounts() -> Iterator[Mounts]:
    made = Mounts()
    yield made
    made.close()


def cut_power(disk: Path) -> None:
    descriptor = os.open(disk, os.O_RDONLY)
    try:
        fcntl.ioctl(descriptor, _EXT4_IOC_SHUTDOWN, struct.pack("I", _NOLOGFLUSH))
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("cuts", [pytest.param(10, marks=pytest.mark.full)])
async def test_nothing_acknowledged_is_lost_in_a_power_cut(
    tmp_path: Path, mounts: Mounts, cuts: int, figure: Figure
) -> None:
    disk = tmp_path / "disk"
    mounts.ext4(disk, megabytes=600)
    server = NatsServer(disk)
    bodies: dict[str, bytes] = {}
    used: list[str] = []
    for _ in range(cuts):
        server.start()
        async with Plane.connect(load_settings(nats_url=server.url)) as plane:
            for number in range(40):
                raw = os.urandom((100, 5_000, 900_000, 1_400_000)[number % 4])
                bodies[grant_of((await plane.publish(raw, uses="unlimited", ttl=86_400)).resource_url)] = raw
                once = (await plane.publish(b"once", uses=1, ttl=86_400)).resource_url
                await plane.pull(once)
                used.append(grant_of(once))
        cut_power(disk)
        server.kill()
        mounts.remount_ext4(disk)
    server.start()
    lost = opened = 0
    async with Plane.connect(load_settings(nats_url=server.url)) as plane:
        for grant, raw in bodies.items():
            lost += await plane.pull(grant) != raw
        for grant in used:
            try:
                await plane.pull(grant)
                opened += 1
            except GrantUsedError:
                pass
    server.stop()
    figure(
        "power cuts",
        f"{cuts} cuts: {lost} of {len(bodies)} bodies lost, {opened} of {len(used)} used grants opened again",
        aim="10 power cuts: 0 lost",
        met=not lost + opened,
    )
    assert (lost, opened) == (0, 0)
