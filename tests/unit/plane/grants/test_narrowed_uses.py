"""What counts a narrowed grant: its caveat by itself, and the root with all of its children."""

from __future__ import annotations

import pytest

from broker_plane.errors import (
    AuthenticationRequiredError,
    ForbiddenError,
    GrantExpiredError,
    GrantInUseError,
    GrantUsedError,
    LeaseLostError,
    NotAcceptableError,
    SelectorError,
)
from broker_plane.plane.bodies.shown import check_format
from broker_plane.plane.grants import state
from broker_plane.plane.grants.leases import Lease
from broker_plane.plane.grants.state import CLAIMS_A_USE, LOOK_SHARE, MOST_CHAINS, unpack_state
from broker_plane.wire.caveats import Audience, Bytes, Columns, Expires, Formats, Rows, Uses, Where
from broker_plane.wire.grant import narrow
from broker_plane.wire.selector import WHOLE, Selector
from tests.unit.memory import NOW, Memory

pytestmark = pytest.mark.anyio


def memory() -> Memory:
    return Memory([{"a": number, "b": f"b{number}"} for number in range(100)])


async def deliver(plane: Memory, grant: str, asker: str = "alice") -> None:
    lease = await plane.deliveries.claim(await plane.deliveries.open(grant), asker)
    await plane.deliveries.finish(lease)


async def test_a_narrowed_grant_counts_by_itself_where_its_root_does_not() -> None:
    plane = memory()
    root = await plane.mint(uses=0)
    one, other = narrow(root, Uses(1)), narrow(root, Columns(("a",)), Uses(1))
    for grant in (one, other):
        await deliver(plane, grant)
        with pytest.raises(GrantUsedError):
            await deliver(plane, grant)
    await deliver(plane, root)


async def test_a_narrowed_use_is_a_use_of_the_root_too() -> None:
    plane = memory()
    root = await plane.mint(uses=2)
    child = narrow(root, Uses(1))
    await deliver(plane, child)
    with pytest.raises(GrantUsedError):
        await deliver(plane, child)
    await deliver(plane, root)
    for grant in (root, narrow(root, Columns(("a",))), narrow(root, Uses(1), Columns(("a",))), narrow(root, Uses(2))):
        with pytest.raises(GrantUsedError):
            await deliver(plane, grant)


async def test_what_is_narrowed_from_a_counted_child_counts_with_it() -> None:
    plane = memory()
    child = narrow(await plane.mint(uses=0), Uses(2))
    grandchild = narrow(child, Uses(1), Columns(("a",)))
    await deliver(plane, grandchild)
    with pytest.raises(GrantUsedError):
        await deliver(plane, grandchild)
    await deliver(plane, narrow(child, Columns(("b",))))
    with pytest.raises(GrantUsedError):
        await deliver(plane, child)


async def test_all_that_count_change_together_or_not_at_all() -> None:
    plane = memory()
    root = await plane.mint(uses=5)
    child = narrow(root, Uses(1))
    held = await plane.deliveries.claim(await plane.deliveries.open(child), "alice")
    with pytest.raises(GrantInUseError):
        await plane.deliveries.claim(await plane.deliveries.open(child), "bob")
    ((entry, _),) = plane.states.entries.values()
    chains = unpack_state(entry)
    assert len(chains) == 2
    assert all(list(state.leases) == [held.id] for state in chains.values())
    await plane.deliveries.release(held, 0.5)
    ((entry, _),) = plane.states.entries.values()
    assert [(state.spent, state.leases) for state in unpack_state(entry).values()] == [(0.5, {}), (0.5, {})]


async def test_a_lease_of_one_chain_is_none_of_another() -> None:
    plane = memory()
    root = await plane.mint(uses=5)
    child = narrow(root, Uses(1))
    held = await plane.deliveries.claim(await plane.deliveries.open(child), "alice")
    for grant in (root, narrow(root, Uses(2))):
        with pytest.raises(LeaseLostError):
            await plane.deliveries.grants.leases.renew(
                Lease((await plane.deliveries.open(grant)).grant, held.id, "alice")
            )
    await plane.deliveries.grants.leases.renew(held)
    # The same asker on another chain is another delivery, and gives up nothing of the first.
    await plane.deliveries.claim(await plane.deliveries.open(root), "alice")
    await plane.deliveries.grants.leases.renew(held)


async def test_an_early_end_of_a_child_forgets_nothing_of_its_root() -> None:
    plane = memory()
    root = await plane.mint(uses=1, ttl=600)
    child = narrow(root, Expires(int(NOW) + 5))
    await deliver(plane, child)
    assert min(plane.states.ttls) > 600
    plane.now = NOW + 5
    with pytest.raises(GrantExpiredError):
        await plane.deliveries.open(child)
    with pytest.raises(GrantUsedError):
        await deliver(plane, root)


