"""Agora documents as descriptions, and their routines as transfer code. tests/interop/test_agora.py compares the hash
and the metadata with those of agora-protocol.
"""

from __future__ import annotations

from typing import Any

import pytest

from broker_plane.errors import RegistryError
from broker_plane.registry.agora import (
    MAX_DOCUMENT_BYTES,
    AgoraProtocol,
    agora_hash,
    agora_of,
    description_fields,
    is_agora_hash,
    of_data_uri,
    parse_agora,
    routine_of,
)
from broker_plane.registry.agora_routine import transfer_code
from broker_plane.registry.description import parse_description

DOCUMENT = "---\nname: Weather Query v2\ndescription: The temperature of a city.\nmultiround: false\n---\nTEMP <city>\n"
ROUTINE = "def run(task_data):\n    return send_to_server(task_data['city'])\n"


def test_the_hash_is_sha_1_in_base64() -> None:
    assert agora_hash("") == "2jmj7l5rSw0yVb/vlWAYkK/YBwk="
    assert is_agora_hash(agora_hash(DOCUMENT))
    assert not is_agora_hash("acme/weather")


def test_a_document_becomes_a_description_that_keeps_it() -> None:
    protocol = parse_agora(DOCUMENT, ["https://protocols.example/weather.txt"])
    fields = description_fields(protocol, "acme", "1.2.0", routine=ROUTINE)
    description = parse_description(fields)
    assert (description.id, description.version) == ("acme/weather-query-v2", "1.2.0")
    assert (description.title, description.summary) == ("Weather Query v2", "The temperature of a city.")
    assert description.text_of("high").endswith(DOCUMENT)
    assert description.parameters["protocol_sources"].default == ["https://protocols.example/weather.txt"]
    assert agora_of(fields) == protocol
    assert routine_of(fields) == ROUTINE


@pytest.mark.parametrize(
    ("member", "word"),
    [
        ("document", "has no document"),
        ({"document": DOCUMENT, "hash": agora_hash("another")}, "hash"),
        ({"document": DOCUMENT}, "hash"),
        ({"document": "no beginning", "hash": agora_hash("no beginning")}, "begins"),
        ({"document": DOCUMENT, "hash": agora_hash(DOCUMENT), "sources": "here"}, "sources"),
    ],
)
def test_a_description_with_a_wrong_document_is_refused(member: Any, word: str) -> None:
    fields = description_fields(parse_agora(DOCUMENT), "acme") | {"agora": member}
    with pytest.raises(RegistryError, match=word):
        parse_description(fields)


def test_other_descriptions_have_no_document() -> None:
    fields = description_fields(parse_agora(DOCUMENT), "acme")
    del fields["agora"]
    assert agora_of(fields) is None
    assert routine_of(fields) == ""


@pytest.mark.parametrize(
    ("document", "word"),
    [
        ("", "begins"),
        ("---\nname: x\n", "begins"),
        ("---\n- a list\n---\n", "not `name: text`"),
        ("---\nname: [a, list]\n---\n", "plain or quoted"),
        ("---\nname: |\n  a block\n---\n", "plain or quoted"),
        ("---\nname: &anchor x\n---\n", "plain or quoted"),
        ('---\nname: "an \\x65scape"\n---\n', "plain or quoted"),
        ("---\nmultiround: perhaps\n---\n", "multiround"),
        (f"---\nname: x\n---\n{'x' * MAX_DOCUMENT_BYTES}", "bytes"),
    ],
)
def test_a_document_that_agora_would_read_differently_is_refused(document: str, word: str) -> None:
    with pytest.raises(RegistryError, match=word):
        parse_agora(document)


@pytest.mark.parametrize(
    ("name", "slug"),
    [("Weather Query", "weather-query"), ("水", "agora"), ("3D models!", "agora-3d-models"), ("x" * 200, "x" * 63)],
)
def test_the_id_is_made_of_the_name(name: str, slug: str) -> None:
    fields = description_fields(AgoraProtocol(DOCUMENT, name, ""), "acme")
    assert fields["id"] == f"acme/{slug}"


def test_a_data_uri_is_verified() -> None:
    (source,) = parse_agora(DOCUMENT).wire_sources
    assert of_data_uri(source, agora_hash(DOCUMENT)).document == DOCUMENT
    for wrong in ("https://protocols.example/weather.txt", "data:text/plain;charset=utf-8;base64,!", source[:-1]):
        with pytest.raises(RegistryError):
            of_data_uri(wrong, agora_hash(DOCUMENT))


@pytest.mark.parametrize(
    ("routine", "word"),
    [
        ("def run(", "not Python"),
        ("run = print", "no function run"),
        ("class run: ...", "no function run"),
        ("x" * 100_001, "bytes"),
        ("def f(): ...\x00", "not Python"),
    ],
)
def test_what_is_not_a_routine_is_refused(routine: str, word: str) -> None:
    with pytest.raises(RegistryError, match=word):
        transfer_code(parse_agora(DOCUMENT), routine)


def test_a_document_cannot_change_the_code_around_its_routine() -> None:
    hostile = parse_agora(DOCUMENT + "\"'\\\n{}{message}''' + emit(b'x') + '''\n")
    code = transfer_code(hostile, ROUTINE)
    assert compile(code, "code", "exec")
    assert "emit(b'x')" not in code.replace("%20", " ")  # it is percent-encoded in the data URI
