"""Uploads: whole, in parts, in both dialects, within their terms."""

from __future__ import annotations

import asyncio
import hashlib
import random
from base64 import b64encode
from collections.abc import AsyncIterator
from typing import Any

import pytest

from broker_plane.errors import ChecksumError, ForbiddenError, TooLargeError, UploadCompleteError
from broker_plane.runtime.wiring import Wiring
from broker_plane.testing.processes import until
from broker_plane.testing.proxy import CuttingProxy
from tests.bridge.uploads import UploadBridge, sent, taking_uploads_by_turns

pytestmark = pytest.mark.anyio
DATA = random.Random(6).randbytes(1_300_000)
PARTIAL = "application/partial-upload"
TUS = "1.0.0"
TUS_TYPE = "application/offset+octet-stream"


@pytest.fixture
async def bridge(wiring: Wiring) -> AsyncIterator[UploadBridge]:
    async with taking_uploads_by_turns(wiring) as serving:
        yield serving


def digest_field(data: bytes) -> str:
    return f"sha-256=:{b64encode(hashlib.sha256(data).digest()).decode()}:"


@pytest.mark.parametrize("size", [0, 1, 524_288, 1_300_000])
async def test_a_put_becomes_a_body_whose_grant_works(bridge: UploadBridge, size: int) -> None:
    grant = await bridge.grant()
    data = DATA[:size]
    answer = await bridge.ask(
        "PUT", grant.upload_url, data, content_type="image/png", content_disposition='attachment; filename="a.png"'
    )
    assert answer.status_code == 201, answer.text
    said = answer.json()
    assert (said["body_id"], said["size"], said["name"]) == (grant.body_id, size, "a.png")
    assert said["digest"] == f"sha256:{hashlib.sha256(data).hexdigest()}"
    assert await bridge.stored(grant.upload_url, answer.headers["content-location"]) == data
    stored = await bridge.wiring.store.info("local", grant.body_id)
    assert (stored.media_type, stored.size) == ("image/png", size)


async def test_parts_of_any_size_are_one_body(bridge: UploadBridge) -> None:
    grant = await bridge.grant()
    cuts = sorted(random.Random(1).sample(range(len(DATA)), 7))
    made = await bridge.ask("POST", grant.upload_url, upload_complete="?0")
    assert (made.status_code, made.headers["upload-offset"]) == (201, "0")
    for start, stop in zip([0, *cuts], [*cuts, len(DATA)], strict=True):
        asked = await bridge.ask("HEAD", grant.upload_url)
        assert (asked.status_code, asked.headers["upload-offset"]) == (204, str(start))
        last = "?1" if stop == len(DATA) else "?0"
        answer = await bridge.ask(
            "PATCH",
            grant.upload_url,
            DATA[start:stop],
            content_type=PARTIAL,
            upload_offset=str(start),
            upload_complete=last,
        )
        assert answer.status_code in (200, 204), answer.text
        assert (answer.headers["upload-complete"], answer.headers["upload-offset"]) == (last, str(stop))
    assert await bridge.stored(grant.upload_url, answer.headers["content-location"]) == DATA


async def test_a_part_that_does_not_go_on_where_the_upload_is_is_refused_with_the_offset(bridge: UploadBridge) -> None:
    grant = await bridge.grant()
    await bridge.ask("POST", grant.upload_url, b"abc", upload_complete="?0")
    answer = await bridge.ask("PATCH", grant.upload_url, b"x", content_type=PARTIAL, upload_offset="2")
    assert answer.status_code == 409
    problem = answer.json()
    assert (problem["expected-offset"], problem["provided-offset"]) == (3, 2)
    assert problem["type"].endswith("#mismatching-upload-offset")


