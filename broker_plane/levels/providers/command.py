"""A program as a provider: it reads the prompt on standard input and writes its answer to standard output."""

from __future__ import annotations

import asyncio
import shlex
from asyncio.subprocess import PIPE, Process
from contextlib import aclosing, suppress
from pathlib import PurePath
from typing import Final

from broker_plane.errors import ConfigError, ProviderError
from broker_plane.levels.ports import Generated
from broker_plane.levels.providers.code_text import code_of
from broker_plane.validators.programs import PIECE_BYTES, end_program, ended, feed, pieces

MAX_ANSWER_BYTES: Final = 1 << 20
_MAX_SAID: Final = 500


class CommandProvider:
    """Runs `command`, which is split as a shell does, without a shell; it may take `seconds`.

    The program has this process's environment. It is killed, with everything that it started, after its time and when
    the call is cancelled.

    Raises:
        ConfigError: there is no program in `command`.
    """

    def __init__(self, command: str, *, seconds: float = 120.0) -> None:
        try:
            self._words = shlex.split(command)
        except ValueError as error:
            raise ConfigError(f"The provider command cannot be read: {error}") from error
        if not self._words:
            raise ConfigError("A command provider needs a program: command:PROGRAM [ARGUMENTS]")
        self._seconds = seconds
        # Arguments may have keys in them, and the name goes to the log.
        self.name = f"command:{PurePath(self._words[0]).name}"

    async def generate(self, prompt: str) -> Generated:
        """As `Provider.generate`."""
        try:
            process = await asyncio.create_subprocess_exec(
                *self._words, stdin=PIPE, stdout=PIPE, stderr=PIPE, start_new_session=True
            )
        except OSError as error:
            raise ProviderError(f"{self.name} cannot be started: {error.strerror}. Check its path") from error
        try:
            async with asyncio.timeout(self._seconds):
                answer, said, _ = await asyncio.gather(_answer(process), _last(process), feed(process, prompt.encode()))
                await ended(process)
        except TimeoutError:
            raise ProviderError(f"{self.name} took longer than {self._seconds:g} s, and was ended") from None
        finally:
            await asyncio.shield(end_program(process))
        return self._generated(process, answer, said)

    def _generated(self, process: Process, answer: bytes, said: bytes) -> Generated:
        if len(answer) > MAX_ANSWER_BYTES:
            raise ProviderError(f"{self.name} wrote more than {MAX_ANSWER_BYTES} bytes, and was ended")
        if process.returncode:
            words = " ".join(said.decode(errors="replace").split())[-_MAX_SAID:]
            raise ProviderError(f"{self.name} exited with {process.returncode}: {words or 'it said nothing'}")
        try:
            return Generated(code_of(answer.decode()))
        except UnicodeDecodeError:
            raise ProviderError(f"{self.name} wrote something that is not UTF-8") from None


async def _answer(process: Process) -> bytes:
    """What it writes to its standard output, up to a little more than it may write; then it is killed."""
    answer = b""
    async with aclosing(pieces(process, process.stdout)) as output:
        async for piece in output:
            answer += piece
            if len(answer) > MAX_ANSWER_BYTES:
                with suppress(ProcessLookupError):
                    process.kill()
                break
    return answer


async def _last(process: Process) -> bytes:
    """The end of what it writes to its standard error."""
    said = b""
    async with aclosing(pieces(process, process.stderr)) as output:
        async for piece in output:
            said = (said + piece)[-PIECE_BYTES:]
    return said
