"""Progress bars of a demo: one per step, on stderr, only if it is a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

T = TypeVar("T")
_BAR_ROWS = 5_000
"""Rows between two updates of the bar."""


class Now:
    """The current step: what was recorded, and its progress bar."""

    def __init__(self, text: str, bar: Progress) -> None:
        self.rows: int | None = None
        self.bytes: int | None = None
        self._text, self._bar, self._task = text, bar, bar.add_task(text, total=None)

    async def tell(self, progress: float, total: float | None, message: str | None) -> None:
        """Show progress that a server reports."""
        self._bar.update(self._task, completed=progress, total=total, description=f"{self._text}, {message or ''}")

    def watched(self, rows: Iterable[T], total: int) -> Iterator[T]:
        """Yield the same rows, and update the bar."""
        for done, row in enumerate(rows):
            if done % _BAR_ROWS == 0:
                self._bar.update(self._task, completed=done, total=total)
            yield row


@contextmanager
def working(text: str) -> Iterator[Now]:
    """Show a progress bar on stderr until the block ends, if stderr is a terminal."""
    columns = TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn()
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        yield Now(text, bar)
