"""What an owner signs is bound to its key: any change of it, and any other key, is found."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from broker_plane.errors import RegistryError, SignatureError
from broker_plane.registry.canonical import canonical, digest_of
from broker_plane.registry.records import (
    Pin,
    ProtocolRecord,
    check_owner,
    check_version,
    dump,
    first_key,
    next_key,
    parse_owner_record,
    parse_protocol_record,
    signed_again,
    signed_version,
    signed_yank,
)
from broker_plane.registry.signing import SigningKey, verify

KEY, OTHER, THIRD = (SigningKey(bytes([number]) * 32) for number in (1, 2, 3))
PIN = Pin("tools", KEY.public)
ENTRY = signed_version(KEY, "tools/frames", "1.0.0", "ab" * 32, 1_700_000_000)


def test_the_first_test_vector_of_the_standard() -> None:
    """RFC 8032, section 7.1, TEST 1 has this public key; our statements are never empty."""
    seed = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    key = SigningKey(seed)
    assert key.public == "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
    assert seed.hex() not in repr(key)
    verify({"statement": "x", "b": 1}, key.sign({"b": 1, "statement": "x"}), key.public)


def test_every_character_of_a_signature_and_a_key_counts() -> None:
    statement = {"statement": "x"}
    signature = KEY.sign(statement)
    for text, changed_key in ((signature, False), (KEY.public, True)):
        changed = [text[:i] + ("A" if each != "A" else "B") + text[i + 1 :] for i, each in enumerate(text)]
        for wrong in (*changed, "", text[:-1], text + "A", text + "=", "é" + text[1:]):
            with pytest.raises(SignatureError):
                verify(statement, signature if changed_key else wrong, wrong if changed_key else KEY.public)


@pytest.mark.parametrize(
    "change",
    [
        {"version": "1.0.1"},
        {"digest": "cd" * 32},
        {"published": 1_700_000_001},
        {"signatures": ENTRY.signatures[:0]},
        {"version": "not a version"},
    ],
)
def test_an_entry_cannot_be_changed(change: dict[str, Any]) -> None:
    check_version(PIN, "tools/frames", ENTRY)
    with pytest.raises(SignatureError):
        check_version(PIN, "tools/frames", msgspec.structs.replace(ENTRY, **change))


def test_an_entry_belongs_to_its_protocol_and_owner() -> None:
    for pin, protocol in ((PIN, "tools/other"), (PIN, "others/frames"), (Pin("tools", OTHER.public), "tools/frames")):
        with pytest.raises(SignatureError):
            check_version(pin, protocol, ENTRY)


def test_a_mark_cannot_be_made_moved_or_reworded_by_others() -> None:
    yanked = signed_yank(KEY, "tools/frames", ENTRY, 1_700_000_100, "leaks")
    check_version(PIN, "tools/frames", yanked)
    assert yanked.yanked is not None
    forged = signed_yank(OTHER, "tools/frames", ENTRY, 1_700_000_100, "")
    newer = signed_version(KEY, "tools/frames", "2.0.0", "ef" * 32, 1_700_000_000)
    moved = msgspec.structs.replace(newer, yanked=yanked.yanked)
    reworded = msgspec.structs.replace(yanked, yanked=msgspec.structs.replace(yanked.yanked, reason="is fine"))
    signed_as_version = msgspec.structs.replace(
        ENTRY, yanked=msgspec.structs.replace(yanked.yanked, signatures=ENTRY.signatures)
    )
    for entry in (forged, moved, reworded, signed_as_version):
        with pytest.raises(SignatureError):
            check_version(PIN, "tools/frames", entry)


def test_a_new_key_is_signed_by_the_one_before() -> None:
    first = first_key("tools", KEY, 1)
    second = next_key(first, KEY, OTHER, 2)
    assert check_owner(second, "tools").key == OTHER.public
    assert check_owner(second, "tools", known=KEY.public).key == OTHER.public
    assert check_owner(next_key(second, OTHER, THIRD, 3), "tools", known=KEY.public).key == THIRD.public
    stolen = next_key(first, OTHER, OTHER, 2)  # signed by a key that is not the one before
    for record, owner, known in (
        (stolen, "tools", ""),
        (first, "others", ""),
        (first, "tools", OTHER.public),  # the rotation was taken back
        (first_key("tools", OTHER, 1), "tools", KEY.public),  # another owner
        (msgspec.structs.replace(second, keys=second.keys[1:]), "tools", ""),  # without its beginning
        (msgspec.structs.replace(second, keys=second.keys[::-1]), "tools", ""),
    ):
        with pytest.raises(SignatureError):
            check_owner(record, owner, known)


def test_versions_keep_both_signatures_during_a_rotation() -> None:
    both = signed_again(OTHER, "tools/frames", signed_yank(KEY, "tools/frames", ENTRY, 5, ""))
    for key in (KEY, OTHER):
        check_version(Pin("tools", key.public), "tools/frames", both)
    for number in range(4, 20):
        both = signed_again(SigningKey(bytes([number]) * 32), "tools/frames", both)
    assert len(both.signatures) == 4


def test_entries_of_the_bucket_are_read_as_they_were_written() -> None:
    record = ProtocolRecord(id="tools/frames", versions=(ENTRY, signed_yank(KEY, "tools/frames", ENTRY, 5, "x")))
    assert parse_protocol_record(dump(record), "tools/frames") == record
    owner = first_key("tools", KEY, 1)
    assert parse_owner_record(dump(owner), "tools") == owner


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"id":"tools/frames"}',
        b'{"id":"tools/frames","versions":[{"version":1}]}',
        dump(ProtocolRecord(id="tools/other", versions=(ENTRY,))),
        b"[" * 100_000,
        json.dumps({"id": "tools/frames", "versions": []}).encode() + b" " * (512 << 10),
    ],
)
def test_a_foreign_entry_is_refused_by_name(raw: bytes) -> None:
    with pytest.raises(SignatureError, match="tools/frames"):
        parse_protocol_record(raw, "tools/frames")


def test_digests_do_not_depend_on_the_order_of_members() -> None:
    assert digest_of({"a": 1, "b": [True, None]}) == digest_of({"b": [True, None], "a": 1})
    assert canonical({"é": 1.0, "a": "\u2028"}) == b'{"a":"\xe2\x80\xa8","\xc3\xa9":1}'
    for value in (2**60, float("nan"), "\ud800", {"a": {1, 2}}):
        with pytest.raises(RegistryError):
            canonical(value)
