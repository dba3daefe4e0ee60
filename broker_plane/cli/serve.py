"""The commands up, down and bridge. Keep imports few: a first start waits for them."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from threading import Event
from typing import Annotated

import typer

from broker_plane.cli.console import Json, LogLevel, failing, out, say_json
from broker_plane.config import Settings, load_settings
from broker_plane.embedded.broker import BRIDGE_COMMAND, Attachment, attach, find, stop
from broker_plane.embedded.settings_mismatch import warn_of_others
from broker_plane.errors import PortInUseError

_CHECK_SECONDS = 1.0
"""Interval of checks whether the broker still runs."""


def up(
    port: Annotated[int, typer.Option(help="Port of the bridge. Default: a free one.", min=0, max=65535)] = 0,
    nats_url: Annotated[str, typer.Option(help="Existing NATS: start only a bridge for it.")] = "",
    data_dir: Annotated[Path | None, typer.Option(help="Data directory of the embedded broker.")] = None,
    detach: Annotated[
        bool, typer.Option("--detach", help="Return as soon as it is ready; `broker-plane down` stops it.")
    ] = False,
    log_level: Annotated[str | None, LogLevel] = None,
    json: Annotated[bool, Json] = False,
) -> None:
    """Start the embedded broker and its bridge, or attach to running ones, until Ctrl-C.

    Example: broker-plane up --port 8787 --detach
    """
    with failing(log_level):
        settings = load_settings(data_dir=data_dir)
        url = nats_url or settings.nats_url
        if url:
            raise typer.Exit(_bridge(url, port))
        attachment = attach(settings, bridge_command=BRIDGE_COMMAND, port=port)
        stopped = _stop_signals()  # before its URL is printed
        _check_port(attachment, port)
        warn_of_others(attachment, settings)
        _say_running(attachment, json)
        if not detach:
            _wait(attachment, settings, stopped)
        attachment.close()


def down(json: Annotated[bool, Json] = False) -> None:
    """Stop the embedded broker and its bridge. Stored bodies are kept for the next `up`.

    Example: broker-plane down
    """
    with failing():
        stopped = stop(load_settings().data_dir)
    if json:
        say_json({"stopped": stopped})
    else:
        out.print("Stopped." if stopped else "Nothing was running.")


def bridge(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0: a free one.", min=0, max=65535)] = 8787,
    certfile: Annotated[Path | None, typer.Option(help="TLS certificate file (PEM).")] = None,
    keyfile: Annotated[Path | None, typer.Option(help="TLS private key file (PEM).")] = None,
    log_level: Annotated[str | None, LogLevel] = None,
) -> None:
    """Run a bridge for an existing NATS (BROKER_PLANE_NATS_URL), as a service. It logs every request.

    Example: BROKER_PLANE_NATS_URL=nats://plane:secret@nats:4222 broker-plane bridge --host 0.0.0.0
    """
    with failing(log_level, "info"):
        _run_bridge(host, port, certfile, keyfile)


def _run_bridge(host: str, port: int, certfile: Path | None, keyfile: Path | None) -> None:
    arguments = ["--host", host, "--port", str(port)]
    arguments += ["--certfile", str(certfile)] if certfile else []
    arguments += ["--keyfile", str(keyfile)] if keyfile else []
    raise typer.Exit(_serve(arguments))


def _bridge(url: str, port: int) -> int:
    os.environ["BROKER_PLANE_NATS_URL"] = url
    return _serve(["--port", str(port)])


def _serve(arguments: list[str]) -> int:
    from broker_plane.cli.bridge import main

    return main(arguments)


def _check_port(attachment: Attachment, port: int) -> None:
    running = attachment.running.bridge_url
    if port and not running.endswith(f":{port}"):
        attachment.close()
        raise PortInUseError(
            f"Your bridge already runs at {running}; use that one, or stop it with `broker-plane down`"
        )


def _say_running(attachment: Attachment, json: bool) -> None:
    running = attachment.running
    fields = {
        "bridge": running.bridge_url,
        "nats": running.nats_url.rpartition("@")[2],
        "pid": running.pid,
        "durability": running.durability,
    }
    if json:
        say_json(fields)
        return
    where = f"{fields['nats']}  (process {running.pid}, store {running.data_dir})"
    out.lines({"bridge": running.bridge_url, "nats": where, "durability": running.durability})


def _stop_signals() -> Event:
    """An event that Ctrl-C and SIGTERM set from now on."""
    stopped = Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    return stopped


def _wait(attachment: Attachment, settings: Settings, stopped: Event) -> None:
    """Wait until Ctrl-C or SIGTERM, then stop the broker if this command started it."""
    if sys.stderr.isatty():
        out.print("Press Ctrl-C to stop." if attachment.started else "Already running; Ctrl-C leaves it running.")
    while not stopped.wait(_CHECK_SECONDS) and find(settings.data_dir) is not None:
        pass
    attachment.close()
    if attachment.started:
        stop(settings.data_dir)
