"""`broker-plane revoke`, `audit` and `publish --delete-when-used`, as people run them on a broker of their own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from broker_plane import Plane
from broker_plane.config import Settings
from broker_plane.errors import GrantRevokedError
from broker_plane.testing.processes import until
from tests.interaction.test_grant_command import Run, run

__all__ = ["run"]
pytestmark = pytest.mark.anyio
ROWS = [{"event": f"e{row}", "level": row} for row in range(10)]


@pytest.mark.parametrize("handle", ["url", "subject", "id"])
async def test_revoke_ends_a_grant_and_all_that_were_narrowed_from_it(
    settings: Settings, run: Run, handle: str
) -> None:
    async with Plane.connect(settings) as plane:
        published = await plane.publish(ROWS, uses="unlimited")
        narrowed = plane.narrow(plane.narrow(published.resource_url, columns=["event"]).resource_url, rows="0-3")
        assert len(await plane.pull(narrowed.resource_url, via="http")) == 4
        told = {"url": published.resource_url, "subject": published.subject, "id": published.transfer_id}[handle]
        code, out, err = await run("revoke", told, "--json")
        assert code == 0, err
        said = json.loads(out)
        assert said["revoked"] is True
        assert said["grant_id"] == published.transfer_id.replace("-", "")
        assert said["body_id"] == (None if handle == "id" else published.body.id)

        async def refused() -> bool:
            try:
                await plane.pull(narrowed.resource_url, via="http")
            except GrantRevokedError:
                return True
            return False

        await until(refused, "the bridge to hear of it", 1)
        with pytest.raises(GrantRevokedError):
            await plane.pull(published.resource_url, via="nats")


async def test_audit_lists_who_did_what_and_holds_no_grant(settings: Settings, run: Run) -> None:
    async with Plane.connect(settings) as plane:
        published = await plane.publish(ROWS, uses=1)
        await plane.pull(published.resource_url, columns=["level"], via="http")
        code, _, err = await run("revoke", published.resource_url)
        assert code == 0, err

        async def noted() -> bool:
            return len(await plane.bodies.audit(published.body.id)) == 5

        await until(noted, "the entries", 5)
    code, out, err = await run("audit", published.body.id, "--json")
    assert code == 0, err
    entries = json.loads(out)
    assert [entry["what"] for entry in entries] == ["minted", "claimed", "pulled", "confirmed", "revoked"]
    assert (entries[2]["columns"], entries[2]["way"]) == (["level"], "http")
    code, table, _ = await run("audit", published.body.id)
    assert code == 0
    assert "confirmed" in table
    for said in (out, table):
        assert not any(published.grant[start : start + 20] in said for start in range(len(published.grant) - 20))


async def test_what_is_no_grant_or_no_body_is_one_line_and_exit_1(settings: Settings, run: Run) -> None:
    async with Plane.connect(settings) as plane:
        published = await plane.publish(ROWS)
    forged = published.grant[:-1] + ("A" if published.grant[-1] != "A" else "B")
    for arguments in (("revoke", forged), ("revoke", "nothing"), ("audit", "no-body")):
        code, out, err = await run(*arguments)
        assert (code, out) == (1, "")
        assert err.count("\n") == 1
        assert forged not in err
    code, out, _ = await run("audit", "A" * 22, "--json")
    assert (code, json.loads(out)) == (0, [])


async def test_publish_collect_frees_the_body_after_its_last_use(settings: Settings, run: Run, tmp_path: Path) -> None:
    file = tmp_path / "rows.json"
    file.write_text(json.dumps(ROWS))
    code, out, err = await run("publish", str(file), "--delete-when-used", "--uses", "1", "--json")
    assert code == 0, err
    said = json.loads(out)
    async with Plane.connect(settings) as plane:

        async def stored() -> bool:
            return said["body_id"] in {body.id for body in await plane.bodies.list()}

        assert await stored()
        # The bridge of that command is gone; any other has the same grants.
        assert await plane.pull(said["resource_url"].rpartition("/")[2]) == ROWS

        async def freed() -> bool:
            return not await stored()

        await until(freed, "the body to be freed", 5)
