"""A person reviews an agent's draft live, asks for a change, and approves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .collab_cast import Member, Story, Told, note_of, seen

if TYPE_CHECKING:
    from broker_plane import JoinedSession

TITLE = "# Flood notice 🌊\n\n"
WORDS = ("The ", "river ", "is ", "above ", "its ", "banks ", "since ", "this ", "morning.\n")
DATED = "since Thursday, 6 a.m.\n"
REQUEST = "Which morning? Name the day and the hour."
APPROVAL = "That is what people need to know."


async def drafter(session: JoinedSession) -> None:
    """Types word by word, as a model that streams; then does what the reviewer asks for."""
    document = session.document()
    await document.synchronized()
    for piece in (TITLE, *WORDS):
        end = len(document.value)
        document.splice(end, end, piece)
        await document.synchronized()
    await session.note("question", "The draft is complete. Is it clear?")
    wanted = await seen(session, lambda: _verdict(session, "request_changes"))
    start = document.value.index("since ")
    document.splice(start, len(document.value), DATED)
    await document.synchronized()
    await session.note("answer", "I have named both.", thread=wanted["thread"])
    await seen(session, lambda: _verdict(session, "approve"))
    await session.confirm()


async def ruth(session: JoinedSession) -> None:
    """The person, played through the JSON socket where there is no browser for the page."""
    await note_of(session, "question", "drafter")
    await session.note("verdict", REQUEST, verdict="request_changes")
    await note_of(session, "answer", "drafter")
    await session.note("verdict", APPROVAL, verdict="approve")
    await session.confirm()


def _verdict(session: JoinedSession, verdict: str) -> dict[str, str] | None:
    found = [note for note in session.notes if note.get("verdict") == verdict]
    return dict(found[0]) if found else None


def check(told: Told) -> list[str]:
    """What is wrong: the text as it should be, written live, and both verdicts by the person."""
    problems = []
    if told.value != TITLE + "".join(WORDS[:-3]) + DATED:
        problems.append("The draft is not what the person approved")
    if len(told.of("operation", "drafter")) < len(WORDS):
        problems.append("The person could not see the draft grow")
    verdicts = [each.content.get("verdict") for each in told.of("noted", "ruth")]
    if verdicts != ["request_changes", "approve"]:
        problems.append(f"The person's verdicts are {verdicts}")
    if told.of("operation", "ruth"):
        problems.append("The reviewer edited")
    people = {each.content["name"]: each.content["type"] for each in told.of("joined")}
    if people.get("ruth") != "human":
        problems.append("The log does not say that the reviewer is a person")
    return problems


STORY = Story(
    name="review",
    title="A person reviews an agent's draft live, and approves",
    kind="text",
    sync="crdt",
    value="",
    policy={"expected": ["drafter", "ruth"]},
    cast=(Member("drafter", "editor", "write"), Member("ruth", "reviewer", person=True)),
    parts={"drafter": drafter, "ruth": ruth},
    check=check,
)
