"""Providers without a network: programs, functions and scripts; and the code in an answer."""

from __future__ import annotations

import asyncio
import shlex
import sys
from pathlib import Path

import pytest

from broker_plane.errors import ConfigError, ProviderError
from broker_plane.levels.ports import Generated, Provider
from broker_plane.levels.providers.code_text import code_of
from broker_plane.levels.providers.command import CommandProvider
from broker_plane.levels.providers.function import FunctionProvider
from broker_plane.levels.providers.scripted import ScriptedProvider
from broker_plane.testing.processes import until

pytestmark = pytest.mark.anyio
CODE = "emit(fetch(ENDPOINT)['body'])\n"


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (CODE, CODE),
        (CODE.strip(), CODE),
        (f"Here it is:\n\n```python\n{CODE}```\nGood luck!", CODE),
        (f"```\n{CODE}```", CODE),
        (f"~~~py\n{CODE}~~~", CODE),
        (f"```python\n{CODE}", CODE),
        (f"```sh\n{'x' * 99}\n```\n```Python\n{CODE}```", CODE),
        (f"```python\nx = 1\n```\nor better\n```python\n{CODE}```", CODE),
        (f"````python\ns = '''\n```\n'''\n{CODE}````", f"s = '''\n```\n'''\n{CODE}"),
        (f"  ```python\n{CODE}  ```", CODE),
        ("a `b` c = 1\n", "a `b` c = 1\n"),
    ],
)
def test_code_is_taken_out_of_its_block(answer: str, code: str) -> None:
    assert code_of(answer) == code


@pytest.mark.parametrize("answer", ["", "  \n", "```python\n\n```", "x" * (65 << 10)])
def test_an_answer_without_code_is_an_error(answer: str) -> None:
    with pytest.raises(ProviderError):
        code_of(answer)


async def test_a_scripted_provider_says_so_and_gives_its_answers_in_order() -> None:
    provider: Provider = ScriptedProvider(["a = 1", "```\nb = 2\n```"])
    assert provider.name == "scripted"
    assert [(await provider.generate(each)).source for each in ("first", "second")] == ["a = 1\n", "b = 2\n"]
    assert isinstance(provider, ScriptedProvider) and provider.prompts == ["first", "second"]
    with pytest.raises(ProviderError, match="all were used"):
        await provider.generate("third")


async def test_a_function_of_one_s_own_returns_an_answer_or_counts_tokens() -> None:
    async def plain(prompt: str) -> str:
        return f"```python\n# {prompt}\n```"

    async def counting(prompt: str) -> Generated:
        return Generated(CODE, 10, 20)

    async def failing(prompt: str) -> str:
        raise RuntimeError("key sk-canary is wrong")

    async def wrong(prompt: str) -> str:
        return None  # type: ignore[return-value]

    provider: Provider = FunctionProvider(plain)
    assert provider.name.startswith("function:") and provider.name.endswith("plain")
    assert (await provider.generate("hello")).source == "# hello\n"
    assert await FunctionProvider(counting).generate("") == Generated(CODE, 10, 20)
    with pytest.raises(ProviderError, match="RuntimeError") as raised:
        await FunctionProvider(failing).generate("")
    assert "canary" not in str(raised.value)
    with pytest.raises(ProviderError, match="NoneType"):
        await FunctionProvider(wrong).generate("")


def program(tmp_path: Path, source: str, *arguments: str) -> str:
    """The command that runs `source` with Python."""
    file = tmp_path / "write code.py"
    file.write_text(f"import os, subprocess, sys, time\n{source}")
    return shlex.join([sys.executable, str(file), *arguments])


async def test_a_program_reads_the_prompt_and_writes_the_answer(tmp_path: Path) -> None:
    source = "print('```python'); print('#', sys.argv[1], len(sys.stdin.read())); print('```')"
    provider: Provider = CommandProvider(program(tmp_path, source, "an argument"))
    assert provider.name == f"command:{Path(sys.executable).name}"
    assert (await provider.generate("ä" * 300_000)).source == "# an argument 300000\n"


async def test_a_program_need_not_read_the_prompt(tmp_path: Path) -> None:
    provider = CommandProvider(program(tmp_path, "print('x = 1')"))
    assert (await provider.generate("x" * 3_000_000)).source == "x = 1\n"


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("print('no quota', file=sys.stderr); sys.exit(3)", "exited with 3: no quota"),
        ("sys.exit(1)", "exited with 1: it said nothing"),
        ("sys.stderr.write('x' * 10**6 + 'the end'); sys.exit(1)", "xthe end"),
        ("print('x' * (2 << 20))", "more than 1048576 bytes"),
        ("while True: print('x' * 10**6)", "more than 1048576 bytes"),
        ("sys.stdout.buffer.write(b'\\xff\\xfe')", "UTF-8"),
        ("", "no code"),
        ("time.sleep(60)", "longer than 1 s"),
        ("os.close(1); os.close(2); time.sleep(60)", "longer than 1 s"),
    ],
)
async def test_a_program_that_fails(tmp_path: Path, source: str, error: str) -> None:
    seconds = 1.0 if "sleep" in source else 60.0
    with pytest.raises(ProviderError, match=error):
        await CommandProvider(program(tmp_path, source), seconds=seconds).generate("prompt")


@pytest.mark.parametrize("command", ["", "  ", "'unclosed"])
def test_a_command_that_names_no_program(command: str) -> None:
    with pytest.raises(ConfigError):
        CommandProvider(command)


async def test_a_program_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ProviderError, match="cannot be started"):
        await CommandProvider(str(tmp_path / "nothing")).generate("prompt")


def running(pid_file: Path) -> bool:
    """Whether the process that wrote its id there still runs; a zombie does not."""
    stat = Path(f"/proc/{pid_file.read_text()}/stat")
    try:
        return stat.read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


CHILD = "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']); "
WRITES = "open(sys.argv[1] + '~', 'w').write(str(child.pid)); os.rename(sys.argv[1] + '~', sys.argv[1]); "


async def test_a_cancelled_call_leaves_neither_the_program_nor_its_children(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    provider = CommandProvider(program(tmp_path, f"{CHILD}{WRITES}time.sleep(600)", str(pid)))
    call = asyncio.create_task(provider.generate("prompt"))
    await until(pid.exists, "the child of the program")
    assert running(pid)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await until(lambda: not running(pid), "the end of the child")


async def test_a_program_that_ends_before_its_children_is_not_waited_for(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    provider = CommandProvider(program(tmp_path, f"{CHILD}{WRITES}print('x = 1')", str(pid)), seconds=60)
    async with asyncio.timeout(50):
        assert (await provider.generate("prompt")).source == "x = 1\n"
    await until(lambda: not running(pid), "the end of the child")
