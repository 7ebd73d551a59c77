from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from deepfake_audio.readahead import _Line, read_ahead


def run(function, items, *, threads=3, max_items=8, max_weight=1e9, weigh=lambda _: 0):
    return read_ahead(
        function, items, threads=threads, max_items=max_items, max_weight=max_weight, weigh=weigh
    )


def test_order_is_kept_whatever_takes_longest() -> None:
    def slow_first(item: int) -> int:
        time.sleep(0.02 if item % 5 == 0 else 0)
        return item * item

    assert list(run(slow_first, range(40))) == [item * item for item in range(40)]
    assert list(run(slow_first, [])) == []


def test_items_are_taken_no_further_than_allowed() -> None:
    taken = 0

    def stream() -> Iterator[int]:
        nonlocal taken
        while True:
            taken += 1
            yield taken

    results = run(lambda item: item, stream(), max_items=5)
    assert [next(results) for _ in range(3)] == [1, 2, 3]
    assert taken == 7
    results.close()


def test_heavy_results_stop_the_reading_ahead() -> None:
    begun: list[int] = []

    def work(item: int) -> int:
        begun.append(item)
        return item

    results = run(work, range(50), max_items=50, max_weight=9, weigh=lambda _: 10)
    assert next(results) == 0
    time.sleep(0.2)
    # The first has been taken; one waits and is more than allowed, each thread may overshoot once.
    assert len(begun) <= 1 + 1 + 3
    assert list(results) == list(range(1, 50))


def test_the_result_that_is_due_never_waits_for_room() -> None:
    line: _Line[str, str] = _Line(max_weight=0)
    line.put("first")
    line.put("second")
    line.add_weight(1)  # a later result came first
    assert line.get()[0] == "first"
    entered = threading.Event()
    thread = threading.Thread(target=lambda: line.get() and entered.set(), daemon=True)
    thread.start()
    assert not entered.wait(0.05)
    line.taken(0)  # the first result has been taken; the second is due
    assert entered.wait(5)
    assert list(run(lambda item: item, range(50), max_weight=0, weigh=lambda _: 1)) == [*range(50)]


def test_errors_come_where_the_result_would_have() -> None:
    results = run(lambda item: 1 // item, [1, 1, 0, 1])
    assert [next(results), next(results)] == [1, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_threads_end_when_nobody_listens() -> None:
    before = threading.active_count()
    results = run(lambda item: item, range(100), max_items=50, max_weight=0, weigh=lambda _: 1)
    next(results)
    results.close()
    for thread in threading.enumerate():
        if thread.name.startswith("deepfake_audio"):
            thread.join(5)
    assert threading.active_count() <= before


def test_a_closed_line_keeps_nobody_waiting() -> None:
    line: _Line[int, int] = _Line(max_weight=0)
    before = line.put(0)
    line.close()
    assert before.cancelled()
    assert line.put(1).cancelled()
    assert line.get() is None


UNFINISHED = """
import sys, threading, time
from deepfake_audio.readahead import read_ahead
def work(item):
    time.sleep({work_s})
    return item
results = read_ahead(
    work, range(100), threads=3, max_items=50, max_weight={max_weight}, weigh=lambda _: 1
)
next(results)
time.sleep(0.1)
print(sum(thread.name.startswith("deepfake_audio") for thread in threading.enumerate()))
{end}
"""


@pytest.mark.parametrize(("work_s", "max_weight"), [(0, 0), (0, 1000), (0.3, 1000)])
@pytest.mark.parametrize(("end", "status"), [("", 0), ("sys.exit(5)", 5), ("1 / 0", 1)])
def test_the_interpreter_ends_while_an_iterator_is_unfinished(
    work_s: float, max_weight: float, end: str, status: int
) -> None:
    # Waiting for room, for items, or in the middle of one; the module still refers to `results`.
    code = UNFINISHED.format(work_s=work_s, max_weight=max_weight, end=end)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout) == (status, "3\n")
    assert ("Traceback" in done.stderr) == (end == "1 / 0")
