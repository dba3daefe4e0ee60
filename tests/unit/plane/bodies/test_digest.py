"""A verified stream keeps its last piece until everything is known to be right."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from hashlib import sha256

import pytest

from broker_plane.errors import BodyLostError, DigestMismatchError, TransferInterruptedError
from broker_plane.plane.bodies.digest import held_back, verified

pytestmark = pytest.mark.anyio

PIECES = [b"one", b"two", b"three"]
DIGEST = sha256(b"".join(PIECES)).hexdigest()
SIZE = sum(map(len, PIECES))


async def stream(pieces: list[bytes], error: Exception | None = None) -> AsyncGenerator[bytes, None]:
    for piece in pieces:
        yield piece
    if error is not None:
        raise error


async def pulled(pieces: AsyncGenerator[bytes, None]) -> tuple[list[bytes], Exception | None]:
    """What comes, and the error that ends it."""
    came: list[bytes] = []
    try:
        async with aclosing(pieces):
            async for piece in pieces:
                came.append(piece)  # noqa: PERF401  # also if an error follows
    except BodyLostError as error:
        return came, error
    except TransferInterruptedError as error:
        return came, error
    return came, None


@pytest.mark.parametrize(
    ("sent", "digest", "size"),
    [
        (PIECES, "0" * 64, SIZE),
        (PIECES, "", SIZE),  # an unknown digest matches nothing
        (PIECES, DIGEST, SIZE + 1),
        (PIECES, DIGEST, SIZE - 1),
        (PIECES[:-1], DIGEST, SIZE),
        ([*PIECES[:-1], b"thred"], DIGEST, SIZE),
        ([*PIECES, b"more"], DIGEST, SIZE),
        ([b"all"], DIGEST, None),
    ],
)
async def test_what_is_wrong_lacks_its_last_piece(sent: list[bytes], digest: str, size: int | None) -> None:
    complete: list[bool] = []
    came, error = await pulled(verified(stream(sent), digest, size, complete=lambda: complete.append(True)))
    assert isinstance(error, DigestMismatchError)
    assert len(came) < len(sent)
    assert not complete


@pytest.mark.parametrize("size", [SIZE, None])
async def test_what_is_right_comes_whole_and_is_complete_before_its_last_piece(size: int | None) -> None:
    complete: list[int] = []
    came: list[bytes] = []
    async for piece in verified(stream(PIECES), DIGEST, size, complete=lambda: complete.append(len(came))):
        came.append(piece)  # noqa: PERF401  # `complete` looks at it meanwhile
    assert came == PIECES
    assert complete == [len(PIECES) - 1]


async def test_nothing_is_verified_as_nothing() -> None:
    assert await pulled(verified(stream([]), sha256().hexdigest(), 0)) == ([], None)


async def test_a_stream_that_breaks_keeps_its_last_piece_and_its_error() -> None:
    broken = TransferInterruptedError("cut")
    assert await pulled(verified(stream(PIECES, broken), DIGEST, SIZE)) == (PIECES[:-1], broken)

    async def check() -> None:
        raise AssertionError("the source did not end")

    assert await pulled(held_back(stream(PIECES, broken), check)) == (PIECES[:-1], broken)
