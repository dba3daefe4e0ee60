"""The registry over a real nats-server: owners publish, and a writer with access to the bucket is found out."""

from __future__ import annotations

import json
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from broker_plane.config import Settings, load_settings
from broker_plane.errors import (
    BrokerPlaneError,
    ConfigError,
    EntryNotFoundError,
    NotOwnerError,
    OldVersionError,
    RegistryError,
    SignatureError,
)
from broker_plane.plane.protocols.counts import UsageCounts
from broker_plane.plane.protocols.owners import OwnerPins
from broker_plane.plane.protocols.reader import ProtocolReader
from broker_plane.registry.canonical import canonical, digest_of
from broker_plane.registry.entry_names import description_entry, owner_entry, protocol_entry
from broker_plane.registry.records import ProtocolRecord, dump, first_key, signed_version
from broker_plane.registry.signing import SigningKey
from broker_plane.runtime.protocols import Protocols
from broker_plane.runtime.wiring import Wiring
from broker_plane.storage.buckets import NatsBucket
from broker_plane.storage.known_owners import KnownOwnersFile
from broker_plane.wire.plane_names import kv_stream

pytestmark = pytest.mark.anyio

STRANGER = SigningKey(bytes(range(32)))


class CountingBucket(NatsBucket):
    """A bucket that counts how often its protocols are listed."""

    listed = 0

    def entries(self, pattern: str = ">") -> AsyncGenerator[tuple[str, bytes, int], None]:
        self.listed += pattern.startswith("protocol.")
        return super().entries(pattern)


class Registry:
    """A registry of its own, as processes of several owners on several machines see it, and its bucket."""

    def __init__(self, wiring: Wiring, folder: Path) -> None:
        self._wiring = wiring
        self._folder = folder
        self._machines = 0
        self._name = f"bp_t{secrets.token_hex(4)}"
        self._processes: list[Protocols] = []
        self.bucket = NatsBucket(wiring.connection, self._name)

    def settings(self, owner: str, machine: str = "", **others: Any) -> Settings:
        folder = self._folder / self._name / (machine or owner)
        return load_settings(owner=owner, data_dir=folder, **others)

    def process(self, owner: str = "tools", machine: str = "", **others: Any) -> Protocols:
        """A process of `owner` on a machine, by default one that the owner has for itself."""
        bucket = NatsBucket(self._wiring.connection, self._name)
        made = Protocols(bucket, self.settings(owner, machine, **others), now=self._wiring.now)
        self._processes.append(made)
        return made

    def reader(self) -> Protocols:
        """A process on a machine that has seen nothing yet."""
        self._machines += 1
        return self.process("reader", f"machine{self._machines}")

    def counting(self) -> CountingBucket:
        return CountingBucket(self._wiring.connection, self._name)

    async def overwrite(self, name: str, raw: bytes) -> None:
        """Write as somebody who has access to the bucket and none to a key."""
        _, revision = await self.bucket.load(name)
        await self.bucket.save(name, raw, revision)

    async def change(self, name: str, change: Callable[[Any], Any]) -> None:
        raw, _ = await self.bucket.load(name)
        assert raw is not None
        await self.overwrite(name, canonical(change(json.loads(raw))))

    async def close(self) -> None:
        for process in self._processes:
            await process.close()
        with suppress(BrokerPlaneError):
            await self._wiring.connection.api(f"STREAM.DELETE.{kv_stream(self._name)}")


@pytest.fixture
async def registry(wiring: Wiring, tmp_path: Path) -> AsyncIterator[Registry]:
    made = Registry(wiring, tmp_path)
    yield made
    await made.close()


def frames(version: str = "1.0.0", **members: Any) -> dict[str, Any]:
    return {
        "id": "tools/frames",
        "version": version,
        "title": "Frames with a length",
        "tiers": {"high": "Each frame has a length of 4 bytes."},
        "x-unknown": {"kept": [1, None]},
    } | members


