"""The documents say what the code does: every code, every setting. The routes: tests/bridge/test_routes.py."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from typer.main import get_command

from broker_plane.cli import reference
from broker_plane.cli.main import app_of
from broker_plane.config import Settings
from broker_plane.web.problems import STATUS_OF_CODE
from broker_plane.wire.caveats import Caveat
from broker_plane.wire.feeds import Notice
from broker_plane.wire.plane_names import Names

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
NARROWING_CODES = ("unknown_grant", "bad_selector", "unidentified", "forbidden", "not_acceptable", "grant_used")
"""How a grant that was narrowed can be refused."""

DOCUMENTS = ROOT / "broker_plane/bridge"
"""In the package, because a bridge serves them."""


def test_the_asyncapi_document_has_the_subjects_of_the_wire() -> None:
    document = yaml.safe_load((DOCUMENTS / "asyncapi.yaml").read_text())
    addresses = {channel["address"] for channel in document["channels"].values()}
    feeds = {
        Names().feed_subject("{feed}"),
        Names().again_subject("{durable}", "{feed}"),
        Names().new_subject("") + "{feed}",
        Names().prefix + ".dead." + "{durable}.{feed}",
        Names().prefix + ".hook." + "{endpoint}",
    }
    presigned = {"bp.pull.{grant}.{asker}", "bp.dlv.{asker}.{n}", "bp.confirm.{grant}.{asker}"}
    live = {Names().live_subject("{stream}"), Names().taken_subject("{stream}")}
    session = {
        Names().session_log_subject("{session}"),
        Names().said_subject("{session}"),
        Names().here_subject("{session}"),
        Names().say_subject("{access}", "{grant}") + ".{asker}",
    }
    pair, triple = ("{session}", "{exchange}"), ("{server}", "{session}", "{exchange}")
    mcp = {
        *(Names().mcp_subject("{server}", verb, *pair) for verb in ("cancel", "attach", "resume")),
        Names().mcp_subject("{server}", "rpc", "{method}"),
        Names().mcp_subject("{server}", "have", "{instance}", "{n}"),
        Names().mcp_subject("{server}", "more", "{instance}", "{upload}"),
        Names().mcp_subject("{server}", "at", "{instance}", "{session}"),
        Names().mcp_subject("{server}", "got", "{session}"),
        # A session begins with the letter of its carrier, which is a token of its own.
        *(
            subject(*triple).replace(".{.", ".{carrier}.")
            for subject in (Names().request_subject, Names().exchange_subject, Names().excuse_subject)
        ),
    }
    assert addresses == {*presigned, *feeds, *live, *session, *mcp, None}
    said = set(document["components"]["messages"]["Notice"]["payload"]["properties"])
    assert said == set(Notice.__struct_fields__) - {"sequence"}


def test_the_bridge_page_names_every_status_of_an_error() -> None:
    page = (ROOT / "docs/bridge.md").read_text()
    for status in set(STATUS_OF_CODE.values()) - {501}:
        assert re.search(rf"\b{status}\b", page), status


def test_the_page_of_grants_has_every_kind_and_every_code() -> None:
    page = (ROOT / "docs/grants.md").read_text()
    listed = re.findall(r"^\| (\d+) (\w+)", page, re.MULTILINE)
    assert [number for number, _ in listed] == [str(number) for number in range(1, len(listed) + 1)]
    shown = {"sessionrole": "role", "sessionintent": "intent", "sessionname": "participant"}
    kinds = [kind.__name__.lower() for kind in get_args(Caveat)]
    assert sorted(name for _, name in listed) == sorted(shown.get(kind, kind) for kind in kinds)
    codes = re.findall(r"`([a-z]+_[a-z]+|unidentified|forbidden)` \|$", page, re.MULTILINE)
    assert set(codes) == set(NARROWING_CODES)
    assert set(NARROWING_CODES) <= set(STATUS_OF_CODE)


@pytest.mark.parametrize("name", reference.PAGES)
def test_the_generated_pages_are_current(name: str) -> None:
    assert (ROOT / "docs/reference" / name).read_text() == reference.PAGES[name](), (
        "run python -m broker_plane.cli.reference"
    )


def test_the_page_of_settings_has_every_setting_with_its_meaning() -> None:
    page = (ROOT / "docs/reference/settings.md").read_text()
    rows = re.findall(r"^\| `BROKER_PLANE_(\w+)` \|.*\| (.+) \|$", page, re.MULTILINE)
    assert [name.lower() for name, _ in rows] == list(Settings.__struct_fields__)
    assert all(meaning.endswith((".", ")")) for _, meaning in rows)


def test_every_variable_that_a_page_names_is_a_setting() -> None:
    known = {name.upper() for name in Settings.__struct_fields__}
    for page in PAGES:
        named = set(re.findall(r"\bBROKER_PLANE_([A-Z_]+[A-Z])\b", page.read_text()))
        assert not {each for each in named - known if not each.startswith(("TEST_", "FILES_DIR", "CHART_DIR"))}, page


def test_the_page_of_errors_has_every_code_with_a_meaning_and_advice() -> None:
    page = (ROOT / "docs/reference/errors.md").read_text()
    rows = [row.split(" | ") for row in re.findall(r"^\| (`.*) \|$", page, re.MULTILINE)]
    codes = [row[0].strip("`") for row in rows]
    assert len(codes) == len(set(codes))
    assert set(codes) == {kind.code for kind in reference.error_classes()}
    assert {code: int(row[1]) for code, row in zip(codes, rows, strict=True) if row[1].strip()} == STATUS_OF_CODE
    assert all(row[4] and row[5] for row in rows)


def test_the_page_of_commands_has_every_command_and_every_option() -> None:
    page = (ROOT / "docs/reference/cli.md").read_text()
    group: Any = get_command(app_of())
    assert set(re.findall(r"^### (\S+)", page, re.MULTILINE)) == set(group.commands)
    for name, command in group.commands.items():
        for each in getattr(command, "commands", {name: command}).values():
            assert "Example" in each.help, f"{name}: no example"
            for option in each.params:
                assert option.help or option.name == "help", f"{name} {option.name}: no help"
                shown = option.param_type_name == "argument" or option.name == "help"
                assert shown or f"`{max(option.opts, key=len)}" in page


def test_every_option_of_an_example_exists() -> None:
    group: Any = get_command(app_of())
    page = (ROOT / "docs/reference/cli.md").read_text()
    for block in re.findall(r"```sh\n(.+?)\n```", page, re.DOTALL):
        for words in re.findall(r"broker-plane ([a-z][^$()\n]*)", re.sub(r" -- .*", "", block)):
            command, *rest = words.split()
            members = getattr(group.commands[command], "commands", {})
            found = members.get(rest[0]) if members and rest else group.commands[command]
            known = {flag for each in found.params for flag in each.opts} if found else set()
            assert {word for word in rest if word.startswith("--")} <= known, block


def test_every_link_of_the_documents_leads_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name}: {target}"
