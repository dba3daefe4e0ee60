"""Reports a demo: one JSON object for programs, tables for people."""

from __future__ import annotations

import orjson
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from .account import COUNTED, Run


def report(runs: list[Run], *, json: bool) -> None:
    """Print one JSON object (the largest run, and all of them under `runs`), or tables."""
    if json:
        told = [run.as_json() for run in runs]
        print(orjson.dumps({**max(told, key=lambda one: one["rows_total"]), "runs": told}).decode())
        return
    console = Console(highlight=False)
    for run in runs:
        console.print(_steps_table(run))
        console.print(_tokens_table(run))
        proof = "verified" if run.digest_verified else "[bold red]NOT verified[/]"
        console.print(f"{run.rows_arrived:,} of {run.rows_total:,} rows arrived, {proof}.")
        console.print(f"Chart, which stays there: {escape(run.chart)}\n")
    console.print(f"Counted: {COUNTED}. Structured content and images are counted apart.")


def _steps_table(run: Run) -> Table:
    table = Table("step", title=f"{run.demo}, {run.mode}, {run.rows_total:,} rows", title_justify="left")
    for heading in ("rows", "bytes", "ms"):
        table.add_column(heading, justify="right")
    for step in run.steps:
        table.add_row(step.name, _number(step.rows), _number(step.bytes), f"{step.ms:,.1f}")
    return table


def _tokens_table(run: Run) -> Table:
    tokens = run.as_json()["tokens"]
    table = Table("through the agent", title_justify="left")
    table.add_column("bytes", justify="right")
    table.add_column("tokens", justify="right")
    table.add_row("without the plane", _number(run.without_plane), _number(tokens["without"]))
    table.add_row(f"with the plane ({run.mode})", _number(run.with_plane), _number(tokens["with"]))
    if run.to_model != run.with_plane:
        table.add_row("… where the host holds the body back", _number(run.to_model), _number(tokens["to_model"]))
    table.add_row("structured content, apart", _number(run.bytes_structured), "")
    table.add_row("body over the broker", _number(run.bytes_body), "", end_section=True)
    table.add_row("saved", "", f"{tokens['saved_percent']:.3f} %")
    return table


def _number(value: int | None) -> str:
    return "" if value is None else f"{value:,}"
