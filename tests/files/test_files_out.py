"""Files out: every column, the ending's format, and to what the name that was given stands for."""

from __future__ import annotations

import json
import os
import signal
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import msgpack
import pytest
from anyio import to_thread

from broker_plane import Plane
from broker_plane.config import Settings
from broker_plane.errors import DigestMismatchError
from broker_plane.formats.kinds import ENDINGS
from broker_plane.plane.ports import Incoming
from broker_plane.testing.processes import until
from broker_plane.testing.proxy import CuttingProxy
from tests.files.command_line import PATIENCE, CommandLine

CSV = b"id,name\r\n1,Ann\r\n2,Bob\r\n"
RAGGED: list[list[dict[str, Any]]] = [
    [{"id": 1}, {"id": 2, "phone": "555"}],
    [{"id": 2, "phone": "555"}, {"id": 1}],
    [{"a": 1}, {"b": 2}, {"c": 3}],
    [{}, {"a": None}, {"b": ""}],
    [{"a": 1}] * 5_000 + [{"z": 1}, {"a": 2, "y": [1, {"x": None}]}],
    [{"t": True, "f": False, "n": None, "x": 1.5, "big": 2**60, "s": 'a"b,c\r\nd'}],
    [{"a": {"b": [1, 2]}, "c": "=1+1", "d": "+1"}],
    [{"only": ""}, {"only": None}, {}],
    [{"ä ö": "\U0001f600", " x": "\u202e", 'q"': "'"}],
    [{"a": "x" * 100_000}, {"b": "y" * 100_000}],
]


@pytest.fixture
def table(shell: CommandLine, tmp_path: Path) -> str:
    (tmp_path / "in.csv").write_bytes(CSV)
    return shell.publish(tmp_path / "in.csv")


@pytest.mark.parametrize("rows", RAGGED, ids=range(len(RAGGED)))
@pytest.mark.parametrize("options", [(), ("--rows", "0"), ("--via", "nats")], ids=" ".join)
def test_a_csv_has_every_column_and_is_the_one_of_the_bridge(
    shell: CommandLine, tmp_path: Path, rows: list[dict[str, Any]], options: tuple[str, ...]
) -> None:
    (tmp_path / "in.ndjson").write_text("".join(json.dumps(row) + "\n" for row in rows))
    url = shell.publish(tmp_path / "in.ndjson")
    shell.run("pull", url, "-o", tmp_path / "out.csv", *options)
    asked = {"row_ids": "0"} if "--rows" in options else {}
    with httpx2.Client(trust_env=False) as client:
        bridge = client.get(url, params=asked, headers={"Accept": "text/csv"}).content
    assert (tmp_path / "out.csv").read_bytes() == bridge
    assert shell.run("pull", url, "--format", "csv", *options) == bridge


def test_a_narrowed_csv_has_the_columns_that_the_grant_shows(shell: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "in.ndjson").write_text('{"id": 1}\n{"id": 2, "phone": "555", "x": 1}\n')
    made = json.loads(shell.run("grant", shell.publish(tmp_path / "in.ndjson"), "--where", "id = 1", "--json"))
    assert shell.run("pull", made["resource_url"], "--format", "csv") == b"id,phone,x\r\n1,,\r\n"
    assert shell.run("pull", made["resource_url"], "--columns", "x,id", "--format", "csv") == b"x,id\r\n,1\r\n"


def test_row_ids_are_written_where_they_are_named(shell: CommandLine, table: str) -> None:
    assert shell.rows(table, "--columns", "_row_id,name")[1] == {"_row_id": 1, "name": "Bob"}
    assert (
        shell.run("pull", table, "--columns", "name,_row_id", "--format", "csv")
        == b"name,_row_id\r\nAnn,0\r\nBob,1\r\n"
    )


def test_what_json_cannot_say_is_counted(shell: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "in.msgpack").write_bytes(msgpack.packb([{"x": float("nan"), "y": float("inf")}, {"x": 1.0}]))
    url = shell.publish(tmp_path / "in.msgpack")
    ran = shell.ran("pull", url)
    assert (ran.stdout, ran.exit_code) == ('[{"x":null,"y":null},\n{"x":1.0}]\n', 0)
    assert "2 values" in ran.stderr
    assert json.loads(shell.run("pull", url, "-o", tmp_path / "out.csv", "--json"))["lost"] == 2


FORMATS: list[tuple[str, bytes]] = [
    ("out.csv", CSV),
    ("OUT.CSV", CSV),
    ("out.json", b'[{"id":1,"name":"Ann"},\n{"id":2,"name":"Bob"}]\n'),
    ("out.ndjson", b'{"id":1,"name":"Ann"}\n{"id":2,"name":"Bob"}\n'),
    ("out.jsonl", b'{"id":1,"name":"Ann"}\n{"id":2,"name":"Bob"}\n'),
    ("out.tsv", CSV.replace(b",", b"\t")),
    ("out.msgpack", msgpack.packb([{"id": 1, "name": "Ann"}, {"id": 2, "name": "Bob"}])),
]


