"""Attacks over the network: everything but what the host's door allows."""

from __future__ import annotations

from tests.sandbox.attacks.attack import Attack


def _connecting(name: str, arguments: str, address: str) -> Attack:
    source = (
        f"import socket\ns = socket.socket({arguments})\ns.settimeout(2)\n"
        f"s.connect({address})\ns.sendall(TARGET['token'].encode())"
    )
    return Attack("network", name, source)


def _sending(name: str, arguments: str, address: str) -> Attack:
    return Attack(
        "network", name, f"import socket\ns = socket.socket({arguments})\ns.sendto(TARGET['token'].encode(), {address})"
    )


def _listening(name: str, arguments: str, address: str = "") -> Attack:
    """The stage connects to the port that is announced here."""
    bind = f"s.bind({address})\n" if address else ""
    return Attack(
        "network",
        name,
        f"import socket\ns = socket.socket({arguments})\n{bind}s.listen()\nname = s.getsockname()\n"
        "if isinstance(name, tuple): emit(b'PORT %d\\n' % name[1] + b' ' * 70000)\nsleep(0.6)",
    )


_STREAM = "socket.AF_INET, socket.SOCK_STREAM"

NETWORK = [
    _connecting("TCP to a loopback neighbour", _STREAM, "('127.0.0.1', TARGET['tcp'])"),
    _connecting("TCP to 127.0.0.2", _STREAM, "('127.0.0.2', TARGET['tcp'])"),
    _connecting("TCP to an own address that is not loopback", _STREAM, "(TARGET['own'], TARGET['tcp'])"),
    _connecting("TCP over IPv6", "socket.AF_INET6, socket.SOCK_STREAM", "('::1', TARGET['tcp6'])"),
    _connecting("MPTCP", _STREAM + ", 262", "('127.0.0.1', TARGET['tcp'])"),
    _connecting("SCTP", _STREAM + ", 132", "('127.0.0.1', TARGET['tcp'])"),
    Attack(
        "network",
        "TCP fast open",
        f"import socket, time\ns = socket.socket({_STREAM})\n"
        "s.sendto(TARGET['token'].encode(), 0x20000000, ('127.0.0.1', TARGET['tcp']))\ntime.sleep(0.2)",
    ),
    Attack(
        "network",
        "HTTP without the host",
        "import urllib.request\nurllib.request.urlopen('http://127.0.0.1:%d/' % TARGET['tcp'], timeout=1)",
    ),
    _sending("UDP", "socket.AF_INET, socket.SOCK_DGRAM", "('127.0.0.1', TARGET['udp'])"),
    Attack(
        "network",
        "UDP-Lite",
        "import socket\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, 136)\n"
        "s.sendto(b'x', ('127.0.0.1', TARGET['udp']))\nemit(b'GOT a packet out')",
    ),
    _sending("Unix datagram socket", "socket.AF_UNIX, socket.SOCK_DGRAM", "TARGET['unix_datagram']"),
    _connecting("Unix socket", "socket.AF_UNIX, socket.SOCK_STREAM", "TARGET['unix']"),
    _connecting("abstract Unix socket", "socket.AF_UNIX, socket.SOCK_STREAM", "'\\0' + TARGET['abstract']"),
    Attack(
        "network",
        "raw socket",
        "import socket\nsocket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)\nemit(b'GOT a raw socket')",
    ),
    Attack(
        "network",
        "ping socket",
        "import socket\nsocket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP)\n"
        "emit(b'GOT a ping socket')",
    ),
    Attack(
        "network",
        "packet socket",
        "import socket\nsocket.socket(socket.AF_PACKET, socket.SOCK_RAW, 768)\nemit(b'GOT a packet socket')",
    ),
    Attack(
        "network",
        "netlink: the machine's addresses",
        "import socket, struct\ns = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)\ns.settimeout(1)\n"
        "s.bind((0, 0))\n"
        "s.send(struct.pack('=IHHIIBxxx', 20, 22, 0x301, 1, 0, 2))\n"
        "found = s.recv(65536)\nif socket.inet_aton(TARGET['own']) in found: emit(b'GOT the addresses')",
    ),
    Attack(
        "network",
        "vsock",
        "import socket\nsocket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)\nemit(b'GOT a vsock socket')",
    ),
    _listening("listen on TCP", _STREAM, "('127.0.0.1', 0)"),
    _listening("listen without bind", _STREAM),
    _listening("listen on MPTCP", _STREAM + ", 262", "('127.0.0.1', 0)"),
    _listening("listen on TCP over IPv6", "socket.AF_INET6, socket.SOCK_STREAM"),
    _listening(
        "listen on an abstract Unix socket", "socket.AF_UNIX, socket.SOCK_STREAM", "'\\0' + TARGET['token'] + '-bound'"
    ),
    Attack(
        "network",
        "receive over UDP",
        "import socket\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\ns.bind(('127.0.0.1', 0))\n"
        "s.settimeout(2)\nemit(b'PORT %d\\n' % s.getsockname()[1] + b' ' * 70000)\nsleep(0.6)\nemit(s.recv(1000))",
    ),
]
