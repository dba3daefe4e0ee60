"""The pure parts, and the log."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import nats
import pytest

from broker_plane.config import Settings
from broker_plane.embedded.bridge_settings import as_text, other
from broker_plane.embedded.child import MAX_DELAY_SECONDS, next_delay
from broker_plane.embedded.children import bridge_url
from broker_plane.embedded.logs import MAX_LINE_BYTES, LineReader, RotatingLog
from broker_plane.embedded.nats_server import read_port
from broker_plane.embedded.state import MOST_STORE_BYTES, Running, new_password, store_share
from broker_plane.wire.urls import redact

if TYPE_CHECKING:
    from tests.embedded.conftest import Home, Runner

WHOLE_GRANT = "AQ" + "z-_" * 26
Until = Callable[[Callable[[], object]], None]
GRANT = "AQJz-_8xYw0grant0grant0grant0grant0grant0grant0grant0grant0grant0grant0gr"


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        (f'Publish Violation - Subject "bp.pull.{GRANT}.alice"', 'Publish Violation - Subject "bp.pull.….alice"'),
        (f"bp.confirm.{GRANT}.alice", "bp.confirm.….alice"),
        (f'Subscription Violation - Subject "bp.pull.{GRANT}"', 'Subscription Violation - Subject "bp.pull.…"'),
        (f"GET /s2sp/data/{GRANT}?format=csv 200", "GET /s2sp/data/…?format=csv 200"),
        (f"http://h:1/s2sp/data/{GRANT} and bp.pull.{GRANT}.x", "http://h:1/s2sp/data/… and bp.pull.….x"),
        ("GET /s2sp/data/part.part/", "GET /s2sp/data/…/"),
        ("bp.dlv.alice /s2sp/health", "bp.dlv.alice /s2sp/health"),
        (f'authentication error - User "{WHOLE_GRANT}"', 'authentication error - User "…"'),
        (f'cid:7 - "v1:js:reader {WHOLE_GRANT}" - "GUEST/user:a"', 'cid:7 - "v1:js:reader …" - "GUEST/user:a"'),
        (f'Publish Violation - Reply "$JS.ACK.{WHOLE_GRANT}.1"', 'Publish Violation - Reply "$JS.ACK.….1"'),
        (f"Nkey {'U' + 'A' * 55} sha256 {'a' * 64}", f"Nkey {'U' + 'A' * 55} sha256 {'a' * 64}"),
        ("", ""),
    ],
)
def test_grants_are_redacted_and_the_rest_stays(text: str, redacted: str) -> None:
    assert redact(text) == redacted
    assert redact(redacted) == redacted


async def speak(server: str, options: dict[str, str], *lines: str) -> bytes:
    """What nats-server answers to these lines of its protocol until its PONG, or until it ends the connection."""
    host, _, port = server.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        await reader.readline()  # INFO
        connect = json.dumps({"verbose": False, "headers": True, "protocol": 1, **options})
        writer.write("".join(f"{line}\r\n" for line in (f"CONNECT {connect}", *lines, "PING")).encode())
        said = b""
        while b"PONG" not in said:
            said += (data := await asyncio.wait_for(reader.read(1 << 16), 10))
            if not data:
                break
        return said
    finally:
        writer.close()
        await writer.wait_closed()


async def say_a_grant_everywhere(running: Running, grant: str) -> None:
    """As name, user and token of refused clients, and as subject, queue and reply of one that is let in."""
    server = running.asker_url.rpartition("@")[2]
    password = running.asker_url.split(":")[2].partition("@")[0]
    for wrong in ({"user": grant, "pass": "x"}, {"user": "asker", "pass": grant}, {"auth_token": grant}):
        assert b"Authorization Violation" in await speak(server, {"name": grant, **wrong})
    allowed = {"name": grant, "user": "asker", "pass": password}
    lines = (f"PUB elsewhere.{grant} 0\r\n", f"PUB bp.pull.{grant}.asker $JS.ACK.{grant} 0\r\n")
    said = await speak(server, allowed, *lines, f"SUB bp.confirm.{grant}.x {grant} 1")
    assert said.count(b"Permissions Violation") == 3


async def publish_what_is_refused(url: str, password: str) -> None:
    refused = asyncio.Event()

    async def on_error(error: Exception) -> None:
        refused.set()

    server = url.partition("@")[2]
    client = await nats.connect(server, user="probe", password=password, error_cb=on_error)
    await client.publish(f"bp.pull.{GRANT}.probe", b"")
    await asyncio.wait_for(refused.wait(), 10)
    await client.close()


def test_the_log_of_nats_server_holds_the_refusal_and_not_the_grant(home: Home, run: Runner, until: Until) -> None:
    running = home.attach().running
    run(publish_what_is_refused(running.nats_url, running.probe_password))
    log = home.root / "log" / "nats-server.log"
    until(lambda: "bp.pull.….probe" in log.read_text())
    assert not any(GRANT in file.read_text() for file in log.parent.iterdir())


def test_a_grant_in_any_place_that_the_server_names_is_redacted(home: Home, run: Runner, until: Until) -> None:
    running = home.attach().running
    run(say_a_grant_everywhere(running, WHOLE_GRANT))
    log = home.root / "log" / "nats-server.log"
    until(lambda: "Queue" in log.read_text())
    text = log.read_text()
    assert text.count("Violation") >= 2
    assert 'User "…"' in text
    assert WHOLE_GRANT not in text
    assert WHOLE_GRANT[:20] not in text


def test_what_the_bridge_says_is_redacted_too(home: Home, until: Until) -> None:
    talker = ["/bin/sh", "-c", f'echo "GET /s2sp/data/{GRANT}"; exec "$@"', "sh", *home.bridge]
    home.attach(bridge=talker)
    assert "GET /s2sp/data/…" in (home.root / "log" / "bridge.log").read_text()


def test_a_log_stays_small_and_keeps_the_last_lines(tmp_path: Path) -> None:
    log = RotatingLog(tmp_path / "a.log", max_bytes=100)
    for number in range(1_000):
        log.write(f"line {number}")
    files = list(tmp_path.iterdir())
    assert len(files) == 2
    assert all(file.stat().st_size <= 100 for file in files)
    assert (tmp_path / "a.log").read_text().endswith("line 999\n")


def lines_of(*pieces: bytes) -> list[str]:
    """What a reader makes of these pieces, each read by itself, and the end of the pipe."""
    lines: list[str] = []
    read_end, write_end = os.pipe()
    reader = LineReader(read_end, lines.append)
    for piece in pieces:
        os.write(write_end, piece)
        reader.read()
    os.close(write_end)
    reader.read_to_end()
    os.close(read_end)
    return lines


def test_lines_are_whole_however_they_come() -> None:
    assert lines_of(b"on", b"e\ntwo\nth", b"ree") == ["one", "two", "three"]


def test_a_line_without_an_end_is_left_out_as_a_whole() -> None:
    half = b"x" * (MAX_LINE_BYTES - 1)
    assert lines_of(half, half, b"tail\nnext\n") == ["(a line of more than 64 KiB was left out)", "next"]


def test_who_lived_long_is_started_at_once_and_who_keeps_dying_waits_longer_each_time() -> None:
    assert next_delay(5.0, lived=60) == 0
    assert next_delay(0.0, lived=0.5) <= 0.1
    assert next_delay(0.1, lived=0.5) == pytest.approx(0.2)
    assert next_delay(4.0, lived=0) == MAX_DELAY_SECONDS


def test_the_store_is_half_of_the_free_disk_with_an_upper_limit_and_never_shrinks() -> None:
    assert store_share(1_000, before=0) == 500
    assert store_share(1 << 50, before=0) == MOST_STORE_BYTES
    assert store_share(1_000, before=700) == 700


def test_passwords_are_one_word_for_nats_server_and_differ() -> None:
    passwords = {new_password() for _ in range(100)}
    assert len(passwords) == 100
    assert all(word.isalnum() and word[0].isalpha() for word in passwords)


@pytest.mark.parametrize(
    ("line", "url"),
    [
        ('{"bridge": "http://127.0.0.1:8080"}', "http://127.0.0.1:8080"),
        ('{"bridge": "http://127.0.0.1"}', None),
        ('{"bridge": 7}', None),
        ('["bridge"]', None),
        ("Started server process", None),
        ("", None),
    ],
)
def test_only_a_line_of_readiness_says_where_the_bridge_is(line: str, url: str | None) -> None:
    assert bridge_url(line) == url


def test_a_process_whose_own_settings_differ_is_not_told_to_stop_the_bridge() -> None:
    running = as_text(Settings())
    assert (
        other(running, Settings(callback_deadline_seconds=60.0, webhook_hosts="crm.example", task_lease_seconds=5.0))
        == []
    )
    assert other(running, Settings(webhook_networks="127.0.0.1/32")) == ["BROKER_PLANE_WEBHOOK_NETWORKS"]


@pytest.mark.parametrize("text", ["", '{"nats":["nats://127.0', '{"nats":[]}', "{}", '{"nats":["nats://x:y"]}', "[]"])
def test_a_half_written_ports_file_says_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "nats-server_7.ports").write_text(text)
    assert read_port(tmp_path, 7) is None
    assert read_port(tmp_path, 8) is None


def test_a_whole_ports_file_says_the_port(tmp_path: Path) -> None:
    (tmp_path / "nats-server_7.ports").write_text('{"nats":["nats://127.0.0.1:36041"]}')
    assert read_port(tmp_path, 7) == 36041