@pytest.mark.parametrize(("name", "content"), FORMATS, ids=[name for name, _ in FORMATS])
def test_the_ending_says_the_format(shell: CommandLine, table: str, tmp_path: Path, name: str, content: bytes) -> None:
    shell.run("pull", table, "-o", tmp_path / name)
    assert (tmp_path / name).read_bytes() == content


@pytest.mark.parametrize(
    "name", ["out.orc", "out.xls", "out.psv", "out.txt", "out", "out.csv.bz2", "out.", "out.cvs", ".csv", "x.bin"]
)
def test_rows_do_not_go_under_a_name_that_says_no_format(
    shell: CommandLine, table: str, tmp_path: Path, name: str
) -> None:
    before = left(tmp_path)
    said = shell.refused("pull", table, "-o", tmp_path / name)
    assert all(ending in said for ending in ENDINGS)
    assert left(tmp_path) == before
    shell.run("pull", table, "-o", tmp_path / name, "--format", "bytes")
    assert (tmp_path / name).read_bytes()[:4] == b"BPR1"
    shell.run("pull", table, "-o", tmp_path / name, "--format", "csv")
    assert (tmp_path / name).read_bytes() == CSV


def test_an_opaque_body_goes_under_any_name_and_into_no_other_format(shell: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "in.bin").write_bytes(b"PAR1")
    url = shell.publish(tmp_path / "in.bin")
    for name in ("out.parquet", "out.csv", "out"):
        shell.run("pull", url, "-o", tmp_path / name)
        assert (tmp_path / name).read_bytes() == b"PAR1"
    assert "opaque" in shell.refused("pull", url, "--format", "csv")


# ── to what the name stands for ───────────────────────────────────────────────────────────────────────────────


def left(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def made(path: Path, mode: int = 0o644) -> Path:
    path.write_bytes(b"what was there before, and is longer than what comes\n" * 3)
    path.chmod(mode)
    return path


def test_a_new_file_has_the_mode_of_new_files(shell: CommandLine, table: str, tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        shell.run("pull", table, "-o", tmp_path / "out.csv")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "out.csv").stat().st_mode) == 0o640


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o640, 0o666, 0o755, 0o700, 0o2644, 0o604, 0o622, 0o200])
def test_a_file_keeps_its_mode_and_its_owner(shell: CommandLine, table: str, tmp_path: Path, mode: int) -> None:
    file = made(tmp_path / "out.csv", mode)
    if os.geteuid() == 0:
        os.chown(file, 12_345, 23_456)
        file.chmod(mode)
    owner = (file.stat().st_uid, file.stat().st_gid)
    shell.run("pull", table, "-o", file)
    assert stat.S_IMODE(file.stat().st_mode) == mode
    assert (file.stat().st_uid, file.stat().st_gid) == owner
    file.chmod(0o600)
    assert file.read_bytes() == CSV


def linked(tmp_path: Path, kind: str) -> Path:
    place = tmp_path / "elsewhere"
    place.mkdir()
    target = place / "target.csv"
    link = tmp_path / "link.csv"
    match kind:
        case "absolute":
            link.symlink_to(made(target))
        case "relative":
            made(target)
            link.symlink_to("elsewhere/target.csv")
        case "dangling":
            link.symlink_to(target)
        case "twice":
            (tmp_path / "between").symlink_to(made(target))
            link.symlink_to("between")
        case "of a directory":
            made(target)
            (tmp_path / "there").symlink_to(place)
            link.symlink_to("there/target.csv")
    return link


@pytest.mark.parametrize("kind", ["absolute", "relative", "dangling", "twice", "of a directory"])
def test_it_is_written_through_a_link(shell: CommandLine, table: str, tmp_path: Path, kind: str) -> None:
    link = linked(tmp_path, kind)
    before = link.readlink()
    shell.run("pull", table, "-o", link)
    assert link.is_symlink()
    assert link.readlink() == before
    assert (tmp_path / "elsewhere" / "target.csv").read_bytes() == CSV
    assert [file.name for file in (tmp_path / "elsewhere").iterdir()] == ["target.csv"]


