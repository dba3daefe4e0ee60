"""The command levels: transfers by code that a model wrote, the cache of that code, and the log of its runs."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from broker_plane.cli.chain import descriptor_in
from broker_plane.cli.console import Json, bar, err, note, out, run, say_json, when
from broker_plane.cli.verified_output import copy_out, file_for
from broker_plane.levels.learned import LearnedOutcome
from broker_plane.levels.ports import CodeEntry, RunRecord
from broker_plane.runtime.plane import Plane

levels = typer.Typer(
    help="Transfer over unknown protocols with code that a model writes, in a sandbox.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

_SHOWN_KEY = 16
_WAITING = "levels run: waiting for the first byte"
_OUTCOME = ("level", "provider_calls", "rung", "bytes", "sha256")
_TOKENS = ("input_tokens", "output_tokens")
_RUNS = (
    "at",
    "level",
    "status",
    "rung",
    "tier",
    "attempt",
    "provider",
    "protocol",
    "bytes",
    "seconds",
    "key",
    "detail",
)
_RUNS_SHOWN = ("at", "level", "status", "rung", "protocol", "bytes")
_ENTRIES_SHOWN = ("key", "protocol", "endpoint", "hits", "failures")
"""What fits a terminal of 80 columns."""
_ENTRIES = ("key", "protocol", "endpoint", "hits", "misses", "failures", "provider", "rung", "made")
Key = Annotated[str, typer.Argument(help="Key as `levels ls` prints it, or its first 6 or more characters.")]


@levels.command("run")
def run_descriptor(
    file: Annotated[
        Path, typer.Argument(metavar="DESCRIPTOR", help="JSON file with a descriptor.", exists=True, dir_okay=False)
    ],
    output: Annotated[
        str, typer.Option("-o", "--output", help="File to write; an existing one is replaced. - is standard output.")
    ],
    provider: Annotated[
        str,
        typer.Option(
            help="Writes the code: anthropic, openai, or command:PROGRAM, which reads the prompt from standard input "
            "and prints the code. Default: as the settings say; without one, only cached code is run."
        ),
    ] = "",
    allow: Annotated[
        list[str] | None,
        typer.Option(metavar="HOST[:PORT]", help="Host that the code may reach. Default: those of the descriptor."),
    ] = None,
    json: Annotated[bool, Json] = False,
) -> None:
    """Carry out a transfer descriptor of any protocol.

    A protocol with a handler is fetched by it (level 1). Otherwise code that worked for the same endpoint and
    description is run (level 1.5), or the provider writes new code (level 2). Code runs in a sandbox, and the file
    appears only after its size and digest are verified. Naming a provider permits it to be asked, whatever
    BROKER_PLANE_LEVELS says. Private networks need BROKER_PLANE_TRANSFER_NETWORKS.

    Example: broker-plane levels run descriptor.json --provider command:./write-code -o rows.ndjson
    """

    async def work() -> None:
        descriptor = descriptor_in(file)
        async with Plane.connect() as plane:
            with file_for(output) as path, bar("levels run", quiet=json, unit="bytes", first=_WAITING) as progress:
                outcome = await plane.levels.run(
                    descriptor, path, provider=provider or None, allow=allow or None, progress=progress
                )
                if output == "-":
                    await copy_out(path)
        if json:
            counted = [name for name in _TOKENS if getattr(outcome, name) is not None]
            say_json({name: getattr(outcome, name) for name in (*_OUTCOME, *counted)})
        else:
            (err if output == "-" else out).lines(_outcome_lines(output, outcome))

    run(work)


@levels.command("log")
def log_of_runs(
    limit: Annotated[int, typer.Option(help="Newest runs to show; 0 for all.", min=0)] = 50,
    source: Annotated[bool, typer.Option("--source", help="Show the code of each run.")] = False,
    json: Annotated[bool, Json] = False,
) -> None:
    """List the runs of generated code, oldest first, also those that failed.

    Each has the digests of its input and output, never a credential, or the path of an endpoint. Runs are kept for 30
    days. On a terminal, what went wrong is below the table; --source, a pipe and --json have all members.

    Example: broker-plane levels log --limit 5 --source
    """

    async def work() -> None:
        async with Plane.connect() as plane, aclosing(plane.levels.log()) as records:
            newest = deque([record async for record in records], limit or None)
        if json:
            say_json([_fields(record, source=source) for record in newest])
        elif not newest:
            note("No generated code was run.")
        elif source:
            for record in newest:
                out.lines(dict(zip(_RUNS, _run(record), strict=True)))
                out.text(record.source)
        else:
            _say_runs(newest)

    run(work)


@levels.command("ls")
def list_entries(json: Annotated[bool, Json] = False) -> None:
    """List the code in the cache, with its hits, misses and failures over all processes.

    Code that fails three times in a row is dropped, and all code after BROKER_PLANE_CODE_TTL_DAYS. `levels show`
    has all about one entry.

    Example: broker-plane levels ls
    """

    async def work() -> None:
        async with Plane.connect() as plane:
            entries = await plane.levels.entries()
        if json:
            say_json([_entry_fields(entry) for entry in entries])
        elif entries:
            rows = [dict(zip(_ENTRIES, _entry(entry), strict=True)) for entry in entries]
            _table(_ENTRIES_SHOWN if out.to_people else _ENTRIES, rows)
        else:
            note("The code cache is empty.")

    run(work)


@levels.command()
def show(key: Key, json: Annotated[bool, Json] = False) -> None:
    """Show an entry of the cache with its code.

    Example: broker-plane levels show 3f9a1c0b77aa41de
    """

    async def work() -> None:
        async with Plane.connect() as plane:
            entry = await plane.levels.show(key)
        if json:
            say_json(_entry_fields(entry) | {"source": entry.source})
        else:
            out.lines(dict(zip(_ENTRIES, _entry(entry), strict=True)))
            out.text(entry.source)

    run(work)


@levels.command()
def forget(key: Key, json: Annotated[bool, Json] = False) -> None:
    """Remove code from the cache, so that the next transfer has it written anew. The log of its runs is kept.

    Example: broker-plane levels forget 3f9a1c0b77aa41de
    """

    async def work() -> None:
        async with Plane.connect() as plane:
            entry = await plane.levels.forget(key)
        if json:
            say_json({"forgotten": entry.key})
        else:
            out.print(f"Removed the code for {entry.protocol} at {entry.endpoint}.")

    run(work)


def _outcome_lines(output: str, outcome: LearnedOutcome) -> dict[str, object]:
    tokens = (outcome.input_tokens, outcome.output_tokens)
    return {
        "output": "standard output" if output == "-" else output,
        "level": outcome.level,
        "provider calls": outcome.provider_calls,
        "tokens": "" if None in tokens else f"{tokens[0]} in, {tokens[1]} out",
        "sandbox": outcome.rung,
        "bytes": outcome.bytes,
        "sha256": outcome.sha256,
    }


def _say_runs(records: Iterable[RunRecord]) -> None:
    rows = [dict(zip(_RUNS, _run(record), strict=True)) for record in records]
    _table(_RUNS_SHOWN if out.to_people else _RUNS, rows)
    if out.to_people:
        for row in rows:
            if row["detail"]:
                out.print(f"{row['at']} {row['status']}: {row['detail']}")


def _table(names: Sequence[str], rows: Iterable[Mapping[str, object]]) -> None:
    out.table(names, [[row[name] for name in names] for row in rows], box=False)


def _run(record: RunRecord) -> tuple[object, ...]:
    return (
        when(record.at),
        record.level,
        record.status,
        record.rung,
        record.tier,
        record.attempt,
        record.provider,
        record.protocol,
        record.output_bytes,
        f"{record.seconds:.3f}",
        record.key[:_SHOWN_KEY],
        record.detail.strip().rpartition("\n")[2],  # what was raised; JSON has the whole traceback
    )


def _fields(record: RunRecord, *, source: bool) -> dict[str, Any]:
    fields = asdict(record)
    if not source:
        del fields["source"]
    return fields


def _entry(entry: CodeEntry) -> tuple[object, ...]:
    counts = entry.counts
    return (
        entry.key[:_SHOWN_KEY],
        entry.protocol,
        entry.endpoint,
        counts.hits,
        counts.misses,
        counts.failures,
        entry.provider,
        entry.rung,
        when(entry.made_at),
    )


def _entry_fields(entry: CodeEntry) -> dict[str, Any]:
    fields: dict[str, Any] = asdict(entry)
    del fields["source"]
    counts: dict[str, int] = fields.pop("counts")
    return fields | counts