async def test_tus_creates_patches_and_tells_of_the_upload(bridge: UploadBridge) -> None:
    grant = await bridge.grant()
    meta = f"filename {b64encode(b'a.txt').decode()},filetype {b64encode(b'text/plain').decode()}"
    asked = await bridge.ask("HEAD", grant.upload_url, tus_resumable=TUS)
    assert asked.status_code == 404
    made = await bridge.ask(
        "POST", grant.upload_url, tus_resumable=TUS, upload_length=str(len(DATA)), upload_metadata=meta
    )
    assert (made.status_code, made.headers["location"]) == (201, grant.grant)
    first = await bridge.ask(
        "PATCH", grant.upload_url, DATA[:700_000], tus_resumable=TUS, content_type=TUS_TYPE, upload_offset="0"
    )
    assert (first.status_code, first.headers["upload-offset"]) == (204, "700000")
    there = await bridge.ask("HEAD", grant.upload_url, tus_resumable=TUS)
    assert (there.headers["upload-offset"], there.headers["upload-length"]) == ("700000", str(len(DATA)))
    assert there.headers["upload-metadata"] == meta
    rest = await bridge.ask(
        "PATCH", grant.upload_url, DATA[700_000:], tus_resumable=TUS, content_type=TUS_TYPE, upload_offset="700000"
    )
    assert rest.status_code == 204
    assert await bridge.stored(grant.upload_url, rest.headers["content-location"]) == DATA


async def test_tus_of_another_version_and_options(bridge: UploadBridge) -> None:
    grant = await bridge.grant(max_bytes=1000)
    answer = await bridge.ask("HEAD", grant.upload_url, tus_resumable="2.0.0")
    assert (answer.status_code, answer.headers["tus-version"]) == (412, TUS)
    limits = await bridge.ask("OPTIONS", grant.upload_url)
    assert (limits.status_code, limits.headers["tus-max-size"]) == (204, "1000")
    assert limits.headers["upload-limit"] == "max-size=1000"


async def test_what_is_complete_never_changes(bridge: UploadBridge) -> None:
    grant = await bridge.grant()
    await bridge.ask("PUT", grant.upload_url, b"first")
    for method in ("PUT", "DELETE"):
        answer = await bridge.ask(method, grant.upload_url, b"second")
        assert (answer.status_code, answer.json()["code"]) == (409, "upload_complete")
    again = await bridge.ask("HEAD", grant.upload_url)
    assert again.headers["upload-complete"] == "?1"
    assert await bridge.stored(grant.upload_url, again.headers["content-location"]) == b"first"


async def test_a_grant_of_one_use_is_the_same_one_whenever_it_is_asked_for(bridge: UploadBridge) -> None:
    grant = await bridge.grant(uses=1)
    answer = await bridge.ask("PUT", grant.upload_url, b"once")
    assert await bridge.stored(grant.upload_url, answer.headers["content-location"]) == b"once"
    again = await bridge.ask("HEAD", grant.upload_url)
    assert again.headers["content-location"] == answer.headers["content-location"]


async def test_terms_are_enforced_and_nothing_is_kept(bridge: UploadBridge) -> None:
    wrong = hashlib.sha256(b"other").hexdigest()
    table: list[tuple[dict[str, Any], dict[str, str], int]] = [
        ({"max_bytes": 10}, {}, 413),
        ({"formats": ["image/png"]}, {"content_type": "text/plain"}, 415),
        ({"digest": wrong}, {}, 422),
        ({}, {"repr_digest": digest_field(b"other")}, 422),
        ({}, {"repr_digest": "sha-512=:AA==:"}, 400),
    ]
    for terms, headers, status in table:
        grant = await bridge.grant(**terms)
        answer = await bridge.ask("PUT", grant.upload_url, DATA[:600_000], **headers)
        assert answer.status_code == status, (terms, answer.text)
        there = await bridge.ask("HEAD", grant.upload_url)
        assert (there.headers["upload-complete"], there.headers["upload-offset"]) == ("?0", "0"), terms


async def test_more_than_was_said_is_refused_in_the_middle(bridge: UploadBridge) -> None:
    grant = await bridge.grant(max_bytes=600_000)

    async def chunked() -> AsyncIterator[bytes]:  # without a Content-Length
        for start in range(0, len(DATA), 100_000):
            yield DATA[start : start + 100_000]

    answer = await bridge.ask("PUT", grant.upload_url, chunked())
    assert answer.status_code == 413


