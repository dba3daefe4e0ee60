"""Contacts travel from a CRM to a mailing list and to mailboxes, while servers and bridge are killed.

python -m demos.crm [--crashes | --no-crashes] [--source auto|chinook|faker] [--output FILE.svg] [--json]

It uses a broker of its own, in a temporary directory, because it kills its processes.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from .around import demo_parser, is_ready
from .crm_report import report
from .crm_stage import Scene, scene
from .crm_told import Told, told
from .stage import own_broker, perform

SHOWN = ("id", "firstname", "lastname", "email")
MAPPING = {"firstname": "first_name", "lastname": "last_name", "email": "address"}
"""The list's `address` is the CRM's `email`; the CRM's `address` is a street, and is hidden."""
ABSTRACT, ABSTRACT_ROWS = "id,country", 40


def run(*, json: bool = False, crashes: bool = True, source: str = "auto", output: str = "") -> int:
    """Run the demo; 0 if list and CRM agree and every mail arrived exactly once, 1 if not, 130 after Ctrl-C."""
    if not is_ready("crm"):
        return 1
    with tempfile.TemporaryDirectory(prefix="crm-") as directory:
        scratch, told = Path(directory), partial(report, json=json, output=output)
        return perform(_tell(scratch, crashes, source), told, lambda ended: ended.verified, own_broker(scratch))


async def _tell(scratch: Path, crashes: bool, source: str) -> Told:
    async with scene(scratch, source) as play:
        await _first_sync(play, crashes)
        ids = [row["id"] for row in play.abstract]
        await _edits(play, ids)
        await _deletions(play, ids, crashes)
        await _edit_and_crash(play, ids, crashes)
        await _many_edits(play, ids, crashes)
        return await told(play, crashes, SHOWN)


async def _first_sync(play: Scene, crashes: bool) -> None:
    """Mail every contact. The email server is killed after a mail is delivered and before it learns so."""
    with play.step("share and follow"):
        asked = {"columns": list(SHOWN), "abstract_domains": ABSTRACT, "abstract_limit": ABSTRACT_ROWS}
        shared = await play.call(play.crm, "share", asked)
        play.abstract, play.first_version = shared["abstract"], shared["version"]
        to = {"feed": shared["feed"], "resource_url": shared["resource_url"], "column_mapping": MAPPING}
        killed = play.kill_email_at(shared["total_rows"] // 3) if crashes else None
        await play.call(play.email, "follow", to)
    with play.step("first sync"):
        if killed:
            await play.started_again(killed)
        await play.in_step()


async def _edits(play: Scene, ids: Sequence[int]) -> None:
    """Add contacts, change mail addresses, and change telephone numbers, which the list does not keep."""
    with play.step("edits"):
        insert = [
            {"firstname": f"New{n}", "lastname": "Contact", "email": f"new.{n}@contacts.example", "city": "Oslo"}
            for n in range(4)
        ]
        update = [{"id": number, "email": f"moved.{number}@contacts.example"} for number in ids[:12]]
        update += [{"id": number, "phone": f"+00 {number:06}"} for number in ids[12:18]]
        await play.call(play.crm, "edit", {"insert": insert, "update": update})
        await play.in_step()


async def _deletions(play: Scene, ids: Sequence[int], crashes: bool) -> None:
    """Delete contacts just after the bridge was killed, so that pulls fail at first."""
    with play.step("deletions"):
        if crashes:
            play.kill_bridge()
        await play.call(play.crm, "edit", {"delete": ids[-6:]})
        if crashes:
            await play.bridge_again()
        await play.in_step()


async def _edit_and_crash(play: Scene, ids: Sequence[int], crashes: bool) -> None:
    """Kill the CRM after an edit and before it is published; its next process publishes it."""
    with play.step("an edit whose CRM is killed" if crashes else "another edit"):
        update = {"update": [{"id": number, "lastname": "Renamed"} for number in ids[2:7]]}
        if crashes:
            await play.killed_before_publishing(update)
        else:
            await play.call(play.crm, "edit", update)
        await play.in_step()


async def _many_edits(play: Scene, ids: Sequence[int], crashes: bool) -> None:
    """Kill the email server once more, in the middle of the changes."""
    with play.step("many edits"):
        update = [{"id": number, "firstname": f"First{number}"} for number in ids[: len(ids) - 6]]
        killed = play.kill_email_at(len(update) // 2) if crashes else None
        await play.call(play.crm, "edit", {"update": update})
        if killed:
            await play.started_again(killed)
        await play.in_step()


def main(argv: Sequence[str] | None = None) -> int:
    parser = demo_parser("crm", __doc__)
    parser.add_argument("--crashes", action=argparse.BooleanOptionalAction, default=True, help="kill -9 (default: yes)")
    parser.add_argument("--source", choices=("auto", "chinook", "faker"), default="auto", help="of the contacts")
    parser.add_argument("--output", default="", help="the picture's SVG; default: a new file")
    parser.add_argument("--json", action="store_true", help="one JSON object in place of the table")
    return run(**vars(parser.parse_args(argv)))


if __name__ == "__main__":
    sys.exit(main())
