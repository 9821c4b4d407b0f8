"""The bookkeeping of a stream of Episodes: which are sent and not yet acknowledged. Pure: nothing is sent here.

The service acknowledges in the order of the requests. An Episode that cannot be sent at all is refused here, and its
refusal keeps its place in that order, so outcomes come one for each Episode, in the order of the iterable.
"""

from __future__ import annotations

from collections import deque

from sapience import types, wire
from sapience.errors import Internal, InvalidArgument, SapienceError, from_status
from sapience.v1 import memory_pb2


class Window:
    """At most `size` Episodes are unacknowledged. Offer one, and while the window is `full` take an outcome."""

    def __init__(self, namespace: str, size: int) -> None:
        if size < 1:
            raise InvalidArgument(
                f"window: {size} is too small, at least 1 must be on its way", reason="INVALID_FIELD", field="window"
            )
        self._namespace = namespace
        self._size = size
        self._offered = 0
        self._waiting: deque[int | InvalidArgument] = deque()

    @property
    def full(self) -> bool:
        """Whether an outcome must be taken before the next Episode is offered."""
        return len(self._waiting) >= self._size

    def __bool__(self) -> bool:
        """Whether outcomes are still to come."""
        return bool(self._waiting)

    def offer(self, episode: types.NewEpisode) -> memory_pb2.RememberStreamRequest | None:
        """What to send for an Episode; None for one that is refused here."""
        index = self._offered
        self._offered += 1
        try:
            request = wire.message(
                memory_pb2.RememberStreamRequest,
                namespace=self._namespace,
                client_seq=index,
                episode=wire.new_episode(episode),
            )
        except InvalidArgument as error:
            self._waiting.append(error)
            return None
        self._waiting.append(index)
        return request

    def refused_here(self) -> InvalidArgument | None:
        """The next outcome if it was decided here; None where the service's next response holds it."""
        head = self._waiting[0]
        if isinstance(head, InvalidArgument):
            self._waiting.popleft()
            return head
        return None

    def acknowledged(self, response: memory_pb2.RememberStreamResponse | None) -> types.Remembered | SapienceError:
        """The next outcome, from the service's next response; None stands for a stream that ended.

        Raises Internal where the service ended early or acknowledged another Episode than the next.
        """
        index = self._waiting[0]
        if response is None:
            raise Internal(f"memory ended the stream and left {len(self._waiting)} Episodes unacknowledged")
        if response.client_seq != index:
            raise Internal(f"memory acknowledged Episode {response.client_seq} where {index} was the next")
        self._waiting.popleft()
        if response.WhichOneof("outcome") == "error":
            return from_status(response.error)
        return wire.read_remembered(response.remembered)
