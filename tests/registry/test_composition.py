"""Descriptions are composed if they fit, and refused by the names of the two that do not."""

from __future__ import annotations

from typing import Any

import pytest

from broker_plane.errors import CompositionError
from broker_plane.registry.composition import compose
from broker_plane.registry.description import ProtocolDescription, parse_description
from broker_plane.registry.registered import builtin_protocols


def builtin(*names: str) -> list[ProtocolDescription]:
    return [builtin_protocols()[f"builtin/{name}"].description for name in names]


def described(name: str, **members: Any) -> ProtocolDescription:
    return parse_description(
        {"id": f"tools/{name}", "version": "1.0.0", "title": name.title(), "tiers": {"high": f"About {name}."}}
        | members
    )


def test_three_descriptions_become_one_whose_parts_fit() -> None:
    parts = builtin("oauth2-bearer", "http-offset-paginated", "csv-download")
    made = parse_description(compose(parts))
    assert made.provides == {
        "transport": "http",
        "auth": "oauth2",
        "pagination": "offset",
        "encoding": "csv",
        "direction": "download",
    }
    assert (made.format, made.auth, made.method, made.mode) == ("text/csv", ("bearer",), "GET", "fetch")
    assert set(made.schemes) == {"https", "http"}
    assert made.parameters.keys() == parts[1].parameters.keys()
    assert sorted(made.combines) == sorted(part.names_version for part in parts)
    for tier in ("high", "mid", "full"):
        text = made.tiers.named()[tier]
        assert all(part.text_of(tier) in text for part in parts)
        assert "emit the header record of the first page once" in text
    assert all(constraint in made.constraints for part in parts for constraint in part.constraints)
    assert not any("json.loads" in example for example in made.examples)  # of pages of JSON, which these are not
    assert len(made.tiers.high) < len(made.tiers.mid) < len(made.tiers.full)


def test_the_order_does_not_matter() -> None:
    parts = builtin("oauth2-bearer", "http-offset-paginated", "csv-download")
    made = [parse_description(compose(order, "tools/all")).fields() for order in (parts, parts[::-1])]
    assert made[0]["tiers"] == made[1]["tiers"]
    assert made[0] == made[1]


def test_what_is_assumed_holds_until_something_else_is_said() -> None:
    alone = parse_description(compose(builtin("oauth2-bearer", "http-offset-paginated")))
    assert alone.provides["encoding"] == "json"
    assert "one JSON array" in alone.tiers.high


def test_a_composition_is_composed_again() -> None:
    first = parse_description(compose(builtin("http-offset-paginated", "csv-download"), "tools/pages-of-csv"))
    made = parse_description(compose([first, *builtin("oauth2-bearer")]))
    assert made.provides["auth"] == "oauth2"
    with pytest.raises(CompositionError, match=r"tools/pages-of-csv and builtin/csv-download"):
        compose([first, *builtin("csv-download")])


CURSOR = {"provides": {"pagination": "cursor"}, "needs": {"transport": ["http"]}, "assumes": {"transport": "http"}}


@pytest.mark.parametrize(
    ("parts", "named"),
    [
        ([described("cursor", **CURSOR), *builtin("http-offset-paginated")], ("tools/cursor", "http-offset-paginated")),
        (
            [described("soap", provides={"encoding": "xml"}), *builtin("http-offset-paginated")],
            ("tools/soap", "http-offset-paginated"),
        ),
        (
            [described("mail", provides={"transport": "smtp"}), *builtin("oauth2-bearer")],
            ("tools/mail", "oauth2-bearer"),
        ),
        (
            [described("push", provides={"direction": "upload"}), *builtin("csv-download")],
            ("tools/push", "csv-download"),
        ),
        (
            [described("key", provides={"auth": "api-key"}), *builtin("oauth2-bearer")],
            ("tools/key", "oauth2-bearer"),
        ),
        (
            [described("signed", auth=["hmac"]), *builtin("oauth2-bearer", "csv-download")],
            ("tools/signed", "oauth2-bearer"),
        ),
        (
            [described("gzip", provides={"compression": "gzip"}), *builtin("http-offset-paginated")],
            ("tools/gzip", "http-offset-paginated"),
        ),
        (
            [described("socket", schemes=["wss"]), *builtin("csv-download")],
            ("tools/socket", "csv-download"),
        ),
        (
            [
                described("a", parameters={"page_size": {"description": "Bytes."}}),
                *builtin("http-offset-paginated"),
            ],
            ("tools/a", "page_size"),
        ),
        ([described("post", method="POST"), *builtin("csv-download")], ("tools/post", "csv-download")),
        (builtin("csv-download", "csv-download"), ("csv-download", "twice")),
        ([described("alone", needs={"transport": ["udp"]})], ("tools/alone", "transport udp")),
        ([], ("1 to 16",)),
        (
            [described("long", tiers={"high": "x" * 90_000}), described("longer", tiers={"high": "y" * 90_000})],
            ("high",),
        ),
    ],
)
def test_two_that_do_not_fit_are_named(parts: list[ProtocolDescription], named: tuple[str, ...]) -> None:
    with pytest.raises(CompositionError) as refused:
        compose(parts)
    assert [name for name in named if name not in str(refused.value)] == []