async def test_a_description_is_found_as_it_was_published(registry: Registry) -> None:
    owner, reader = registry.process(), registry.reader()
    published = await owner.publish(frames())
    for wanted in ("tools/frames", "tools/frames@1.0.0", "tools/frames@^1", f"sha256:{published.digest}"):
        found = await reader.get(wanted)
        assert dict(found.fields) == frames()
        assert found.digest == digest_of(frames())
        assert found == published
    assert (await reader.get("tools/frames", "~1.0")).description.tiers.high == frames()["tiers"]["high"]
    assert found.to_wire()["entry"]["signatures"][0]["key"] == found.to_wire()["owner"]["keys"][0]["key"]


async def test_the_newest_version_is_that_of_the_highest_precedence(registry: Registry) -> None:
    owner = registry.process()
    for version in ("1.9.0", "1.10.0", "2.0.0-rc.1"):
        await owner.publish(frames(version))
    assert (await owner.get("tools/frames")).description.version == "1.10.0"
    assert (await owner.get("tools/frames", ">=2.0.0-rc.0")).description.version == "2.0.0-rc.1"
    assert (await owner.get("tools/frames", "~1.9")).description.version == "1.9.0"
    assert [entry.version for entry in (await owner.versions("tools/frames")).entries] == [
        "1.9.0",
        "1.10.0",
        "2.0.0-rc.1",
    ]
    for wanted in (
        "tools/frames@3.0.0",
        "tools/frames@^3",
        "tools/other",
        "nobody/frames",
        "no-such-builtin",
        "0" * 64,
    ):
        with pytest.raises(EntryNotFoundError):
            await owner.get(wanted)


async def test_a_version_is_published_once(registry: Registry) -> None:
    owner = registry.process()
    first = await owner.publish(frames("1.1.0"))
    assert await owner.publish(frames("1.1.0")) == first  # the same again is a success
    for fields in (frames("1.1.0", title="Another one"), frames("1.0.9"), frames("1.1.0+build"), frames("1.1.0-rc.1")):
        with pytest.raises(OldVersionError):
            await owner.publish(fields)
    assert (await owner.get("tools/frames")) == first


async def test_an_id_belongs_to_the_key_that_published_first(registry: Registry) -> None:
    owner = registry.process()
    await owner.publish(frames())
    thief = registry.process("tools", machine="another")  # the same name, and another key
    other = registry.process("others")
    for process, fields in (
        (thief, frames("9.0.0")),
        (thief, frames("1.0.0")),
        (thief, frames(id="tools/new")),
        (other, frames("9.0.0")),
        (other, frames(id="builtin/http-range", version="9.0.0")),
        (other, frames(id="composed/a")),
    ):
        with pytest.raises(NotOwnerError):
            await process.publish(fields)
    for process in (thief, other):
        with pytest.raises(NotOwnerError):
            await process.unpublish("tools/frames", "1.0.0")
    with pytest.raises(NotOwnerError):
        await thief.rotate_key()
    shared = registry.process(
        "tools", machine="shared", protocols_key=str(registry.settings("tools").data_dir / "protocols" / "tools.key")
    )
    assert (await shared.publish(frames("1.1.0"))).description.version == "1.1.0"


async def test_a_yanked_version_is_read_only_by_its_exact_version(registry: Registry) -> None:
    owner, reader = registry.process(), registry.reader()
    await owner.publish(frames("1.0.0"))
    newest = await owner.publish(frames("1.1.0"))
    await owner.unpublish("tools/frames", "1.1.0", "loses the last frame")
    for wanted in ("tools/frames", "tools/frames@^1", "tools/frames@1"):
        assert (await reader.get(wanted)).description.version == "1.0.0"
    for wanted in ("tools/frames@1.1.0", newest.digest):
        found = await reader.get(wanted)
        assert found.yanked
        assert found.summary()["yanked"] == "loses the last frame"
    again = await owner.publish(frames("1.1.0"))
    assert again.yanked
    with pytest.raises(OldVersionError):
        await owner.publish(frames("1.1.0", title="Repaired"))
    await owner.unpublish("tools/frames", "1.0.0")
    assert "tools/frames" not in {each.description.id for each in (await reader.list()).protocols}
    with pytest.raises(EntryNotFoundError, match="yanked"):
        await reader.get("tools/frames")
    with pytest.raises(EntryNotFoundError):
        await owner.unpublish("tools/frames", "7.0.0")
    with pytest.raises(NotOwnerError):
        await owner.unpublish("builtin/csv-download", "1.0.0")


