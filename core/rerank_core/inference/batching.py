"""Packing the inputs of concurrent requests into batches: which is next, and which fit beside it. Pure."""

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


class Pending(Generic[Owner]):
    """The inputs of one request that are in no batch yet, longest first.

    Args:
        owner: the request they belong to.
        lengths: tokens of each input.
        budget: most tokens of a batch that holds any of them; 0 means one input per batch.
        limit: how many batches with any of them may be in flight at once.

    Attributes:
        in_flight: how many batches with any of them are running.
        had_turn: whether it has been at the head of a batch.
        dropped: whether the request was cancelled.
    """

    def __init__(self, owner: Owner, lengths: Sequence[int], *, budget: int, limit: int) -> None:
        self.owner = owner
        self.budget = budget
        self.limit = limit
        self.in_flight = 0
        self.had_turn = False
        self.dropped = False
        self._positions = sorted(range(len(lengths)), key=lambda i: -lengths[i])
        self._lengths = [lengths[i] for i in self._positions]
        self.tokens = sum(lengths)

    def __len__(self) -> int:
        return len(self._positions)

    def drop(self) -> None:
        """Cancel it; from any thread, at any moment."""
        self.dropped = True

    @property
    def ready(self) -> bool:
        """Whether another batch may take from it."""
        return bool(self.most_batches)

    @property
    def most_batches(self) -> int:
        """The most batches that may take from it now."""
        return 0 if self.dropped else max(0, min(self.limit - self.in_flight, len(self)))

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

    Requests take turns at the head of a batch. Every other turn goes to one that has had none yet, so that a short
    request need not wait for all others, and a long one still gets half of the turns. The head's longest input sets the
    width of the batch. Inputs of other requests fill it up where they need little padding: no input is padded by more
    than a fifth of the width (or 16 tokens, if that is more).
    """

    def __init__(self) -> None:
        self._queue: deque[Pending[Owner]] = deque()
        self._newcomer_was_last = False

    def __len__(self) -> int:
        """How many requests have inputs that are in no batch yet."""
        return len(self._queue)

    def __iter__(self) -> Iterator[Pending[Owner]]:
        return iter(self._queue)

    @property
    def ready(self) -> int:
        """About how many batches can leave now; at least one if any can.

        Little work makes fewer batches than there are inputs: see :data:`_LEAST_TOKENS`.
        """
        singly = sum(pending.most_batches for pending in self._queue if not pending.budget)
        packed = [pending for pending in self._queue if pending.budget and pending.ready]
        tokens = sum(pending.tokens for pending in packed)
        return singly + min(sum(pending.most_batches for pending in packed), -(-tokens // _LEAST_TOKENS))

    def add(self, pending: Pending[Owner]) -> None:
        """Put a request at the end of the queue."""
        if len(pending):
            self._queue.append(pending)

    def forget_dropped(self) -> None:
        """Remove cancelled requests."""
        self._queue = deque(pending for pending in self._queue if not pending.dropped)

    def next_batch(self, workers: int) -> list[tuple[Pending[Owner], list[int]]]:
        """The next batch: positions of inputs per request; empty when there is nothing to do.

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
        for pending in (head, *others):
            shortest = width - max(_PADDING_TOKENS, int(width * _PADDING_SHARE))
            taken = pending.take(longest=width, shortest=shortest, most=room) if room else []
            if taken:
                pending.in_flight += 1
                batch.append((pending, taken))
                room -= len(taken)
        self._queue.remove(head)
        self._queue.append(head)
        self._queue = deque(pending for pending in self._queue if len(pending))
        return batch

    def _head(self) -> Pending[Owner] | None:
        """The request whose turn it is."""
        ready = [pending for pending in self._queue if pending.ready]
        preferred = [pending for pending in ready if pending.had_turn == self._newcomer_was_last]
        if not ready:
            return None
        head = (preferred or ready)[0]
        self._newcomer_was_last = not head.had_turn
        head.had_turn = True
        return head

    def _room(self, head: Pending[Owner], width: int, workers: int) -> int:
        """How many inputs of ``width`` tokens the batch may have."""
        if not head.budget:
            return 1
        share = -(-sum(pending.tokens for pending in self._queue) // max(1, workers))
        return max(1, min(head.budget, max(_LEAST_TOKENS, share)) // width)
