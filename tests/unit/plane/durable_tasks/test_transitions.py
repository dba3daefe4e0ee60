"""Two processes, clients and deaths at one task, in every order: what its record must never do."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from broker_plane.errors import WireError
from broker_plane.plane.durable_tasks import transitions
from broker_plane.wire.tasks import (
    TaskInput,
    TaskPart,
    TaskRecord,
    detailed_fields,
    parse_record,
    poll_interval_ms,
    server_token,
    task_fields,
    task_id,
    task_part,
)
from tests.examples import examples

KEYS = ("name", "colour", "size")
PROCESSES = st.sampled_from(("a", "b"))
ERROR = TaskPart(text='{"code":1,"message":"no"}')


def question(message: str = "?") -> TaskPart:
    return TaskPart(text=json.dumps({"method": "elicitation/create", "params": {"message": message}}))


def record(**fields: Any) -> TaskRecord:
    begin: dict[str, Any] = {
        "id": task_id(bytes(18)),
        "server": "s",
        "tool": "t",
        "created": 100.0,
        "updated": 100.0,
        "ttl_ms": 60_000,
    }
    return TaskRecord(**(begin | fields))


class OneTask(RuleBasedStateMachine):
    """The record beside what really happened."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 100.0
        self.runs = 0
        self.answers: dict[str, Any] = {}
        self.queue: set[int] = set()
        self.running: dict[str, tuple[str, int]] = {}
        """The token and the run of each process that believes that it runs the task."""
        self.ended: TaskRecord | None = None

    @initialize()
    def create(self) -> None:
        self.record = record()
        self.queue.add(1)

    def store(self, after: TaskRecord | None) -> bool:
        """What the compare-and-set does: the record as it was read is still the newest one."""
        self.now += 1
        if after is None:
            return False
        self.record = parse_record(after.pack())
        if self.ended is None and self.record.ended:
            self.ended = self.record
        return True

    @rule(process=PROCESSES, steps=st.integers(0, 2))
    def claim(self, process: str, steps: int) -> None:
        for run in sorted(self.queue):
            self.runs += 1
            token = f"{process}{self.runs}"
            if self.store(transitions.claimed(self.record, run, token, steps)):
                self.running[process] = token, run
                assert self.record.holder == token
            else:
                self.queue.discard(run)

    @rule(process=PROCESSES)
    def die(self, process: str) -> None:
        self.running.pop(process, None)

    @rule(process=PROCESSES)
    def give_back(self, process: str) -> None:
        if process in self.running:
            token, run = self.running.pop(process)
            cancelled = self.record.cancel
            stored = self.store(transitions.released(self.record, token, self.now))
            self.only_the_holder(token, stored, ended=cancelled)
            if stored and cancelled:
                self.queue.discard(run)

    @rule(process=PROCESSES)
    def say(self, process: str) -> None:
        if process in self.running:
            token, _ = self.running[process]
            held = self.record.holder == token
            assert self.store(transitions.with_message(self.record, token, "half", self.now)) == held

    @rule(process=PROCESSES, keys=st.sets(st.sampled_from(KEYS), min_size=1))
    def park(self, process: str, keys: set[str]) -> None:
        unanswered = keys - set(self.answers)
        if process in self.running and unanswered:
            token, run = self.running.pop(process)
            asked = {key: question(f"{process}{run}") for key in unanswered}
            before = self.record.inputs
            if self.store(transitions.parked(self.record, token, asked, self.now)):
                self.queue.discard(run)
                assert self.record.ended or set(self.record.outstanding) >= unanswered
                after = before if self.record.ended else self.record.inputs
                assert all(after[key].request == each.request for key, each in before.items())

    @rule(keys=st.sets(st.sampled_from((*KEYS, "unknown"))), value=st.integers())
    def answer(self, keys: set[str], value: int) -> None:
        outstanding = self.record.outstanding if self.record.status == "input_required" else {}
        run = self.record.run
        given = TaskPart(text=str(value))
        self.store(transitions.answered(self.record, dict.fromkeys(keys, given), self.now))
        self.answers |= dict.fromkeys(keys & set(outstanding), given)
        if self.record.run > run:
            assert set(outstanding) <= keys
            self.queue.add(self.record.run)

    @rule()
    def cancel(self) -> None:
        held = bool(self.record.holder)
        self.store(transitions.cancelled(self.record, self.now))
        assert self.record.ended or (held and self.record.cancel)

    @rule(process=PROCESSES, how=st.sampled_from(("completed", "failed", "stopped")))
    def finish(self, process: str, how: str) -> None:
        if process not in self.running:
            return
        token, run = self.running.pop(process)
        stored = {
            "completed": lambda: transitions.completed(self.record, token, "result.x", self.now),
            "failed": lambda: transitions.failed(self.record, token, ERROR, "no", self.now),
            "stopped": lambda: transitions.stopped(self.record, token, self.now),
        }[how]()
        self.only_the_holder(token, self.store(stored), ended=True)
        if stored is not None:
            self.queue.discard(run)

    def only_the_holder(self, token: str, stored: bool, *, ended: bool) -> None:
        if stored:
            assert (self.record.holder, self.record.ended) == ("", ended)
        else:
            assert self.record.holder != token

    @invariant()
    def a_terminal_state_never_changes(self) -> None:
        if self.ended is not None:
            assert self.record == self.ended
            assert self.record.holder == "" and not self.record.cancel

    @invariant()
    def working_means_queued(self) -> None:
        if getattr(self, "record", None) and self.record.status == "working":
            assert self.record.run in self.queue
            assert self.record.outstanding == {}

    @invariant()
    def an_answer_never_changes(self) -> None:
        for key, answer in ({} if self.ended else self.answers).items():
            assert self.record.inputs[key].answer == answer


