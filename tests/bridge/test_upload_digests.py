"""Digests and codings of uploads: what is not what it says it is moves nothing on; what is packed is refused."""

from __future__ import annotations

import gzip
import hashlib
import os
from base64 import b64encode
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker_plane.errors import WireError
from broker_plane.runtime.wiring import Wiring
from broker_plane.wire.digests import parse_digests
from tests.bridge.uploads import UploadBridge, taking_uploads

DATA = os.urandom(1_400_000)  # two whole chunks and a part of one
TUS = {"tus_resumable": "1.0.0", "content_type": "application/offset+octet-stream"}
PART = {"content_type": "application/partial-upload"}
MALFORMED = (
    *("sha-256", "sha-256=", "sha-256=abc", "sha-256=::", "sha-256=:AA==:", "sha-512=:AA==:", "sha-256=:%%%:"),
    *(
        "SHA-256=:{good}:",
        "sha-256=:{good}",
        "sha-256={good}",
        'sha-256=":{good}:"',
        "sha-256=:{good}:, ,",
        "=:{good}:",
    ),
    *("sha-256=:{good}: sha-512=:AA==:", "sha-256=:{good}:;", "md5=1", "sha-256=?1", "sha-256=({good})"),
)
IGNORED = ("", "md5=:AAAAAAAAAAAAAAAAAAAAAA==:", "crc32c=:AAAAAA==:, unixsum=:AAA=:", "id-sha-256=:AAAA:", "sha=:AA:")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def bridge(wiring: Wiring) -> AsyncIterator[UploadBridge]:
    async with taking_uploads(wiring) as taking:
        yield taking


def digest(data: bytes, algorithm: str = "sha-256") -> str:
    raw = hashlib.new(algorithm.replace("-", ""), data).digest()
    return f"{algorithm}=:{b64encode(raw).decode()}:"


def wrong(algorithm: str = "sha-256") -> str:
    return digest(b"something else", algorithm)


async def offset(bridge: UploadBridge, url: str, **headers: str) -> tuple[int, str]:
    answer = await bridge.ask("HEAD", url, **headers)
    return answer.status_code, answer.headers.get("upload-offset", "")


async def begun(bridge: UploadBridge, way: str, size: int) -> str:
    """The URL of an upload of which `size` bytes are there, begun in the dialect of `way`."""
    url = (await bridge.grant()).upload_url
    if way == "tus":
        fields = {**TUS, "upload_length": str(len(DATA))}
        assert (await bridge.ask("POST", url, DATA[:size], **fields)).status_code == 201
    else:
        fields = {"upload_complete": "?0", "upload_length": str(len(DATA))}
        assert (await bridge.ask("PUT", url, DATA[:size], **fields)).status_code == 201
    return url


@pytest.mark.anyio
@pytest.mark.parametrize("method", ["PUT", "POST", "tus"])
async def test_a_whole_with_another_content_digest_is_refused(bridge: UploadBridge, method: str) -> None:
    fields = (wrong(), wrong("sha-512"), f"{digest(DATA)}, {wrong('sha-512')}", f"md5=:AAAA:,{wrong()}")
    for field in fields:
        await refuses_a_whole(bridge, method, field)


async def refuses_a_whole(bridge: UploadBridge, method: str, field: str) -> None:
    url = (await bridge.grant()).upload_url
    fields: dict[str, Any] = {**TUS, "upload_length": str(len(DATA))} if method == "tus" else {}
    verb = "POST" if method == "tus" else method
    answer = await bridge.ask(verb, url, DATA, content_digest=field, **fields)
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_content_digest")
    status = 200 if method == "tus" else 204
    assert await offset(bridge, url, **({"tus_resumable": "1.0.0"} if method == "tus" else {})) == (status, "0")
    # And the same URL takes the right bytes afterwards.
    good = await bridge.ask("PUT", url, DATA, content_digest=f"{digest(DATA, 'sha-512')}, {digest(DATA)}")
    assert good.status_code == 201
    assert await bridge.stored(url, good.headers["content-location"]) == DATA


@pytest.mark.anyio
@pytest.mark.parametrize("way", ["http", "tus"])
async def test_a_part_with_another_content_digest_moves_nothing_on(bridge: UploadBridge, way: str) -> None:
    for start in (0, 300_000, 524_288, 700_000):
        await refuses_a_part(bridge, way, start)


async def refuses_a_part(bridge: UploadBridge, way: str, start: int) -> None:
    url = await begun(bridge, way, start)
    fields, head = (TUS, {"tus_resumable": "1.0.0"}) if way == "tus" else (PART, {})
    for end, algorithm in ((start + 10, "sha-256"), (start + 650_000, "sha-512"), (len(DATA), "sha-256")):
        part = DATA[start:end][:-1] + bytes([DATA[end - 1] ^ 1])
        said = {"content_digest": digest(DATA[start:end], algorithm), "upload_offset": str(start)}
        answer = await bridge.ask("PATCH", url, part, **said, **fields)
        assert (answer.status_code, answer.json()["code"]) == (400, "bad_content_digest"), end
        assert (await offset(bridge, url, **head))[1] == str(start), end
    rest = DATA[start:]
    done = await bridge.ask("PATCH", url, rest, content_digest=digest(rest), upload_offset=str(start), **fields)
    assert done.status_code in (200, 204)
    assert await bridge.stored(url, done.headers["content-location"]) == DATA


