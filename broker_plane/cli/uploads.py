"""The commands about uploads: upload-grant and upload."""

from __future__ import annotations

import mimetypes
from pathlib import Path
from typing import Annotated

import typer

from broker_plane.cli.flags import size, time, whole_time
from broker_plane.cli.say import Json, bar, out, run, say_json, when
from broker_plane.runtime.arguments import uses_of_wire
from broker_plane.runtime.plane import Plane


def upload_grant(
    ttl: Annotated[int | None, whole_time("How long the body lives, from now on, as 600, 10m or 2h (10m).")] = None,
    within: Annotated[float | None, time("In what time the upload must be complete, as 10m.")] = None,
    uses: Annotated[int | None, typer.Option(help="Deliveries of the body's grant; 0 is unlimited (1).", min=0)] = None,
    most: Annotated[int | None, size("The most bytes that it may have, as 500 or 10MB.", "--bytes")] = None,
    formats: Annotated[str, typer.Option(help="Media types that it may have, as a comma list.")] = "",
    digest: Annotated[str, typer.Option(help="The SHA-256 that it must have, as sha256:<hex>.")] = "",
    audience: Annotated[str, typer.Option(help="The one name that may upload.")] = "",
    json: Annotated[bool, Json] = False,
) -> None:
    """Print a URL to which somebody may upload one body: `broker-plane upload FILE URL`, `curl -T FILE URL`, tus.

    In a pipe it is all that is on standard output: broker-plane upload report.pdf $(broker-plane upload-grant)
    """

    async def work() -> None:
        async with Plane.connect() as plane:
            made = await plane.uploads.grant(
                ttl=ttl,
                uses=uses_of_wire(uses),
                complete_within=within,
                max_bytes=most,
                formats=[part.strip() for part in formats.split(",") if part.strip()] or None,
                digest=digest,
                audience=audience,
            )
        if json:
            say_json({"upload_url": made.upload_url, "body_id": made.body_id, "expires": made.expires})
            return
        about = {"body": made.body_id, "expires": when(made.expires), "upload_url": made.upload_url}
        out.result(made.upload_url, about)

    run(work)


def upload(
    file: Annotated[Path, typer.Argument(help="The file.", exists=True, dir_okay=False)],
    url: Annotated[str, typer.Argument(help="As upload-grant printed it.")],
    media_type: Annotated[str, typer.Option("--type", help="Its media type; default: by the file's ending.")] = "",
    name: Annotated[str, typer.Option(help="File name for those who pull it.")] = "",
    json: Annotated[bool, Json] = False,
) -> None:
    """Upload a file, and print a grant for the body that it is then. After a break, the same command goes on."""

    async def work() -> None:
        kind = media_type or mimetypes.guess_type(file.name)[0] or ""
        async with Plane.connect() as plane:
            with bar(f"upload {file.name}", quiet=json, unit="bytes") as progress:
                done = await plane.upload(url, file, name=name, media_type=kind, progress=progress)
        if json:
            say_json(
                {
                    "body_id": done.body_id,
                    "resource_url": done.resource_url,
                    "size": done.size,
                    "digest": f"sha256:{done.digest}",
                    "sent": done.sent,
                }
            )
            return
        about = {"body": done.body_id, "size": f"{done.size:,} bytes", "resource_url": done.resource_url}
        out.result(done.resource_url, about)

    run(work, at=url)
