"""What the account GUEST imports, as the user `probe` of the system account learns it."""

from __future__ import annotations

from typing import Any

import orjson

from broker_plane.broker.connection import Connection
from broker_plane.errors import StorageError
from broker_plane.wire.names import GUEST

GUEST_INFO = f"$SYS.REQ.ACCOUNT.{GUEST}.INFO"


async def guest_imports(probe: Connection) -> set[str]:
    """The subjects that GUEST imports from other accounts.

    Raises:
        NotPermittedError: `probe` may not ask. BrokerUnavailableError: nobody answered. StorageError.
    """
    answer: Any = orjson.loads((await probe.request(GUEST_INFO)).data)
    account = answer.get("data") if isinstance(answer, dict) else None
    if not isinstance(account, dict):
        raise StorageError(f"nats-server does not say what {GUEST} imports")
    return {str(each.get("subject")) for each in account.get("imports") or ()}
