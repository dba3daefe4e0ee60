"""Runs attacks against rungs and prints how each ended: `python -m tests.sandbox.attacks.battery RUNG… [--all]`.

Every attack has a host process of its own, which is bounded from outside: an attack that ends or stops its host has
succeeded, and hurts no other one. One line of JSON an attack: rung, name, kind, outcome, verdict, evidence, seconds.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import json
import os
import resource
import select
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from contextlib import suppress
from secrets import token_hex
from typing import Any

from broker_plane.sandbox.ladder import default_rungs
from broker_plane.sandbox.ports import Job, Rung
from tests.sandbox.attacks.attack import Attack
from tests.sandbox.attacks.door import DOOR
from tests.sandbox.attacks.files import FILES
from tests.sandbox.attacks.interpreter import INTERPRETER
from tests.sandbox.attacks.kernel import KERNEL
from tests.sandbox.attacks.network import NETWORK
from tests.sandbox.attacks.processes import PROCESSES
from tests.sandbox.attacks.protocol import PROTOCOL
from tests.sandbox.attacks.resources import RESOURCES
from tests.sandbox.attacks.secrets import SECRETS
from tests.sandbox.attacks.stage import Stage

ATTACKS = [*FILES, *SECRETS, *NETWORK, *PROCESSES, *KERNEL, *RESOURCES, *INTERPRETER, *PROTOCOL, *DOOR]

CONTROL = Attack("interpreter", "control", "emit(b'GOT what is allowed')")
"""Does what it may. A table in which it is stopped says nothing."""

IN_CI = {
    "files": "read a file of the user",
    "secrets": "environment and arguments of every process",
    "network": "MPTCP",
    "processes": "fork bomb",
    "kernel": "io_uring",
    "resources": "memory bomb",
    "interpreter": "subclasses of object",
    "protocol": "a length of 4 GiB",
    "door": "a name that changes its address",
}
"""One attack a class, for every run of the tests; the others with -m full."""

_GRACE_SECONDS = 6.0
"""What a run may take beyond its limit on a busy machine."""

_HOST_SECONDS = 40.0
_HOST_GROWTH_BYTES = 256 << 20
_PR_SET_CHILD_SUBREAPER = 36


def rung_of(name: str) -> Rung:
    """The rung of this name, or the one that confines nothing."""
    if name == "none":
        from tests.sandbox.attacks.unconfined import UnconfinedRung

        return UnconfinedRung()
    return next(rung for rung in default_rungs() if rung.name == name)


def attacked(rung: Rung, attack: Attack) -> dict[str, Any]:
    """Let the attack loose on the rung, in a host process of its own."""
    reading, writing = os.pipe()
    started = time.monotonic()
    host = os.fork()
    if host == 0:
        os.close(reading)
        try:
            os.setsid()
            _be_host(rung, attack, writing)
        except BaseException:  # noqa: BLE001  # a fork must not go on as the battery
            traceback.print_exc()
        os._exit(9)
    os.close(writing)
    said, ended = _read(reading, host)
    found: dict[str, Any] = {"name": attack.name, "kind": attack.kind, "seconds": round(time.monotonic() - started, 2)}
    if not said:
        return found | {"outcome": "succeeded", "verdict": "", "evidence": [f"the host {ended}"]}
    return {**found, **json.loads(said)}


def _read(reading: int, host: int) -> tuple[bytes, str]:
    """What the host says, and how it ended; it is killed after its time."""
    said, deadline = b"", time.monotonic() + _HOST_SECONDS
    with os.fdopen(reading, "rb", buffering=0) as pipe:
        while (left := deadline - time.monotonic()) > 0 and select.select([pipe], [], [], left)[0]:
            piece = pipe.read(65536)
            if not piece:
                break
            said += piece
    hung = left <= 0
    with suppress(ProcessLookupError):
        os.killpg(host, signal.SIGKILL)
    _, status = os.waitpid(host, 0)
    return said, "did not answer any more" if hung else f"ended with status {status}"


def _be_host(rung: Rung, attack: Attack, writing: int) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # whoever is left becomes our child
    stage = Stage(f"bp{token_hex(8)}")
    stage.watch()
    try:
        found = asyncio.run(_run(rung, attack, stage))
    finally:
        stage.leave()
    os.write(writing, json.dumps(found).encode())
    os.close(writing)
    os._exit(0)


async def _run(rung: Rung, attack: Attack, stage: Stage) -> dict[str, Any]:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    job = Job(source=attack.source, inputs={"TARGET": stage.target()}, limits=attack.limits)
    started = time.monotonic()
    door = stage.endpoint.door(attack.limits, stage.secret)
    verdict = await rung.run(job, door, stage)
    await door.aclose()
    took = time.monotonic() - started
    await asyncio.sleep(0.1)  # for what is still on its way over loopback
    evidence = stage.evidence()
    if took > attack.limits.seconds + _GRACE_SECONDS:
        evidence.append(f"it ran for {took:.1f} s")
    if (grown := (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << 10) > _HOST_GROWTH_BYTES:
        evidence.append(f"the host grew by {grown >> 20} MiB")
    if len(stage.emitted) > attack.limits.output_bytes:
        evidence.append(f"{len(stage.emitted)} bytes came out")
    if left := stage.processes_left():
        evidence.append(f"{left} processes were left")
    outcome = "succeeded" if evidence else "not writable" if verdict.status == "unsupported" else "stopped"
    return {"outcome": outcome, "verdict": verdict.status, "evidence": evidence, "detail": verdict.detail[-200:]}


def main(arguments: Sequence[str]) -> None:
    """Run the attacks and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rungs", nargs="+")
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--only", help="names that contain this text")
    options = parser.parse_args(arguments)
    for name in options.rungs:
        rung = rung_of(name)
        if why := rung.unavailable():
            print(json.dumps({"rung": name, "unavailable": why}))
            continue
        for attack in [CONTROL, *ATTACKS]:
            chosen = options.all or attack is CONTROL or IN_CI[attack.kind] == attack.name
            if options.only is not None:
                chosen = options.only in attack.name
            unfit = (attack.processes_only and name == "monty") or (name == "none" and not attack.harmless)
            if chosen and not unfit:
                print(json.dumps({"rung": name, **attacked(rung, attack)}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
