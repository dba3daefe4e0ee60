"""The commands about who may do what on a NATS of your own: env, owners."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from broker_plane.cli.console import Json, failing, out, run, say_json
from broker_plane.cli.option_types import size
from broker_plane.config import load_settings
from broker_plane.embedded.state import new_password
from broker_plane.errors import BrokerPlaneError, ConfigError
from broker_plane.runtime.wiring import add_owner
from broker_plane.wire.names import parse_owner
from broker_plane.wire.nkey import account_of, account_seed

owners = typer.Typer(help="Resource servers with a bucket and keys of their own.", no_args_is_help=True)
USERS = ("plane", "probe", "callout", "weather", "stats")
"""Of nats.conf; the last two are docker-compose.yml's servers."""


def env(
    path: Annotated[Path, typer.Argument(help="The file to write (0600); it must not exist.")] = Path(".env"),
    user: Annotated[
        list[str] | None, typer.Option(help="A further user of nats.conf; may stand several times.")
    ] = None,
    json: Annotated[bool, Json] = False,
) -> None:
    """Write passwords and the callout's key for nats.conf and docker-compose.yml into a new file."""
    with failing():
        fields = variables_of([*USERS, *map(parse_owner, user or ())])
        _write_new(path, "".join(f"{name}={value}\n" for name, value in fields.items()))
    if json:
        say_json({"file": str(path), "variables": list(fields)})
    else:
        out.print(f"Wrote {path} (0600): {', '.join(fields)}")


@owners.command("add")
def add(
    name: Annotated[str, typer.Argument(help="As in nats.conf: $O.bp_<name>.C.> and $KV.bp_keys.<name>.")],
    max_bytes: Annotated[int, size("Reserved for its bodies, as 20GB; 0: no limit of its own.")] = 0,
    json: Annotated[bool, Json] = False,
) -> None:
    """Make the bucket of a resource server. A bridge does it at the owner's first connection; this, before."""

    async def work() -> None:
        owner = parse_owner(name)
        settings = load_settings()
        if not settings.nats_url:
            raise ConfigError("Set BROKER_PLANE_NATS_URL, with the user plane; the embedded broker needs no owners")
        await add_owner(settings, owner, max_bytes)
        if json:
            say_json({"owner": owner, "bucket": f"bp_{owner}"})
        else:
            out.print(f"The bucket bp_{owner} is there.")

    run(work)


def variables_of(users: list[str]) -> dict[str, str]:
    """The server reads those that begin with `BP_`; the seed is for bridges alone."""
    fields = {f"BP_{user.replace('-', '_').upper()}_PASSWORD": new_password() for user in users}
    seed = account_seed(os.urandom(32))
    return fields | {
        "BP_CALLOUT_ISSUER": account_of(seed),
        "BROKER_PLANE_NATS_URL": f"nats://plane:{fields['BP_PLANE_PASSWORD']}@nats:4222",
        "BROKER_PLANE_NATS_PROBE_PASSWORD": fields["BP_PROBE_PASSWORD"],
        "BROKER_PLANE_CALLOUT_PASSWORD": fields["BP_CALLOUT_PASSWORD"],
        "BROKER_PLANE_CALLOUT_SEED": seed,
    }


def _write_new(path: Path, text: str) -> None:
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise BrokerPlaneError(f"{path} is there already; remove it first, or name another file") from error
    with os.fdopen(handle, "w") as file:
        file.write(text)
