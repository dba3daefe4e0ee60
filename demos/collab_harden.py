"""Two agents harden one file while a third reviews.

Their edits of different functions merge by themselves. Where they rewrite the same line, security goes before
performance, and the answer says so to the loser, whose edit is kept in the log.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .collab_cast import Member, Story, Told, entry_of, note_of, region_of, seen

if TYPE_CHECKING:
    from broker_plane import JoinedSession

SIGNATURE = "def find_user(database, name):"
QUERY = """    return database.execute("SELECT * FROM users WHERE name = '" + name + "'").fetchone()\n"""
SAFE_QUERY = """    return database.execute("SELECT * FROM users WHERE name = ?", (name,)).fetchone()\n"""
SHORT_QUERY = """    return database.execute("SELECT id FROM users WHERE name = '" + name + "'").fetchone()\n"""
LOOP = """    result = 0
    for order in orders:
        result = result + order["price"]
    return result
"""
SUM = """    return sum(order["price"] for order in orders)\n"""
FILE = f"""{SIGNATURE}
{QUERY}

def total(orders):
{LOOP}"""


async def ada(session: JoinedSession) -> None:
    """Security: she marks the line that she rewrites, and rewrites it."""
    await note_of(session, "constraint", "cy")
    await note_of(session, "decision", "ben")
    draft = await session.read()
    line = region_of(draft.value, QUERY)
    lease = await session.lease(line, seconds=60)
    await session.propose(draft, "security", line, {"text": SAFE_QUERY}, message="Pass the name as a parameter")
    await session.release(lease)
    await session.confirm()


async def ben(session: JoinedSession) -> None:
    """Performance: he works on what he read at the beginning, also when Ada has changed the file."""
    await note_of(session, "constraint", "cy")
    draft = await session.read()
    await session.note("decision", "I take total(), and the columns that find_user() reads.")
    await entry_of(session, "operation", "ada")
    loop = region_of(draft.value, LOOP)
    merged = await session.propose(draft, "performance", loop, {"text": SUM}, message="Sum in C")
    line = region_of(draft.value, QUERY)
    lost = await session.propose(draft, "performance", line, {"text": SHORT_QUERY}, message="Read one column")
    await session.note("reference", f"My base was stale: {merged.stale}, and {lost.stale}. Ada's query stays.")
    await session.confirm()


async def cy(session: JoinedSession) -> None:
    """The reviewer: a constraint at the beginning, and a verdict when both are done."""
    draft = await session.read()
    await session.note("constraint", "Keep the signatures.", region=region_of(draft.value, SIGNATURE))
    await seen(session, lambda: {"ada", "ben"} <= set(session.confirmed))
    await session.note("verdict", "No string is put into SQL any more.", verdict="approve")
    await session.confirm()


def check(told: Told) -> list[str]:
    """What is wrong: the losing edit is kept, both others are in the file, and the reviewer wrote none of it."""
    problems = []
    if told.value != FILE.replace(QUERY, SAFE_QUERY).replace(LOOP, SUM):
        problems.append("The file is not what security and performance make of it together")
    conflicts = told.of("conflict")
    if [each.content["status"] for each in conflicts] != ["priority"]:
        problems.append("The overlap was not decided by priority")
    elif "id" not in str(conflicts[0].content["theirs"].get("text")):
        problems.append("The losing edit is not kept")
    if told.of("operation", "cy"):
        problems.append("The reviewer edited")
    if [each.content.get("verdict") for each in told.of("noted", "cy")] != [None, "approve"]:
        problems.append("There is no verdict")
    return problems


STORY = Story(
    name="harden",
    title="Two agents harden one file while a third reviews",
    kind="text",
    sync="patch",
    value=FILE,
    policy={"expected": ["ada", "ben", "cy"]},
    cast=(
        Member("ada", "editor", "security"),
        Member("ben", "editor", "performance", via="nats"),
        Member("cy", "reviewer"),
    ),
    parts={"ada": ada, "ben": ben, "cy": cy},
    check=check,
)
