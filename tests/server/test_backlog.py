"""How many windows of live rooms are taken at a time, by whom, and what is told of the others."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from deepfake_audio.batching import batch_sizes
from deepfake_audio.scoring import CPU_BATCH_WINDOWS
from deepfake_audio.server.rooms import backlog


def _speaker() -> backlog.Speaker:
    speaker = backlog.Speaker.__new__(backlog.Speaker)
    speaker.left_out = 0
    return speaker


def _due(
    speaker: backlog.Speaker,
    number: int,
    *,
    rows: int = 1,
    counts: bool = True,
    waited_s: float = 0,
) -> backlog.Due:
    window: Any = SimpleNamespace(number=number, counts=counts, sounding=np.ones(rows, np.bool_))
    return backlog.Due(Any, speaker, window, time.monotonic() - waited_s)  # type: ignore[arg-type]


def _number(due: backlog.Due) -> int:
    window: Any = due.window
    return int(window.number)


@pytest.mark.parametrize("free", [1, 2, 3, 8])
def test_a_lane_takes_its_share_in_one_batch(free: int) -> None:
    for rows in range(1, 600):
        taken = backlog._whole_batch(rows, free)
        assert 0 < taken <= min(rows, backlog.BATCH_ROWS)
        assert len(list(batch_sizes(taken, CPU_BATCH_WINDOWS))) == 1
        assert 2 * taken * free > rows - free or taken == backlog.BATCH_ROWS
    assert backlog._whole_batch(0, free) == 0


def test_lanes_get_as_much_each_and_silence_costs_nothing() -> None:
    queue = backlog.Backlog(2, 60.0, lambda dues: None)
    rows = [0, 0, 0, 1, 1, 0, 1, 1, 2, 0, 2, 0]
    queue.add(_due(_speaker(), number, rows=count) for number, count in enumerate(rows))
    batches = []
    while batch := queue._take():
        queue._free -= 1
        batches.append(batch)
    assert [_number(due) for batch in batches for due in batch] == list(range(len(rows)))
    assert [sum(due.rows for due in batch) for batch in batches] == [4, 4]


@pytest.mark.parametrize("seed", range(20))
def test_a_window_tells_of_those_left_out_just_before_it(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(seed)
    # So few at a time that windows wait for several turns, and others are left out behind them.
    monkeypatch.setattr(backlog, "_whole_batch", lambda rows, lanes: min(rows, 1))
    queue = backlog.Backlog(1, 60.0, lambda dues: None)
    speakers = [_speaker() for _ in range(3)]
    given: dict[int, list[int]] = {id(speaker): [] for speaker in speakers}
    told: dict[int, list[tuple[int, int]]] = {id(speaker): [] for speaker in speakers}

    def window(speaker: backlog.Speaker) -> backlog.Due:
        number = len(given[id(speaker)])
        given[id(speaker)].append(number)
        counts = bool(rng.random() < 0.3)
        return _due(speaker, number, counts=counts, waited_s=120.0 * (rng.random() < 0.6))

    turns = 0
    while turns < 40 or len(queue):
        if turns < 40:
            queue.add([window(rng.choice(speakers)) for _ in range(rng.integers(4))])
        for due in queue._take():
            told[id(due.speaker)].append((_number(due), due.left_out))
        turns += 1
    for speaker in speakers:
        numbers = [number for number, _ in told[id(speaker)]]
        before = np.diff([-1, *numbers]) - 1
        assert [count for _, count in told[id(speaker)]] == before.tolist()
        assert sum(before) > 0
        assert sum(before) + len(numbers) + speaker.left_out == len(given[id(speaker)])


def test_events_come_in_order_whichever_lane_is_first() -> None:
    order: list[int] = []
    speaker = _speaker()
    speaker.stream = cast(Any, SimpleNamespace(settle=lambda window, found: window.number))
    queue = backlog.Backlog(3, 60.0, lambda dues: None)
    queue.add(_due(speaker, number) for number in range(1, 7))
    batches = []
    while batch := queue._take():
        batches.append(batch)
    for batch in reversed(batches):
        for due in batch:
            due.heard.set_result(cast(Any, None))
        order += [event for _, event in cast(Any, queue.settle(batch))]
    assert len(batches) > 1
    assert order == list(range(1, 7))
