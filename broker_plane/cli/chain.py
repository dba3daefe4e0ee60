"""The command chain: run a list of transfer descriptors; each step passes its output to the next."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from broker_plane.cli.console import Json, bars, err, out, run, say_error, say_json
from broker_plane.errors import WireError
from broker_plane.formats.duplicate_names import duplicate_name
from broker_plane.runtime.plane import Plane
from broker_plane.transfer.chain import ChainFailedError, Report, Step, run_chain
from broker_plane.wire.descriptor import Descriptor, parse_descriptor
from broker_plane.wire.exact_json import MALFORMED, loads


def chain(
    file: Annotated[Path, typer.Argument(help="JSON file with a list of descriptors.", exists=True, dir_okay=False)],
    directory: Annotated[
        Path | None, typer.Option("--dir", help="Directory for outputs and report. Default: the file's name with .run.")
    ] = None,
    json: Annotated[bool, Json] = False,
) -> None:
    """Run transfer descriptors in sequence: the output of each step is the input of the next.

    A fetch step downloads bytes. A push step uploads them and passes on the response of the endpoint, or the same
    bytes if the response is empty; use it for services that transform data. A push to an upload URL (from
    `broker-plane upload-grant`) creates a body.

    \b
    [{"$schema": "mcp/transfer-descriptor/v1", "mode": "fetch", "protocol": "https", "transfer_id": "<uuid>",
      "endpoint": "https://a.example/photo.png", "format": "image/png", "checksum": "sha256:<hex>"},
     {"$schema": "mcp/transfer-descriptor/v1", "mode": "push", "protocol": "https", "transfer_id": "<uuid>",
      "endpoint": "https://b.example/shrink", "method": "POST", "format": "image/png"}]

    After Ctrl-C, a crash or an error, run the same command again: completed steps are not repeated. Hosts in private
    networks are reached only if BROKER_PLANE_TRANSFER_NETWORKS lists them (docs/handlers.md).

    Example: broker-plane chain photo.json
    """

    async def work() -> int:
        descriptors = steps_in(file)
        place = directory or file.with_suffix(".run")

        async with Plane.connect() as plane:
            with bars(quiet=json, unit="bytes") as progress:

                def report_progress(number: int, done: int, total: int | None) -> None:
                    one = descriptors[number]
                    progress(f"step {number}: {one.mode} {one.protocol}", done, total)

                try:
                    report = await run_chain(plane.transfers, descriptors, place, progress=report_progress)
                except ChainFailedError as error:
                    _say(error.report, json=json)
                    say_error(error.code, f"{error}. {_AGAIN}")
                    return 1
                except asyncio.CancelledError:
                    err.print(f"broker-plane: {_AGAIN}")
                    raise
        _say(report, json=json)
        return 0

    run(work)


_AGAIN = "Completed steps are kept; run the same command again to resume"


def steps_in(file: Path) -> list[Descriptor]:
    """The descriptors in the file.

    Raises:
        WireError: there is none, or one is invalid; the message says which.
    """
    found = _json_in(file)
    if not isinstance(found, list) or not found:
        raise WireError(f"{file.name} has no steps: a chain is a JSON list of descriptors (broker-plane chain --help)")
    steps = []
    for number, fields in enumerate(found):
        try:
            steps.append(parse_descriptor(fields))
        except WireError as error:
            raise WireError(f"Step {number} of {file.name} is not a valid descriptor: {error}") from error
    return steps


def descriptor_in(file: Path) -> Descriptor:
    """The descriptor in the file.

    Raises:
        WireError: it is not one; the message says why.
    """
    return parse_descriptor(_json_in(file))


def _json_in(file: Path) -> Any:
    try:
        found = loads(raw := file.read_bytes())
    except MALFORMED as error:
        raise WireError(f"{file.name} is not valid JSON: {error}") from error
    if (twice := duplicate_name(raw, found)) is not None:
        # A person who checks the file may see the other value than the one that is used.
        raise WireError(f"{file.name} has an object with two values for {twice!r}; remove one of them")
    return found


def _say(report: Report, *, json: bool) -> None:
    if json:
        done = report.output is not None
        say_json(
            {
                "done": done,
                "output": str(report.output) if done else None,
                "steps": [_fields(step) for step in report.steps],
            }
        )
        return
    out.table(("step", "mode", "protocol", "state", "bytes", "sha256"), map(_row, report.steps))
    for step in report.steps:
        if step.resource_url:
            out.print(step.resource_url)
    if report.output is not None:
        out.lines({"output": report.output})


def _row(step: Step) -> tuple[object, ...]:
    state = "kept" if step.resumed else step.state
    size = step.size if step.state == "done" else None
    return str(step.number), step.mode, step.protocol, state, size, step.digest


def _fields(step: Step) -> dict[str, Any]:
    fields = asdict(step)
    return fields | {"digest": f"sha256:{step.digest}" if step.digest else ""}
