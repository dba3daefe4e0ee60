"""Every code block of the documentation runs against a real broker, or says right above it why it does not."""

from __future__ import annotations

import asyncio
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from tests import forked
from tests.docs.blocks import ROOT, Block, blocks_of, console_steps, pages, parse_blocks, pattern_of
from tests.docs.runner import Page, environment

BLOCKS: dict[str, list[Block]] = {path.relative_to(ROOT).as_posix(): blocks_of(path) for path in pages()}
RUNNABLE = [name for name, blocks in BLOCKS.items() if any(not block.reason for block in blocks)]
WITH_FULL = [name for name, blocks in BLOCKS.items() if any(block.full for block in blocks)]


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of a reader, whose private broker all pages share."""
    told = environment(tmp_path_factory.mktemp("broker"))
    program = tmp_path_factory.mktemp("programs") / "broker-plane"
    program.write_text(f'#!/bin/sh\nexec {shlex.join(forked.command("broker_plane.cli.main"))} "$@"\n')
    program.chmod(0o755)
    forked.fork_server(forked.MCP)
    told["PATH"] = os.pathsep.join([str(program.parent), str(Path(sys.executable).parent), told["PATH"]])
    told["PYTHONPATH"] = str(ROOT)
    subprocess.run(["broker-plane", "up", "--detach"], env=told, check=True, timeout=60, stdout=subprocess.DEVNULL)
    yield told
    subprocess.run(["broker-plane", "down"], env=told, check=True, timeout=60, stdout=subprocess.DEVNULL)


@pytest.fixture
def as_reader(reader: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, str]:
    for name in set(os.environ) - set(reader):
        monkeypatch.delenv(name)
    for name, value in reader.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    return reader


@pytest.mark.parametrize("name", RUNNABLE)
def test_the_blocks_of_a_page_run(name: str, as_reader: dict[str, str], tmp_path: Path) -> None:
    asyncio.run(Page(tmp_path, as_reader).run(BLOCKS[name], full=False))


@pytest.mark.full
@pytest.mark.parametrize("name", WITH_FULL)
def test_the_blocks_of_a_page_run_in_full(name: str, as_reader: dict[str, str], tmp_path: Path) -> None:
    asyncio.run(Page(tmp_path, as_reader).run(BLOCKS[name], full=True))


def test_the_blocks_that_are_not_run_say_why(capsys: pytest.CaptureFixture[str]) -> None:
    """Prints the list: it is what a reviewer looks at."""
    left = [block for blocks in BLOCKS.values() for block in blocks if block.reason]
    with capsys.disabled():
        print(f"\n{len(left)} of {sum(map(len, BLOCKS.values()))} blocks of the documentation are not run:")
        for block in left:
            print(f"  {block.place} ({block.language or 'text'}): {block.reason}")
    assert all(len(block.reason) > len("why") for block in left)


def test_a_comment_belongs_to_the_block_right_below_it(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "<!-- not run: needs a tape -->\n```sh\na\n```\n\n```sh\nb\n```\n<!-- output -->\n\n```text\nc\n```\n"
    )
    first, second, third = blocks_of_text(page)
    assert (first.reason, second.reason, third.output) == ("needs a tape", "", True)


def test_an_ellipsis_matches_anything_and_nothing_else_does() -> None:
    assert pattern_of("a … c\n…\nz").match("a b c\n1\n2\nz\n")
    assert not pattern_of("a … c").match("a b d")


def test_a_console_block_is_commands_with_their_output() -> None:
    assert console_steps("$ a \\\n>   b\nout\n$ c\n") == [("a \\\n  b", "out"), ("c", "")]


@pytest.mark.parametrize(("text", "fits"), [("services: {a: {image: b}}", True), ("services: {a: {imag: b}}", False)])
def test_yaml_of_others_is_checked_by_their_schema(text: str, fits: bool, tmp_path: Path) -> None:
    page = Page(tmp_path, {})
    with nullcontext() if fits else pytest.raises(AssertionError):
        asyncio.run(page.run([Block("page.md", 1, "yaml", text)], full=False))


def blocks_of_text(path: Path) -> list[Block]:
    return list(parse_blocks(path.read_text(), path.name))