def unusable(tmp_path: Path, kind: str) -> str:
    match kind:
        case "a directory" | "a directory with a slash":
            (tmp_path / "dir").mkdir()
            return f"{tmp_path}/dir" + ("/" if "slash" in kind else "")
        case "a link to a directory":
            (tmp_path / "dir").mkdir()
            (tmp_path / "link").symlink_to("dir")
            return f"{tmp_path}/link"
        case "no directory":
            return f"{tmp_path}/none/out.csv"
        case "a new directory":
            return f"{tmp_path}/none/"
        case "below a file":
            made(tmp_path / "file")
            return f"{tmp_path}/file/out.csv"
        case "a loop":
            (tmp_path / "loop.csv").symlink_to("loop.csv")
            return f"{tmp_path}/loop.csv"
        case "too long":
            return f"{tmp_path}/{'x' * 300}.csv"
        case "a socket":
            import socket

            with socket.socket(socket.AF_UNIX) as listener:
                listener.bind(str(tmp_path / "s.csv"))
            return f"{tmp_path}/s.csv"
        case _:
            return "/proc/version"


UNUSABLE = ["a directory", "a directory with a slash", "a link to a directory", "no directory", "a new directory"]
UNUSABLE += ["below a file", "a loop", "too long", "a socket", "read only"]


@pytest.mark.parametrize("kind", UNUSABLE)
def test_what_cannot_be_written_is_an_error_before_anything_is(shell: CommandLine, tmp_path: Path, kind: str) -> None:
    (tmp_path / "in.csv").write_bytes(CSV)
    output = unusable(tmp_path, kind)
    before = sorted(tmp_path.rglob("*"))
    counted = json.loads(shell.run("publish", tmp_path / "in.csv", "--json"))["resource_url"]
    said = shell.refused("pull", counted, "-o", output, "--format", "csv")
    assert said.startswith(f"broker-plane: {output}: ")
    assert sorted(tmp_path.rglob("*")) == before
    assert shell.run("pull", counted, "--format", "csv") == CSV  # the use was not spent


def test_a_file_in_a_directory_that_takes_no_other_is_written_in_place(
    shell: CommandLine, table: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = made(tmp_path / "out.csv", 0o640)
    inode = file.stat().st_ino
    opened = os.open

    def refuses(path: Any, flags: int, *rest: Any, **named: Any) -> int:
        if flags & os.O_EXCL and Path(path).parent == tmp_path:  # root may write anywhere
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, flags, *rest, **named)

    monkeypatch.setattr(os, "open", refuses)
    shell.run("pull", table, "-o", file)
    assert (file.read_bytes(), file.stat().st_ino, stat.S_IMODE(file.stat().st_mode)) == (CSV, inode, 0o640)
    assert "Permission denied" in shell.refused("pull", table, "-o", tmp_path / "new.csv")


def test_a_file_that_cannot_be_replaced_is_written_in_place(
    shell: CommandLine, table: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = made(tmp_path / "out.csv")
    inode = file.stat().st_ino

    def busy(self: Path, place: Path) -> Path:
        raise OSError(16, "Device or resource busy", str(place))  # as a file that is mounted by itself

    monkeypatch.setattr(Path, "replace", busy)
    shell.run("pull", table, "-o", file)
    assert (file.read_bytes(), file.stat().st_ino) == (CSV, inode)
    assert [entry.name for entry in tmp_path.glob(".*")] == []


# ── streams ───────────────────────────────────────────────────────────────────────────────────────────────────


STREAMS: list[tuple[str, Callable[[Path], str]]] = [
    ("a dash", lambda tmp_path: "-"),
    ("/dev/stdout", lambda tmp_path: "/dev/stdout"),
    ("/dev/fd/1", lambda tmp_path: "/dev/fd/1"),
    ("a link to it", lambda tmp_path: str(symlink(tmp_path / "l.csv", "/dev/stdout"))),
]


def symlink(path: Path, target: str) -> Path:
    path.symlink_to(target)
    return path


@pytest.mark.parametrize(("name", "output"), STREAMS, ids=[name for name, _ in STREAMS])
def test_standard_output_gets_it_and_what_stands_there_stays(
    shell: CommandLine, table: str, tmp_path: Path, name: str, output: Callable[[Path], str]
) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"before\n")
    with log.open("ab") as file:
        process = shell.start("pull", table, "-o", output(tmp_path), "--format", "csv", stdout=file)
        assert process.wait(PATIENCE) == 0, process.communicate()
        process.communicate()
    assert log.read_bytes() == b"before\n" + CSV
    assert not (tmp_path / "-").exists()


@pytest.mark.parametrize("name", ["fifo.csv", "fifo"])
def test_a_fifo_gets_it_once_somebody_reads(shell: CommandLine, table: str, tmp_path: Path, name: str) -> None:
    fifo = tmp_path / name
    os.mkfifo(fifo)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(fifo.read_bytes()))
    reader.start()
    shell.run("pull", table, "-o", fifo)
    reader.join(PATIENCE)
    assert read == [CSV if name == "fifo.csv" else b'[{"id":1,"name":"Ann"},\n{"id":2,"name":"Bob"}]\n']
    assert stat.S_ISFIFO(fifo.stat().st_mode)


