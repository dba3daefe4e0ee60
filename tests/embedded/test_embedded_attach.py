"""Starting and finding: one supervisor a directory, errors that say what to do, files for one user only."""

from __future__ import annotations

import json
import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import nats
import pytest

from broker_plane.embedded import broker
from broker_plane.embedded.data_dir import DataDir, prepare
from broker_plane.errors import EmbeddedError, PortInUseError

if TYPE_CHECKING:
    from tests.embedded.conftest import Home, Runner


def test_the_first_attachment_starts_a_broker_and_the_second_finds_it(home: Home) -> None:
    first, second = home.attach(), home.attach()
    assert first.started
    assert not second.started
    assert first.running == second.running == broker.find(home.root)


def test_nothing_is_found_where_nothing_was_started(home: Home) -> None:
    assert broker.find(home.root) is None
    assert not home.root.exists()


def test_two_processes_that_attach_at_once_share_one_supervisor(home: Home) -> None:
    processes = [home.attaching_process() for _ in range(2)]
    answers = [json.loads(process.stdout.readline()) for process in processes if process.stdout]
    assert len({pid for pid, _ in answers}) == 1
    assert sorted(started for _, started in answers) == [False, True]


async def says_durability(url: str, password: str) -> bool:
    client = await nats.connect(url.partition("@")[2], user="probe", password=password, inbox_prefix=b"_INBOX_probe")
    answer = await client.request("$SYS.REQ.SERVER.PING.VARZ", b"", timeout=5)
    await client.close()
    return bool(json.loads(answer.data)["data"]["jetstream"]["config"]["sync_always"])


def test_the_probe_user_reads_that_each_ack_comes_after_its_sync(home: Home, run: Runner) -> None:
    running = home.attach().running
    assert run(says_durability(running.nats_url, running.probe_password))
    assert running.durability == "fsync before ack"


def test_a_stale_state_file_is_ignored(home: Home) -> None:
    state = home.attach().running
    text = (home.root / "state.json").read_text()
    broker.stop(home.root)
    (home.root / "state.json").write_text(text)

    assert broker.find(home.root) is None
    again = home.attach()
    assert again.started
    assert again.running.pid != state.pid


def test_passwords_and_ports_outlive_the_supervisor(home: Home) -> None:
    first = home.attach().running
    broker.stop(home.root)
    second = home.attach().running
    assert (second.nats_url, second.bridge_url) == (first.nats_url, first.bridge_url)
    assert second.probe_password == first.probe_password


def test_a_directory_with_odd_characters_in_its_name_is_a_directory(home: Home) -> None:
    home.root = home.root / 'a "quoted" {name} $HOME \\ and ünïcode'
    assert home.attach().started


def test_passwords_are_not_in_the_repr(home: Home) -> None:
    running = home.attach().running
    password = running.nats_url.split(":")[2].partition("@")[0]
    assert password not in repr(running)
    assert running.probe_password not in repr(running)


def test_the_directory_is_0700_and_the_files_with_passwords_are_0600(home: Home) -> None:
    home.attach()
    assert mode(home.root) == 0o700
    assert {mode(home.root / name) for name in ("state.json", "nats.conf", "kept.json")} == {0o600}


@pytest.mark.parametrize("bits", [0o700, 0o711, 0o750, 0o755, 0o2750])
def test_an_empty_directory_that_was_there_is_used_and_left_as_it_is(home: Home, bits: int) -> None:
    home.root.mkdir()
    home.root.chmod(bits)
    prepare(DataDir(home.root))
    assert home.root.stat().st_mode & 0o7777 == bits
    assert mode(home.root / "log") & 0o777 == 0o700


@pytest.mark.parametrize("bits", [0o777, 0o1777, 0o702, 0o770, 0o775])
def test_a_directory_that_others_can_write_to_is_refused_and_left_as_it_is(home: Home, bits: int) -> None:
    home.root.mkdir()
    home.root.chmod(bits)
    with pytest.raises(EmbeddedError, match=r"Other users can write to .*`chmod 700` it, or set BROKER_PLANE_DATA_DIR"):
        prepare(DataDir(home.root))
    assert home.root.stat().st_mode & 0o7777 == bits
    assert not list(home.root.iterdir())


