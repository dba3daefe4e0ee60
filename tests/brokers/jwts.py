"""Operator mode: an operator, an account with JetStream and a user, as `nsc` makes them."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from pathlib import Path
from time import time
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from broker_plane.wire import nkey

OPERATOR, ACCOUNT, USER = 14 << 3, 0, 20 << 3


class Key:
    def __init__(self, kind: int) -> None:
        raw = os.urandom(32)
        self._private = Ed25519PrivateKey.from_private_bytes(raw)
        self.seed = nkey._text(bytes([(18 << 3) | kind >> 5, (kind & 31) << 3]) + raw)
        self.public = nkey._text(bytes([kind]) + self._private.public_key().public_bytes_raw())

    def claim(self, subject: Key, name: str, claims: dict[str, Any], expires: float = 0) -> str:
        fields: dict[str, Any] = {"iat": int(time()), "iss": self.public, "name": name, "sub": subject.public}
        fields |= {"nats": {"version": 2, **claims}} | ({"exp": int(expires)} if expires else {})
        fields["jti"] = base64.b32encode(hashlib.new("sha512_256", _json(fields)).digest()).rstrip(b"=").decode()
        signed = f"{_text(_json({'typ': 'JWT', 'alg': 'ed25519-nkey'}))}.{_text(_json(fields))}"
        return f"{signed}.{_text(self._private.sign(signed.encode()))}"


class Operator:
    """`config` is for a server; `creds` writes a credentials file of a user."""

    def __init__(self) -> None:
        operator, system = Key(OPERATOR), Key(ACCOUNT)
        self._account = Key(ACCOUNT)
        unlimited = dict.fromkeys(("subs", "conn", "leaf", "imports", "exports", "data", "payload"), -1)
        limits = unlimited | {"wildcards": True, "disk_storage": -1, "mem_storage": -1, "streams": -1, "consumer": -1}
        claims = {"type": "account", "limits": limits}
        accounts = {
            system.public: operator.claim(system, "SYS", {"type": "account", "limits": unlimited}),
            self._account.public: operator.claim(self._account, "APP", claims),
        }
        preload = "".join(f"  {name}: {jwt}\n" for name, jwt in accounts.items())
        self.config = (
            f"operator: {operator.claim(operator, 'O', {'type': 'operator'})}\nsystem_account: {system.public}\n"
            f"resolver: MEMORY\nresolver_preload: {{{{\n{preload}}}}}\n"
        )

    def creds(self, file: Path, expires: float = 0, **permissions: Any) -> Path:
        user = Key(USER)
        claims = {"type": "user", "subs": -1, "data": -1, "payload": -1, **permissions}
        jwt = self._account.claim(user, "plane", claims, expires)
        file.write_text(
            f"-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n"
            "************************* IMPORTANT *************************\n\n"
            f"-----BEGIN USER NKEY SEED-----\n{user.seed}\n------END USER NKEY SEED------\n"
        )
        return file


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
