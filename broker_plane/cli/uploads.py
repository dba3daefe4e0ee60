"""The commands upload-grant and upload."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from broker_plane.cli.console import Json, bar, out, run, say_json, when
from broker_plane.cli.option_types import size, time, uses, whole_time
from broker_plane.runtime.arguments import uses_of_wire
from broker_plane.runtime.plane import Plane


def upload_grant(
    ttl: Annotated[int | None, whole_time("Lifetime of the body from now on, such as 600, 10m or 2h.")] = None,
    complete_within: Annotated[float | None, time("Time limit for the upload, such as 10m.")] = None,
    uses: Annotated[Any, uses("Completed deliveries of the grant for the body.")] = None,
    max_bytes: Annotated[int | None, size("Maximum size of the upload, such as 500 or 10MB.")] = None,
    formats: Annotated[str, typer.Option(help="Permitted media types (comma-separated).")] = "",
    digest: Annotated[str, typer.Option(help="Required SHA-256 of the upload, as sha256:<hex>.")] = "",
    audience: Annotated[str, typer.Option(help="Name of the only client that may upload.")] = "",
    json: Annotated[bool, Json] = False,
) -> None:
    """Print a presigned URL to which its holder may upload one body, with `broker-plane upload`, `curl -T` or tus.

    In a pipe, only the URL is printed.

    Example: broker-plane upload report.pdf $(broker-plane upload-grant --max-bytes 10MB)
    """

    async def work() -> None:
        async with Plane.connect() as plane:
            made = await plane.uploads.grant(
                ttl=ttl,
                uses=uses_of_wire(uses),
                complete_within=complete_within,
                max_bytes=max_bytes,
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
    file: Annotated[Path, typer.Argument(help="File to upload.", exists=True, dir_okay=False)],
    url: Annotated[str, typer.Argument(help="URL printed by upload-grant.")],
    media_type: Annotated[str, typer.Option(help="Media type. Default: from the file's extension.")] = "",
    name: Annotated[str, typer.Option(help="File name shown to clients.")] = "",
    json: Annotated[bool, Json] = False,
) -> None:
    """Upload a file and print a grant for the new body. Run the same command again to resume an interrupted upload.

    Example: broker-plane upload report.pdf http://127.0.0.1:8787/s2sp/upload/<grant>
    """

    async def work() -> None:
        async with Plane.connect() as plane:
            with bar(f"upload {file.name}", quiet=json, unit="bytes") as progress:
                done = await plane.upload(url, file, name=name, media_type=media_type, progress=progress)
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
