"""Packing the inputs of concurrent requests into batches: who is next, and who fits beside. No threads, no model."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterator, Sequence
from operator import neg
from typing import Generic, TypeVar

_PADDING_SHARE = 0.2
_PADDING_TOKENS = 16
_LEAST_TOKENS = 64  # a smaller batch costs more in overhead than a second worker gains

Owner = TypeVar("Owner")


class Waiting(Generic[Owner]):
    """The inputs of one request that are in no batch yet, longest first.

    Args:
        owner: whose they are.
        lengths: tokens of each input.
        budget: most tokens of a batch that holds any of them; 0 means one input per batch.
        limit: how many batches with any of them may be out at once.

    Attributes:
        out: how many batches with any of them are out.
        had_a_turn: whether it has been at the head of a batch.
        dropped: whether nobody waits for it any more.
    """

    def __init__(self, owner: Owner, lengths: Sequence[int], *, budget: int, limit: int) -> None:
        self.owner = owner
        self.budget = budget
        self.limit = limit
        self.out = 0
        self.had_a_turn = False
        self.dropped = False
        self._positions = sorted(range(len(lengths)), key=lambda i: -lengths[i])
        self._lengths = [lengths[i] for i in self._positions]
        self.tokens = sum(lengths)

    def __len__(self) -> int:
        return len(self._positions)

    def drop(self) -> None:
        """Have nothing more taken from it; from any thread, at any moment."""
        self.dropped = True

    @property
    def ready(self) -> bool:
        """Whether another batch may take from it."""
        return bool(self.most_batches)

    @property
    def most_batches(self) -> int:
        """How many more batches may take from it at this moment, at most."""
        return 0 if self.dropped else max(0, min(self.limit - self.out, len(self)))

    @property
    def longest(self) -> int:
        """Tokens of its longest input."""
        return self._lengths[0]

    def take(self, *, longest: int, shortest: int, most: int) -> list[int]:
        """Positions of at most ``most`` inputs of ``shortest`` to ``longest`` tokens, longest first."""
        start = bisect_left(self._lengths, -longest, key=neg)
        stop = min(bisect_right(self._lengths, -shortest, key=neg), start + most)
        taken = self._positions[start:stop]
        self.tokens -= sum(self._lengths[start:stop])
        del self._positions[start:stop], self._lengths[start:stop]
        return taken


class BatchQueue(Generic[Owner]):
    """A queue of requests, whose inputs leave in batches.

    Requests take turns at the head of a batch; every other turn goes to one that has had none yet, so that a short
    request need not wait for everybody, and a long one still gets half of the turns. The head's longest inputs decide
    how wide the batch is; inputs of other requests fill it up where they fit without much padding: within a batch no
    input is padded by more than a fifth of the batch's width (or 16 tokens, if that is more).
    """

    def __init__(self) -> None:
        self._queue: deque[Waiting[Owner]] = deque()
        self._newcomer_was_last = False

    def __len__(self) -> int:
        """How many requests have inputs that are in no batch yet."""
        return len(self._queue)

    def __iter__(self) -> Iterator[Waiting[Owner]]:
        return iter(self._queue)

    @property
    def ready(self) -> int:
        """About how many batches can leave at this moment, and not fewer than one if any can.

        Little work does not make as many batches as there are inputs: see :data:`_LEAST_TOKENS`.
        """
        singly = sum(waiting.most_batches for waiting in self._queue if not waiting.budget)
        packed = [waiting for waiting in self._queue if waiting.budget and waiting.ready]
        tokens = sum(waiting.tokens for waiting in packed)
        return singly + min(sum(waiting.most_batches for waiting in packed), -(-tokens // _LEAST_TOKENS))

    def add(self, waiting: Waiting[Owner]) -> None:
        """Put a request at the end of the queue."""
        if len(waiting):
            self._queue.append(waiting)

    def forget_dropped(self) -> None:
        """Let go of requests that nobody waits for."""
        self._queue = deque(waiting for waiting in self._queue if not waiting.dropped)

    def next_batch(self, workers: int) -> list[tuple[Waiting[Owner], list[int]]]:
        """The next batch: positions of inputs by request; empty when there is nothing to do.

        Args:
            workers: how many workers are free, this one included; little work is split among them.
        """
        self.forget_dropped()
        head = self._head()
        if head is None:
            return []
        width = head.longest
        room = self._room(head, width, workers)
        # Without a budget the graph takes one input at a time.
        others = (
            [w for w in self._queue if w is not head and w.ready and w.budget == head.budget] if head.budget else []
        )
        batch = []
        for waiting in (head, *others):
            shortest = width - max(_PADDING_TOKENS, int(width * _PADDING_SHARE))
            taken = waiting.take(longest=width, shortest=shortest, most=room) if room else []
            if taken:
                waiting.out += 1
                batch.append((waiting, taken))
                room -= len(taken)
        self._queue.remove(head)
        self._queue.append(head)
        self._queue = deque(waiting for waiting in self._queue if len(waiting))
        return batch

    def _head(self) -> Waiting[Owner] | None:
        """Whose turn it is."""
        ready = [waiting for waiting in self._queue if waiting.ready]
        preferred = [waiting for waiting in ready if waiting.had_a_turn == self._newcomer_was_last]
        if not ready:
            return None
        head = (preferred or ready)[0]
        self._newcomer_was_last = not head.had_a_turn
        head.had_a_turn = True
        return head

    def _room(self, head: Waiting[Owner], width: int, workers: int) -> int:
        """How many inputs of ``width`` tokens the batch may have."""
        if not head.budget:
            return 1
        share = -(-sum(waiting.tokens for waiting in self._queue) // max(1, workers))
        return max(1, min(head.budget, max(_LEAST_TOKENS, share)) // width)
