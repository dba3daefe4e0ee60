"""What a person sees while a story goes on: one moving bar a step, on stderr, and none where nobody watches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

T = TypeVar("T")
_BAR_ROWS = 5_000
"""Rows between two moves of the bar."""


class Now:
    """The step that is going on: what was seen in it, and the bar that a person watches meanwhile."""

    def __init__(self, text: str, bar: Progress) -> None:
        self.rows: int | None = None
        self.bytes: int | None = None
        self._text, self._bar, self._task = text, bar, bar.add_task(text, total=None)

    async def tell(self, progress: float, total: float | None, message: str | None) -> None:
        """What a server reports of its progress."""
        self._bar.update(self._task, completed=progress, total=total, description=f"{self._text}, {message or ''}")

    def watched(self, rows: Iterable[T], total: int) -> Iterator[T]:
        """The same rows; the bar moves with them."""
        for done, row in enumerate(rows):
            if done % _BAR_ROWS == 0:
                self._bar.update(self._task, completed=done, total=total)
            yield row


@contextmanager
def working(text: str) -> Iterator[Now]:
    """A moving bar on stderr while the work lasts, if a person watches."""
    columns = TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn()
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        yield Now(text, bar)
