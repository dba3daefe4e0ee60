"""The border of the package: what `broker_plane` exports, and that servers and demos import nothing private."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import broker_plane

ROOT = Path(__file__).parents[2]
PUBLIC = (
    *(
        "errors",
        "sync",
        "testing",
        "agent",
        "compat",
        "proxy.fastmcp",
        "tools",
        "handlers",
        "carriers",
        "shapes.recognise",
    ),
    *("registry.agora", "levels.agora"),
    *("transports", "transports.hosting", "transports.opening", "transports.sdk_streams", "transports.webhook.client"),
)
"""Sub-packages that are public besides the names of `broker_plane` itself."""
OUTSIDE = sorted(path for room in ("servers", "demos") for path in (ROOT / room).rglob("*.py"))


def test_each_public_name_is_importable_and_declared_once() -> None:
    names = [name for name in broker_plane.__all__ if name != "__version__"]
    assert names == sorted(set(names))
    assert set(broker_plane._HOMES) == set(names)
    assert [name for name in names if getattr(broker_plane, name, None) is None] == []


def test_type_checkers_see_the_same_names() -> None:
    tree = ast.parse(Path(broker_plane.__file__).read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    found = {
        alias.asname or alias.name: f"{node.module}:{alias.name}"
        for node in ast.walk(block)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert found == broker_plane._HOMES


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Plain'"):
        _ = broker_plane.Plain


def test_the_package_alone_imports_none_of_its_rooms() -> None:
    code = "import broker_plane, sys; print([name for name in sys.modules if name.startswith('broker_plane.')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("path", OUTSIDE, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_servers_and_demos_import_only_what_is_public(path: Path) -> None:
    private = [f"{module}:{name}" for module, name in _imported(path.read_text()) if not _is_public(module, name)]
    assert private == []


def test_blocks_of_the_documentation_import_only_what_is_public() -> None:
    private = []
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))):
        if "decisions" in page.parts:
            continue
        for module, names in re.findall(r"(?m)^\s*from (broker_plane[\w.]*) import ([\w, ]+)", page.read_text()):
            private += [
                f"{page.name}: {module}:{name.strip()}"
                for name in names.split(",")
                if not _is_public(module, name.strip())
            ]
    assert private == []


def _imported(source: str) -> Iterator[tuple[str, str]]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "broker_plane":
            yield from ((node.module or "", alias.name) for alias in node.names)
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names if alias.name.partition(".")[0] == "broker_plane")


def _is_public(module: str, name: str) -> bool:
    if module == "broker_plane":
        return not name or name in broker_plane.__all__ or name in PUBLIC
    inside = module.removeprefix("broker_plane.")
    return any(inside == room or inside.startswith(f"{room}.") for room in PUBLIC)
