"""The bookkeeping of a stream of Episodes: which are sent and not yet acknowledged. Pure: nothing is sent here.

The service acknowledges in the order of the requests. An Episode that cannot be sent at all is refused here, and its
refusal keeps its place in that order, so outcomes come one for each Episode, in the order of the iterable.

An Episode waits for no other one: what is offered while an earlier message is on its way goes together in the next.
"""

from __future__ import annotations

from collections import deque

from sapience import types, wire
from sapience.errors import Internal, InvalidArgument, SapienceError, from_status
from sapience.v1 import memory_pb2

MOST_TOGETHER = 128
MOST_BYTES = 1 << 20
"""Episodes in one message, and their size: a message costs more than an Episode in it, up to about so many."""


def next_message(waiting: deque[memory_pb2.RememberStreamRequest]) -> memory_pb2.RememberStreamRequest:
    """Takes as many of the requests that wait as follow one another and fit in one message."""
    first = waiting.popleft()
    episodes, size = [first.episode], first.ByteSize()
    while waiting and len(episodes) < MOST_TOGETHER and waiting[0].client_seq == first.client_seq + len(episodes):
        size += waiting[0].ByteSize()
        if size > MOST_BYTES:
            break
        episodes.append(waiting.popleft().episode)
    if len(episodes) == 1:
        return first
    return memory_pb2.RememberStreamRequest(namespace=first.namespace, client_seq=first.client_seq, episodes=episodes)


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
        self._come: deque[memory_pb2.RememberOutcome] = deque()  # with the last response, and not taken yet

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

    def at_hand(self) -> types.Remembered | SapienceError | None:
        """The next outcome where it was decided here or came with an earlier response; None where the next holds it."""
        head = self._waiting[0]
        if isinstance(head, InvalidArgument):
            self._waiting.popleft()
            return head
        return self._taken(self._come.popleft()) if self._come else None

    def acknowledged(self, response: memory_pb2.RememberStreamResponse | None) -> types.Remembered | SapienceError:
        """The next outcome, from the service's next response; None stands for a stream that ended.

        Raises Internal where the service ended early or acknowledged another Episode than the next.
        """
        index = self._waiting[0]
        if response is None:
            raise Internal(f"memory ended the stream and left {len(self._waiting)} Episodes unacknowledged")
        if response.client_seq != index:
            raise Internal(f"memory acknowledged Episode {response.client_seq} where {index} was the next")
        self._come.extend(response.outcomes)
        return self._taken(self._come.popleft() if self._come else response)

    def _taken(
        self, outcome: memory_pb2.RememberOutcome | memory_pb2.RememberStreamResponse
    ) -> types.Remembered | SapienceError:
        self._waiting.popleft()
        if outcome.WhichOneof("outcome") == "error":
            return from_status(outcome.error)
        return wire.read_remembered(outcome.remembered)