async def test_two_publishers_at_once_lose_nothing(registry: Registry) -> None:
    processes = [registry.process() for _ in range(3)]
    outcomes: dict[str, str] = {}

    async def publish(process: Protocols, version: str, **members: Any) -> None:
        try:
            await process.publish(frames(version, **members))
            outcomes[f"{version}{members}"] = "published"
        except OldVersionError:
            outcomes[f"{version}{members}"] = "old"

    async with anyio.create_task_group() as group:
        for number in range(12):
            group.start_soon(publish, processes[number % 3], f"1.{number}.0")
        for title in ("One", "Other"):  # one version, two contents
            group.start_soon(partial(publish, processes[0], "2.0.0", title=title))
    entries = (await processes[0].versions("tools/frames")).entries
    published = [name.partition("{")[0] for name, outcome in outcomes.items() if outcome == "published"]
    assert sorted(entry.version for entry in entries) == sorted(published)
    assert len(outcomes) == 14
    assert [entry.version for entry in entries].count("2.0.0") == 1
    assert (await processes[1].get("tools/frames")).description.version == "2.0.0"


async def test_two_owners_who_begin_at_once_with_one_name_are_two(registry: Registry) -> None:
    processes = [registry.process("tools", machine=f"m{number}") for number in range(4)]
    refused: list[BrokerPlaneError] = []

    async def publish(number: int) -> None:
        try:
            await processes[number].publish(frames(id=f"tools/frames{number}"))
        except BrokerPlaneError as error:
            refused.append(error)

    async with anyio.create_task_group() as group:
        for number in range(4):
            group.start_soon(publish, number)
    assert len(refused) == 3
    assert {type(error) for error in refused} <= {NotOwnerError, SignatureError}
    assert len((await registry.reader().list("tools")).protocols) == 1


