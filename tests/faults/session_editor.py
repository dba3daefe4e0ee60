"""A process that hosts one session and edits it: `… -m tests.faults.session_editor <session> <name> <count> <sync>`.

It says a JSON line for each edit that was acknowledged, and waits for a line of input at the end. An edit whose outcome
is unknown is not repeated.
"""

from __future__ import annotations

import asyncio
import json
import sys
from base64 import b64encode
from typing import Any

import anyio.to_thread
from pycrdt import Doc, Text

from broker_plane.config import load_settings
from broker_plane.errors import BrokerUnavailableError, SessionError
from broker_plane.plane.sessions.host import SessionHost
from broker_plane.plane.sessions.live import LiveSession
from broker_plane.runtime.session_hosting import session_host
from broker_plane.runtime.wiring import wire
from broker_plane.sessions.canonical import sha256
from broker_plane.sessions.participants import Participant

_PAUSE_SECONDS = 0.02


def say(**fields: Any) -> None:
    print(json.dumps(fields), flush=True)


async def edit(host: SessionHost, session: str, who: Participant, token: str) -> int:
    """Insert `token` at the start, and return the revision."""
    async with host.open(session) as live:
        if live.state.sync == "ot":
            change: Any = [token]
            base: dict[str, Any] = {"base": live.revision}
        else:
            change, base = await yjs_update(live, token), {}
        answer = await live.ask({"do": "update", "change": change, **base}, who)
    return int(answer["revision"])


async def yjs_update(live: LiveSession, token: str) -> str:
    doc: Doc[Any] = Doc()
    updates: list[bytes] = []
    async with live.settled() as folded:
        doc.apply_update(folded.replica.pack())
    kept = doc.observe(lambda event: updates.append(event.update))
    doc.get("artifact", type=Text).insert(0, token)
    doc.unobserve(kept)
    return b64encode(updates[0]).decode()


async def main(session: str, name: str, count: str) -> None:
    settings = load_settings()
    wiring = await wire(settings.nats_url, settings)
    host = session_host(wiring, settings, "http://127.0.0.1:1")
    who = Participant(f"{name}-aaaaaa", name, "editor")
    for number in range(int(count)):
        token = f"{name}{number} "
        while True:
            try:
                say(revision=await edit(host, session, who, token), token=token)
                break
            except BrokerUnavailableError:
                say(unknown=token)
                await asyncio.sleep(_PAUSE_SECONDS)
                break
            except SessionError as error:
                say(refused=token, code=error.code)
                break
    await anyio.to_thread.run_sync(sys.stdin.readline)
    async with host.open(session) as live, live.settled() as folded:
        say(revision=folded.state.revision, sha256=sha256("text", folded.value))
    await host.close()
    await wiring.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
