"""MkDocs hooks: they link files of the repository, write `llms.txt`, and keep the built site self-contained.

MkDocs loads this file by its path (`hooks:` in mkdocs.yml) and calls the functions by their names.
"""

from __future__ import annotations

import posixpath
import re
import sys
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import Files
from mkdocs.structure.nav import Navigation
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from docs_build import llms  # noqa: E402 - MkDocs puts only this directory on the path

SOURCE = "https://github.com/broker-plane/broker_plane/blob/main/"
_LINK = re.compile(r"\]\((\.\./[^)#\s]+)(#[^)\s]*)?\)")
_FOREIGN = re.compile(rb"https://(?:unpkg\.com|cdn\.jsdelivr\.net|api\.github\.com|gitlab\.com|fonts\.[a-z]+\.com)/")
_SCRIPT_URLS = b"/not-loaded/"
"""The theme's script names hosts for features that this site leaves off (mermaid, repository facts)."""

_navigation: dict[str, Navigation] = {}


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links to files outside docs/ lead to the repository, so that they work in a checkout and on the site."""
    folder = posixpath.dirname(page.file.src_uri)

    def linked(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join("docs", folder, match[1]))
        inside = target.startswith("docs/")
        return match[0] if inside else f"]({SOURCE}{target}{match[2] or ''})"

    return _LINK.sub(linked, markdown)


def on_nav(nav: Navigation, *, config: MkDocsConfig, files: Files) -> Navigation:
    _navigation["nav"] = nav
    return nav


def on_post_build(*, config: MkDocsConfig) -> None:
    """Write `llms.txt`, and take foreign hosts out of the theme's script."""
    site = Path(config.site_dir)
    (site / "llms.txt").write_text(llms.text(_navigation["nav"], str(config.site_description)), encoding="utf-8")
    for script in (site / "assets").rglob("*.js"):
        before = script.read_bytes()
        after = _FOREIGN.sub(_SCRIPT_URLS, before)
        if after != before:
            script.write_bytes(after)
    for source_map in (site / "assets").rglob("*.map"):
        source_map.unlink()
