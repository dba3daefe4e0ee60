"""The ports of the levels: who writes code, where it is kept, and where each run is logged. Pure."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Literal, Protocol

from broker_plane.sandbox.ports import Door, Job, RungName, RunLimits, RunVerdict, Sink, Status
from broker_plane.wire.descriptor import Description, Descriptor

MAX_SOURCE_BYTES = 64 << 10
"""Longer code (UTF-8) is not accepted from a provider, and not run."""

Level = Literal["1", "1.5", "2"]
RunStatus = Status | Literal["wrong_output"]
"""How a run ended; `wrong_output`: the code came to its end, and its output is not what the descriptor describes."""


@dataclass(frozen=True, slots=True)
class Generated:
    """Code that a provider wrote; tokens as the service counted them, None if it does not say."""

    source: str
    input_tokens: int | None = None
    output_tokens: int | None = None


class Provider(Protocol):
    """Writes transfer code: ToMCP's LLMProvider."""

    name: str
    """Such as `anthropic`, `command:./write.py` or `scripted`; the log has it."""

    async def generate(self, prompt: str) -> Generated:
        """The Python code for a prompt.

        Raises:
            ProviderError: there is none; nothing was run.
        """


@dataclass(frozen=True, slots=True)
class RunFailure:
    """What the provider learns of the run that failed; `detail` has no secrets, and at most MAX_DETAIL_BYTES."""

    status: RunStatus
    detail: str
    source: str


Prompter = Callable[[Descriptor, Description, RunFailure | None], str]
"""The prompt for a descriptor, with the description of one tier, and the run that failed before it."""

DoorFactory = Callable[[Descriptor, RunLimits], Door]
"""The door for one run of code for a descriptor."""


class SandboxLadder(Protocol):
    """Runs code in the best sandbox of this machine: `sandbox.ladder.Ladder`."""

    async def check(self) -> None:
        """Return if this machine has a sandbox.

        Raises:
            SandboxUnavailableError: it has none; the message says what to install.
        """

    async def run(self, job: Job, door: Door, sink: Sink) -> RunVerdict:
        """Run the job as `Rung.run` does.

        Raises:
            SandboxUnavailableError: there is no sandbox; nothing was run. Any error of `sink`.
        """


@dataclass(frozen=True, slots=True)
class CodeCounts:
    """What happened to the code of one key, over all processes; kept when the code is dropped or replaced.

    A hit is a run that succeeded, a miss a transfer that found no code.
    """

    hits: int = 0
    misses: int = 0
    failures: int = 0
    failures_in_row: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeEntry:
    """Code in the cache, for one key (`keys.py`). Times are in unix seconds."""

    key: str
    protocol: str
    endpoint: str
    """Scheme, host and port; never a path or a credential."""
    source: str
    provider: str
    rung: RungName
    made_at: float
    counts: CodeCounts = CodeCounts()

    def same_code(self, other: CodeEntry | None) -> bool:
        """Whether the other entry was not made anew."""
        return other is not None and (self.source, self.made_at) == (other.source, other.made_at)


class CodeCache(Protocol):
    """Code by key, shared by all processes of a plane."""

    async def get(self, key: str) -> CodeEntry | None:
        """The entry; None if there is none or it was dropped."""

    def claimed(self, key: str) -> AbstractAsyncContextManager[bool]:
        """For the time of the block, be the one task of all processes that generates code for this key: True.

        If another one is, wait until it saved code, gave up or was killed, and enter the block with False: `get` again.
        """

    async def save(self, entry: CodeEntry) -> None:
        """Store the entry in place of the one with its key. A full store is logged and does not end the transfer."""

    async def missed(self, key: str) -> None:
        """Count a transfer that found no code."""

    async def succeeded(self, entry: CodeEntry) -> None:
        """Count a run of the entry that succeeded."""

    async def failed(self, entry: CodeEntry) -> None:
        """Count a run of the entry that failed; after too many in a row the entry is dropped."""

    async def forget(self, key: str) -> bool:
        """Drop the code and the counts of a key; returns whether there were any."""

    def entries(self) -> AsyncGenerator[CodeEntry, None]:
        """All entries, oldest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """One run of generated code, as the log keeps it. Digests are SHA-256 in hex; the output is not kept."""

    at: float
    transfer_id: str
    key: str
    level: Literal["1.5", "2"]
    protocol: str
    endpoint: str
    provider: str
    tier: str
    attempt: int
    source: str
    input_digest: str
    rung: RungName | None
    status: RunStatus
    detail: str
    output_bytes: int
    output_digest: str
    seconds: float
    input_tokens: int | None = None
    output_tokens: int | None = None


class RunLog(Protocol):
    """The log of runs."""

    async def note(self, record: RunRecord) -> None:
        """Append a record; an error of the store is logged and does not end the transfer."""

    def read(self) -> AsyncGenerator[RunRecord, None]:
        """The records, oldest first."""
