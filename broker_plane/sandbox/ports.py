"""The ports of the sandbox: a rung runs a job; a door carries out what the code asks of its host. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

HOST_API = 1
"""The version of the functions that code may call. A change of what one of them takes, returns or raises raises it,
and code that was generated for another version is not used."""

MAX_DETAIL_BYTES = 2048
"""Maximum number of bytes of a verdict's detail (UTF-8)."""

Status = Literal["ok", "failed", "unsupported", "refused", "limit"]
RungName = Literal["monty", "sandlock", "bwrap"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunLimits:
    """What one run may use. Sizes are in bytes; `seconds` is wall-clock time, also of sleeping and waiting."""

    seconds: float = 30.0
    memory_bytes: int = 256 << 20
    output_bytes: int = 64 << 20
    printed_bytes: int = 64 << 10
    requests: int = 10_000
    """Calls of `fetch`, `open_url`, `connect` and `send`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Code and its input. `inputs` are names that the code finds defined: values of JSON, with `bytes` besides."""

    source: str
    inputs: Mapping[str, Any] = field(default_factory=dict)
    limits: RunLimits = RunLimits()


@dataclass(frozen=True, slots=True, kw_only=True)
class RunVerdict:
    """How a run ended.

    `ok`: it came to its end. `failed`: it raised. `unsupported`: this rung cannot run it (a syntax or a module that the
    interpreter lacks) and it emitted nothing. `refused`: it asked for something that it may not do. `limit`: it
    exceeded a limit. `detail` is what it raised or printed, at most MAX_DETAIL_BYTES and without secrets.
    """

    status: Status
    detail: str = ""
    rung: RungName
    seconds: float = 0.0
    emitted_bytes: int = 0


class Sink(Protocol):
    """Takes what the code emits."""

    async def write(self, piece: bytes) -> None:
        """Take the next bytes. An error that it raises ends the run, and `Rung.run` raises it."""


@dataclass(frozen=True, slots=True)
class DoorResponse:
    """A response. Header names are in lower case; repeated ones are joined by `, `."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Door(Protocol):
    """Carries out, in the host's process, what code asks for. It adds the credentials, which the code never sees.

    Raises:
        DoorRefusedError: the code may not do this. DoorFailedError: the other side failed. Both go to the code as an
        exception with their message, and the code may handle them.
    """

    async def fetch(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> DoorResponse:
        """One HTTP request and its whole response; redirects are not followed."""

    async def open(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, int, dict[str, str]]:
        """(handle, status, headers) of a response that is read by `receive`, such as an event stream."""

    async def connect(self, host: str, port: int, tls: bool) -> int:
        """The handle of a TCP connection."""

    async def send(self, handle: int, data: bytes) -> None:
        """Send all of `data` over a connection."""

    async def receive(self, handle: int, at_most: int) -> bytes:
        """The next 1 to `at_most` bytes; empty at the end."""

    async def close(self, handle: int) -> None:
        """Close a connection or a response; a handle that is closed already is left alone."""

    def hmac_sha256(self, message: bytes) -> bytes:
        """HMAC-SHA256 (32 bytes) of `message` with the descriptor's secret, which must be of the kind hmac."""

    async def aclose(self) -> None:
        """Close everything that is open. The one who made the door calls it."""


class DoorRefusedError(Exception):
    """The code may not reach this, or may not reach it in this way."""


class DoorFailedError(Exception):
    """What the code asked for was allowed, and failed."""


class Rung(Protocol):
    """One way to confine code."""

    name: RungName

    def unavailable(self) -> str:
        """Why this machine does not have it, and what to install; empty if it has."""

    async def run(self, job: Job, door: Door, sink: Sink) -> RunVerdict:
        """Run the job until it ends or exceeds a limit. No process or file of it is left, also after a cancellation.

        Raises:
            SandboxUnavailableError: it cannot run here. Errors of `sink` are not caught.
        """
