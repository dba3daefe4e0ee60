"""A routine of Agora in the place of a model: the code for a description is the routine that was published with it.

The sandbox, the checks, the cache and the log are those of all generated code. No model is asked.
"""

from __future__ import annotations

from broker_plane.errors import ProviderError
from broker_plane.levels.ports import Generated
from broker_plane.registry.agora import AgoraProtocol
from broker_plane.registry.agora_routine import transfer_code


class AgoraRoutine:
    """The Provider port for descriptors of one Agora protocol. Raises RegistryError for what is not a routine."""

    def __init__(self, protocol: AgoraProtocol, routine: str) -> None:
        self.name = f"agora:{protocol.hash}"
        self._document = protocol.document
        self._code = transfer_code(protocol, routine)

    async def generate(self, prompt: str) -> Generated:
        """The routine's code. It is for this document only.

        Raises:
            ProviderError: the description in the prompt is another one.
        """
        if self._document.strip() not in prompt:
            raise ProviderError("The routine is for another Agora document than the descriptor's")
        return Generated(self._code, 0, 0)