@pytest.mark.anyio
@pytest.mark.parametrize("algorithm", ["sha-256", "sha-512"])
async def test_another_repr_digest_leaves_nothing(bridge: UploadBridge, algorithm: str) -> None:
    for way in ("put", "post", "first part", "last part", "tus"):
        await keeps_nothing(bridge, way, algorithm)


async def keeps_nothing(bridge: UploadBridge, way: str, algorithm: str) -> None:
    field = wrong(algorithm)
    if way == "last part":
        url = await begun(bridge, "http", 700_000)
        fields = {**PART, "upload_offset": "700000", "repr_digest": field}
        answer = await bridge.ask("PATCH", url, DATA[700_000:], **fields)
    else:
        url = (await bridge.grant()).upload_url
        fields = {**TUS, "upload_length": str(len(DATA))} if way == "tus" else {}
        fields |= {"upload_complete": "?0", "upload_length": str(len(DATA))} if way == "first part" else {}
        verb = "PUT" if way in ("put", "first part") else "POST"
        answer = await bridge.ask(verb, url, DATA, repr_digest=field, **fields)
    assert (answer.status_code, answer.json()["code"]) == (422, "bad_checksum")
    assert await offset(bridge, url) == (204, "0")
    good = await bridge.ask("PUT", url, DATA, repr_digest=f"{digest(DATA, 'sha-512')}, {digest(DATA)}")
    assert good.status_code == 201


@pytest.mark.anyio
async def test_a_part_may_not_change_the_digest_that_the_upload_was_begun_with(bridge: UploadBridge) -> None:
    url = (await bridge.grant()).upload_url
    begin = {"upload_complete": "?0", "upload_length": str(len(DATA)), "repr_digest": digest(DATA)}
    assert (await bridge.ask("PUT", url, DATA[:10], **begin)).status_code == 201
    part = {**PART, "upload_offset": "10"}
    assert (await bridge.ask("PATCH", url, DATA[10:], repr_digest=wrong(), **part)).status_code == 422
    assert await offset(bridge, url) == (204, "10")
    assert (await bridge.ask("PATCH", url, DATA[10:], repr_digest=digest(DATA), **part)).status_code == 200


@pytest.mark.anyio
@pytest.mark.parametrize("field", ["content_digest", "repr_digest"])
async def test_fields_that_cannot_be_read_are_refused_and_unknown_algorithms_ignored(
    bridge: UploadBridge, field: str
) -> None:
    good = digest(DATA[:9]).split(":")[1]
    for text in MALFORMED:
        url = (await bridge.grant()).upload_url
        answer = await bridge.ask("PUT", url, DATA[:9], **{field: text.format(good=good)})
        assert answer.status_code == 400, text
        assert await offset(bridge, url) == (204, "0"), text
    for text in IGNORED:
        url = (await bridge.grant()).upload_url
        assert (await bridge.ask("PUT", url, DATA[:9], **{field: text})).status_code == 201, text


@pytest.mark.anyio
async def test_a_content_coding_is_refused_with_what_is_taken(bridge: UploadBridge) -> None:
    for coding in ("gzip", "x-gzip", "GZIP", "zstd", "br", "deflate", "identity, gzip", "what"):
        await refuses_a_coding(bridge, coding)


async def refuses_a_coding(bridge: UploadBridge, coding: str) -> None:
    url = await begun(bridge, "http", 0)
    tus = await begun(bridge, "tus", 0)
    packed = gzip.compress(DATA[:1000])
    for target, method, fields in (
        *((url, method, {}) for method in ("PUT", "POST")),
        (url, "PATCH", {**PART, "upload_offset": "0"}),
        *((tus, method, {**TUS, "upload_offset": "0", "upload_length": "9"}) for method in ("POST", "PATCH")),
    ):
        answer = await bridge.ask(method, target, packed, content_encoding=coding, **fields)
        assert (answer.status_code, answer.headers["accept-encoding"]) == (415, "identity"), method
        assert (await offset(bridge, target))[1] == "0"
    published = url.replace("/upload/", "/data/")
    answer = await bridge.ask("POST", published, packed, content_encoding=coding)
    assert answer.status_code in (403, 415)  # the grant is for no body


@pytest.mark.anyio
async def test_no_coding_by_its_name_is_none(bridge: UploadBridge) -> None:
    for coding in ("", "identity", "Identity , identity"):
        url = (await bridge.grant()).upload_url
        assert (await bridge.ask("PUT", url, DATA[:9], content_encoding=coding)).status_code == 201


@given(st.text(alphabet='sha-25612=:AZaz09+/; ,"?%', max_size=120))
def test_any_text_is_digests_or_refused(text: str) -> None:
    try:
        found = parse_digests(text, "content-digest", strict=True)
    except WireError:
        return
    assert all((name, len(value)) in (("sha-256", 64), ("sha-512", 128)) for name, value in found.items())


@given(st.binary(max_size=200), st.sampled_from(["sha-256", "sha-512"]), st.sampled_from(["", ";a", "; b=1", " "]))
def test_a_digest_is_read_as_it_was_written(data: bytes, algorithm: str, more: str) -> None:
    text = f"md5=:AAAA:, {digest(data, algorithm)}{more},crc32=:AA:"
    found = parse_digests(text, "repr-digest", strict=True)
    assert found == {algorithm: hashlib.new(algorithm.replace("-", ""), data).hexdigest()}
