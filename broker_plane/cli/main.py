"""`broker-plane`: the command line."""

from __future__ import annotations

import importlib
from typing import Annotated, Any

import typer

from broker_plane import __version__
from broker_plane.cli import accounts, audit, bodies, chain, feeds, grants, proxying, serving, uploads, webhooks
from broker_plane.cli.say import Json, failing
from broker_plane.errors import NotBuiltError

app = typer.Typer(
    name="broker-plane",
    help="Bodies travel between MCP servers over NATS; only the abstract goes through the model.\n\n"
    "With nothing configured, a private broker of this user is started and found again. "
    "BROKER_PLANE_NATS_URL uses an existing NATS.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
)
for command in (
    serving.up,
    serving.down,
    serving.bridge,
    bodies.publish,
    bodies.pull,
    bodies.ls,
    bodies.delete,
    bodies.watch,
    grants.grant,
    uploads.upload_grant,
    uploads.upload,
    chain.chain,
    audit.revoke,
    audit.audit,
    serving.doctor,
    accounts.env,
    proxying.install,
    proxying.mcp,
):
    app.command()(command)
app.command(context_settings=proxying.REST)(proxying.proxy)
app.add_typer(serving.keys, name="keys")
app.add_typer(accounts.owners, name="owners")
app.add_typer(feeds.dlq, name="dlq")
app.add_typer(feeds.feeds, name="feeds")
app.add_typer(webhooks.webhooks, name="webhooks")

_STORIES = ("weather", "db", "fanout", "crm", "files")
_LATER = ("collab",)


@app.callback(invoke_without_command=True)
def root(show_version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if show_version:
        typer.echo(__version__)
        raise typer.Exit


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def demo(
    context: typer.Context,
    story: Annotated[str, typer.Argument(help="weather, db, fanout, crm or files.")],
    json: Annotated[bool, Json] = False,
) -> None:
    """Play a story: alerts to a chart, 336,776 flights to a server, one body to 64, a CRM to mailboxes, files."""
    with failing():
        if story in _LATER:
            raise NotBuiltError(f"The demo {story} is not built yet; there are: {', '.join(_STORIES)}")
        if story not in _STORIES:
            raise typer.BadParameter(f"There is no demo {story}; there are: {', '.join(_STORIES)}")
        arguments = [*context.args, *(["--json"] if json else [])]
        raise typer.Exit(_example(f"demos.{story}").main(arguments))


@app.command()
def bench(
    quick: Annotated[bool, typer.Option("--quick", help="In under a minute.")] = False,
    json: Annotated[bool, Json] = False,
) -> None:
    """Measure this machine: the whole way, fetches and projections. `python -m tests.bench` compares with others."""
    from broker_plane.testing.bench import run_ours  # the demos' packages are only needed here

    with failing():
        raise typer.Exit(run_ours(quick=quick, json=json))


def _example(name: str) -> Any:
    """A module of servers/ or demos/: top-level in a checkout, `broker_plane_examples` in an installed wheel."""
    for package in ("broker_plane_examples.", ""):
        try:
            return importlib.import_module(package + name)
        except ModuleNotFoundError as error:
            missing = error.name or ""
            if not (package + name).startswith(missing):
                raise NotBuiltError(f"The demos need {missing}: pip install 'broker-plane[demos]'") from error
    raise NotBuiltError("The demos are not installed here; run this from a checkout or an installed wheel")


def main() -> None:
    app()


if __name__ == "__main__":
    main()
