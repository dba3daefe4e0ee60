"""The media type of an upload comes from the file's extension, in the API as on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from anyio.to_thread import run_sync
from typer.testing import CliRunner

from broker_plane import Plane
from broker_plane.cli.main import app_of

pytestmark = pytest.mark.anyio
TYPES = {
    "report.pdf": "application/pdf",
    "a photo.PNG": "image/png",
    "table.csv": "text/csv",
    "table.csv.gz": "application/gzip",
    "10:30.json": "application/json",
    "no extension": "application/octet-stream",
    "x.unheard-of": "application/octet-stream",
}


async def type_of(plane: Plane, body_id: str) -> str:
    return next(body.media_type for body in await plane.bodies.list() if body.id == body_id)


@pytest.mark.parametrize("name", TYPES)
async def test_a_file_has_the_type_of_its_extension(plane: Plane, tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    file.write_bytes(b"content")
    done = await plane.upload((await plane.uploads.grant()).upload_url, file)
    assert await type_of(plane, done.body_id) == TYPES[name]
    url = (await plane.uploads.grant()).upload_url
    env = {"BROKER_PLANE_NATS_URL": plane.settings.nats_url, "BROKER_PLANE_BRIDGE_URL": plane.bridge_url}
    said = await run_sync(lambda: CliRunner().invoke(app_of("upload"), ["upload", str(file), url, "--json"], env=env))
    assert await type_of(plane, json.loads(said.stdout)["body_id"]) == TYPES[name]


async def test_bytes_have_the_type_of_their_name_and_a_given_type_wins(plane: Plane, tmp_path: Path) -> None:
    named = await plane.upload((await plane.uploads.grant()).upload_url, b"content", name="report.pdf")
    assert await type_of(plane, named.body_id) == "application/pdf"
    file = tmp_path / "report.pdf"
    file.write_bytes(b"content")
    given = await plane.upload((await plane.uploads.grant()).upload_url, file, name="x.txt", media_type="image/gif")
    assert await type_of(plane, given.body_id) == "image/gif"
    renamed = await plane.upload((await plane.uploads.grant()).upload_url, file, name="x.txt")
    assert await type_of(plane, renamed.body_id) == "application/pdf"
    assert await type_of(plane, (await plane.upload((await plane.uploads.grant()).upload_url, b"x")).body_id) == (
        "application/octet-stream"
    )
