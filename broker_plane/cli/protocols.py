"""The command protocols: the registry of protocol descriptions."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer

from broker_plane.cli.console import Json, err, note, out, run, say_json, when
from broker_plane.cli.protocol_files import agora_file, credential, json_file, named_values
from broker_plane.files.private import write_private
from broker_plane.registry.description import TIERS, Tier
from broker_plane.registry.registered import RegisteredProtocol
from broker_plane.runtime.plane import Plane
from broker_plane.wire.exact_json import dumps

protocols = typer.Typer(
    help="Publish, find and compose descriptions of protocols, signed by their owners.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Identity = Annotated[
    str,
    typer.Argument(
        metavar="ID", help="owner/name, owner/name@^1.2, the name of a built-in one, a digest, or an Agora hash."
    ),
]
TierOption = Annotated[str, typer.Option(help="high, mid or full: how detailed a text.")]


@protocols.command()
def publish(
    file: Annotated[str, typer.Argument(help="JSON file with a description, or with what get printed; - is stdin.")],
    agora: Annotated[bool, typer.Option("--agora", help="The file is a protocol document of Agora.")] = False,
    version: Annotated[str, typer.Option(help="With --agora: its version.")] = "1.0.0",
    source: Annotated[
        list[str] | None, typer.Option(help="With --agora: URL from which others get the document; repeatable.")
    ] = None,
    routine: Annotated[str, typer.Option(metavar="FILE", help="With --agora: Python file with its routine.")] = "",
    json: Annotated[bool, Json] = False,
) -> None:
    """Sign a description with this owner's key, and store it. Its id is BROKER_PLANE_OWNER, a slash and a name.

    Example: broker-plane protocols publish frames.json
    """

    async def work() -> None:
        if (source or routine) and not agora:
            raise typer.BadParameter("--source and --routine need --agora")
        fields: Any = {} if agora else json_file(file)
        if not isinstance(fields, dict):
            raise typer.BadParameter(f"{file} has no JSON object")
        async with Plane.connect() as plane:
            if agora:
                fields = agora_file(file, plane.settings.owner, version, source or (), routine)
            made = await plane.protocols.publish(fields)
        if json:
            say_json(made.summary())
        else:
            out.result(made.description.names_version, _about(made))

    run(work)


@protocols.command()
def get(
    protocol: Identity,
    tier: TierOption = "high",
    text: Annotated[bool, typer.Option("--text", help="Print only the text of the tier.")] = False,
    versions: Annotated[bool, typer.Option("--versions", help="List all versions instead.")] = False,
    json: Annotated[bool, Json] = False,
) -> None:
    """Print a description, after its digest and its owner's signature were verified. In a pipe it is JSON.

    Example: broker-plane protocols get tools/frames@^1.2 --text --tier full
    """

    async def work() -> None:
        async with Plane.connect() as plane:
            if versions:
                _say_versions(await plane.protocols.versions(protocol), json=json)
                return
            found = await plane.protocols.get(protocol)
        if text:
            out.text(found.description.text_of(_tier(tier)))
        elif json or not out.to_people:
            say_json(found.to_wire())
        else:
            out.lines(_about(found))
            out.print("")
            out.text(found.description.text_of(_tier(tier)))

    run(work)


@protocols.command()
def search(
    words: Annotated[list[str] | None, typer.Argument(help="What it is about, in any words.")] = None,
    tier: Annotated[str, typer.Option(help="Only with a text of this tier.")] = "",
    format: Annotated[str, typer.Option(help="Only of this media type, or a part such as csv.")] = "",
    auth: Annotated[str, typer.Option(help="Only for this kind of credential, such as bearer.")] = "",
    protocol: Annotated[str, typer.Option(help="Only over this protocol or URL scheme, such as https.")] = "",
    mode: Annotated[str, typer.Option(help="fetch, push, stream or collaborate.")] = "",
    owner: Annotated[str, typer.Option(help="Only of this owner.")] = "",
    tag: Annotated[str, typer.Option(help="Only with this tag.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=500, help="Maximum number of results.")] = 20,
    json: Annotated[bool, Json] = False,
) -> None:
    """Find descriptions by words and filters, best first.

    Example: broker-plane protocols search resume a large download --protocol https
    """

    async def work() -> None:
        filters = {"tier": tier, "format": format, "auth": auth, "protocol": protocol}
        filters |= {"mode": mode, "owner": owner, "tag": tag}
        async with Plane.connect() as plane:
            found = await plane.protocols.search(" ".join(words or []), limit=limit, **filters)
        if json:
            listed = [each.summary() | {"score": score} for each, score in found.protocols]
            say_json({"protocols": listed, "refused": list(found.refused)})
        else:
            _say_list([each for each, _ in found.protocols], "No description fits.")
            _say_refused(found.refused)

    run(work)


@protocols.command("list")
def list_protocols(
    owner: Annotated[str, typer.Argument(help="Only those of this owner.")] = "",
    json: Annotated[bool, Json] = False,
) -> None:
    """List the newest version of each description, the built-in ones included.

    Example: broker-plane protocols list tools
    """

    async def work() -> None:
        async with Plane.connect() as plane:
            found = await plane.protocols.list(owner)
        if json:
            say_json({"protocols": [each.summary() for each in found.protocols], "refused": list(found.refused)})
        else:
            _say_list(found.protocols, "There are no descriptions.")
            _say_refused(found.refused)

    run(work)


@protocols.command()
def unpublish(
    protocol: Annotated[str, typer.Argument(metavar="ID@VERSION", help="A version of your own.")],
    reason: Annotated[str, typer.Option(help="Why, for its readers.")] = "",
    json: Annotated[bool, Json] = False,
) -> None:
    """Yank a version: it stays readable under its exact version, with a mark, and is never the newest one.

    Example: broker-plane protocols unpublish tools/frames@1.2.0 --reason "loses the last frame"
    """

    async def work() -> None:
        identity, _, version = protocol.partition("@")
        if not version:
            raise typer.BadParameter(f"Name the version as well: {identity}@1.2.0")
        async with Plane.connect() as plane:
            entry = await plane.protocols.unpublish(identity, version, reason)
        if json:
            say_json({"id": identity, "version": entry.version, "digest": f"sha256:{entry.digest}", "yanked": True})
        else:
            out.print(f"Yanked {identity}@{entry.version}.")

    run(work)


@protocols.command()
def stats(
    protocol: Annotated[str, typer.Argument(metavar="ID", help="Only this one.")] = "",
    json: Annotated[bool, Json] = False,
) -> None:
    """Print how often each version was read and used, by all processes of the plane.

    Example: broker-plane protocols stats tools/frames --json
    """

    async def work() -> None:
        identity = protocol if "/" in protocol or not protocol else f"builtin/{protocol}"
        async with Plane.connect() as plane:
            found = await plane.protocols.stats(identity)
        if json:
            say_json(found)
            return
        rows = [
            (name, version, counts["gets"], counts["uses"])
            for name, versions in found["counts"].items()
            for version, counts in versions.items()
        ]
        if rows:
            out.table(("id", "version", "gets", "uses"), rows, box=False)
        else:
            note("Nothing was counted yet.")

    run(work)


@protocols.command("rotate-key")
def rotate_key(json: Annotated[bool, Json] = False) -> None:
    """Replace this owner's signing key. The old key signs the new one, so readers go on trusting the owner.

    Example: broker-plane protocols rotate-key
    """

    async def work() -> None:
        async with Plane.connect() as plane:
            key = await plane.protocols.rotate_key()
        if json:
            say_json({"owner": plane.settings.owner, "key": key})
        else:
            out.result(key, {"owner": plane.settings.owner, "key": key})

    run(work)


@protocols.command()
def compose(
    ids: Annotated[list[str], typer.Argument(metavar="ID...", help="The descriptions, as for get.")],
    endpoint: Annotated[
        str, typer.Option(help="URL: write a Level 2 descriptor for it. Default: the composed description.")
    ] = "",
    output: Annotated[str, typer.Option("-o", "--output", help="File to write. Default: standard output.")] = "",
    tier: TierOption = "high",
    auth: Annotated[
        str,
        typer.Option(metavar="KIND=FILE", help="Credential: bearer, header, query or hmac, and its file; - is stdin."),
    ] = "",
    parameter: Annotated[
        list[str] | None, typer.Option("--param", metavar="NAME=VALUE", help="Parameter, JSON or text; repeatable.")
    ] = None,
    host: Annotated[list[str] | None, typer.Option(help="Further host that code may reach; repeatable.")] = None,
    identity: Annotated[str, typer.Option("--id", help="Id of the composed description, to publish it.")] = "",
    version: Annotated[str, typer.Option(help="Its version.")] = "1.0.0",
    json: Annotated[bool, Json] = False,
) -> None:
    """Compose descriptions into one after a check that they fit together, or into a descriptor for an endpoint.

    Example: broker-plane protocols compose oauth2-bearer http-offset-paginated csv-download --endpoint
    https://api.example/orders --auth bearer=token.txt -o descriptor.json
    """

    async def work() -> None:
        wanted = _tier(tier)
        async with Plane.connect() as plane:
            if endpoint:
                made = await plane.protocols.descriptor(
                    *ids,
                    endpoint=endpoint,
                    tier=wanted,
                    auth=credential(auth),
                    parameters=named_values(parameter or []),
                    hosts=host or (),
                )
                fields = made.to_wire()
            else:
                fields = (await plane.protocols.compose(*ids, identity=identity, version=version)).fields()
        if not output:
            say_json(fields)
            return
        write_private(Path(output), dumps(fields) + b"\n")  # a descriptor may have a credential
        written = {"output": output, "protocol": fields.get("protocol"), "id": fields.get("id")}
        if json:
            say_json({name: value for name, value in written.items() if value})
        else:
            out.print(f"Wrote {output}.")

    run(work)


def _tier(text: str) -> Tier:
    if text not in TIERS:
        raise typer.BadParameter(f"--tier must be one of {', '.join(TIERS)}")
    return text


def _about(found: RegisteredProtocol) -> dict[str, Any]:
    about, entry = found.description, found.entry
    yanked = entry.yanked if entry else None
    return {
        "id": about.id,
        "version": about.version,
        "title": about.title,
        "summary": about.summary,
        "format": about.format,
        "tiers": ", ".join(about.tiers.named()),
        "digest": f"sha256:{found.digest}",
        "published": when(entry.published) if entry else "with this package",
        "signed by": found.owner_keys.key if found.owner_keys else None,
        "yanked": (yanked.reason or "yes") if yanked else None,
    }


def _say_list(found: Any, nothing: str) -> None:
    rows = [(each.description.id, each.description.version, each.description.title) for each in found]
    if rows:
        out.table(("id", "version", "title"), rows, box=False)
    else:
        note(nothing)


def _say_versions(found: Any, *, json: bool) -> None:
    if json:
        listed = [
            {
                "version": each.version,
                "digest": f"sha256:{each.digest}",
                "published": each.published,
                **({"yanked": each.yanked.reason or True} if each.yanked else {}),
            }
            for each in found.entries
        ]
        say_json({"versions": listed, "refused": list(found.refused)})
        return
    rows = [(e.version, when(e.published), (e.yanked.reason or "yanked") if e.yanked else "") for e in found.entries]
    out.table(("version", "published", "yanked"), rows, box=False)
    _say_refused(found.refused)


def _say_refused(refused: Any) -> None:
    with suppress(BrokenPipeError):
        for each in refused:
            err.print(f"broker-plane: refused: {each}")
