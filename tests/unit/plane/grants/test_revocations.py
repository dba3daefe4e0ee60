"""What a process knows of revocations, and the entry that says so."""

from __future__ import annotations

import anyio
import anyio.lowlevel
import pytest

from broker_plane.errors import GrantRevokedError
from broker_plane.plane.grants.revocations import Revocations
from broker_plane.plane.grants.state import GrantState, pack_revoked, pack_state, revoked_until, unpack_state

pytestmark = pytest.mark.anyio


def test_a_revoked_entry_has_no_state_any_more() -> None:
    raw = pack_revoked(1_800_000_000)
    assert revoked_until(raw) == 1_800_000_000
    with pytest.raises(GrantRevokedError):
        unpack_state(raw)


@pytest.mark.parametrize("done", [0, 1, 3, 200])
def test_no_other_entry_is_taken_for_a_revoked_one(done: int) -> None:
    assert revoked_until(pack_state({"": GrantState(done=done)})) is None
    assert revoked_until(pack_state({"ab": GrantState(done=done)})) is None
    assert revoked_until(b"") is None


async def test_what_runs_on_a_grant_ends_when_it_is_revoked_and_nothing_else_does() -> None:
    revoked = Revocations(lambda: 0.0)
    started, ended = anyio.Event(), []

    async def run(grant_id: str) -> None:
        try:
            with revoked.guarding(grant_id):
                started.set()
                await anyio.sleep_forever()
        except GrantRevokedError:
            ended.append(grant_id)

    async with anyio.create_task_group() as group:
        for grant_id in ("alice", "alice", "bob"):
            group.start_soon(run, grant_id)
        await started.wait()
        await anyio.lowlevel.checkpoint()
        revoked.add("alice", 100)
        with anyio.fail_after(5):
            while len(ended) < 2:
                await anyio.lowlevel.checkpoint()
        assert ended == ["alice", "alice"]
        assert revoked.cut == 2
        group.cancel_scope.cancel()


async def test_nothing_begins_on_a_revoked_grant_and_an_end_of_ones_own_is_none() -> None:
    revoked = Revocations(lambda: 0.0)
    with pytest.raises(KeyError), revoked.guarding("alice"):
        raise KeyError
    revoked.add("alice", 100)
    with pytest.raises(GrantRevokedError), revoked.guarding("alice"):
        pytest.fail("it began")


def test_ids_whose_grants_have_expired_are_forgotten() -> None:
    now = 0.0
    revoked = Revocations(lambda: now)
    for number in range(1023):
        revoked.add(f"old{number}", 10)
    now = 20.0
    revoked.add("new", 100)
    assert len(revoked) == 1
    assert "new" in revoked
