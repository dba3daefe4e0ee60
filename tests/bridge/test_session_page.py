"""The page of a session for people: how it and its files are served, and that nothing in it needs another host."""

from __future__ import annotations

import os
import random
import re
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest

from broker_plane import Plane
from broker_plane.bridge.session_page import page_files
from broker_plane.config import Settings, load_settings
from broker_plane.sessions import text_ops
from tests.bridge.wire import PATIENCE
from tests.house.test_language import found_in
from tests.interop.conftest import answer, npm_installed
from tests.tools import need

pytestmark = pytest.mark.anyio
ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "broker_plane/bridge/session_page"
VENDOR = ROOT / ".ci/vendor_yjs"
OWN = sorted(path for path in FOLDER.iterdir() if path.name != "yjs.js")
LETTERS = ["a", "b", " ", "\n", "é", "🌴", "🌵", "line\n"]


@pytest.fixture
def anyio_backend() -> str:
    """Headers are the same on every loop."""
    return "asyncio"


@pytest.fixture
async def page(plane: Plane, client: httpx2.AsyncClient) -> AsyncIterator[httpx2.Response]:
    yield await client.get(f"{plane.bridge_url}/v1/sessions/some-grant/page")


def directives(page: httpx2.Response) -> dict[str, list[str]]:
    parts = [part.split() for part in page.headers["content-security-policy"].split(";")]
    return {name: values for name, *values in parts}


def links(page: httpx2.Response) -> list[str]:
    return re.findall(r'(?:href|src)="([^"#][^"]*)"', page.text)


async def test_the_policy_of_the_page_admits_its_own_host_only(page: httpx2.Response) -> None:
    host = page.url.netloc.decode()
    assert page.status_code == 200
    assert directives(page) == {
        "default-src": ["'none'"],
        "script-src": ["'self'"],
        "style-src": ["'self'"],
        "img-src": ["'self'"],
        "connect-src": ["'self'", f"ws://{host}", f"wss://{host}"],
        "base-uri": ["'none'"],
        "form-action": ["'none'"],
        "frame-ancestors": ["'none'"],
        "require-trusted-types-for": ["'script'"],
        "trusted-types": ["'none'"],
    }


async def test_the_address_of_the_page_is_neither_sent_on_nor_kept(page: httpx2.Response) -> None:
    """It has the grant."""
    assert page.headers["referrer-policy"] == "no-referrer"
    assert page.headers["cache-control"] == "no-store"
    assert page.headers["x-content-type-options"] == "nosniff"
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "some-grant" not in page.text


async def test_the_page_has_no_inline_scripts_or_styles() -> None:
    index = (FOLDER / "index.html").read_text()
    assert re.findall(r"<script[^>]*>(.*?)</script>", index, re.DOTALL) == [""]
    assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:", index)


async def test_the_files_of_the_page_can_be_cached_forever(page: httpx2.Response, client: httpx2.AsyncClient) -> None:
    found = links(page)
    assert len(found) == 3
    for link in found:
        file = await client.get(page.url.join(link))
        assert (file.status_code, file.headers["cache-control"]) == (200, "public, max-age=31536000, immutable")
        assert file.headers["referrer-policy"] == "no-referrer"
        assert "grant" not in str(file.url)


async def test_every_module_that_is_imported_is_served(plane: Plane, client: httpx2.AsyncClient) -> None:
    files = page_files()
    for name in [name for name in files.assets if name.endswith(".js")]:
        module = await client.get(f"{plane.bridge_url}/v1/session-page/{files.version}/{name}")
        assert module.headers["content-type"] == "text/javascript; charset=utf-8"
        imported = [] if name == "yjs.js" else re.findall(r'from "\./([^"]+)"', module.text)
        assert set(imported) <= set(files.assets), name


@pytest.mark.parametrize("place", ["0000000000000000/main.js", "{version}/nothing.js", "{version}/..%2Findex.html"])
async def test_nothing_else_is_served(plane: Plane, client: httpx2.AsyncClient, place: str) -> None:
    path = place.format(version=page_files().version)
    assert (await client.get(f"{plane.bridge_url}/v1/session-page/{path}")).status_code == 404


async def test_a_head_has_the_headers_of_a_get(page: httpx2.Response, client: httpx2.AsyncClient) -> None:
    head = await client.head(page.url)
    assert head.content == b""
    assert head.headers["content-length"] == str(len(page.content))
    assert head.headers["content-security-policy"] == page.headers["content-security-policy"]