@pytest.mark.parametrize("most", [60, pytest.param(MOST_CHAINS, marks=pytest.mark.full)])
async def test_a_grant_is_narrowed_to_uses_of_its_own_a_bounded_number_of_times(
    monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    assert MOST_CHAINS == 1024
    monkeypatch.setattr(state, "MOST_CHAINS", most)
    plane = memory()
    root = await plane.mint(uses=0, ttl=3_000)
    opened = await plane.deliveries.open(root)
    for number in range(most):
        await deliver(plane, narrow(root, Expires(opened.grant.expires - number), Uses(1)))
    with pytest.raises(GrantUsedError, match=f"{most} times"):
        await deliver(plane, narrow(root, Uses(9)))
    await deliver(plane, root)


# ── looks ─────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_look_tells_count_columns_and_a_sample_within_the_scope() -> None:
    plane = memory()
    grant = narrow(await plane.mint(uses=1), Where("a >= 90"), Columns(("b",)))
    look = await plane.deliveries.preview(await plane.deliveries.open(grant), 2)
    assert (look.count, look.columns) == (10, ["b"])
    assert look.sample == [{"_row_id": 90, "b": "b90"}, {"_row_id": 91, "b": "b91"}]
    await deliver(plane, grant)
    for gone in (grant, narrow(grant, Where("b = 'b90'"))):
        with pytest.raises(GrantUsedError):
            await plane.deliveries.preview(await plane.deliveries.open(gone), 0)


async def test_looks_are_bounded_and_leave_the_delivery() -> None:
    plane = memory()
    root = await plane.mint(uses=1)
    asked = 0
    with pytest.raises(ForbiddenError, match="1 delivery can still be pulled"):
        for number in range(1_000):
            # An oracle: one bit of a value a question, and none of them a delivery.
            await plane.deliveries.find(await plane.deliveries.open(narrow(root, Where(f"a = {number}"))))
            asked += 1
    assert asked == pytest.approx((CLAIMS_A_USE - 1) / LOOK_SHARE, abs=1)
    await deliver(plane, root)


async def test_a_sample_costs_its_share_of_the_body() -> None:
    plane = memory()
    root = await plane.mint(uses=1)
    for _ in range(2):
        await plane.deliveries.preview(await plane.deliveries.open(root), 100)
    with pytest.raises(ForbiddenError):
        await plane.deliveries.preview(await plane.deliveries.open(root), 1)


async def test_looks_at_a_grant_of_unlimited_use_write_nothing() -> None:
    plane = memory()
    await plane.deliveries.preview(await plane.deliveries.open(narrow(await plane.mint(), Where("a = 1"))), 5)
    assert not plane.states.entries


# ── audience, bytes, formats, and what does not fit ───────────────────────────────────────────────────────


async def test_an_audience_is_one_name() -> None:
    plane = memory()
    grant = narrow(await plane.mint(), Audience("charts"))
    assert await plane.deliveries.open(grant, "charts")
    with pytest.raises(AuthenticationRequiredError):
        await plane.deliveries.open(grant)
    for who in ("agent", "Charts"):
        with pytest.raises(ForbiddenError, match="another puller"):
            await plane.deliveries.open(grant, who)
    for who in ("charts", "agent"):
        with pytest.raises(ForbiddenError):
            await plane.deliveries.open(narrow(grant, Audience("agent")), who)


async def test_a_delivery_of_too_many_bytes_is_refused_before_it_begins() -> None:
    plane = memory()
    root = await plane.mint(uses=1)

    async def check(grant: str, selector: Selector) -> None:
        opened = await plane.deliveries.open(grant)
        await plane.deliveries.bodies.check(opened, await plane.deliveries.find(opened), selector)

    size = plane.body.size
    await check(narrow(root, Bytes(size)), WHOLE)
    for grant, selector in (
        (narrow(root, Bytes(size - 1)), WHOLE),
        (narrow(root, Bytes(100)), Selector(columns=("a",))),
        (narrow(root, Bytes(10), Rows(first=1)), WHOLE),
    ):
        with pytest.raises(ForbiddenError, match="at most"):
            await check(grant, selector)
    await check(narrow(root, Bytes(200)), Selector(columns=("a",), row_ids=(1,)))


async def test_formats_are_what_may_leave() -> None:
    plane = memory()
    opened = await plane.deliveries.open(narrow(await plane.mint(), Formats(("text/csv",))))
    check_format(opened, "text/csv")
    with pytest.raises(NotAcceptableError, match="text/csv only"):
        check_format(opened, "application/json", "application/octet-stream")
    with pytest.raises(NotAcceptableError):
        await plane.deliveries.preview(opened, 1)


@pytest.mark.parametrize(
    ("grant", "says"),
    [
        (Columns(("a", "zz")), "no column 'zz' here; there are: a"),
        (Where("zz = 1"), "no column 'zz' here; there are: a, b"),
    ],
    ids=repr,
)
async def test_a_scope_that_the_body_does_not_fit_is_named_and_costs_nothing(grant: Columns | Where, says: str) -> None:
    plane = memory()
    with pytest.raises(SelectorError, match=says):
        await plane.shown(narrow(await plane.mint(uses=1), grant))
    assert not plane.states.entries


async def test_stored_bytes_never_leave_by_a_grant_that_shows_a_part() -> None:
    plane = memory()
    opened = await plane.deliveries.open(narrow(await plane.mint(), Rows(first=100)))
    body = await plane.deliveries.find(opened)
    assert body.info.rows == 100
    with pytest.raises(ForbiddenError, match="part"):
        plane.deliveries.bodies.read(body)
    hidden = body.info
    assert (hidden.digest, hidden.size, hidden.table, hidden.runs, hidden.chunks) == ("", 0, None, (), 0)
    assert plane.body.digest not in body.tag
