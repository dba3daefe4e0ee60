"""The parts of exchanges with which a carrier is written (docs/exchanges.md#write-a-carrier).

A front stores requests in `NatsExchanges`, and an `ExchangeWorker` carries them out, each once, by a `Run`. The
messages about a request go to its caller by a `Relay`, and the caller's `Received` puts them in order. Entry points for
the SDK's client and server are in `broker_plane.transports`. `loads` and `dumps` keep every JSON value exactly.
"""

from __future__ import annotations

from broker_plane.exchange.keys import new_exchange, new_session
from broker_plane.exchange.lines import localized
from broker_plane.exchange.messages import ExchangeKey, Said
from broker_plane.exchange.receiver import Received
from broker_plane.exchange.retries import BackOff
from broker_plane.plane.exchanges.ports import Asked, HandOver, Relay, Run
from broker_plane.plane.exchanges.worker import ExchangeWorker
from broker_plane.storage.exchanges import NatsExchanges
from broker_plane.transports.nats.connecting import carrier_connection
from broker_plane.wire.exact_json import dumps, loads

__all__ = [
    "Asked",
    "BackOff",
    "ExchangeKey",
    "ExchangeWorker",
    "HandOver",
    "NatsExchanges",
    "Received",
    "Relay",
    "Run",
    "Said",
    "carrier_connection",
    "dumps",
    "loads",
    "localized",
    "new_exchange",
    "new_session",
]