def test_a_device_gets_it_and_stays(shell: CommandLine, table: str) -> None:
    assert json.loads(shell.run("pull", table, "-o", "/dev/null", "--json"))["rows"] == 2
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)


def test_a_reader_that_leaves_is_one_line_of_error(shell: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "in.ndjson").write_text('{"a": "xxxxxxxxxxxxxxxxxxxxxxxx"}\n' * 50_000)
    process = shell.start("pull", shell.publish(tmp_path / "in.ndjson"), "--format", "ndjson")
    assert process.stdout is not None and process.stderr is not None
    process.stdout.read(10)
    process.stdout.close()
    said = process.stderr.read().decode()
    process.stderr.close()
    assert process.wait(PATIENCE) == 1
    assert said.splitlines() == ["broker-plane: The reader of the output closed it before the body was complete"]


# ── only what is verified ─────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def damaged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every pull ends with the finding that what came is not what was published."""
    from broker_plane.client.download import Download

    incoming = Download.incoming

    def spoilt(self: Download) -> Incoming:
        from dataclasses import replace

        right = incoming(self)

        async def pieces() -> Any:
            async for piece in right.pieces:
                yield piece
            raise DigestMismatchError("What arrived is not what was published; publish the body again")

        return replace(right, pieces=pieces())

    monkeypatch.setattr(Download, "incoming", spoilt)


@pytest.mark.usefixtures("damaged")
@pytest.mark.parametrize("form", ["json", "ndjson", "csv", "tsv", "msgpack", "parquet", "arrows", "bytes"])
def test_the_end_of_a_stream_is_held_back_until_the_digest_matches(
    shell: CommandLine, table: str, tmp_path: Path, form: str
) -> None:
    for output in ("-", tmp_path / "new.x", made(tmp_path / "old.x")):
        ran = shell.ran("pull", table, "-o", output, "--format", form, "--via", "http")
        assert ran.exit_code == 1
        assert "not what was published" in ran.stderr
        assert b"Bob" not in ran.stdout_bytes
    assert not (tmp_path / "new.x").exists()
    assert b"what was there before" in (tmp_path / "old.x").read_bytes()
    assert list(tmp_path.glob(".*")) == []


@pytest.mark.anyio
async def test_ctrl_c_leaves_nothing(shell: CommandLine, settings: Settings, tmp_path: Path) -> None:
    place = tmp_path / "out"
    place.mkdir()
    old = made(place / "old.bin")
    async with (
        Plane.connect(settings) as plane,
        CuttingProxy(settings.bridge_url, bytes_per_second=200_000) as slow,
    ):
        published = await plane.publish(os.urandom(8 << 20), uses="unlimited")
        url = published.resource_url.replace(settings.bridge_url, slow.url)
        shell.environment["BROKER_PLANE_BRIDGE_URL"] = slow.url
        process = shell.start("pull", url, "-o", old, "--via", "http")
        await until(lambda: list(place.glob(".*.part")), "the temporary file", PATIENCE)
        process.send_signal(signal.SIGINT)
        assert await to_thread.run_sync(process.wait, PATIENCE) == 130
        assert process.communicate()[1].decode().splitlines() == ["broker-plane: Stopped"]
        assert [file.name for file in place.iterdir()] == ["old.bin"]
        assert b"what was there before" in old.read_bytes()


@pytest.mark.anyio
async def test_the_python_api_writes_to_the_same_places(settings: Settings, tmp_path: Path) -> None:
    async with Plane.connect(settings) as plane:
        url = (await plane.publish(b"content", uses="unlimited")).resource_url
        link = linked(tmp_path, "absolute")
        target = tmp_path / "elsewhere" / "target.csv"
        target.chmod(0o600)
        await plane.pull_to(url, link)
        assert (link.is_symlink(), target.read_bytes()) == (True, b"content")
        assert stat.S_IMODE(target.stat().st_mode) == 0o600
        with pytest.raises(IsADirectoryError):
            await plane.pull_to(url, tmp_path)
        with pytest.raises(FileNotFoundError, match="none/x"):
            await plane.pull_to(url, tmp_path / "none" / "x")
        os.mkfifo(tmp_path / "fifo")
        read: list[bytes] = []
        reader = threading.Thread(target=lambda: read.append((tmp_path / "fifo").read_bytes()))
        reader.start()
        await plane.pull_to(url, tmp_path / "fifo")
        reader.join(PATIENCE)
        assert read == [b"content"]
    assert left(tmp_path) == ["elsewhere", "fifo", "link.csv"]