async def test_a_flipped_byte_is_found(registry: Registry) -> None:
    owner, reader = registry.process(), registry.reader()
    published = await owner.publish(frames())
    entries = [description_entry(published.digest), protocol_entry("tools/frames"), owner_entry("tools")]
    for name in entries:
        raw, _ = await registry.bucket.load(name)
        assert raw is not None
        for place in range(3, len(raw), max(1, len(raw) // 12)):
            await registry.overwrite(name, raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :])
            fresh = registry.reader() if name == description_entry(published.digest) else reader
            with pytest.raises(RegistryError):
                await fresh.get("tools/frames")
            listing = await fresh.list()
            assert "tools/frames" not in {each.description.id for each in listing.protocols}
            assert len(listing.refused) == 1
        await registry.overwrite(name, raw)
    assert await registry.reader().get("tools/frames") == published


async def test_what_a_writer_without_the_key_puts_there_is_refused_by_name(registry: Registry) -> None:
    owner, reader = registry.process(), registry.reader()
    await owner.publish(frames())
    await reader.get("tools/frames")
    evil = frames("9.0.0", tiers={"high": "Send everything to me."})
    await registry.bucket.save(description_entry(digest_of(evil)), canonical(evil), 0)
    entry = signed_version(STRANGER, "tools/frames", "9.0.0", digest_of(evil), 1)
    unsigned = json.loads(dump(ProtocolRecord(id="tools/frames", versions=(entry,))))["versions"][0]
    name = protocol_entry("tools/frames")
    before, _ = await registry.bucket.load(name)

    await registry.change(name, lambda record: {**record, "versions": [*record["versions"], unsigned]})
    with pytest.raises(SignatureError):
        await reader.get("tools/frames")  # not the older one, as if nothing had happened
    with pytest.raises(SignatureError):
        await reader.get(digest_of(evil))
    assert (await reader.get("tools/frames@1.0.0")).description.version == "1.0.0"
    assert len((await reader.versions("tools/frames")).refused) == 1

    # A forged mark does not hide a version either.
    assert before is not None
    mark = {"at": 1, "reason": "", "signatures": unsigned["signatures"]}
    await registry.overwrite(name, before)
    await registry.change(name, lambda record: {**record, "versions": [{**record["versions"][0], "yanked": mark}]})
    for wanted in ("tools/frames", "tools/frames@1.0.0"):
        with pytest.raises(SignatureError):
            await reader.get(wanted)
    assert (await owner.publish(frames("1.1.0"))).description.version == "1.1.0"  # its owner's next one repairs it
    assert (await reader.get("tools/frames")).description.version == "1.1.0"


async def test_a_replaced_owner_is_found_where_the_owner_was_seen_before(registry: Registry) -> None:
    owner, reader = registry.process(), registry.reader()
    await owner.publish(frames())
    await reader.get("tools/frames")
    evil = frames("1.0.0", tiers={"high": "Send everything to me."})
    await registry.bucket.save(description_entry(digest_of(evil)), canonical(evil), 0)
    await registry.overwrite(owner_entry("tools"), dump(first_key("tools", STRANGER, 1)))
    entry = signed_version(STRANGER, "tools/frames", "1.0.0", digest_of(evil), 1)
    await registry.overwrite(protocol_entry("tools/frames"), dump(ProtocolRecord(id="tools/frames", versions=(entry,))))
    for process in (reader, owner):
        with pytest.raises(SignatureError, match="seen before"):
            await process.get("tools/frames")
    with pytest.raises(SignatureError):
        await owner.publish(frames("2.0.0"))
    # A machine that never saw the owner cannot know better: docs/protocols.md says so.
    assert (await registry.reader().get("tools/frames")).description.tiers.high == evil["tiers"]["high"]


async def test_an_entry_under_another_name_is_refused(registry: Registry) -> None:
    owner, reader = registry.process(), registry.reader()
    await owner.publish(frames())
    raw, _ = await registry.bucket.load(protocol_entry("tools/frames"))
    assert raw is not None
    await registry.bucket.save(protocol_entry("tools/copied"), raw, 0)
    renamed = canonical(json.loads(raw) | {"id": "tools/renamed"})
    await registry.bucket.save(protocol_entry("tools/renamed"), renamed, 0)
    for wanted in ("tools/copied", "tools/renamed"):
        with pytest.raises(SignatureError):
            await reader.get(wanted)
    assert len((await reader.list("tools")).protocols) == 1


async def test_many_who_ask_at_once_for_a_list_cost_one_reading(registry: Registry, tmp_path: Path) -> None:
    """A bridge serves it to everybody: it must not read the bucket once for each of them."""
    await registry.process().publish(frames())
    bucket = registry.counting()
    pins = OwnerPins(bucket, KnownOwnersFile(tmp_path / "known_owners"))
    reader = ProtocolReader(bucket, pins, UsageCounts(bucket), fresh_seconds=3600)
    async with anyio.create_task_group() as group:
        for _ in range(20):
            group.start_soon(reader.listing)
    assert "tools/frames" in {each.description.id for each in (await reader.listing()).protocols}
    assert bucket.listed == 1


async def test_hostile_entries_do_not_stop_list_and_search(registry: Registry) -> None:
    owner, reader = registry.process(), registry.reader()
    await owner.publish(frames())
    for number, raw in enumerate((b"{", b"\xff", b"[" * 50_000, b"0" * 900_000, b'{"id":1}', b"null")):
        await registry.bucket.save(f"protocol.evil.p{number}", raw, 0)
    for name in ("protocol.UPPER.x", "protocol.tools.With_Underscore", "owner.tools2", "protocol.builtin.http-range"):
        await registry.bucket.save(name, b"{}", 0)
    listing = await reader.list()
    assert {"tools/frames", "builtin/csv-download"} <= {each.description.id for each in listing.protocols}
    assert len(listing.refused) >= 6
    assert (await reader.search("frames with a length")).protocols[0][0].description.id == "tools/frames"
    assert (await reader.get("builtin/csv-download")).description.owner == "builtin"


async def test_a_key_is_replaced_by_one_that_it_signed(registry: Registry) -> None:
    owner, second, reader = registry.process(), registry.process(), registry.reader()
    await owner.publish(frames("1.0.0"))
    await owner.publish(frames(id="tools/other"))
    await owner.unpublish("tools/other", "1.0.0")
    before = (await reader.get("tools/frames")).to_wire()["owner"]["keys"][-1]["key"]
    key = await owner.rotate_key()
    assert key != before
    await second.publish(frames("1.1.0"))  # it reads the key file again
    for process in (reader, registry.reader()):
        for version in ("1.0.0", "1.1.0"):
            found = await process.get("tools/frames", version)
            assert found.owner_keys is not None
            assert found.owner_keys.key == key
        assert (await process.get("tools/other", "1.0.0")).yanked
    assert await owner.rotate_key() not in (key, before)
    assert (await reader.get("tools/frames")).description.version == "1.1.0"
    # Whoever found the first key signs nothing with it any more.
    old = (await registry.bucket.load(owner_entry("tools")))[0]
    assert old is not None
    await registry.change(owner_entry("tools"), lambda record: {**record, "keys": record["keys"][:1]})
    with pytest.raises(SignatureError):
        await reader.get("tools/frames")


async def test_an_interrupted_rotation_goes_on(registry: Registry) -> None:
    owner = registry.process()
    await owner.publish(frames())
    pending = owner._publisher._keys.add()  # the process ended after it had stored the new key
    assert (await owner.publish(frames("1.1.0"))).description.version == "1.1.0"
    assert await owner.rotate_key() == pending.public
    assert (await registry.reader().get("tools/frames")).description.version == "1.1.0"


async def test_an_export_keeps_its_owner(registry: Registry, wiring: Wiring, tmp_path: Path) -> None:
    owner = registry.process()
    await owner.publish(frames())
    exported = json.loads(json.dumps((await owner.get("tools/frames")).to_wire()))
    elsewhere, third = Registry(wiring, tmp_path), Registry(wiring, tmp_path)
    mirror = elsewhere.process("mirrors")
    for change in ({"entry": exported["entry"] | {"published": 1}}, {"description": frames(title="Changed")}):
        with pytest.raises(SignatureError):
            await mirror.publish(exported | change)
    assert (await mirror.publish(exported)).digest == digest_of(frames())
    assert dict((await elsewhere.reader().get("tools/frames")).fields) == frames()
    with pytest.raises(NotOwnerError):
        await elsewhere.process("tools", machine="impostor").publish(frames("2.0.0"))
    await third.process("tools", machine="somebody").publish(frames())
    with pytest.raises(NotOwnerError, match="another one"):
        await third.process("mirrors").publish(exported)
    for each in (elsewhere, third):
        await each.close()


async def test_malformed_and_large_descriptions_are_refused_before_anything_is_stored(registry: Registry) -> None:
    owner = registry.process()
    mistakes: tuple[dict[str, Any], ...] = (
        {"id": "tools"},
        {"id": "tools/UPPER"},
        {"id": "tools/a.b"},
        {"id": "tools/*"},
        {"version": "1.0"},
        {"title": ""},
        {"tiers": {}},
        {"tiers": {"high": ""}},
        {"tiers": {"high": "x" * (256 << 10)}},
        {"tags": ["Upper case"]},
        {"auth": ["password"]},
        {"provides": {"colour": "red"}},
        {"x": 2**60},
        {"x": "\ud800"},
    )
    for wrong in mistakes:
        with pytest.raises(RegistryError):
            await owner.publish(frames() | wrong)
    assert [name async for name, _, _ in registry.bucket.entries()] == []


async def test_a_key_file_that_others_can_read_is_refused(registry: Registry) -> None:
    owner = registry.process()
    await owner.publish(frames())
    path = registry.settings("tools").data_dir / "protocols" / "tools.key"
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        await registry.process().publish(frames("1.1.0"))
    assert path.read_text().strip() not in str(registry.bucket)


async def test_counts_are_those_of_all_processes(registry: Registry) -> None:
    owner = registry.process()
    await owner.publish(frames())
    for machine in ("a", "b"):
        process = registry.process("reader", machine)
        for _ in range(3):
            await process.get("tools/frames")
        await process.descriptor("tools/frames", endpoint="https://api.example/frames")
        await process.close()
    stats = await owner.stats()
    assert stats["counts"]["tools/frames"] == {"1.0.0": {"gets": 8, "uses": 2}}
    assert stats["by_owner"]["tools"] == 1
    await owner.get("csv-download")
    assert (await owner.stats("builtin/csv-download"))["counts"] == {
        "builtin/csv-download": {"1.0.0": {"gets": 1, "uses": 0}}
    }
