"""The checks that every transfer passes: expiry, decompression under a limit, size and SHA-256."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from time import time

from broker_plane.client.capped import Expander
from broker_plane.errors import DescriptorExpiredError, WrongChecksumError, WrongCompressionError, WrongSizeError
from broker_plane.plane.bodies.digest import RunningDigest
from broker_plane.transfer.allowance import Allowance
from broker_plane.wire.descriptor import Descriptor


def check_not_expired(descriptor: Descriptor) -> None:
    """Raise DescriptorExpiredError if the descriptor has expired."""
    if not descriptor.live(time()):
        raise DescriptorExpiredError("This descriptor has expired; request another one")


async def checked(
    pieces: AsyncGenerator[bytes, None], descriptor: Descriptor, allowance: Allowance
) -> AsyncGenerator[bytes, None]:
    """The bytes that the descriptor describes. A completed iteration has the size and checksum that it gives.

    Raises:
        TooLargeError: the allowance is exceeded. WrongSizeError, WrongChecksumError, WrongCompressionError.
    """
    expected = descriptor.size
    compression = descriptor.compression or "none"
    # A response announces its size before decompression.
    most = allowance if compression == "none" or expected is not None else allowance.unannounced()
    digest = RunningDigest()
    size = 0
    async with aclosing(plain(pieces, compression, allowance)) as source:
        async for piece in source:
            size += len(piece)
            if expected is not None and size > expected:
                raise WrongSizeError(f"The endpoint sent more than the {expected} bytes that the descriptor gives")
            most.check(size)
            await digest.add(piece)
            yield piece
    if expected is not None and size != expected:
        raise WrongSizeError(f"The endpoint sent {size} bytes; the descriptor gives {expected}")
    if descriptor.digest and await digest.hexdigest() != descriptor.digest:
        raise WrongChecksumError("The received bytes do not have the SHA-256 that the descriptor gives")


async def plain(
    pieces: AsyncGenerator[bytes, None], compression: str, allowance: Allowance
) -> AsyncGenerator[bytes, None]:
    """`pieces` decompressed, in pieces of a bounded size.

    Raises:
        WrongCompressionError: they are not compressed this way, or are cut off.
        TransferInterruptedError: they decompress to nothing for too long.
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
        raise WrongCompressionError(f"The {compression} data is cut off")
