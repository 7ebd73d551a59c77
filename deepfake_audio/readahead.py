"""A function over a stream on threads: in order, ahead of the consumer, within bounds."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Condition
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def read_ahead(
    function: Callable[[T], R],
    items: Iterable[T],
    *,
    threads: int,
    max_items: int,
    max_weight: float,
    weigh: Callable[[R], float],
) -> Iterator[R]:
    """Apply a function to a stream on threads.

    Parameters
    ----------
    function : callable
        Runs on the threads; what it raises is raised where its result would have come.
    items : iterable
        Taken on the caller's thread, as they are needed.
    threads : int
        How many work at a time.
    max_items : int
        Most items taken whose results have not been.
    max_weight : float
        No further item is begun while results that weigh more wait.
    weigh : callable
        Weight of a result, for instance its bytes.

    Yields
    ------
    object
        The results, in the order of the items.
    """
    gate = _Gate(max_weight)

    def work(turn: int, item: T) -> R | None:
        if not gate.enter(turn):
            return None  # nobody waits for it any more
        result = function(item)
        gate.add(weigh(result))
        return result

    pending: deque[Future[R | None]] = deque()

    def take() -> R:
        result: R = pending.popleft().result()  # type: ignore[assignment]
        gate.remove(weigh(result))
        return result

    pool = ThreadPoolExecutor(threads, thread_name_prefix="deepfake_audio-read-ahead")
    try:
        for turn, item in enumerate(items):
            pending.append(pool.submit(work, turn, item))
            if len(pending) >= max_items:
                yield take()
        while pending:
            yield take()
    finally:
        gate.close()
        pool.shutdown(wait=False, cancel_futures=True)


class _Gate:
    """Lets work begin while the results that wait are light enough.

    The work whose result is due next always passes: the consumer waits for it, and would never
    make room otherwise.
    """

    def __init__(self, max_weight: float) -> None:
        self._max_weight = max_weight
        self._weight = 0.0
        self._due = 0
        self._open = True
        self._changed = Condition()

    def enter(self, turn: int) -> bool:
        """Wait for room; tell whether the work is still wanted."""
        with self._changed:
            self._changed.wait_for(
                lambda: not self._open or self._weight <= self._max_weight or turn == self._due
            )
            return self._open

    def add(self, weight: float) -> None:
        """Count a result that waits."""
        with self._changed:
            self._weight += weight

    def remove(self, weight: float) -> None:
        """Count a result that has been taken."""
        with self._changed:
            self._weight -= weight
            self._due += 1
            self._changed.notify_all()

    def close(self) -> None:
        """Turn away all that has not begun."""
        with self._changed:
            self._open = False
            self._changed.notify_all()
