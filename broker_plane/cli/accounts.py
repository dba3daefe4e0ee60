"""The commands env, accounts and owners: credentials, users and owners for your own NATS."""

from __future__ import annotations

import os
from json import dumps
from pathlib import Path
from typing import Annotated

import typer

from broker_plane.cli.console import Json, failing, out, run, say_json
from broker_plane.cli.option_types import size_or_unlimited
from broker_plane.config import load_settings
from broker_plane.embedded.state import new_password
from broker_plane.errors import BrokerPlaneError, ConfigError
from broker_plane.exchange.keys import is_server_name
from broker_plane.runtime.wiring import add_owner
from broker_plane.units import UNLIMITED
from broker_plane.wire.names import asker_inbox, parse_asker, parse_owner
from broker_plane.wire.nkey import account_of, account_seed
from broker_plane.wire.plane_names import Names

owners = typer.Typer(help="Manage owners: resource servers with their own bucket and keys.", no_args_is_help=True)
USERS = ("plane", "probe", "callout", "weather", "stats")
"""Users in nats.conf; the last two are the servers in docker-compose.yml."""


def env(
    path: Annotated[Path, typer.Argument(help="File to write (mode 0600); it must not exist.")] = Path(".env"),
    user: Annotated[list[str] | None, typer.Option(help="Additional user of nats.conf; repeatable.")] = None,
    json: Annotated[bool, Json] = False,
) -> None:
    """Write a file with new passwords and the callout key for nats.conf and docker-compose.yml.

    Example: broker-plane env .env --user crm
    """
    with failing():
        fields = variables_of([*USERS, *map(parse_owner, user or ())])
        _write_new(path, "".join(f"{name}={value}\n" for name, value in fields.items()))
    if json:
        say_json({"file": str(path), "variables": list(fields)})
    else:
        out.print(f"Wrote {path} (0600): {', '.join(fields)}")


def accounts(
    user: Annotated[str, typer.Option(help="Name of the user, which is also its name on subjects.")],
    server: Annotated[
        list[str] | None,
        typer.Option(help="MCP server that it may use, as in serve --nats; repeatable."),
    ] = None,
    json: Annotated[bool, Json] = False,
) -> None:
    """Print the entry of a user for nats.conf who may use these MCP servers and no others, and pull with grants.

    The entry belongs to the account GUEST. Comments say what else is to be set, for nats-server and for the client.

    Example: broker-plane accounts --user desk --server weather --server crm
    """
    with failing():
        name, servers = parse_asker(user), [parse_server(each) for each in server or ()]
        permissions = guest_permissions(Names(load_settings().prefix), name, servers)
    if json:
        say_json({"user": user, "variable": variable_of(user), **permissions})
    else:
        out.text(_entry(user, permissions))


_ENTRY = """\
# 1. In nats.conf, add this to the users of GUEST, on lines of its own, and {user} to auth_users.
{{
  user: {user}
  password: ${variable}
  permissions {{
    publish: {publish}
    subscribe: {subscribe}
  }}
}}
# 2. Set {variable} in the environment of nats-server, and restart it. A password begins with a letter.
# 3. Set in the environment of the client:
#    BROKER_PLANE_ROLE=guest
#    BROKER_PLANE_NATS_URL=nats://{user}:PASSWORD@HOST:4222
#    BROKER_PLANE_BRIDGE_URL=http://HOST:8787   (a bridge: large results are read over HTTP, and pulled over NATS)"""


def _entry(user: str, permissions: dict[str, list[str]]) -> str:
    """An entry of nats.conf between comments, so that all of it can be pasted."""
    lists = {name: dumps(subjects) for name, subjects in permissions.items()}
    return _ENTRY.format(user=user, variable=variable_of(user), **lists)


def guest_permissions(names: Names, user: str, servers: list[str]) -> dict[str, list[str]]:
    """What a user of GUEST publishes and subscribes to, to use these MCP servers and to pull their large results, each
    with its grant (docs/accounts.md)."""
    pulls = [f"{names.pull_subject('*')}.{user}", f"{names.confirm_subject('*')}.{user}"]
    return {
        "publish": [*(names.mcp_subject(server, ">") for server in servers), *pulls],
        "subscribe": [names.delivery_subject(user, ">"), f"{asker_inbox(user)}.>"],
    }


def variable_of(user: str) -> str:
    """The variable with the password of a user; nats-server reads those that start with `BP_`."""
    return f"BP_{user.replace('-', '_').upper()}_PASSWORD"


def parse_server(name: str) -> str:
    """The name of an MCP server on NATS.

    Raises:
        ConfigError: it has another form.
    """
    if not is_server_name(name):
        raise ConfigError(f"{name!r} is not the name of a server: use 1 to 64 characters of A-Z, a-z, 0-9, _ and -")
    return name


@owners.command("add")
def add(
    name: Annotated[
        str,
        typer.Argument(help="Name of the owner, as in nats.conf: $O.<prefix>_<name>.C.> and $KV.<prefix>_keys.<name>."),
    ],
    max_bytes: Annotated[int, size_or_unlimited("Space reserved for its bodies, such as 20GB.")] = UNLIMITED,
    json: Annotated[bool, Json] = False,
) -> None:
    """Create the bucket of an owner before it first connects; otherwise a bridge creates it then.

    Example: broker-plane owners add weather --max-bytes 20GB
    """

    async def work() -> None:
        owner = parse_owner(name)
        settings = load_settings()
        if not settings.nats_url:
            raise ConfigError("Set BROKER_PLANE_NATS_URL with the user plane; the embedded broker needs no owners")
        await add_owner(settings, owner, 0 if max_bytes == UNLIMITED else max_bytes)
        bucket = Names(settings.prefix).bucket(owner)
        if json:
            say_json({"owner": owner, "bucket": bucket})
        else:
            out.print(f"Created the bucket {bucket}.")

    run(work)


def variables_of(users: list[str]) -> dict[str, str]:
    """New variables for these users. nats-server reads those that start with `BP_`; the seed is only for bridges."""
    fields = {variable_of(user): new_password() for user in users}
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
        raise BrokerPlaneError(f"{path} already exists; remove it, or choose another file") from error
    with os.fdopen(handle, "w") as file:
        file.write(text)
