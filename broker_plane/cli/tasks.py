"""The command tasks: durable tasks of the MCP servers of this plane, for operators."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import typer

from broker_plane.cli.console import Json, note, out, run, say_json, when
from broker_plane.runtime.plane import Plane
from broker_plane.wire.exact_json import dumps
from broker_plane.wire.tasks import DamagedTask, TaskRecord

tasks = typer.Typer(
    help="List, show and cancel durable tasks of MCP servers (docs/tasks.md).",
    no_args_is_help=True,
    rich_markup_mode=None,
)
Id = Annotated[str, typer.Argument(help="Id printed by `tasks ls`.")]
_Statuses = Literal["working", "input_required", "completed", "failed", "cancelled"]
_RESULT_CHARACTERS = 2_000


@tasks.command()
def ls(
    server: Annotated[str, typer.Option(help="Only the tasks of the server with this name.")] = "",
    status: Annotated[
        _Statuses | None,
        typer.Option(help="Only tasks in this state: working, input_required, completed, failed, cancelled."),
    ] = None,
    json: Annotated[bool, Json] = False,
) -> None:
    """List tasks in the order of their last change, then those whose records are damaged.

    Example: broker-plane tasks ls --status working
    """

    async def work() -> None:
        async with Plane.connect() as plane:
            found = await plane.tasks.listing(server, status or "")
        if json:
            say_json([*map(_fields, found.tasks), *map(_damaged, found.damaged)])
        elif found.tasks or found.damaged:
            rows = [
                (each.id, each.server, each.tool, _state(each), when(each.created), when(each.updated), each.message)
                for each in found.tasks
            ]
            rows += [(each.id, each.server, "", "damaged", "", "", each.reason) for each in found.damaged]
            out.table(("id", "server", "tool", "status", "created", "changed", "message"), rows, box=False)
        else:
            note("There are no such tasks." if server or status else "There are no tasks.")

    run(work)


@tasks.command()
def show(task: Id, json: Annotated[bool, Json] = False) -> None:
    """Show a task: its state, completed steps, open questions, and its result or error.

    Example: broker-plane tasks show 3vQk9…
    """

    async def work() -> None:
        async with Plane.connect() as plane:
            found = await plane.tasks.show(task)
        if json:
            say_json(found)
            return
        out.lines({name: _shown(value) for name, value in found.items() if name != "steps"})
        for step in found["steps"]:
            out.print(f"step  {step['step']}  {when(step['ended'])}  {step['ended'] - step['began']:.2f} s")

    run(work)


@tasks.command()
def cancel(task: Id, json: Annotated[bool, Json] = False) -> None:
    """Cancel a task. A run that is under way ends at its next await, and may still complete the task.

    Example: broker-plane tasks cancel 3vQk9…
    """

    async def work() -> None:
        async with Plane.connect() as plane:
            record = await plane.tasks.cancel(task)
        if json:
            say_json(_fields(record))
        elif record.ended:
            out.print(f"The task is {record.status}.")
        else:
            out.print("The process that runs the task was asked to end it.")

    run(work)


def _fields(record: TaskRecord) -> dict[str, Any]:
    return {
        "id": record.id,
        "server": record.server,
        "tool": record.tool,
        "status": record.status,
        "message": record.message,
        "client": record.client,
        "created": record.created,
        "updated": record.updated,
        "expires": record.expires,
        "running": bool(record.holder),
        "cancel_requested": record.cancel,
    }


def _damaged(task: DamagedTask) -> dict[str, Any]:
    return {"id": task.id, "server": task.server, "status": "damaged", "message": task.reason}


def _state(record: TaskRecord) -> str:
    """Its status; cancelling while the run of a task that was cancelled has not ended."""
    return "cancelling" if record.cancel and not record.ended else record.status


def _shown(value: Any) -> Any:
    """A value on one line; a large result is cut, and --json has all of it."""
    if not isinstance(value, (dict, list)):
        return value
    text = dumps(value).decode()
    return text if len(text) <= _RESULT_CHARACTERS else f"{text[:_RESULT_CHARACTERS]}… (--json shows all)"
