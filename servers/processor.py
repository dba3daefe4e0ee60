"""processor: pulls a file by its transfer descriptor, converts it, and returns the result as a body.

python -m servers.processor
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio.to_thread
from mcp.server.mcpserver.exceptions import ToolError
from PIL import Image, UnidentifiedImageError
from pypdf import PdfReader
from pypdf.errors import PyPdfError

from broker_plane import PlaneServer, parse_descriptor
from broker_plane.errors import BrokerPlaneError

OCR_SECONDS = 60
server = PlaneServer("processor")


@server.mcp.tool()
async def extract_text(descriptor: dict[str, Any]) -> dict[str, Any]:
    """Extract the text of a PDF or a text file as a body; the result has its size and where it is."""
    async with _fetched(descriptor) as path:
        pages = await anyio.to_thread.run_sync(_pages, path, str(descriptor.get("format", "")))
        return {"pages": len(pages)} | await _given("\n".join(pages).encode(), "text/plain")


@server.mcp.tool()
async def read_image(descriptor: dict[str, Any]) -> dict[str, Any]:
    """Read the text in an image with tesseract; if that is not installed, the result says so and has no text."""
    tesseract = shutil.which("tesseract")
    if tesseract is None:
        return {
            "read": False,
            "why": "tesseract is not installed here (on Debian: apt install tesseract-ocr), so its text is not read",
        }
    async with _fetched(descriptor) as path:
        done = await anyio.to_thread.run_sync(_recognized, tesseract, path)
        return {"read": True} | await _given(done, "text/plain")


@server.mcp.tool()
async def resize(descriptor: dict[str, Any], width: int) -> dict[str, Any]:
    """Scale an image to `width` pixels, in its proportions, as a PNG body."""
    if not 1 <= width <= 10_000:
        raise ToolError("width is a number of pixels from 1 to 10,000")
    async with _fetched(descriptor) as path:
        raw, size = await anyio.to_thread.run_sync(_resized, path, width)
        return {"width": size[0], "height": size[1]} | await _given(raw, "image/png")


@asynccontextmanager
async def _fetched(descriptor: dict[str, Any]) -> AsyncIterator[Path]:
    """Fetch the file of the descriptor, complete and verified; it is deleted after the block."""
    plane = await server.plane()
    with tempfile.TemporaryDirectory(prefix="broker-plane-") as directory:
        path = Path(directory) / "file"
        try:
            await plane.transfers.fetch_to(parse_descriptor(descriptor), path)
            yield path
        except BrokerPlaneError as error:
            raise ToolError(str(error)) from error
        except (PyPdfError, UnidentifiedImageError, OSError, UnicodeDecodeError) as error:
            raise ToolError(f"This file is not what its type says: {error}") from error


async def _given(data: bytes, media_type: str) -> dict[str, Any]:
    plane = await server.plane()
    published = await plane.publish(data, media_type=media_type, uses=1)
    return {"bytes": len(data), "descriptor": published.descriptor().to_wire()}


def _pages(path: Path, media_type: str) -> list[str]:
    if media_type == "application/pdf":
        return [page.extract_text() for page in PdfReader(path).pages]
    return [path.read_text("utf-8")]


def _recognized(tesseract: str, path: Path) -> bytes:
    done = subprocess.run([tesseract, path, "stdout"], capture_output=True, timeout=OCR_SECONDS, check=False)  # noqa: S603
    if done.returncode:
        raise OSError(f"tesseract ended with {done.returncode}")
    return done.stdout.strip()


def _resized(path: Path, width: int) -> tuple[bytes, tuple[int, int]]:
    with Image.open(path) as image, tempfile.SpooledTemporaryFile() as file:
        height = max(1, round(image.height * width / image.width))
        smaller = image.convert("RGB").resize((width, height))
        smaller.save(file, "PNG")
        file.seek(0)
        return file.read(), smaller.size


if __name__ == "__main__":
    server.run()