async def test_an_upload_grant_pulls_nothing_and_a_grant_for_a_body_uploads_nothing(bridge: UploadBridge) -> None:
    grant = await bridge.grant()
    done = await bridge.ask("PUT", grant.upload_url, b"x")
    pulled = await bridge.client.get(f"{bridge.url}/s2sp/data/{grant.grant}")
    assert (pulled.status_code, pulled.json()["code"]) == (403, "forbidden")
    reading = done.headers["content-location"].rpartition("/")[2]
    put = await bridge.ask("PUT", f"{bridge.url}/s2sp/upload/{reading}", b"y")
    assert (put.status_code, put.json()["code"]) == (403, "forbidden")


async def test_a_deleted_body_is_not_uploaded_again(bridge: UploadBridge) -> None:
    grant = await bridge.grant()
    await bridge.ask("PUT", grant.upload_url, b"x")
    await bridge.wiring.owning.delete(grant.body_id)
    assert (await bridge.ask("PUT", grant.upload_url, b"y")).status_code == 410


async def test_a_cancelled_upload_leaves_nothing_and_may_begin_again(bridge: UploadBridge) -> None:
    grant = await bridge.grant()
    await bridge.ask("POST", grant.upload_url, DATA[:700_000], upload_complete="?0")
    assert (await bridge.ask("DELETE", grant.upload_url)).status_code == 204
    there = await bridge.ask("HEAD", grant.upload_url)
    assert there.headers["upload-offset"] == "0"
    assert (await sent(grant.upload_url, b"new")).size == 3


async def test_our_client_goes_on_after_each_cut(bridge: UploadBridge) -> None:
    grant = await bridge.grant()
    cuts = [200_000, 100_000, 400_000, 5_000, 300_000]
    seen: list[int] = []
    async with CuttingProxy(bridge.url, request_cuts=cuts) as proxy:
        url = grant.upload_url.replace(bridge.url, proxy.url)
        done = await sent(url, DATA, media_type="text/plain", progress=lambda at, _: seen.append(at))
        assert proxy.cut == len(cuts)
        assert proxy.asked < len(DATA) * 1.05
    assert seen[-1] == len(DATA)
    assert done.digest == hashlib.sha256(DATA).hexdigest()
    assert await bridge.stored(grant.upload_url, done.resource_url.replace(proxy.url, bridge.url)) == DATA


async def test_whoever_goes_on_ends_the_request_before_and_loses_nothing_of_it(bridge: UploadBridge) -> None:
    grant = await bridge.grant()
    about = {"repr_digest": digest_field(DATA), "upload_length": str(len(DATA))}
    await bridge.ask("POST", grant.upload_url, upload_complete="?0", **about)
    stuck = asyncio.Event()

    async def pieces() -> AsyncIterator[bytes]:
        yield DATA[:300_000]
        await stuck.wait()

    async with asyncio.TaskGroup() as tasks:
        patch = {"content_type": PARTIAL, "upload_offset": "0", "upload_complete": "?1"}
        first = tasks.create_task(bridge.ask("PATCH", grant.upload_url, pieces(), **patch))
        await until(lambda: bridge.uploads.bytes_in >= 300_000, "bytes of the first")
        done = await sent(grant.upload_url, DATA)
        stuck.set()
    assert done.sent == len(DATA) - 300_000
    assert first.result().status_code == 409
    assert await bridge.stored(grant.upload_url, done.resource_url) == DATA


async def test_our_client_starts_again_where_another_file_was_begun(bridge: UploadBridge) -> None:
    grant = await bridge.grant()
    await bridge.ask("POST", grant.upload_url, b"z" * 700_000, upload_complete="?0")
    done = await sent(grant.upload_url, DATA)
    assert await bridge.stored(grant.upload_url, done.resource_url) == DATA


async def test_our_client_says_why_it_was_refused(bridge: UploadBridge) -> None:
    small = await bridge.grant(max_bytes=10)
    with pytest.raises(TooLargeError):
        await sent(small.upload_url, DATA)
    other = await bridge.grant(digest="0" * 64)
    with pytest.raises(ChecksumError):
        await sent(other.upload_url, DATA)
    done = await bridge.grant()
    await sent(done.upload_url, b"first")
    with pytest.raises(UploadCompleteError):
        await sent(done.upload_url, b"second")
    pulled = await sent((await bridge.grant()).upload_url, b"x")
    with pytest.raises(ForbiddenError):
        await sent(pulled.resource_url.replace("/data/", "/upload/"), b"x")
