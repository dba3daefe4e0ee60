"""Output of commands: labelled lines and tables for people, one value or row per line for pipes, JSON for programs.

An error is one sentence on standard error, or with `--json` one JSON object. `main.py` lists the exit codes. Text is
printed literally: it has no markup, and control characters are escaped.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

import orjson
import typer

from broker_plane.cli.error_messages import exit_code, explained
from broker_plane.config import load_log_settings
from broker_plane.logs import configure
from broker_plane.wire import exact_json

if TYPE_CHECKING:
    from rich.console import Console

log = logging.getLogger(__name__)

_SHOWN = {code: repr(chr(code))[1:-1] for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) != "\n"}
_SHOWN_TEXT = {code: shown for code, shown in _SHOWN.items() if chr(code) != "\t"}
_ONE_LINE = _SHOWN | {0x0A: "\\n"}


class Voice:
    """An output stream. It imports rich with the first table only, so that programs that read JSON need not wait."""

    def __init__(self, *, stderr: bool = False) -> None:
        self._stderr = stderr

    @property
    def to_people(self) -> bool:
        """Whether this stream is a terminal."""
        return (sys.stderr if self._stderr else sys.stdout).isatty()

    @cached_property
    def console(self) -> Console:
        from rich.console import Console

        return Console(stderr=self._stderr, highlight=False, markup=False, emoji=False)

    def print(self, text: str) -> None:
        """Print a line without wrapping it."""
        self._write(text.translate(_SHOWN))

    def text(self, text: str) -> None:
        """Print a text of others: exactly as it is in a pipe, and on a terminal without control characters."""
        self._write(text.translate(_SHOWN_TEXT) if self.to_people else text)

    def diff(self, text: str) -> None:
        """Print a unified diff: with colours on a terminal, exactly as it is in a pipe."""
        if not self.to_people:
            self._write(text.rstrip("\n"))
            return
        from rich.text import Text

        styles = {"+": "green", "-": "red", "@": "cyan"}
        for line in text.rstrip("\n").split("\n"):
            shown = line.translate(_SHOWN_TEXT)
            style = "bold" if line.startswith(("+++", "---")) else styles.get(line[:1], "")
            self.console.print(Text(shown, style=style), soft_wrap=True)

    def _write(self, line: str) -> None:
        stream = sys.stderr if self._stderr else sys.stdout
        stream.write(line + "\n")
        stream.flush()

    def lines(self, values: Mapping[str, object]) -> None:
        """Print labelled values, one per line, without those that are None or empty."""
        shown = {
            label: _cell(value, people=self.to_people) for label, value in values.items() if value not in (None, "")
        }
        width = max(map(len, shown), default=0)
        for label, value in shown.items():
            self._write(f"{label:{width}}  {value}" if self.to_people else f"{label}\t{value}")

    def result(self, value: str, about: Mapping[str, object]) -> None:
        """Print a value that another command reads: alone on its line in a pipe, among `about` on a terminal."""
        if self.to_people:
            self.lines(about)
        else:
            self.print(value)

    def table(self, headings: Sequence[str], rows: Iterable[Sequence[object]], *, box: bool = True) -> None:
        """Print a table on a terminal; in a pipe one row per line, tab-separated, without headings.

        The first column is never truncated, because other commands take it.
        """
        if not self.to_people:
            for row in rows:
                self._write("\t".join(_cell(value, people=False) for value in row))
            return
        from rich import box as boxes
        from rich.table import Table

        table = Table(box=boxes.HEAVY_HEAD if box else None)
        for number, heading in enumerate(headings):
            table.add_column(heading, no_wrap=number == 0, overflow="fold")
        first = []
        for row in rows:
            first.append(_cell(row[0], people=True))
            table.add_row(*(_cell(value, people=True) for value in row))
        table.columns[0].min_width = max(map(len, first), default=0)
        self.console.print(table)


out = Voice()
err = Voice(stderr=True)

_json = False
"""Whether the command was given --json, which also applies to its errors."""


def start_json(words: Sequence[str]) -> None:
    """Print errors as JSON from now on if `words` contain --json before any `--`."""
    _remember("--json" in (words[: words.index("--")] if "--" in words else words))


def _remember(json: bool) -> bool:
    global _json
    _json = json
    return json


Json = typer.Option(
    "--json", help="Print JSON to standard output, and errors as JSON to standard error.", callback=_remember
)
LogLevel = typer.Option("--log-level", help="debug, info, warning or error. Default: BROKER_PLANE_LOG_LEVEL.")


def note(text: str) -> None:
    """Print a remark, such as that a list is empty; never into a pipe."""
    (out if out.to_people else err).print(text)


def when(at: float) -> str:
    """Date and time: local time for people, UTC (RFC 3339) for pipes."""
    moment = datetime.fromtimestamp(at, UTC)
    return f"{moment.astimezone():%Y-%m-%d %H:%M:%S}" if out.to_people else f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def names_in(text: str) -> list[str]:
    """The parts of a comma-separated list."""
    return [part.strip() for part in text.split(",") if part.strip()]


def run(work: Callable[[], Coroutine[Any, Any, int | None]], *, log_level: str | None = None, at: str = "") -> None:
    """Run an async command. Errors become one line on standard error that says what failed, where, and what to do."""
    code = 0

    async def command() -> None:
        nonlocal code
        code = await work() or 0

    from broker_plane.cli.event_loop import run_loop

    with failing(log_level, at=at):
        run_loop(command())
    if code:
        raise typer.Exit(code)


@contextmanager
def failing(log_level: str | None = None, default: str = "warning", at: str = "") -> Iterator[None]:
    """End the command with one sentence if the block raises. The traceback goes to the log, at level debug."""
    try:
        start_logging(log_level, default)
        yield
    except (typer.Exit, typer.Abort, typer.BadParameter):
        raise
    except KeyboardInterrupt:
        raise _failed("stopped", "Stopped", 130) from None
    except BrokenPipeError:
        # The reader of our output closed it, which is not an error. Prevent a flush into it at exit.
        with suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(0) from None
    except Exception as error:
        code, message = explained(error, at)
        log.debug("the command failed", exc_info=True)
        raise _failed(code, message, exit_code(error)) from None


def start_logging(level: str | None = None, default: str = "warning") -> None:
    """Configure logging from BROKER_PLANE_LOG_FORMAT and BROKER_PLANE_LOG_LEVEL; the flag `level` takes precedence."""
    from broker_plane.environment import one_of
    from broker_plane.logs import LEVELS

    form, wanted = load_log_settings()
    if level is not None:
        try:
            wanted = one_of(LEVELS)(level)
        except ValueError as error:
            raise typer.BadParameter(f"--log-level: {error}") from None
        os.environ["BROKER_PLANE_LOG_LEVEL"] = wanted  # for the processes that this one starts
    configure(form, wanted or default)


def say_error(code: str, message: str, *, json_only: bool = False) -> bool:
    """Print an error as one sentence, or as JSON after --json. Returns whether it was printed."""
    if _json:
        sys.stderr.write(orjson.dumps({"error": {"code": code, "message": message}}).decode() + "\n")
        sys.stderr.flush()
    elif json_only:
        return False
    else:
        err.print(f"broker-plane: {' '.join(message.split())}")
    return True


def say_json(fields: Any) -> None:
    try:
        text = orjson.dumps(fields)
    except TypeError:  # whole numbers beyond 64 bits, or half of a surrogate pair, which only an escape can express
        text = exact_json.dumps(fields)
    sys.stdout.write(text.decode() + "\n")
    sys.stdout.flush()


def _failed(code: str, message: str, status: int) -> typer.Exit:
    say_error(code, message)
    return typer.Exit(status)


def _cell(value: object, *, people: bool) -> str:
    if value is None:
        return ""
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}" if people else str(value)
    return str(value).translate(_ONE_LINE)


@contextmanager
def bar(title: str, *, quiet: bool, unit: str = "rows", first: str = "") -> Iterator[Callable[[int, int | None], None]]:
    """A progress bar if standard error is a terminal, unless `quiet`. Its title is `first` until there is progress."""
    with bars(quiet=quiet, unit=unit, first=first or title) as progress:
        yield lambda done, total: progress(title, done, total)


@contextmanager
def bars(*, quiet: bool, unit: str, first: str = "") -> Iterator[Callable[[str, int, int | None], None]]:
    """Like `bar`, for several steps in sequence, each with its own title."""
    if quiet or not sys.stderr.isatty():
        yield lambda title, done, total: None
        return
    from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    count = DownloadColumn() if unit == "bytes" else MofNCompleteColumn()
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), count, TimeElapsedColumn())
    with Progress(*columns, console=err.console, transient=True) as progress:
        task = progress.add_task(first.translate(_ONE_LINE), total=None)
        yield lambda title, done, total: progress.update(
            task, description=title.translate(_ONE_LINE), completed=done, total=total
        )
