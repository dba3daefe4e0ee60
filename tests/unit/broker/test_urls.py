"""BROKER_PLANE_NATS_URL as one address and as a list: which servers, and which user on all of them."""

from __future__ import annotations

import pytest

from broker_plane.broker.urls import Seeds, as_user, bare, hosts_of, seeds_of, user_of
from broker_plane.errors import ConfigError

ONE = ("nats://a:4222",)
TWO = ("nats://a:4222", "nats://b:4223")


@pytest.mark.parametrize(
    ("url", "seeds"),
    [
        ("nats://a:4222", Seeds(ONE)),
        ("a:4222", Seeds(ONE)),
        ("nats://u:p@a:4222", Seeds(ONE, "u", "p")),
        ("nats://u:p@a:4222,nats://b:4223", Seeds(TWO, "u", "p")),
        ("nats://a:4222,nats://u:p@b:4223", Seeds(TWO, "u", "p")),
        ("nats://u:p@a:4222,nats://u:p@b:4223", Seeds(TWO, "u", "p")),
        (" nats://u:p@a:4222 , b:4223, ", Seeds(TWO, "u", "p")),
        ("u:p@a:4222,b:4223", Seeds(TWO, "u", "p")),
        ("nats://u:p%40q%2Cr@a:4222", Seeds(ONE, "u", "p@q,r")),
        ("nats://u:p@q@a:4222", Seeds(ONE, "u", "p@q")),
        ("nats://u:50%off@a:4222", Seeds(ONE, "u", "50%off")),
        ("nats://u:p:q@a:4222", Seeds(ONE, "u", "p:q")),
        ("nats://secret@a:4222,nats://b:4223", Seeds(TWO, token="secret")),
        ("tls://u:p@a.example:4222,tls://b.example", Seeds(("tls://a.example:4222", "tls://b.example"), "u", "p")),
        ("nats://u:p@[::1]:4222,nats://[::2]:4222", Seeds(("nats://[::1]:4222", "nats://[::2]:4222"), "u", "p")),
    ],
)
def test_an_address_or_a_list_names_servers_and_one_user(url: str, seeds: Seeds) -> None:
    assert seeds_of(url) == seeds
    assert user_of(url) == seeds.user or seeds.token
    assert seeds_of(bare(url)) == Seeds(seeds.urls)
    assert seeds_of(as_user(url, "probe", "x1")) == Seeds(seeds.urls, "probe", "x1")
    assert "p@q" not in hosts_of(url)
    assert "@" not in hosts_of(url)


@pytest.mark.parametrize(
    "url",
    [
        "",
        " , ",
        "nats://",
        "nats://u:p@",
        "nats://a:port",
        "nats://a:0",
        "nats://a:70000",
        "nats://u:p@a:4222,nats://v:q@b:4222",
        "nats://u:p@a:4222,nats://u:other@b:4222",
        "nats://u:one,two@a:4222",
        "nats://[::1:4222",
    ],
)
def test_what_is_no_address_is_said_without_showing_a_password(url: str) -> None:
    with pytest.raises(ConfigError, match="BROKER_PLANE_NATS_URL") as caught:
        seeds_of(url)
    assert "two" not in str(caught.value)
    assert "other" not in str(caught.value)
