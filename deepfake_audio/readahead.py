"""A function over a stream on threads: in order, ahead of the consumer, within bounds."""

from __future__ import annotations

import atexit
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from threading import Condition, Thread
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")

EXIT_WAIT_S = 5.0
"""How long the interpreter waits at its end for a thread that is in the middle of an item."""


def read_ahead(
    function: Callable[[T], R],
    items: Iterable[T],
    *,
    threads: int,
    max_items: int,
    max_weight: float,
    weigh: Callable[[R], float],
    weigh_item: Callable[[T], float] | None = None,
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
    weigh_item : callable, optional
        Weight of an item; while those whose results have not been taken weigh more than
        ``max_weight``, no further one is. Nothing by default.

    Yields
    ------
    object
        The results, in the order of the items.
    """
    line: _Line[T, R] = _Line(max_weight)

    def work(item: T) -> R:
        result = function(item)
        line.add_weight(weigh(result))
        return result

    pending: deque[tuple[Future[R], float]] = deque()

    def take() -> R:
        future, _ = pending.popleft()
        result = future.result()
        line.taken(weigh(result))
        return result

    def full() -> bool:
        return len(pending) >= max_items or sum(weight for _, weight in pending) > max_weight

    workers: list[_Worker[T, R]] = []
    try:
        for item in items:
            pending.append((line.put(item), weigh_item(item) if weigh_item else 0.0))
            if len(workers) < threads:
                workers.append(_Worker(work, line))
                workers[-1].start()
            del item  # what waits is in the line
            while pending and full():
                yield take()
        while pending:
            yield take()
        line.close()
        for worker in workers:  # with nothing left to do
            worker.join()
    finally:
        line.close()


class _Line(Generic[T, R]):
    """Items that wait for a thread, let through while the results that wait are light enough.

    The item whose result is due next always passes: the consumer waits for it, and would never
    make room otherwise.
    """

    def __init__(self, max_weight: float) -> None:
        self._max_weight = max_weight
        self._weight = 0.0
        self._begun = 0
        self._due = 0
        self._open = True
        self._waiting: deque[tuple[T, Future[R]]] = deque()
        self._changed = Condition()

    def put(self, item: T) -> Future[R]:
        """Append an item; its result will be in the future."""
        future: Future[R] = Future()
        with self._changed:
            if self._open:
                self._waiting.append((item, future))
                self._changed.notify()
            else:
                future.cancel()
        return future

    def get(self) -> tuple[T, Future[R]] | None:
        """Wait for an item that may begin; None once the line is closed."""
        with self._changed:
            self._changed.wait_for(lambda: not self._open or self._may_begin())
            if not self._open:
                return None
            self._begun += 1
            return self._waiting.popleft()

    def _may_begin(self) -> bool:
        light = self._weight <= self._max_weight or self._begun == self._due
        return light and bool(self._waiting)

    def add_weight(self, weight: float) -> None:
        """Count a result that waits."""
        with self._changed:
            self._weight += weight

    def taken(self, weight: float) -> None:
        """Count a result that the consumer has taken."""
        with self._changed:
            self._weight -= weight
            self._due += 1
            self._changed.notify_all()

    def close(self) -> None:
        """Turn away all that has not begun, and let the threads go."""
        with self._changed:
            self._open = False
            for _, future in self._waiting:
                future.cancel()
            self._waiting.clear()
            self._changed.notify_all()


class _Worker(Thread, Generic[T, R]):
    """A thread that serves a line until it closes, at the latest when the interpreter ends.

    The interpreter joins other threads, and those of an executor, before anything could tell
    them that the iterator they work for, although still referenced, will not be asked again.
    """

    def __init__(self, work: Callable[[T], R], line: _Line[T, R]) -> None:
        super().__init__(name="deepfake_audio-read-ahead", daemon=True)
        self._work = work
        self._line = line

    def start(self) -> None:
        """Begin; from here on the end of the interpreter is the end of the thread."""
        atexit.register(self._leave)
        try:
            super().start()
        except BaseException:
            atexit.unregister(self._leave)
            raise

    def run(self) -> None:
        """Serve the line."""
        try:
            while (task := self._line.get()) is not None:
                self._serve(*task)
                del task  # a thread that waits must not keep a result alive
        finally:
            atexit.unregister(self._leave)

    def _serve(self, item: T, future: Future[R]) -> None:
        try:
            future.set_result(self._work(item))
        except BaseException as error:
            future.set_exception(error)
            del future  # the traceback holds this frame: no cycle

    def _leave(self) -> None:
        # Waiting keeps native code from coming back into an interpreter that is gone.
        self._line.close()
        self.join(EXIT_WAIT_S)
