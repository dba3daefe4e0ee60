"""The story of a CRM and a mailing list, with and without crashes: they agree, and each mail is there exactly once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from demos.crm_report import svg
from demos.crm_stage import Event
from demos.crm_told import Agreement, Context, Hidden, Mails, Told, called_for, different
from demos.memory import look

Start = Callable[..., subprocess.CompletedProcess[str]]
SVG = "{http://www.w3.org/2000/svg}"


def tell(start: Start, picture: Path, *options: str) -> dict[str, Any]:
    arguments = ["demo", "crm", "--json", "--source", "faker", "--output", str(picture), *options]
    done = start("broker_plane.cli.main", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


@pytest.fixture(scope="module")
def crashed(start: Start, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return tell(start, tmp_path_factory.mktemp("crm") / "told.svg", "--crashes")


def ends_well(told: dict[str, Any]) -> None:
    assert told["verified"] and told["problems"] == []
    assert told["agreement"] == {"contacts": 78, "members": 78, "different": 0}  # of 80: 4 came, 6 went
    mails = told["mails"]
    # All of the first sync, 4 new and 12 moved, 6 gone, 5 and 34 renamed; new telephone numbers are no mail.
    assert mails["expected"] == mails["in_mailbox"] == 80 + 4 + 12 + 6 + 5 + 34
    assert mails["missing"] == mails["unexpected"] == 0


def test_with_crashes_list_and_crm_agree_and_each_mail_is_there_once(crashed: dict[str, Any]) -> None:
    ends_well(crashed)
    assert [kill["who"] for kill in crashed["kills"]] == ["email", "bridge", "crm", "email"]
    # Each crash of the email server fell between a delivery and its acknowledgement: that mail came again, no other.
    assert crashed["mails"]["repeats"] == crashed["mails"]["repeats_allowed"] == 2
    assert crashed["edits_unpublished_at_crash"] > 0


@pytest.mark.full  # a part of what happens with crashes
def test_without_crashes_nothing_comes_again(start: Start, tmp_path: Path) -> None:
    told = tell(start, tmp_path / "told.svg", "--no-crashes")
    ends_well(told)
    assert told["kills"] == [] and told["mails"]["repeats"] == 0


def test_what_the_email_server_is_not_shown_never_reached_it(crashed: dict[str, Any]) -> None:
    hidden = crashed["hidden"]
    assert hidden["columns_arrived"] == hidden["columns_shown"] == ["email", "firstname", "id", "lastname"]
    assert hidden["values_in_mails_and_list"] == 0
    if sys.platform == "linux" and os.geteuid() == 0:
        assert hidden["values_in_memory"] == 0 < hidden["shown_values_in_memory"]


def test_the_agent_saw_the_abstract_only(crashed: dict[str, Any]) -> None:
    assert crashed["context"]["values"] == 0
    assert crashed["context"]["abstract_rows"] == 40
    assert crashed["context"]["bytes"] < crashed["context"]["body_bytes"] / 5


def test_the_timeline_has_every_life_version_and_crash(crashed: dict[str, Any]) -> None:
    drawing = ElementTree.parse(crashed["picture"]).getroot()  # noqa: S314 - written a moment ago, by us
    counts = dict.fromkeys(("life", "kill", "version", "repeat", "mails"), 0)
    for element in drawing.iter():
        if element.get("class") in counts:
            counts[element.get("class", "")] += 1
    assert counts.pop("mails") > 4
    assert counts == {"life": 3 + 4, "kill": 4, "version": crashed["versions"], "repeat": 2}


@pytest.mark.full
def test_as_people_start_it_a_table_says_so(start: Start) -> None:
    done = start("broker_plane.cli.main", "demo", "crm")
    assert done.returncode == 0, done.stdout + done.stderr
    said = " ".join(done.stdout.split())
    for words in ("with crashes", "List and CRM agree, every mail is there exactly once", "Picture:"):
        assert words in said


WELL = Told(
    crashes=False,
    source="faker",
    versions=1,
    agreement=Agreement(1, 1, 0),
    mails=Mails(1, 1, 0, 0, 0, 0),
    hidden=Hidden(["email", "id"], ["email", "id"], 0, None, None, 0),
    context=Context(100, 25, 1000, 1, 0),
    pending_at_crash=0,
    steps=[Event(0.0, "agent", "first & last")],
    kills=[],
    published=[(1.0, 1)],
    arrived=[2.0],
    repeated=[],
    lives={"crm": [(0.0, 0.0, False)], "bridge": [], "email": []},
    ms=3.0,
)


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ({"agreement": Agreement(1, 1, 1)}, "differ"),
        ({"mails": Mails(2, 1, 1, 0, 0, 0)}, "missing"),
        ({"mails": Mails(1, 2, 0, 1, 0, 0)}, "not called for"),
        ({"mails": Mails(1, 1, 0, 0, 2, 1)}, "came again"),
        ({"hidden": Hidden(["id"], ["email", "id"], 0, None, None, 0)}, "not shown"),
        ({"hidden": Hidden(["id"], ["id"], 1, None, None, 0)}, "in mails"),
        ({"hidden": Hidden(["id"], ["id"], 0, 1, 1, 9)}, "memory"),
        ({"context": Context(100, 25, 1000, 1, 1)}, "context"),
        ({"crashes": True}, "did not happen"),
    ],
)
def test_whatever_is_wrong_at_the_end_is_said(bad: dict[str, Any], said: str) -> None:
    assert WELL.verified and not WELL.problems
    told = replace(WELL, **bad)
    assert not told.verified and any(said in problem for problem in told.problems)
    ElementTree.fromstring(svg(told))  # noqa: S314 - made a moment ago, by us


def test_mails_are_called_for_by_what_the_list_sees_and_by_nothing_else() -> None:
    ann, bob = {"id": 1, "email": "a@x", "phone": "1"}, {"id": 2, "email": "b@x", "phone": "2"}
    versions = {3: [ann, bob], 4: [ann | {"phone": "9"}, bob], 5: [ann | {"email": "n@x"}]}
    wanted = {"1.3", "2.3", "1.5", "2.5"}
    assert called_for(versions, ["email"]) == {f"<crm.contacts.{one}@lists.example>" for one in wanted}
    assert different({1: ("a",), 2: ("b",)}, {1: ("a",), 2: ("c",), 3: ("d",)}) == 2


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_what_a_process_holds_in_memory_is_found_from_outside() -> None:
    program = "secret = 'can' + 'ary-' + str(4711 * 1000); print(len(secret), flush=True); input()"
    holder = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert holder.stdout and holder.stdout.readline()
        looked = look(holder.pid, ["canary-4711000", "canary-4712000"])
        if looked is None:
            pytest.skip("this user may not read another process's memory")
        assert looked.found == 1 and looked.bytes > 100_000
    finally:
        holder.communicate(b"\n", timeout=10)
    assert look(holder.pid, ["canary-4711000"]) is None
