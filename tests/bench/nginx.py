"""nginx, as Debian packs it: fetched once, unpacked into a directory, and run there by this user on a free port.

The package is not installed: that would start a server on port 80, and needs root.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
from asyncio.subprocess import DEVNULL, create_subprocess_exec
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import platformdirs

from tests.bench.peer_env import PeerUnreachableError

APT_SECONDS = 120
START_SECONDS = 10
_CONFIG = """
daemon off;
{user}
worker_processes auto;
pid {root}/nginx.pid;
error_log stderr;
events {{ worker_connections 2048; }}
http {{
  access_log off;
  sendfile on;
  tcp_nopush on;
  default_type application/octet-stream;
  client_body_temp_path {root}/body;
  proxy_temp_path {root}/proxy;
  fastcgi_temp_path {root}/fastcgi;
  uwsgi_temp_path {root}/uwsgi;
  scgi_temp_path {root}/scgi;
  server {{ listen 127.0.0.1:{port}; root {root}/www; }}
}}
"""


def nginx_binary() -> Path:
    """nginx of this machine, else that of the Debian package, kept in the user's cache.

    Raises:
        PeerUnreachableError: there is no apt-get here, or the package archive cannot be reached.
    """
    there = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if there:
        return Path(there)
    kept = Path(platformdirs.user_cache_dir("broker-plane")) / "bench" / "nginx"
    binary = kept / "usr" / "sbin" / "nginx"
    if not binary.exists():
        kept.mkdir(parents=True, exist_ok=True)
        _run("apt-get", "download", "nginx", directory=kept)
        (package,) = kept.glob("nginx_*.deb")
        _run("dpkg", "-x", package, kept, directory=kept)
    return binary


def _run(*command: str | Path, directory: Path) -> None:
    try:
        done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=APT_SECONDS)
    except (FileNotFoundError, subprocess.TimeoutExpired) as error:
        raise PeerUnreachableError(f"{command[0]}: {error}") from error
    if done.returncode != 0:
        raise PeerUnreachableError(f"{' '.join(map(str, command))}: {done.stderr[-500:]}")


@asynccontextmanager
async def nginx(root: Path) -> AsyncIterator[str]:
    """A server of the files in `root`/www, for the time of the block; yields its base URL."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config = root / "nginx.conf"
    # Workers of root's server would be nobody, who may not read this directory.
    config.write_text(_CONFIG.format(root=root, port=port, user="user root;" if os.geteuid() == 0 else ""))
    binary = await asyncio.to_thread(nginx_binary)
    process = await create_subprocess_exec(binary, "-p", root, "-c", config, stdin=DEVNULL, stdout=DEVNULL)
    try:
        async with asyncio.timeout(START_SECONDS):
            while not await _listens(port):
                if process.returncode is not None:
                    raise RuntimeError(f"nginx ended with code {process.returncode}; what it said stands above")
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
