"""The documentation site builds without a warning and without a network, and loads nothing from another host."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

import pytest
import yaml

from docs_build.pages import out_of_date
from tests.docs.blocks import ROOT

LOADED = {
    ("script", "src"),
    ("link", "href"),
    ("img", "src"),
    ("iframe", "src"),
    ("source", "src"),
    ("object", "data"),
    ("form", "action"),
    ("use", "href"),
}
"""Attributes by which a browser loads something, and not only links to it."""
_IN_STYLE = re.compile(r"(?:url\(\s*['\"]?|@import\s+['\"])((?:https?:)?//[^'\")\s]+)")
_IN_SCRIPT = re.compile(r"""["'`](https?://(?:unpkg|cdn|api|fonts|cdnjs|esm|polyfill|gitlab|raw)[^"'`]*)["'`]""")
_NO_NETWORK = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}


class Links(HTMLParser):
    """What a page loads, what it links to, and its anchors."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.linked: list[str] = []
        self.anchors: set[str] = set()
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.anchors |= {found[name] for name in ("id", "name") if name in found}
        if tag == "a" and "href" in found:
            self.linked.append(found["href"])
        if tag == "link" and found.get("rel") in ("canonical", "next", "prev", "edit"):
            return
        self.loaded += [value for name, value in found.items() if (tag, name) in LOADED]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site. MkDocs in strict mode fails for a warning; what it prints is one."""
    target = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "docs_build", "--site", str(target)]
    environment = {**os.environ, **_NO_NETWORK, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    return target


@pytest.fixture(scope="module")
def html(site: Path) -> dict[str, Links]:
    """Every page, by its URL."""
    pages = {path: path.relative_to(site).as_posix().removesuffix("index.html") for path in site.rglob("*.html")}
    return {f"/{url}": Links(path.read_text(encoding="utf-8")) for path, url in pages.items()}


def test_no_page_loads_anything_from_another_host(site: Path, html: dict[str, Links]) -> None:
    foreign = [(url, value) for url, page in html.items() for value in page.loaded if urlsplit(value).netloc]
    for style in site.rglob("*.css"):
        foreign += [(style.name, found) for found in _IN_STYLE.findall(style.read_text(encoding="utf-8"))]
    for script in site.rglob("*.js"):
        foreign += [(script.name, found) for found in _IN_SCRIPT.findall(script.read_text(encoding="utf-8"))]
    assert not foreign


def test_every_internal_link_and_anchor_leads_somewhere(site: Path, html: dict[str, Links]) -> None:
    broken = []
    for url, page in html.items():
        for link in page.linked:
            target = urlsplit(urljoin(url, link))
            if target.netloc or target.scheme or url == "/404.html":
                continue
            if target.path in html:
                if target.fragment and unquote(target.fragment) not in html[target.path].anchors:
                    broken.append((url, link))
            elif not (site / target.path.lstrip("/")).is_file():
                broken.append((url, link))
    assert not broken


def test_the_search_index_is_part_of_the_site(site: Path) -> None:
    index = json.loads((site / "search" / "search_index.json").read_text(encoding="utf-8"))
    places = {document["location"].partition("#")[0] for document in index["docs"]}
    assert {"start/", "reference/python/", "glossary/"} <= places


def test_llms_txt_lists_every_page_of_the_navigation(site: Path, html: dict[str, Links]) -> None:
    text = (site / "llms.txt").read_text(encoding="utf-8")
    assert text.startswith("# broker_plane\n\n> ")
    listed = {f"/{url}" for url in re.findall(r"^- \[[^\]]+\]\(([^)]*)\)", text, re.MULTILINE)}
    assert listed == set(html) - {"/404.html"}


def test_the_generated_pages_are_up_to_date() -> None:
    assert not out_of_date(), "run: python -m docs_build"


def test_every_decision_and_page_is_in_the_navigation() -> None:
    listed = set(re.findall(r"[\w/.-]+\.md", yaml.safe_dump(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"])))
    assert listed == {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
