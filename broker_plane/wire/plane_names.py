"""The names of everything that a plane keeps or uses in a NATS account: streams, buckets and subjects. Pure.

All of them begin with the plane's prefix, so planes with different prefixes share an account without seeing one
another. This is the only place that spells them; storage/layout.py has the limits of the streams.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64encode
from dataclasses import dataclass

from broker_plane.wire.names import BodyId

DEFAULT_PREFIX = "bp"
_OBJECTS = "OBJ_"
_MAX_REPLY = 256
"""Length of a reply subject."""

_INBOX = re.compile(r"_(INBOX|R_)[A-Za-z0-9_-]*(\.[A-Za-z0-9_-]+)+\Z")
_DELIVERY = re.compile(r"(\.[A-Za-z0-9_-]+){2,4}\Z")
_RESERVED = ("webhook_sessions",)


def kv_stream(bucket: str) -> str:
    """The stream of a key-value bucket (ADR-8)."""
    return f"KV_{bucket}"


def kv_subject(bucket: str, key: str) -> str:
    """The subject of an entry of a key-value bucket (ADR-8)."""
    return f"$KV.{bucket}.{key}"


@dataclass(frozen=True, slots=True)
class Names:
    """The names of one plane. The comments show them for the default prefix."""

    prefix: str = DEFAULT_PREFIX

    # Bodies: an object bucket for each owner (ADR-20).

    def bucket(self, owner: str) -> str:
        """`bp_<owner>`"""
        return f"{self.prefix}_{owner}"

    def object_stream(self, owner: str) -> str:
        """`OBJ_bp_<owner>` (ADR-20, section "Stream configuration and subjects")"""
        return f"{_OBJECTS}{self.prefix}_{owner}"

    def owner_of(self, stream: str) -> str | None:
        """The owner whose bodies are in `stream`; None if it is not a stream with bodies of this plane."""
        start = self.object_stream("")
        return stream[len(start) :] if stream.startswith(start) else None

    def chunk_subject(self, owner: str, body: BodyId) -> str:
        """`$O.bp_<owner>.C.<body>`"""
        return f"$O.{self.prefix}_{owner}.C.{body}"

    def tail_subject(self, owner: str, body: BodyId) -> str:
        """For an upload: the bytes after its last whole chunk."""
        return f"{self.chunk_subject(owner, body)}.tail"

    def meta_subject(self, owner: str, body: BodyId) -> str:
        """`$O.bp_<owner>.M.<name>`: the last token is the object's name in base64url with padding (ADR-20)."""
        return f"$O.{self.prefix}_{owner}.M.{urlsafe_b64encode(body.encode()).decode()}"

    def chunk_subjects(self, owner: str) -> str:
        """Matches the chunks of all bodies of `owner`."""
        return f"$O.{self.prefix}_{owner}.C.>"

    def meta_subjects(self, owner: str) -> str:
        """Matches the metas of all bodies of `owner`."""
        return f"$O.{self.prefix}_{owner}.M.*"

    def object_subjects(self, owner: str) -> list[str]:
        """The subjects of the bucket of `owner` (ADR-20)."""
        return [self.chunk_subjects(owner), f"$O.{self.prefix}_{owner}.M.>"]

    # State: key-value buckets, and the copies of those that must not forget.

    @property
    def grants_bucket(self) -> str:
        """State of grants, and of everything else that wire/entry_formats.py lists."""
        return f"{self.prefix}_grants"

    @property
    def keys_bucket(self) -> str:
        """Keys of owners."""
        return f"{self.prefix}_keys"

    def ring_subject(self, owner: str) -> str:
        """`$KV.bp_keys.<owner>`: the keys of an owner, on which only that owner's user may publish."""
        return kv_subject(self.keys_bucket, owner)

    def ring_note_subject(self, owner: str) -> str:
        """`$KV.bp_grants.ring.<owner>`: says that the owner has keys, so that their loss is noticed."""
        return kv_subject(self.grants_bucket, f"ring.{owner}")

    @property
    def feed_state_bucket(self) -> str:
        """State of subscribers, and webhook endpoints."""
        return f"{self.prefix}_feeds"

    @property
    def code_bucket(self) -> str:
        """Code that was generated for descriptions of protocols."""
        return f"{self.prefix}_code"

    @property
    def runs_bucket(self) -> str:
        """The log of the runs of generated code: a bucket of its own, so that it never takes the room of the code."""
        return f"{self.prefix}_runs"

    @property
    def registry_bucket(self) -> str:
        """Descriptions of protocols, with their owners' signatures."""
        return f"{self.prefix}_registry"

    @property
    def agents_bucket(self) -> str:
        """Announcements of agents."""
        return f"{self.prefix}_agents"

    @property
    def mcp_sessions_bucket(self) -> str:
        """Sessions of MCP over webhooks, and how far their messages were sent."""
        return f"{self.prefix}_mcp_sessions"

    def negotiation_subject(self, agent_id: str, instance: str) -> str:
        """`bp.agent.<agent id>.<instance>.negotiate`: asks an agent that is announced how it would serve the client."""
        return f"{self.prefix}.agent.{agent_id}.{instance}.negotiate"

    @property
    def reserved_buckets(self) -> tuple[str, ...]:
        """Names that later versions will use: for MCP over webhooks."""
        return tuple(f"{self.prefix}_{name}" for name in _RESERVED)

    @property
    def copied_buckets(self) -> tuple[str, str]:
        """The buckets that have a copy."""
        return self.grants_bucket, self.keys_bucket

    def copy_stream(self, bucket: str) -> str:
        """`BP_GRANTS_COPY`, `BP_KEYS_COPY`"""
        return f"{bucket.upper()}_COPY"

    def copy_subject(self, bucket: str, key: str) -> str:
        """`bp.copy.<bucket>.<key>`"""
        return f"{self.prefix}.copy.{bucket}.{key}"

    # Feeds.

    @property
    def feeds_stream(self) -> str:
        """`BP_FEEDS`: notices."""
        return self._stream("FEEDS")

    def feed_subject(self, feed: str) -> str:
        """`bp.feed.<feed>`: notices of new versions."""
        return f"{self.prefix}.feed.{feed}"

    def again_subject(self, durable: str, feed: str) -> str:
        """`bp.again.<durable>.<feed>`: a dead letter that is replayed, for that durable only."""
        return f"{self.prefix}.again.{durable}.{feed}"

    @property
    def notice_subjects(self) -> list[str]:
        """The subjects of the stream of notices."""
        return [self.feed_subject(">"), f"{self.prefix}.again.>"]

    def new_subject(self, feed: str) -> str:
        """`bp.new.<feed>`: republished by nats-server when a notice is stored."""
        return f"{self.prefix}.new.{feed}"

    def durable_subjects(self, durable: str) -> list[str]:
        """The subjects that only a subscriber of this durable publishes on: requests for a notice, and acks."""
        feeds = self.feeds_stream
        return [f"$JS.API.CONSUMER.MSG.NEXT.{feeds}.{durable}", f"$JS.ACK.{feeds}.{durable}.>"]

    @property
    def dead_letter_stream(self) -> str:
        """`BP_DEAD`"""
        return self._stream("DEAD")

    def dead_letter_subject(self, durable: str, feed: str) -> str:
        """`bp.dead.<durable>.<feed>`"""
        return f"{self.prefix}.dead.{durable}.{feed}"

    @property
    def dead_letter_subjects(self) -> str:
        """Matches all dead letters."""
        return f"{self.prefix}.dead.>"

    @property
    def webhook_log_stream(self) -> str:
        """`BP_HOOKS`: delivery attempts to webhooks."""
        return self._stream("HOOKS")

    def webhook_log_subject(self, endpoint: str) -> str:
        """`bp.hook.<endpoint>`"""
        return f"{self.prefix}.hook.{endpoint}"

    # Live streams: a JetStream stream each.

    def live_stream(self, stream_id: str) -> str:
        """`BP_LIVE_<id>`"""
        return self._stream(f"LIVE_{stream_id}")

    def live_subject(self, stream_id: str) -> str:
        """`bp.live.<id>`: items."""
        return f"{self.prefix}.live.{stream_id}"

    def taken_subject(self, stream_id: str) -> str:
        """`bp.taken.<id>`: says that items were acknowledged, so that the publisher can continue."""
        return f"{self.prefix}.taken.{stream_id}"

    # Sessions.

    @property
    def sessions_stream(self) -> str:
        """`BP_SESSIONS`: the logs of collaborative sessions, their snapshots and leases."""
        return self._stream("SESSIONS")

    def session_log_subject(self, session: str) -> str:
        """`bp.session.<id>.log`: groups of entries."""
        return f"{self.prefix}.session.{session}.log"

    def session_snapshot_subject(self, session: str) -> str:
        """`bp.session.<id>.snapshot`: where the newest snapshot is."""
        return f"{self.prefix}.session.{session}.snapshot"

    def session_lease_subject(self, session: str) -> str:
        """`bp.session.<id>.lease`: which bridge writes snapshots."""
        return f"{self.prefix}.session.{session}.lease"

    @property
    def session_subjects(self) -> str:
        """Matches all subjects of the stream of sessions."""
        return f"{self.prefix}.session.*.*"

    def said_subject(self, session: str) -> str:
        """`bp.said.<id>`: each group of the log, republished by nats-server after it was stored."""
        return f"{self.prefix}.said.{session}"

    def here_subject(self, session: str) -> str:
        """`bp.here.<id>`: presence, which is not stored."""
        return f"{self.prefix}.here.{session}"

    def say_subject(self, access: str, grant: str) -> str:
        """`bp.say.<access>.<grant>`: requests of a participant, who appends its own name."""
        return f"{self.prefix}.say.{access}.{grant}"

    # Durable tasks.

    @property
    def tasks_bucket(self) -> str:
        """Records of tasks, and small values beside them."""
        return f"{self.prefix}_tasks"

    @property
    def task_work_stream(self) -> str:
        """`BP_TASKS`: the work of tasks, one message for each run."""
        return self._stream("TASKS")

    def task_work_subject(self, server: str, task: str, run: int | str) -> str:
        """`bp.taskwork.<server>.<task>.<run>`: a run of a task that is due."""
        return f"{self.prefix}.taskwork.{server}.{task}.{run}"

    def task_changed_subject(self, server: str, task: str) -> str:
        """`bp.task.<server>.<task>`: announced by nats-server when the record of the task was stored."""
        return f"{self.prefix}.task.{server}.{task}"

    # MCP exchanges. The first letter of a session names its carrier; it is a token, so that consumers filter by it.

    @property
    def requests_stream(self) -> str:
        """`BP_MCP`: durable requests of MCP clients, which publish there themselves."""
        return self._stream("MCP")

    @property
    def said_stream(self) -> str:
        """`BP_MCP_SAID`: the messages about requests; a stream of its own, so that requests never take their room."""
        return self._stream("MCP_SAID")

    def mcp_subject(self, server: str, *tokens: str) -> str:
        """`bp.mcp.<server>.in.<tokens>`: what clients send to an MCP server."""
        return ".".join((self.prefix, "mcp", server, "in", *tokens))

    def request_subject(self, server: str, session: str, exchange: str) -> str:
        """`bp.mcp.<server>.in.ask.<carrier>.<session>.<exchange>`: a durable request."""
        return self.mcp_subject(server, "ask", session[:1], session, exchange)

    def request_subjects(self, server: str, carrier: str) -> str:
        """Matches the durable requests to a server by one carrier; `*` are all of them."""
        return self.mcp_subject(server, "ask", carrier, "*", "*")

    def exchange_subject(self, server: str, session: str, exchange: str) -> str:
        """`bp.mcp.<server>.out.<carrier>.<session>.<exchange>`: the numbered messages about a request."""
        return f"{self.prefix}.mcp.{server}.out.{session[:1]}.{session}.{exchange}"

    def excuse_subject(self, server: str, session: str, exchange: str) -> str:
        """`bp.mcp.<server>.excuse.<carrier>.<session>.<exchange>`: an attempt that was interrupted."""
        return f"{self.prefix}.mcp.{server}.excuse.{session[:1]}.{session}.{exchange}"

    @property
    def said_subjects(self) -> list[str]:
        """The subjects of the stream of messages about requests."""
        return [self.exchange_subjects("*", "*"), f"{self.prefix}.mcp.*.excuse.*.*.*"]

    def exchange_subjects(self, server: str, carrier: str) -> str:
        """Matches the messages of all exchanges of a server by one carrier; `*` are all of them."""
        return f"{self.prefix}.mcp.{server}.out.{carrier}.*.*"

    # Audit.

    @property
    def audit_stream(self) -> str:
        """`BP_AUDIT`"""
        return self._stream("AUDIT")

    def audit_subject(self, writer: str) -> str:
        """`bp.audit.<writer>`"""
        return f"{self.prefix}.audit.{writer}"

    # Presigned subjects.

    def pull_subject(self, grant: str) -> str:
        """`bp.pull.<grant>`: the presigned subject; a puller appends its own name."""
        return f"{self.prefix}.pull.{grant}"

    def confirm_subject(self, grant: str) -> str:
        """`bp.confirm.<grant>`; a puller appends its own name."""
        return f"{self.prefix}.confirm.{grant}"

    def delivery_subject(self, asker: str, number: str) -> str:
        """`bp.dlv.<puller>.<number>`: what is delivered to one puller."""
        return f"{self.prefix}.dlv.{asker}.{number}"

    # The streams as a whole.

    def is_inbox(self, subject: str) -> bool:
        """Whether a client may hear answers there: on an inbox, or on a delivery subject of a guest.

        nats-server does not check reply subjects, so a server publishes to no other subject that a client names.
        """
        if len(subject) > _MAX_REPLY:
            return False
        deliveries = f"{self.prefix}.dlv"
        if subject.startswith(deliveries):
            return _DELIVERY.match(subject.removeprefix(deliveries)) is not None
        return _INBOX.match(subject) is not None

    def client_of(self, inbox: str) -> str:
        """The client whose inbox this is: a NATS user with an inbox prefix of its own, or else one connection."""
        deliveries = f"{self.prefix}.dlv."
        if inbox.startswith(deliveries):
            return deliveries + inbox.removeprefix(deliveries).partition(".")[0]
        first, _, rest = inbox.partition(".")
        return f"{first}.{rest.partition('.')[0]}" if first == "_INBOX" else first

    def has(self, stream: str) -> bool:
        """Whether `stream` belongs to this plane."""
        owned = (self.object_stream(""), kv_stream(self.bucket("")), self._stream(""))
        return stream.startswith(owned)

    def _stream(self, name: str) -> str:
        return f"{self.prefix.upper()}_{name}"


DEFAULT_NAMES = Names()
