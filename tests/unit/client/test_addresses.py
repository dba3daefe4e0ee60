"""Which addresses are public: none of any special block, in any spelling or form with another address in it."""

from __future__ import annotations

import random
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker_plane.client.addresses import is_public, meant, parse_networks
from broker_plane.client.guard import webhook_guard
from broker_plane.errors import ConfigError, UntrustedHostError

V6 = (
    "::/128",
    "::1/128",
    "::/96",  # IPv4-compatible
    "::ffff:0:0:0/96",  # IPv4-translated (SIIT)
    "64:ff9b:1::/48",  # local-use NAT64
    "100::/64",  # discard-only
    "100:0:0:1::/64",
    "200::/7",  # OSI NSAP, deprecated
    "400::/6",
    "800::/5",
    "1000::/4",
    "2001::/23",
    "2001::/32",  # Teredo
    "2001:2::/48",  # benchmarking
    "2001:10::/28",  # ORCHID
    "2001:20::/28",  # ORCHIDv2
    "2001:30::/28",  # DRIP
    "2001:db8::/32",
    "2002::/16",  # 6to4
    "2620:4f:8000::/48",
    "3ffe::/16",
    "3fff::/20",
    "4000::/3",
    "5f00::/16",  # SRv6 SIDs
    "6000::/3",
    "8000::/3",
    "a000::/3",
    "c000::/3",
    "e000::/4",
    "f000::/5",
    "f800::/6",
    "fc00::/7",
    "fe00::/9",
    "fe80::/10",
    "fec0::/10",  # site-local
    "ff00::/8",
)
V4 = (
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "255.255.255.255/32",
)
PUBLIC = ("8.8.8.8", "1.1.1.1", "93.184.216.34", "2606:4700::1111", "2a00:1450:4001::1", "2400:cb00::1", "2001:470::1")


def of(network: str, count: int = 20) -> list[Any]:
    """The first, the last and some random members."""
    found = ip_network(network)
    first, last = int(found.network_address), int(found.broadcast_address)
    kind = type(found.network_address)
    chance = random.Random(network)
    return [kind(first), kind(last), *(kind(chance.randint(first, last)) for _ in range(count))]


@pytest.mark.parametrize("network", V4 + V6)
def test_no_member_of_a_special_block_is_public(network: str) -> None:
    assert not [str(address) for address in of(network) if is_public(address)]


@pytest.mark.parametrize("text", PUBLIC)
def test_what_is_public_is_public(text: str) -> None:
    assert is_public(ip_address(text))


@pytest.mark.parametrize("network", V4)
def test_no_form_of_ipv6_hides_an_inner_address_of_ipv4(network: str) -> None:
    for address in of(network, 5):
        number = int(address)
        forms = [
            number,  # compatible
            0xFFFF << 32 | number,  # mapped
            0xFFFF << 48 | number,  # translated
            0x64FF9B << 96 | number,  # NAT64
            0x64FF9B0001 << 80 | number,  # local-use NAT64
            0x2002 << 112 | number << 80 | 1,  # 6to4
            0x20010000 << 96 | (number ^ 0xFFFFFFFF),  # Teredo
            0xFE80 << 112 | 0x5EFE << 32 | number,  # ISATAP
            0x2A00 << 112 | 0x5EFE << 32 | number,  # ISATAP in a public prefix
            0x2A00 << 112 | 0x02005EFE << 32 | number,
        ]
        assert not [str(IPv6Address(form)) for form in forms if is_public(IPv6Address(form))]


def test_mapped_and_translated_addresses_are_what_they_lead_to() -> None:
    assert is_public(ip_address("::ffff:8.8.8.8")) and is_public(ip_address("64:ff9b::8.8.8.8"))
    assert meant(ip_address("::ffff:127.0.0.1")) == IPv4Address("127.0.0.1")


@given(st.integers(0, 2**128 - 1))
def test_only_global_unicast_is_public(number: int) -> None:
    address = IPv6Address(number)
    if is_public(address):
        allowed = (IPv6Network("2000::/3"), IPv6Network("::ffff:0:0/96"), IPv6Network("64:ff9b::/96"))
        assert any(address in network for network in allowed)
        assert address.is_global or meant(address) != address


@given(st.integers(0, 2**32 - 1))
def test_nothing_is_public_that_python_calls_private(number: int) -> None:
    address = IPv4Address(number)
    if is_public(address):
        assert address.is_global and not address.is_multicast


@pytest.mark.anyio
@pytest.mark.parametrize(
    "host",
    [
        "[::127.0.0.1]",
        "[::ffff:0:127.0.0.1]",
        "[::ffff:127.0.0.1]",
        "[2a00::5efe:7f00:1]",
        "[fec0::1]",
        "[5f00::1]",
        "[3fff::1]",
        "[2002:7f00:1::]",
        "[2001:0:1::1]",
        "[64:ff9b::7f00:1]",
        "[64:ff9b:1::7f00:1]",
        "[100::1]",
        "[2001:db8::1]",
        "[fe80::1%25lo]",
        "[fe80::1%lo]",
        "[2606:4700::1%25lo]",
        "[ff02::1]",
        "[::]",
    ],
)
async def test_a_webhook_goes_to_none_of_them(host: str) -> None:
    with pytest.raises(UntrustedHostError):
        await webhook_guard().check(f"https://{host}/hook")


@pytest.mark.parametrize(
    ("text", "network"),
    [
        ("10.1.0.0/16", "10.1.0.0/16"),
        ("127.0.0.1", "127.0.0.1/32"),
        ("10.0.0.0/255.0.0.0", "10.0.0.0/8"),
        ("fd00::/8", "fd00::/8"),
        ("[fd00::]/8", "fd00::/8"),
        ("[::1]", "::1/128"),
        ("FD00:0:0::5", "fd00::5/128"),
        (" ::1/128 ", "::1/128"),
    ],
)
def test_a_network_is_the_same_in_every_spelling_of_it(text: str, network: str) -> None:
    assert parse_networks(text) == (network,)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("10.1.2.3/16", "an address inside 10.1.0.0/16"),
        ("[fd00::5]/8", "an address inside fd00::/8"),
        ("[fd00::5]:8787", "not names or ports"),
        ("127.0.0.1:9000", "not names or ports"),
        ("localhost", "not names or ports"),
        ("hooks.example", "not names or ports"),
        ("*", "not names or ports"),
        ("10.0.0.*", "not names or ports"),
        ("10.0.0.1-10.0.0.9", "not names or ports"),
        ("http://10.0.0.1", "not names or ports"),
        ("fe80::1%eth0", "zone"),
        ("10.0.0.0/33", "not a network"),
        ("'10.0.0.0/8'", "not a network"),
        ("10.0.0.0/8;10.1.0.0/16", "not a network"),
    ],
)
def test_what_is_no_network_is_refused_with_a_sentence(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=f"BROKER_PLANE_WEBHOOK_NETWORKS: .*{said}"):
        parse_networks(text)