async def test_pages_of_other_origins_may_not_read_it(settings: Settings) -> None:
    admitting = load_settings(nats_url=settings.nats_url, data_dir=settings.data_dir, cors_origins="*")
    async with Plane.connect(admitting) as plane, httpx2.AsyncClient(trust_env=False, timeout=PATIENCE) as client:
        url = f"{plane.bridge_url}/v1/sessions/some-grant/page"
        page = await client.get(url, headers={"origin": "https://app.example"})
        assert "access-control-allow-origin" not in page.headers
        assert page.headers["cross-origin-resource-policy"] == "same-origin"


@pytest.mark.parametrize("path", OWN, ids=lambda path: path.name)
def test_no_file_of_the_page_names_another_host(path: Path) -> None:
    names = set(re.findall(r"\w+://[\w.]+", path.read_text()))
    assert names <= {"http://www.w3.org"}  # the namespace of SVG


def test_no_file_of_the_page_parses_text_as_html() -> None:
    dangerous = re.compile(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|DOMParser")
    assert not [path.name for path in OWN if dangerous.search(path.read_text())]


@pytest.mark.parametrize("path", [path for path in OWN if path.suffix in (".js", ".html")], ids=lambda path: path.name)
def test_the_texts_of_the_page_are_plain_english(path: Path) -> None:
    """Comments of its modules, and what people read on it."""
    pattern = r"<(?:p|h\d|label|td)\b[^>]*>([^<]+)<" if path.suffix == ".html" else r"/\*\*(.*?)\*/"
    texts = [re.sub(r"\n\s*\*", " ", text).strip() for text in re.findall(pattern, path.read_text(), re.DOTALL)]
    assert not [text for text in texts if found_in(text)]


def test_the_bundle_says_what_is_in_it() -> None:
    """The versions are those that .ci/vendor_yjs would install, and each package's licence is there."""
    need("bash")
    packages = subprocess.run(["bash", VENDOR, "--packages"], capture_output=True, text=True, check=True).stdout.split()
    head = (FOLDER / "yjs.js").read_text().partition("*/")[0]
    assert head.splitlines()[0] == f"/* {' '.join(packages[:4])}"
    assert packages[4] in head
    for name in (package.rpartition("@")[0] for package in packages[:4]):
        assert f"── {name} ──" in head
    assert head.count("Permission is hereby granted") == 4


def test_the_bundle_is_what_its_script_builds(tmp_path: Path) -> None:
    packages = subprocess.run(["bash", VENDOR, "--packages"], capture_output=True, text=True, check=True).stdout.split()
    modules = npm_installed("yjs-bundle", *packages)
    built = tmp_path / "yjs.js"
    environment = {**os.environ, "NODE_MODULES": str(modules)}
    subprocess.run(["bash", VENDOR, built], env=environment, check=True, timeout=60)
    assert built.read_bytes() == (FOLDER / "yjs.js").read_bytes()


def any_text(chance: random.Random, most: int = 24) -> str:
    return "".join(chance.choices(LETTERS, k=chance.randrange(most)))


def edited(chance: random.Random, text: str) -> str:
    letters = list(text)
    for _ in range(chance.randrange(1, 4)):
        at = chance.randrange(len(letters) + 1)
        letters[at : at + chance.randrange(4)] = any_text(chance, 5)
    return "".join(letters)


async def test_the_page_changes_texts_as_the_plane_does(tmp_path: Path) -> None:
    """In JavaScript strings are counted in UTF-16 units, and on the wire in code points."""
    need("node")
    chance = random.Random(15)
    texts = [any_text(chance) for _ in range(2_000)]
    cases = [{"text": text, "one": edited(chance, text), "other": edited(chance, text)} for text in texts]
    question = {"module": str(FOLDER / "text_changes.js"), "cases": cases}
    answers = await answer(["node", Path(__file__).with_name("text_changes.mjs")], question, {}, tmp_path)
    for case, found in zip(cases, answers, strict=True):
        ops, other = (text_ops.parse(found[name], case["text"]) for name in ("ops", "other"))
        assert text_ops.apply(ops, case["text"]) == case["one"] == found["read"]
        assert text_ops.apply(text_ops.transform(ops, other, "left"), case["other"]) == found["merged"]
        assert found["merged"] == found["mirrored"]
