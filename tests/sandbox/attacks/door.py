"""Attacks through the host's own door: what it may fetch is one endpoint, which is not to be trusted either."""

from __future__ import annotations

from broker_plane.sandbox.ports import RunLimits
from tests.sandbox.attacks.attack import BRIEF, LIMITS, Attack

_SPELLINGS = (
    "['2130706434', '0x7f000002', '0177.0.0.2', '127.2', '127.0.0.2.', '[::ffff:127.0.0.2]', '①27.0.0.2', "
    "'127%2E0%2E0%2E2', 'localhost', 'loopback.example']"
)
_TRY = "def attempt(f, *values):\n    try: return f(*values)\n    except Exception as error: print(error)\n"


def _attack(name: str, source: str, limits: RunLimits = LIMITS) -> Attack:
    return Attack("door", name, _TRY + source, limits)


DOOR = [
    _attack("another port of the endpoint's host", "attempt(fetch, TARGET['refused'])"),
    _attack("connect to another port", "attempt(connect, '127.0.0.1', TARGET['tcp'])"),
    _attack(
        "another loopback address",
        "attempt(fetch, 'http://127.0.0.2:%d/' % TARGET['port'])\nattempt(connect, '127.0.0.2', TARGET['port'])",
    ),
    _attack(
        "other spellings of an address",
        f"for host in {_SPELLINGS}:\n    attempt(fetch, 'http://' + host + ':%d/' % TARGET['port'])\n"
        "    attempt(connect, host, TARGET['port'])",
    ),
    _attack(
        "a link-local address",
        "for url in ('http://169.254.169.254/latest/meta-data/', 'http://[fe80::1]/'):\n"
        "    if attempt(fetch, url) is not None: emit(b'GOT ' + url.encode())",
    ),
    _attack(
        "redirect to a link-local address",
        "answer = fetch(TARGET['endpoint'] + '/redirect?to=http://169.254.169.254/latest/meta-data/')\n"
        "if answer['status'] != 302: emit(b'GOT %d' % answer['status'])\n"
        "if attempt(fetch, answer['headers']['location']) is not None: emit(b'GOT the target')",
    ),
    _attack(
        "redirect to a loopback neighbour",
        "answer = fetch(TARGET['endpoint'] + '/redirect?to=' + TARGET['refused'])\n"
        "if answer['status'] != 302: emit(b'GOT %d' % answer['status'])\n"
        "attempt(fetch, answer['headers']['location'])",
    ),
    _attack(
        "a name that changes its address",
        "for _ in range(6):\n    attempt(fetch, 'http://rebinding.example:%d/' % TARGET['port'])\n"
        "    attempt(connect, 'rebinding.example', TARGET['port'])",
    ),
    _attack(
        "another host behind user information",
        "attempt(fetch, 'http://127.0.0.1:%d@127.0.0.2:%d/' % (TARGET['port'], TARGET['port']))\n"
        "attempt(fetch, 'http://127.0.0.2:%d#@127.0.0.1:%d/' % (TARGET['port'], TARGET['port']))",
    ),
    _attack("a file's URL", "emit(fetch('file://' + TARGET['file'])['body'])"),
    _attack(
        "a second request in a header",
        "second = 'a\\r\\nX-Injected: 1\\r\\n\\r\\nGET /injected HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n'\n"
        "attempt(fetch, TARGET['endpoint'], 'GET', {'X-A': second})\n"
        "attempt(fetch, TARGET['endpoint'], 'GET', {second: 'a'})\nattempt(fetch, TARGET['endpoint'], second)\n"
        "attempt(fetch, TARGET['endpoint'] + '/' + second)",
    ),
    _attack(
        "the credential from an endpoint that echoes it",
        "answer = fetch(TARGET['endpoint'] + '/echo')\nemit(answer['body'] + repr(answer['headers']).encode())\n"
        "opened = open_url(TARGET['endpoint'] + '/echo')\nwhile True:\n    piece = receive(opened['handle'], 7)\n"
        "    if not piece: break\n    emit(piece)",
    ),
    _attack(
        "the credential to another host name",
        "answer = attempt(fetch, 'http://other.example:%d/echo' % TARGET['port'])\n"
        "if answer is not None and b'authorization' in answer['body'].lower(): emit(b'GOT a header')",
    ),
    _attack("a response without end", "attempt(fetch, TARGET['endpoint'] + '/endless')"),
    _attack(
        "a response without end, in pieces",
        "opened = open_url(TARGET['endpoint'] + '/endless')\nwhile True: emit(receive(opened['handle'], 1 << 20))",
    ),
    _attack("a response that inflates", "attempt(fetch, TARGET['endpoint'] + '/inflating')"),
    _attack("a response that never comes", "fetch(TARGET['endpoint'] + '/never')", BRIEF),
]
