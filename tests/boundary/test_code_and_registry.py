"""Code that is run, its log, and the registry belong to the role `plane`: nobody else can read or change them."""

from __future__ import annotations

import pytest

from broker_plane import Plane
from broker_plane.errors import NotPermittedError
from tests.boundary.client import Client
from tests.boundary.conftest import Admit, Join
from tests.boundary.world import MARK, nothing_changes

pytestmark = pytest.mark.anyio

ENTRIES = {
    "bp_code": f"code.{'0' * 64}",
    "bp_runs": "run.00000000000001-00000000",
    "bp_registry": "protocol.local.frames",
}


async def test_another_role_has_neither_of_them(weather: Plane) -> None:
    for part in ("levels", "protocols"):
        with pytest.raises(NotPermittedError, match="source"):
            getattr(weather, part)


@pytest.mark.parametrize("who", ["weather", "stats", "a grant"])
async def test_nobody_else_reads_or_writes_them(plane: Plane, join: Join, admit: Admit, who: str) -> None:
    published = await plane.publish([{"a": 1}])
    attacker: Client = await (admit(published.grant) if who == "a grant" else join(who))
    await plane.levels.entries()  # a bucket exists from its first use on
    assert [record async for record in plane.levels.log()] == []
    await plane.protocols.list()
    for bucket, name in ENTRIES.items():
        key = f"$KV.{bucket}.{name}"
        subjects = [
            *(key, f"$KV.{bucket}.forged", f"$JS.API.STREAM.MSG.GET.KV_{bucket}"),
            *(f"$JS.API.DIRECT.GET.KV_{bucket}.{key}", f"$JS.API.DIRECT.GET.KV_{bucket}"),
            *(f"$JS.API.STREAM.PURGE.KV_{bucket}", f"$JS.API.STREAM.DELETE.KV_{bucket}"),
            f"$JS.API.CONSUMER.CREATE.KV_{bucket}",
        ]
        async with nothing_changes(await join("plane")):
            for subject in subjects:
                assert await attacker.publish(subject, MARK), f"{who} may publish on {subject}"
            for subject in (key, f"$KV.{bucket}.>"):
                assert await attacker.subscribe(subject), f"{who} may listen on {subject}"
