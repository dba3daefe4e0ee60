"""Two models of different depth share one task: a quick one drafts everything, a deep one rewrites what is hard.

The deep one is also the arbiter: where both rewrite the same line with the same intent, it decides.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .collab_cast import Member, Story, Told, is_by, note_of, region_of, seen

if TYPE_CHECKING:
    from broker_plane import JoinedSession

TITLE = "How tides work"
QUICK_TITLE, DEEP_TITLE, DECIDED_TITLE = (
    "Tides in short",
    "Why the sea rises twice a day",
    "Why tides rise twice a day",
)
GAP, CAUSE = "\n\n", "The moon pulls the sea."
DEEP_CAUSE = (
    "The moon pulls the near side of the earth more than its centre, and the centre more than the far side. So the sea "
    "rises on both sides, and a place passes both in a day."
)
END = "Look up the times before you swim.\n"


async def quick(session: JoinedSession) -> None:
    """Drafts all of it, asks about the paragraph that it is unsure of, and leaves that one alone while it is leased."""
    draft = await session.read()
    await session.propose(draft, "write", None, {"text": GAP.join((TITLE, CAUSE, END))}, message="A first draft")
    draft = await session.read()
    asked = await session.note("question", "Is this the whole cause?", region=region_of(draft.value, CAUSE))
    await seen(session, lambda: session.leases or None)
    await session.note("reference", "The paragraph is leased, so I take the title.")
    await note_of(session, "decision", "deep")
    await session.propose(draft, "write", region_of(draft.value, TITLE), {"text": QUICK_TITLE})
    await note_of(session, "answer", "deep", thread=asked)
    await seen(session, lambda: not session.conflicts or None)
    await session.confirm()


async def deep(session: JoinedSession) -> None:
    """Takes its time: leases the paragraph, rewrites it and the title, answers, and decides the conflict."""
    asked = await note_of(session, "question", "quick")
    draft = await session.read()
    region = region_of(draft.value, CAUSE)
    lease = await session.lease(region, seconds=120)
    await note_of(session, "reference", "quick")
    done = await session.propose(draft, "enrich", region, {"text": DEEP_CAUSE}, message="Both bulges")
    await session.release(lease)
    await session.propose(done.revision, "write", region_of(draft.value, TITLE), {"text": DEEP_TITLE})
    await session.note("decision", "The paragraph is done.")
    await session.note("answer", "No: it explains one tide a day, and there are two.", thread=str(asked["thread"]))
    conflict = await seen(session, lambda: session.conflicts[0] if session.conflicts else None)
    await session.decide(conflict, {"edit": {"text": DECIDED_TITLE}})
    await session.confirm()


def check(told: Told) -> list[str]:
    """What is wrong: the text, the decision, and the question that still points to the rewritten paragraph."""
    problems = []
    if told.value != GAP.join((DECIDED_TITLE, DEEP_CAUSE, END)):
        problems.append("The text is not what the deep model decided")
    if [each.content["choice"] for each in told.of("decided", "deep")] != ["other"]:
        problems.append("The arbiter did not decide the conflict with an edit of its own")
    if [each.content["status"] for each in told.of("conflict")] != ["open"]:
        problems.append("Two edits of the same priority did not become an open conflict")
    question = next(note for note in told.shown["notes"] if note["type"] == "question")
    region = (question.get("anchor") or {}).get("region") or {}
    if told.value[region.get("start", 0) : region.get("end", 0)] != DEEP_CAUSE:
        problems.append("The question does not point to the rewritten paragraph any more")
    if any(is_by(each.participant, "quick") for each in told.entries if each.kind == "decided"):
        problems.append("Somebody else than the arbiter decided")
    return problems


STORY = Story(
    name="depth",
    title="Two models of different depth share one task",
    kind="text",
    sync="patch",
    value="",
    policy={"expected": ["quick", "deep"], "arbitration": "arbiter", "arbiter": "deep"},
    cast=(Member("quick", "editor"), Member("deep", "editor", via="nats")),
    parts={"quick": quick, "deep": deep},
    check=check,
)
