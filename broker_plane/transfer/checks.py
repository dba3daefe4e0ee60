"""What every transfer goes through, whatever carried it: decompression under a cap, then size and SHA-256."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from broker_plane.client.capped import Expander
from broker_plane.errors import WrongChecksumError, WrongCompressionError, WrongSizeError
from broker_plane.plane.bodies.digest import RunningDigest
from broker_plane.transfer.allowance import Allowance
from broker_plane.wire.descriptor import Descriptor


async def checked(
    pieces: AsyncGenerator[bytes, None], descriptor: Descriptor, allowance: Allowance
) -> AsyncGenerator[bytes, None]:
    """The bytes that the descriptor promises. A completed iteration is a verified read, as far as it promises.

    Raises:
        TooLargeError: there are more than the allowance. WrongSizeError, WrongChecksumError, WrongCompressionError.
    """
    expected = descriptor.size_hint
    compression = descriptor.compression or "none"
    # What an answer announces is what it has before it is decompressed.
    most = allowance if compression == "none" or expected is not None else allowance.unannounced()
    digest = RunningDigest()
    size = 0
    async with aclosing(plain(pieces, compression, allowance)) as source:
        async for piece in source:
            size += len(piece)
            if expected is not None and size > expected:
                raise WrongSizeError(f"More came than the {expected} bytes that the descriptor says")
            most.check(size)
            await digest.add(piece)
            yield piece
    if expected is not None and size != expected:
        raise WrongSizeError(f"{size} bytes came, and the descriptor says {expected}")
    if descriptor.digest and await digest.hexdigest() != descriptor.digest:
        raise WrongChecksumError("What came has another SHA-256 than the descriptor says")


async def plain(
    pieces: AsyncGenerator[bytes, None], compression: str, allowance: Allowance
) -> AsyncGenerator[bytes, None]:
    """`pieces` without their compression, in pieces that are small however much comes out of one.

    Raises:
        WrongCompressionError: they are not compressed so, or end in the middle.
        TransferInterruptedError: nothing comes out of them.
    """
    if compression == "none":
        async with aclosing(pieces):
            async for piece in pieces:
                yield piece
        return
    expander = Expander(compression)
    async with aclosing(pieces):
        async for piece in pieces:
            allowance.spend(len(piece))
            for out in expander.expand(piece):
                allowance.gain()
                yield out
    if not expander.whole:
        raise WrongCompressionError(f"What came ends in the middle of its {compression}")