@pytest.mark.parametrize("bits", [0o770, 0o775, 0o2770, 0o2775])
@pytest.mark.parametrize("there", [[], ["lost+found"], ["supervisor.lock", "kept.json"]])
def test_a_volume_of_another_owner_is_used_by_its_group(
    home: Home, monkeypatch: pytest.MonkeyPatch, bits: int, there: list[str]
) -> None:
    home.root.mkdir()
    for name in there:
        (home.root / name).touch()
    home.root.chmod(bits)
    monkeypatch.setattr(os, "geteuid", lambda: home.root.stat().st_uid + 1)
    prepare(DataDir(home.root))
    assert home.root.stat().st_mode & 0o7777 == bits


def test_a_directory_of_ours_that_somebody_opened_is_closed(home: Home) -> None:
    home.attach().close()
    broker.stop(home.root)
    home.root.chmod(0o755)
    home.attach()
    assert mode(home.root) == 0o700


def test_only_the_directory_itself_is_private_not_those_above_it(home: Home) -> None:
    home.root = home.root / "a" / "b"
    home.root.parent.parent.mkdir()
    home.root.parent.parent.chmod(0o755)
    prepare(DataDir(home.root))
    assert (mode(home.root.parent.parent), mode(home.root)) == (0o755, 0o700)


def test_a_directory_with_other_things_that_is_open_to_others_is_refused_and_left_as_it_is(home: Home) -> None:
    home.root.mkdir()
    (home.root / "letter.txt").touch()
    home.root.chmod(0o755)
    with pytest.raises(EmbeddedError, match="set BROKER_PLANE_DATA_DIR to a directory of its own"):
        home.attach()
    assert mode(home.root) == 0o755


def test_a_data_directory_that_cannot_be_made_is_an_error_that_says_what_to_do(home: Home) -> None:
    home.root.write_text("a file where the directory should be")
    with pytest.raises(EmbeddedError, match=r"cannot be used .*set BROKER_PLANE_DATA_DIR"):
        home.attach()


def test_a_data_directory_that_cannot_be_written_is_an_error_that_says_what_to_do(home: Home) -> None:
    home.root.mkdir(mode=0o500)
    if os.access(home.root, os.W_OK):
        pytest.skip("this user writes everywhere")
    with pytest.raises(EmbeddedError, match=r"cannot be used .*set BROKER_PLANE_DATA_DIR"):
        home.attach()


def test_a_port_in_use_is_an_error_that_names_the_port_and_leaves_nothing_running(home: Home) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(PortInUseError, match=f"Port {port} is in use"):
            home.attach(port=port)
    assert not broker.stop(home.root)


def test_the_port_that_was_asked_for_is_the_port_of_the_bridge(home: Home) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
    assert home.attach(port=port).running.bridge_url == f"http://127.0.0.1:{port}"


def test_a_bridge_that_ends_at_its_start_is_an_error_with_its_last_words(home: Home) -> None:
    with pytest.raises(EmbeddedError, match="bridge ended with code 9 while it started: no luck"):
        home.attach(bridge=["/bin/sh", "-c", "echo no luck >&2; exit 9"])
    assert not broker.stop(home.root)


def test_a_bridge_that_does_not_exist_is_an_error_that_names_it(home: Home) -> None:
    with pytest.raises(EmbeddedError, match="no-such-bridge"):
        home.attach(bridge=["/no-such-bridge"])


def test_a_broker_that_is_not_ready_in_time_is_an_error_and_may_become_ready_later(
    home: Home, tmp_path: Path, until: Callable[[Callable[[], object]], None]
) -> None:
    go = tmp_path / "go"
    slow = ["/bin/sh", "-c", f'until [ -e "{go}" ]; do sleep 0.01; done; exec "$@"', "sh", *home.bridge]
    with pytest.raises(EmbeddedError, match="was not ready in time"):
        broker.attach(home.settings(), bridge_command=slow, wait_seconds=0.3)
    go.touch()
    until(lambda: broker.find(home.root))
    assert not home.attach().started


def test_a_state_of_another_version_is_an_error_that_says_so(home: Home) -> None:
    home.attach()
    state = home.root / "state.json"
    text = state.read_text()
    state.write_text('{"format": 99}')
    with pytest.raises(EmbeddedError, match="another version"):
        broker.find(home.root)
    state.write_text(text)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)
