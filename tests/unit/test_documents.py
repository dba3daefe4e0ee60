"""The documents say what the code does: every route, every code, every setting."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import yaml

from broker_plane.bridge.problems import STATUS_OF_CODE
from broker_plane.bridge.routes import NO_ROUTE, PLAIN, route_of
from broker_plane.storage.layout import DEAD_SUBJECT, HOOK_SUBJECT
from broker_plane.wire.caveats import Caveat
from broker_plane.wire.feeds import NEW_SUBJECT, Notice, again_subject, feed_subject
from broker_plane.wire.live import live_subject, taken_subject

ROOT = Path(__file__).parents[2]
DOCUMENTS = ROOT / "broker_plane/bridge"
"""In the package, because a bridge serves them."""


def test_the_openapi_document_has_every_route_and_no_other() -> None:
    document = yaml.safe_load((DOCUMENTS / "openapi.yaml").read_text())
    data = "/s2sp/data/{grant}"
    feed = "/v1/feeds/{grant}"
    feeds = {feed, f"{feed}/taken", f"{feed}/{{version}}", f"{feed}/{{version}}/changes"}
    others = {"/v1/streams/{grant}", "/s2sp/upload/{grant}"}
    assert set(document["paths"]) == {data, f"{data}/confirm", f"{data}/look", f"{data}/page", *feeds, *others, *PLAIN}
    for path in document["paths"]:
        assert route_of(path.replace("{grant}", "abc").replace("{version}", "7")) != NO_ROUTE
    assert {"get", "head", "post"} < set(document["paths"][data])


def test_the_asyncapi_document_has_the_subjects_of_the_wire() -> None:
    document = yaml.safe_load((DOCUMENTS / "asyncapi.yaml").read_text())
    addresses = {channel["address"] for channel in document["channels"].values()}
    feeds = {
        feed_subject("{feed}"),
        again_subject("{durable}", "{feed}"),
        NEW_SUBJECT + "{feed}",
        DEAD_SUBJECT + "{durable}.{feed}",
        HOOK_SUBJECT + "{endpoint}",
    }
    presigned = {"bp.pull.{grant}.{asker}", "bp.dlv.{asker}.{n}", "bp.confirm.{grant}.{asker}"}
    live = {live_subject("{stream}"), taken_subject("{stream}")}
    assert addresses == {*presigned, *feeds, *live, None}
    said = set(document["components"]["messages"]["Notice"]["payload"]["properties"])
    assert said == set(Notice.__struct_fields__) - {"sequence"}


def test_the_bridge_page_names_every_status_of_an_error() -> None:
    page = (ROOT / "docs/bridge.md").read_text()
    for status in set(STATUS_OF_CODE.values()) - {501}:
        assert re.search(rf"\b{status}\b", page), status


def test_the_page_of_grants_has_every_kind_and_every_code() -> None:
    page = (ROOT / "docs/grants.md").read_text()
    assert re.findall(r"^\| (\d+) (\w+)", page, re.MULTILINE) == [
        (str(number), kind.__name__.lower()) for number, kind in enumerate(get_args(Caveat), 1)
    ]
    assert set(re.findall(r"`([a-z]+_[a-z]+|unidentified|forbidden)` \|$", page, re.MULTILINE)) <= set(STATUS_OF_CODE)


def test_every_link_of_the_documents_leads_somewhere() -> None:
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name}: {target}"
