"""A network namespace of a test's own: addresses of other networks, a name server, and a capture of every packet.

A test starts a module with `command(…)`; the module calls `prepare(…)` before anything else. No packet leaves the
namespace: it has a loopback interface alone, which answers for all addresses that it was given.
"""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from ipaddress import ip_address
from pathlib import Path

import pytest

_ETH_P_ALL = 0x0003
_ETHERNET, _IPV4_DESTINATION, _IPV6_DESTINATION = 14, slice(16, 20), slice(24, 40)
_IPV4, _IPV6 = 4, 6
_DNS_HEADER = 12
_A = 1
_RESPONSE = 0x8180


def command(module: str, *arguments: object) -> list[str]:
    """The command that runs a module in new namespaces of network and mounts; skips where this user may not."""
    enter = ["unshare", "--net", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"]), "--"]
    tried = subprocess.run([*enter, "ip", "link", "set", "lo", "up"], capture_output=True, text=True, check=False)
    if tried.returncode:
        if os.environ.get("CI") == "true" and os.geteuid() == 0:
            pytest.fail(f"no network namespace: {tried.stderr}")
        pytest.skip(f"this user cannot make a network namespace: {tried.stderr.strip()}")
    return [*enter, sys.executable, "-m", module, *map(str, arguments)]


def prepare(addresses: Iterable[str], directory: Path) -> None:
    """Give the interface the addresses, and let names be resolved by a server on 127.0.0.1 (`NameServer`)."""
    _run("ip", "link", "set", "lo", "up")
    for address in addresses:
        _run("ip", "address", "add", address, "dev", "lo")
    for path, text in {
        "/etc/resolv.conf": "nameserver 127.0.0.1\noptions timeout:1\n",
        "/etc/nsswitch.conf": "hosts: files dns\n",
    }.items():
        ours = directory / Path(path).name
        ours.write_text(text)
        _run("mount", "--bind", str(ours), path)


def _run(*words: str) -> None:
    subprocess.run(words, check=True)


class Packets:
    """Counts the packets of the interface by their destination, from the start on."""

    def __init__(self) -> None:
        self.to: Counter[str] = Counter()
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
        self._socket.bind(("lo", 0))
        threading.Thread(target=self._count, daemon=True).start()

    def _count(self) -> None:
        while True:
            packet = self._socket.recv(1 << 16)[_ETHERNET:]
            if packet:
                version = packet[0] >> 4
                part = _IPV6_DESTINATION if version == _IPV6 else _IPV4_DESTINATION
                self.to[str(ip_address(packet[part]))] += 1


class NameServer:
    """Answers A queries: each query for a name gets the next of its lists of addresses, and the last one for ever."""

    def __init__(self, names: Mapping[str, list[list[str]]]) -> None:
        self.asked: Counter[str] = Counter()
        self._names = names
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 53))
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            query, sender = self._socket.recvfrom(512)
            self._socket.sendto(self._answer(query), sender)

    def _answer(self, query: bytes) -> bytes:
        """RFC 1035, section 4.1: the question again, and a resource record for each address."""
        labels, at = [], _DNS_HEADER
        while length := query[at]:
            labels.append(query[at + 1 : at + 1 + length].decode())
            at += 1 + length
        question = query[_DNS_HEADER : at + 5]
        (kind,) = struct.unpack("!H", query[at + 1 : at + 3])
        addresses = self._next(".".join(labels)) if kind == _A else []
        header = query[:2] + struct.pack("!5H", _RESPONSE, 1, len(addresses), 0, 0)
        records = [struct.pack("!HHHIH", 0xC00C, _A, 1, 0, 4) + socket.inet_aton(each) for each in addresses]
        return header + question + b"".join(records)

    def _next(self, name: str) -> list[str]:
        lists = self._names.get(name, [[]])
        found = lists[min(self.asked[name], len(lists) - 1)]
        self.asked[name] += 1
        return found