TestOneTask = OneTask.TestCase
TestOneTask.settings = settings(max_examples=examples(1.7), stateful_step_count=30, deadline=None)


def test_deaths_are_counted_until_a_step_is_completed() -> None:
    now = record()
    for death in range(4):
        now = transitions.claimed(now, 1, f"p{death}", 0) or now
        assert now.deaths == death
    again = transitions.claimed(now, 1, "q", 2)
    assert again is not None and (again.deaths, again.steps) == (1, 2)
    given_back = transitions.released(again, "q", 101.0)
    assert given_back is not None
    later = transitions.claimed(given_back, 1, "r", 2)
    assert later is not None and later.deaths == 1, "a process that gives the task back has not died"


def test_a_result_is_kept_after_a_long_run() -> None:
    held = record(holder="p")
    done = transitions.completed(held, "p", "result.p", 159.0)
    assert done is not None
    assert done.ttl_ms == 59_000 + transitions.KEPT_MS
    assert transitions.completed(held, "other", "result.other", 159.0) is None


def test_what_clients_see() -> None:
    working = record(message="half", inputs={})
    assert task_fields(working, 101.0) == {
        "taskId": working.id,
        "status": "working",
        "createdAt": "1970-01-01T00:01:40.000Z",
        "lastUpdatedAt": "1970-01-01T00:01:40.000Z",
        "ttlMs": 60_000,
        "statusMessage": "half",
        "pollIntervalMs": 500,
    }
    waiting = transitions.parked(record(holder="p"), "p", {"name": question()}, 102.0)
    assert waiting is not None
    assert waiting.outstanding == {"name": question()}
    assert detailed_fields(waiting, 103.0, requests={"name": {}})["inputRequests"] == {"name": {}}
    done = transitions.completed(record(holder="p"), "p", "result.p", 102.0)
    assert done is not None
    shown = detailed_fields(done, 103.0, result={"content": []})
    assert shown["result"] == {"content": []} and "pollIntervalMs" not in shown
    error = {"code": -32603, "message": "no"}
    wrong = transitions.failed(record(holder="p"), "p", ERROR, "no", 102.0)
    assert wrong is not None
    shown = detailed_fields(wrong, 103.0, error=error)
    assert (shown["error"], shown["statusMessage"]) == (error, "no")


@pytest.mark.parametrize(("age", "milliseconds"), [(0, 500), (4, 500), (20, 2_000), (10_000, 30_000)])
def test_the_interval_of_polls_grows_with_the_age(age: float, milliseconds: int) -> None:
    assert poll_interval_ms(record(), 100.0 + age) == milliseconds


def test_a_server_of_any_name_has_a_subject_token() -> None:
    assert server_token("alerts_2") == "alerts_2"
    tokens = {server_token(name) for name in ("My server", "my.server", "*", "", "ü", "a" * 65)}
    assert len(tokens) == 6
    assert all(server_token(token) == token for token in tokens)


def test_the_largest_record_fits_into_a_message_of_nats() -> None:
    """64 questions of the largest size with their answers, and every text at its limit."""
    text = "\x01" * 1_000
    large = task_part(b"1" * 2_048, "ask")
    inputs = {f"{number:02}" + "\U0001f600" * 126: TaskInput(request=large, answer=large) for number in range(64)}
    whole = record(tool="t" * 1_024, client="c" * 1_024, message=text, inputs=inputs)
    assert len(whole.pack()) < 400_000
    assert parse_record(whole.pack()) == whole
    apart = task_part(b"1" * 65_536, "ask")
    assert apart.text == "" and apart.name.startswith("ask.")


def test_half_of_a_surrogate_pair_does_not_keep_a_task_from_being_stored() -> None:
    said = transitions.with_message(record(holder="p"), "p", "half \ud800", 101.0)
    assert said is not None and parse_record(said.pack()).message == "half ?"


@pytest.mark.parametrize(
    "wrong",
    [
        {"created": 1e300},
        {"ttl_ms": 10**18},
        {"run": 0},
        {"deaths": -1},
        {"deaths": 2**63},
        {"result": "a b"},
        {"result": "*"},
        {"inputs": {"a": {"request": {"name": "x y"}}}},
        {"status": "lost"},
        {"id": "short"},
    ],
)
def test_a_record_that_could_do_harm_is_damaged(wrong: dict[str, Any]) -> None:
    stored = json.loads(record().pack()) | wrong
    with pytest.raises(WireError, match="damaged"):
        parse_record(json.dumps(stored).encode())


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"\xff", b'{"format":"x"}', b"[" * 100_000])
def test_any_text_is_a_record_or_a_named_error(text: bytes) -> None:
    with pytest.raises(WireError):
        parse_record(text)


def test_the_record_of_a_later_version_says_so() -> None:
    later = json.loads(record().pack()) | {"format": 2, "status": "suspended"}
    with pytest.raises(WireError, match="later version"):
        parse_record(json.dumps(later).encode())
