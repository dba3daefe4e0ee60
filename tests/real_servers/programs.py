"""Published MCP servers, in environments of their own that are made once and kept in the cache directory.

Their versions are fixed, because the tests say what each of their results is.
"""

from __future__ import annotations

import sqlite3
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tests.interop.conftest import npm_installed
from tests.interop.environments import python_with

_PYTHON = ("mcp-server-motherduck==1.1.0", "mcp-server-git==2026.10.19", "mcp-server-fetch==2026.10.24")
_NODE = ("@modelcontextprotocol/server-filesystem@2026.8.31", "@modelcontextprotocol/server-everything@2026.8.31")
ROWS = 3_000


@dataclass(frozen=True)
class Programs:
    """The commands of the servers. `work` is a directory with the files, the database and the repository they serve."""

    work: Path

    @property
    def sqlite(self) -> list[str]:
        """Answers in Python's notation: `[{'id': 0, …}, …]`. It is of the SDK's first generation."""
        python = python_with("server-sqlite", "mcp-server-sqlite==2025.4.25", "mcp<2")
        return [str(python.with_name("mcp-server-sqlite")), "--db-path", str(self.database)]

    @property
    def motherduck(self) -> list[str]:
        """Answers `{"columns": […], "columnTypes": […], "rows": [[…], …]}` as a text in `{"result": …}`."""
        command = self._python("mcp-server-motherduck")
        return [command, "--db-path", ":memory:", "--read-write", "--max-rows", "1000000", "--max-chars", "100000000"]

    @property
    def git(self) -> list[str]:
        return [self._python("mcp-server-git")]

    @property
    def fetch(self) -> list[str]:
        return [self._python("mcp-server-fetch"), "--allow-private-ips"]

    @property
    def filesystem(self) -> list[str]:
        """Answers with text, and with the same text as `{"content": …}`."""
        return [str(npm_installed("servers-node", *_NODE) / ".bin/mcp-server-filesystem"), str(self.work)]

    @property
    def everything(self) -> list[str]:
        return [str(npm_installed("servers-node", *_NODE) / ".bin/mcp-server-everything")]

    @cached_property
    def database(self) -> Path:
        path = self.work / "shop.db"
        with sqlite3.connect(path) as database:
            database.execute("create table orders (id integer, customer text, price real, day text, note text)")
            database.executemany("insert into orders values (?, ?, ?, ?, ?)", map(order, range(ROWS)))
        return path

    @cached_property
    def repository(self) -> Path:
        path = self.work / "repository"
        path.mkdir()
        git = ["git", "-c", "user.name=Ann", "-c", "user.email=ann@example.com", "-C", str(path)]
        subprocess.run([*git, "init", "-q"], check=True)
        for number in range(1, 4):
            (path / "numbers.txt").write_text("".join(f"{line}\n" for line in range(number * 1_000)))
            subprocess.run([*git, "add", "."], check=True)
            subprocess.run([*git, "commit", "-q", "-m", f"Count to {number * 1_000:,}"], check=True)
        return path

    def file(self, name: str, made: Callable[[], str]) -> Path:
        """The file `name`, with the text that `made` returns."""
        path = self.work / name
        if not path.exists():
            path.write_bytes(made().encode())
        return path

    @staticmethod
    def _python(program: str) -> str:
        """A program of the environment that these servers share: most of what they need is the same."""
        return str(python_with("servers-python", *_PYTHON).with_name(program))


def order(number: int) -> tuple[int, str, float, str, str | None]:
    note = None if number % 3 else "it's"
    return (number, f"customer {number % 97}", number / 8, f"2026-01-{number % 28 + 1:02d}", note)


def csv_text() -> str:
    """A CSV file as spreadsheets write it: CRLF, quoted cells, leading zeros."""
    return "id,zip,name,price\r\n" + "".join(f'{n},{n:05d},"Doe, Jane {n}",{n / 4}\r\n' for n in range(ROWS))


def markdown_text() -> str:
    return "# Handbook\n\n" + "".join(
        f"## Part {n}\n\nText of part {n}, with commas, and more.\n\n" for n in range(900)
    )


def markdown_table() -> str:
    return "| id | name |\n|---:|---|\n" + "".join(f"| {n} | name {n} |\n" for n in range(ROWS))
