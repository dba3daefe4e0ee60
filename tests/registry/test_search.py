"""The words of somebody who does not know our names find the right description first, or nearly."""

from __future__ import annotations

import pytest

from broker_plane.errors import RegistryError
from broker_plane.registry.description import ProtocolDescription, parse_description
from broker_plane.registry.registered import builtin_protocols
from broker_plane.registry.search import ProtocolSearch, search

BUILTIN = [each.description for each in builtin_protocols().values()]


def found(text: str = "", **filters: str) -> list[str]:
    return [each.description.name for each in search(BUILTIN, ProtocolSearch(text=text, **filters))]


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("how do I resume a big download", "http-range"),
        ("REST api with limit and offset", "http-offset-paginated"),
        ("follow the next link until there are no more pages", "http-paginated"),
        ("continuation token", "http-paginated"),
        ("login with an access token", "oauth2-bearer"),
        ("spreadsheet export", "csv-download"),
        ("comma separated table", "csv-download"),
        ("live updates over EventSource", "sse-stream"),
        ("notify another service when something happens, with a signature", "webhook-push"),
        ("AWS bucket file behind a signed link", "s3-presigned"),
        ("log lines as JSON", "ndjson-stream"),
        ("attach a file to a form", "multipart-upload"),
        ("SOAP service", "xml-api"),
        ("magnet link", "webtorrent"),
        ("content addressed by CID", "ipfs"),
        ("merkle torrent", "bittorrent-v2"),
        ("bidirectional socket messages", "websocket-json"),
        ("query language with a schema", "graphql"),
        ("edit a document together with other agents", "session"),
        ("send a file in parts and go on after an interruption", "bridge-upload"),
        ("message broker subject", "nats-presigned"),
        ("subscribe to new versions of a data set", "feed-events"),
        ("paginate", "http-paginated"),
        ("PAGINATION", "http-paginated"),
    ],
)
def test_strangers_find_what_they_need(words: str, name: str) -> None:
    assert name in found(words)[:3]


def test_filters_leave_out_what_does_not_fit() -> None:
    assert found(format="csv") == ["csv-download"]
    assert found(format="text/csv") == ["csv-download"]
    assert "json" not in "".join(found(format="xml"))
    assert found(mode="push") == ["bridge-upload", "multipart-upload", "webhook-push"]
    assert found(protocol="wss") == found(protocol="WSS") == ["websocket-json"]
    assert "s3-presigned" not in found(auth="bearer")
    assert "oauth2-bearer" in found(auth="bearer")
    assert found("download", tag="rfc4180") == ["csv-download"]
    assert found(owner="nobody") == []
    assert len(found(tier="full")) == len(BUILTIN)
    with pytest.raises(RegistryError, match="tier"):
        ProtocolSearch(tier="highest")


def test_without_words_all_are_listed_by_id() -> None:
    assert found() == sorted(each.name for each in BUILTIN)
    assert found("qqqqqq") == []
    assert found("what is it") == found("what is it")  # stop words alone are looked for as they are


def described(name: str, **members: object) -> ProtocolDescription:
    return parse_description(
        {"id": f"tools/{name}", "version": "1.0.0", "title": name, "tiers": {"high": "About."}} | members
    )


def test_words_of_any_script_are_found() -> None:
    ours = [described("invoices", summary="請求書を取得する"), described("others", summary="Счета и заказы")]
    for words, name in (("請求書", "invoices"), ("заказы", "others"), ("СЧЕТА", "others")):
        assert [each.description.name for each in search(ours, ProtocolSearch(text=words))] == [name]


def test_a_title_counts_more_than_a_text_and_long_queries_are_cut() -> None:
    ours = [described("a", tiers={"high": "frames"}), described("frames")]
    assert [each.description.name for each in search(ours, ProtocolSearch(text="frames"))] == ["frames", "a"]
    assert search(ours, ProtocolSearch(text=" ".join(f"w{n}" for n in range(10_000)) + " frames")) == []
