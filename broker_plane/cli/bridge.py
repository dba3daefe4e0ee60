"""`python -m broker_plane.cli.bridge`: one bridge process, separate from main.py so that it starts fast."""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import logging
import os
import signal
import sys
from pathlib import Path

import orjson

from broker_plane.cli.error_messages import exit_code, explained
from broker_plane.cli.event_loop import run_loop
from broker_plane.config import Settings, load_log_settings, load_settings
from broker_plane.errors import ConfigError, PortInUseError
from broker_plane.logs import configure
from broker_plane.runtime.bridging import bridging
from broker_plane.runtime.collecting import keep_what_was_started
from broker_plane.runtime.wiring import wire

PORT_IN_USE = 3
log = logging.getLogger("broker_plane.cli.bridge")
_SWITCH_SECONDS = 0.001
"""Interval after which threads yield to the event loop, instead of Python's 5 ms."""

_MAX_FILES = 1 << 16
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""From glibc's malloc.h."""

_LARGE_BLOCK = 4 << 20
"""In bytes. Well above the size of a chunk, which is better allocated on the heap."""


def main(argv: list[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT, and if supervised, until the supervisor exits."""
    parser = argparse.ArgumentParser(prog="broker-plane bridge", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--certfile", type=Path)
    parser.add_argument("--keyfile", type=Path)
    parser.add_argument("--supervised", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    sys.setswitchinterval(_SWITCH_SECONDS)
    _allow_connections()
    _return_memory()
    try:
        if not logging.getLogger().handlers:  # `broker-plane bridge` has set them up
            form, level = load_log_settings()
            configure(form, level or "warning")
        # A supervisor sends the broker's URL once it listens; the imports run meanwhile.
        given = {"nats_url": sys.stdin.readline().strip()} if options.supervised else {}
        run_loop(serve(load_settings(**given), options))
    except PortInUseError as error:
        print(f"broker-plane bridge: {error}", file=sys.stderr)
        return PORT_IN_USE
    except Exception as error:
        log.debug("the bridge ended", exc_info=True)
        print(f"broker-plane bridge: {explained(error)[1]}", file=sys.stderr)
        return exit_code(error)
    return 0


def _allow_connections() -> None:
    """Raise the limit of open files, one per connection, to the maximum; many systems start with 1,024."""
    if sys.platform != "win32":
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        most = _MAX_FILES if hard == resource.RLIM_INFINITY else min(hard, _MAX_FILES)
        if soft != resource.RLIM_INFINITY and soft < most:
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _return_memory() -> None:
    """Return large blocks to the system as soon as they are free.

    glibc raises its threshold with each large block that is freed, up to 32 MiB, and then keeps such blocks
    (mallopt(3), M_MMAP_THRESHOLD): one large frame would occupy its memory forever. Other C libraries lack `mallopt`.
    """
    set_option = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if set_option is not None:
        set_option(_M_MMAP_THRESHOLD, _LARGE_BLOCK)
        set_option(_M_TRIM_THRESHOLD, 2 * _LARGE_BLOCK)


async def serve(settings: Settings, options: argparse.Namespace) -> None:
    if not settings.nats_url:
        raise ConfigError(
            "A bridge needs BROKER_PLANE_NATS_URL; `broker-plane up` starts a bridge with an embedded broker"
        )
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    durability = "fsync before ack" if options.supervised else ""
    beside = settings.data_dir if options.supervised else None
    wiring = await wire(settings.nats_url, settings, durability=durability, beside=beside)
    tls = {"certfile": options.certfile, "keyfile": options.keyfile}
    try:
        async with bridging(wiring, settings, host=options.host, port=options.port, **tls) as url:
            keep_what_was_started()
            print(orjson.dumps({"bridge": url, "durability": wiring.durability}).decode(), flush=True)
            if options.supervised:
                await _watch_stdin(stop)
            await stop.wait()
    finally:
        await wiring.close()


async def _watch_stdin(stop: asyncio.Event) -> None:
    """Also stop when standard input ends: its other end is the supervisor."""
    loop = asyncio.get_running_loop()

    def readable() -> None:
        if not os.read(handle, 4096):
            loop.remove_reader(handle)
            stop.set()

    handle = sys.stdin.fileno()
    loop.add_reader(handle, readable)


if __name__ == "__main__":
    sys.exit(main())
