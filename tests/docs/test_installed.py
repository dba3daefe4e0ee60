"""What messages and `--help` name is on the reader's disk: the pages are installed with the package."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.docs.blocks import ROOT

COMMAND = Path(sys.executable).with_name("broker-plane")
_NAMED = re.compile(r"\b(docs/[\w/-]+\.md)(?:#([\w-]+))?")


def docs(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(COMMAND), "docs", *arguments], capture_output=True, text=True, timeout=60, check=False)


def test_it_lists_every_page() -> None:
    listed = docs().stdout.split()
    assert listed == sorted(path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md"))


def test_it_prints_a_page_by_the_name_that_messages_use() -> None:
    whole = (ROOT / "docs" / "accounts.md").read_text(encoding="utf-8")
    for name in ("docs/accounts.md", "accounts", "docs/accounts.md#roles"):
        assert docs(name).stdout.strip() == whole.strip()
    assert docs("start").stdout.startswith("# Ten minutes")


def test_an_unknown_page_is_wrong_usage() -> None:
    done = docs("acounts")
    assert done.returncode == 2
    assert "acounts" in done.stderr


def test_every_page_that_the_code_names_exists_with_its_anchor() -> None:
    missing = []
    for path in [*(ROOT / "broker_plane").rglob("*.py"), *(ROOT / "servers").rglob("*.py"), ROOT / "nats.conf"]:
        for page, anchor in _NAMED.findall(path.read_text(encoding="utf-8")):
            place = ROOT / page
            if not place.is_file() or (anchor and anchor not in anchors(place.read_text(encoding="utf-8"))):
                missing.append(f"{path.relative_to(ROOT)}: {page}#{anchor}")
    assert not missing


def anchors(markdown: str) -> set[str]:
    """The ids of a page's headings, as the site makes them."""
    found = set()
    for heading, own in re.findall(r"^#+ (.*?)(?: \{#([\w-]+)\})?$", markdown, re.MULTILINE):
        words = re.sub(r"[^\w\s-]", "", heading.lower()).strip()
        found.add(own or re.sub(r"[\s-]+", "-", words))
    return found
