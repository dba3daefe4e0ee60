"""Runs the blocks of one page in their order: Python in one namespace, shell commands in one directory."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import inspect
import io
import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import yaml

from broker_plane import Plane
from tests.docs.blocks import Block, console_steps, pattern_of

COMMAND_SECONDS = 120
_SHELL_STATE = ".shell-state"
_SCHEMAS = {"services": "vendor.compose-spec", "jobs": "vendor.github-workflows"}
"""By a member of a YAML document, the schema that check-jsonschema brings for its kind."""


class Page:
    """What the blocks of one page share."""

    def __init__(self, directory: Path, environment: Mapping[str, str]) -> None:
        self._directory = directory
        self._environment = dict(environment)
        self._names: dict[str, Any] = {"__name__": "__page__"}
        self._said = ""

    async def run(self, blocks: list[Block], *, full: bool) -> None:
        """Run all that is to be run; the plane of `setup: plane` is closed at the end."""
        async with AsyncExitStack() as stack:
            for block in blocks:
                if block.reason or (block.full and not full):
                    continue
                await self._run(block, stack)

    async def _run(self, block: Block, stack: AsyncExitStack) -> None:
        if block.output:
            self._compare(block.text, self._said, block.place)
        elif block.file:
            path = self._directory / block.file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text, encoding="utf-8")
        elif block.language == "setup" and block.text == "plane":
            self._names["plane"] = await stack.enter_async_context(Plane.connect())
        elif block.language in ("python", "setup"):
            self._said = await self._python(block)
        elif block.language in ("sh", "bash", "console"):
            await self._shell(block)
        else:
            self._parse(block)

    async def _python(self, block: Block) -> str:
        code = compile("\n" * block.line + block.text, block.page, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            result = eval(code, self._names)  # noqa: S307 - our own pages
            if inspect.iscoroutine(result):
                await asyncio.wait_for(result, COMMAND_SECONDS)
        return said.getvalue()

    async def _shell(self, block: Block) -> None:
        steps = console_steps(block.text) if block.language == "console" else [(block.text, "")]
        for command, shown in steps:
            done = await asyncio.to_thread(self._command, command)
            assert done.returncode == 0, f"{block.place}: {command}\n{done.stdout}\n{done.stderr}"
            self._said = done.stdout
            if shown:
                self._compare(shown, done.stdout + done.stderr, block.place)

    def _command(self, command: str) -> subprocess.CompletedProcess[str]:
        """Variables that one block sets are there in the next one."""
        state = f"if [ -f {_SHELL_STATE} ]; then . ./{_SHELL_STATE}; fi\nset -a\n"
        keep = f"\n__code=$?\nexport -p > {_SHELL_STATE}\nexit $__code"
        return subprocess.run(
            ["bash", "-eo", "pipefail", "-c", state + command + keep],
            cwd=self._directory,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            stdin=subprocess.DEVNULL,
            check=False,
        )

    def _compare(self, expected: str, said: str, place: str) -> None:
        shown = "\n".join(line.rstrip() for line in said.split("\n"))
        assert pattern_of(expected).match(shown), f"{place} shows\n{expected}\nand the block says\n{said}"

    def _parse(self, block: Block) -> None:
        parsers: dict[str, Callable[[str], Any]] = {"json": json.loads, "yaml": yaml.safe_load, "toml": tomllib.loads}
        assert block.language in parsers, f"{block.place}: a block of {block.language or 'no language'} needs a comment"
        parsed = parsers[block.language](block.text)
        schema = next((name for member, name in _SCHEMAS.items() if isinstance(parsed, dict) and member in parsed), "")
        if schema:
            path = self._directory / "checked.yaml"
            path.write_text(block.text, encoding="utf-8")
            command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, str(path)]
            done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
            assert done.returncode == 0, f"{block.place}: {done.stdout}"


def environment(data_dir: Path) -> dict[str, str]:
    """The environment of a reader who has installed the package and configured nothing."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("BROKER_PLANE_", "BP_"))}
    return {**kept, "BROKER_PLANE_DATA_DIR": str(data_dir), "COLUMNS": "100", "TERM": "dumb", "NO_COLOR": "1"}
