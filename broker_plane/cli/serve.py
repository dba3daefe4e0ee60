"""The commands that run the plane: up, down, bridge. What `up` imports, a first start waits for."""

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

_LOOK_SECONDS = 1.0
"""Between two looks whether the broker still runs."""


def up(
    port: Annotated[int, typer.Option(help="Of the bridge; default: any free one.", min=0, max=65535)] = 0,
    nats: Annotated[str, typer.Option(help="An existing NATS; only a bridge is started for it.")] = "",
    data: Annotated[Path | None, typer.Option(help="Store of the embedded broker.")] = None,
    detach: Annotated[bool, typer.Option("--detach", help="Return when it is ready; `down` stops it.")] = False,
    log_level: Annotated[str | None, LogLevel] = None,
    json: Annotated[bool, Json] = False,
) -> None:
    """Start broker and bridge, or attach to those that run. In the foreground until Ctrl-C."""
    with failing(log_level):
        settings = load_settings(**({"data_dir": data} if data else {}))
        url = nats or settings.nats_url
        if url:
            raise typer.Exit(_bridge(url, port))
        attachment = attach(settings, bridge_command=BRIDGE_COMMAND, port=port)
        stopped = _stop_signals()  # before anybody hears that it runs
        _check_port(attachment, port)
        warn_of_others(attachment, settings)
        _say_running(attachment, json)
        if not detach:
            _wait(attachment, settings, stopped)
        attachment.close()


def down(json: Annotated[bool, Json] = False) -> None:
    """Stop the embedded broker and its bridge. Stored bodies stay, and are there again after `up`."""
    with failing():
        stopped = stop(load_settings().data_dir)
    if json:
        say_json({"stopped": stopped})
    else:
        out.print("Stopped." if stopped else "Nothing was running.")


def bridge(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535)] = 8787,
    certfile: Annotated[Path | None, typer.Option(help="TLS certificate (PEM).")] = None,
    keyfile: Annotated[Path | None, typer.Option(help="TLS key (PEM).")] = None,
    log_level: Annotated[str | None, LogLevel] = None,
) -> None:
    """Run one bridge for an existing NATS (BROKER_PLANE_NATS_URL), as a service does. It logs each request."""
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
        raise PortInUseError(f"A bridge of yours already runs at {running}; use that, or `broker-plane down` first")


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
    """Set at Ctrl-C or SIGTERM, from now on."""
    stopped = Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    return stopped


def _wait(attachment: Attachment, settings: Settings, stopped: Event) -> None:
    """Until Ctrl-C or SIGTERM; what this command started stops with it."""
    if sys.stderr.isatty():
        out.print("Ctrl-C stops it." if attachment.started else "It runs already; Ctrl-C leaves it running.")
    while not stopped.wait(_LOOK_SECONDS) and find(settings.data_dir) is not None:
        pass
    attachment.close()
    if attachment.started:
        stop(settings.data_dir)
