"""`broker-plane pull` and what other commands say about the uses and the audit log of a URL."""

from __future__ import annotations

import json

import pytest

from broker_plane import Plane
from broker_plane.config import Settings
from tests.interaction.test_grant_command import Run
from tests.interaction.test_grant_command import run as _run

pytestmark = pytest.mark.anyio
run = _run

ROWS = [{"n": n} for n in range(10)]


async def test_ranges_of_rows_are_pulled_in_the_order_in_which_they_are_named(settings: Settings, run: Run) -> None:
    async with Plane.connect(settings) as plane:
        subject = (await plane.publish(ROWS, uses="unlimited")).subject
        code, out, err = await run("pull", subject, "--rows", "8, 0-3", "--format", "json")
        assert code == 0, err
        assert sorted(row["n"] for row in json.loads(out)) == [0, 1, 2, 3, 8]
        for wrong, says in (("3-1", "'3-1' is neither"), ("0-99999999", "more than 10,000,000"), ("0-2,1", "twice")):
            code, _, err = await run("pull", subject, "--rows", wrong)
            assert code == 1 and says in err


async def test_the_error_of_a_used_url_names_the_commands(settings: Settings, run: Run) -> None:
    async with Plane.connect(settings) as plane:
        published = await plane.publish(ROWS, uses=1)
        words = ("pull", published.subject)
        assert (await run(*words))[0] == 0
        code, _, err = await run(*words)
        assert code == 1
        assert err.endswith("it was for 1 delivery. Use publish --uses 2 or grant --uses 2\n")
        for address in (published.body.id, published.resource_url, published.subject):
            while not (entries := json.loads((await run("audit", address, "--json"))[1])):
                pass  # entries appear within a second
            assert {entry["grant_id"] for entry in entries} == {published.transfer_id.replace("-", "")}


async def test_uses_that_were_chosen_need_no_advice(settings: Settings, run: Run) -> None:
    async with Plane.connect(settings) as plane:
        body = (await plane.publish(ROWS)).body.id
        assert "uses: 1 delivery (--uses sets another number)\n" in (await run("grant", body))[2]
        assert "uses: 20 deliveries\n" in (await run("grant", body, "--uses", "20"))[2]
