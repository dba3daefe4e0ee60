"""Programs that read little of their input, or write much: on the event loop of Python and on that of the commands."""

from __future__ import annotations

import asyncio
import gc
import shlex
import sys
import warnings
from collections.abc import Callable
from contextlib import suppress

import pytest

from broker_plane.errors import ProviderError
from broker_plane.levels.providers.command import CommandProvider
from broker_plane.validators.command import command_refusal

uvloop = pytest.importorskip("uvloop")
LOOPS = (asyncio.new_event_loop, uvloop.new_event_loop)
UNREAD = 200_000
"""More bytes than a pipe holds."""

LOUD = "import sys, time; sys.stdout.write('x' * 300_000); sys.stdout.flush(); time.sleep(60)"

pytestmark = pytest.mark.parametrize("loop", LOOPS, ids=["asyncio", "uvloop"])
Loop = Callable[[], asyncio.AbstractEventLoop]


def test_a_validator_that_reads_nothing_still_decides(loop: Loop) -> None:
    async def refusals() -> set[str]:
        return {await command_refusal(["false"], b"x" * UNREAD, 60) for _ in range(20)}

    with asyncio.Runner(loop_factory=loop) as runner:
        assert runner.run(refusals()) == {"it exited with 1"}


def test_a_provider_that_reads_nothing_fails_by_its_exit_code(loop: Loop) -> None:
    async def errors() -> set[str]:
        said = set()
        for _ in range(20):
            with pytest.raises(ProviderError) as raised:
                await CommandProvider("false", seconds=60).generate("x" * UNREAD)
            said.add(str(raised.value))
        return said

    with asyncio.Runner(loop_factory=loop) as runner:
        assert runner.run(errors()) == {"command:false exited with 1: it said nothing"}


def test_a_program_that_is_ended_leaves_no_pipe_open(loop: Loop) -> None:
    async def end_both() -> None:
        with suppress(TimeoutError):
            await command_refusal([sys.executable, "-c", LOUD], b"", 1)
        with suppress(ProviderError):
            await CommandProvider(shlex.join([sys.executable, "-c", LOUD]), seconds=1).generate("")

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with asyncio.Runner(loop_factory=loop) as runner:
            runner.run(end_both())
        gc.collect()
    assert [str(each.message) for each in caught if issubclass(each.category, ResourceWarning)] == []
