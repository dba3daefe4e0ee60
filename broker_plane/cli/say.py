"""How a command speaks: people get a few lines, programs get one JSON object, an error is one line and exit 1."""

from __future__ import annotations

import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

import orjson
import typer

from broker_plane.errors import BrokerPlaneError

if TYPE_CHECKING:
    from rich.console import Console


class Voice:
    """A console of rich, which is imported with the first word: a program that reads JSON does not wait for it."""

    def __init__(self, *, stderr: bool = False) -> None:
        self._stderr = stderr

    @cached_property
    def console(self) -> Console:
        from rich.console import Console

        return Console(stderr=self._stderr, highlight=False)

    def print(self, *objects: Any, **options: Any) -> None:
        self.console.print(*objects, **options)


out = Voice()
err = Voice(stderr=True)

Json = typer.Option("--json", help="One JSON object on standard output, for programs.")


def run(work: Callable[[], Coroutine[Any, Any, int | None]]) -> None:
    """Run an async command; its errors are one line on stderr that says what was wrong and what to do."""
    code = 0

    async def command() -> None:
        nonlocal code
        code = await work() or 0

    from broker_plane.cli.loop import run_loop

    with failing():
        run_loop(command())
    if code:
        raise typer.Exit(code)


@contextmanager
def failing() -> Iterator[None]:
    try:
        yield
    except BrokerPlaneError as error:
        err.print(f"broker-plane: {error}", markup=False, soft_wrap=True)
        raise typer.Exit(1) from None
    except (FileNotFoundError, PermissionError, IsADirectoryError) as error:
        err.print(f"broker-plane: {error.filename}: {error.strerror}", markup=False, soft_wrap=True)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        err.print("broker-plane: stopped", markup=False)
        raise typer.Exit(130) from None


def say_json(fields: Any) -> None:
    sys.stdout.write(orjson.dumps(fields).decode() + "\n")
    sys.stdout.flush()


@contextmanager
def bar(title: str, *, quiet: bool, unit: str = "rows") -> Iterator[Callable[[int, int | None], None]]:
    """A progress bar on a terminal's stderr; elsewhere, and with `quiet`, nothing."""
    with bars(quiet=quiet, unit=unit) as told:
        yield lambda done, total: told(title, done, total)


@contextmanager
def bars(*, quiet: bool, unit: str) -> Iterator[Callable[[str, int, int | None], None]]:
    """As `bar`, for several things one after the other, each of which says its title."""
    if quiet or not sys.stderr.isatty():
        yield lambda title, done, total: None
        return
    from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    count = DownloadColumn() if unit == "bytes" else MofNCompleteColumn()
    columns = (TextColumn("{task.description}"), BarColumn(), count, TimeElapsedColumn())
    with Progress(*columns, console=err.console, transient=True) as progress:
        task = progress.add_task("", total=None)
        yield lambda title, done, total: progress.update(task, description=title, completed=done, total=total)
