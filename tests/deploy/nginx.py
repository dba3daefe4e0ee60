"""nginx before a bridge, with the snippet of docs/bridge.md word for word."""

from __future__ import annotations

import asyncio
import os
import re
from asyncio.subprocess import DEVNULL, create_subprocess_exec
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

from tests.ports import free_port
from tests.tools import need

from .conftest import ROOT

START_SECONDS = 30
_CONFIG = """
daemon off;
{user}
worker_processes 1;
pid {root}/nginx.pid;
error_log {root}/error.log;
events {{ worker_connections 256; }}
http {{
  access_log off;
  client_body_temp_path {root}/body;
  proxy_temp_path {root}/proxy;
  fastcgi_temp_path {root}/fastcgi;
  uwsgi_temp_path {root}/uwsgi;
  scgi_temp_path {root}/scgi;
  upstream broker_plane {{ server {upstream}; }}
  server {{
    listen 127.0.0.1:{port};
    {more}
    {snippet}
  }}
}}
"""


def snippet() -> str:
    """The block that docs/bridge.md gives for nginx."""
    (found,) = re.findall(r"^```nginx\n(.*?)^```$", (ROOT / "docs/bridge.md").read_text(), re.MULTILINE | re.DOTALL)
    return str(found)


@asynccontextmanager
async def nginx_before(bridge_url: str, root: Path, more: str = "") -> AsyncIterator[str]:
    """nginx with `more` directives of the server, for the time of the block; yields its base URL."""
    binary, port = need("nginx"), free_port()
    config = root / "nginx.conf"
    user = "user root;" if os.geteuid() == 0 else ""  # workers of another user could not read the directory
    upstream = urlsplit(bridge_url).netloc
    config.write_text(_CONFIG.format(root=root, port=port, user=user, upstream=upstream, more=more, snippet=snippet()))
    process = await create_subprocess_exec(
        binary, "-p", root, "-c", config, stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL
    )
    try:
        async with asyncio.timeout(START_SECONDS):
            while not await _listens(port):
                assert process.returncode is None, (root / "error.log").read_text()
        yield f"http://127.0.0.1:{port}"
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        await asyncio.sleep(0.01)
        return False
    writer.close()
    return True
