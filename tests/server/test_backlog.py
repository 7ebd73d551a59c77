"""How many windows of live rooms are taken at a time, and how they are shared out."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from deepfake_audio.batching import batch_sizes
from deepfake_audio.server.rooms import backlog


@pytest.mark.parametrize("lanes", [1, 2, 3, 8])
def test_whole_batches_are_scored_and_the_rest_waits(lanes: int) -> None:
    for rows in range(1, 600):
        taken = backlog._whole_batches(rows, lanes)
        assert 0 < taken <= rows
        used = backlog._lanes_for(rows, lanes)
        assert taken % used == 0
        assert len(list(batch_sizes(taken // used, backlog.CPU_BATCH_WINDOWS))) == 1
        assert 2 * taken > rows - used or taken == used * backlog.CPU_BATCH_WINDOWS
    assert backlog._whole_batches(0, lanes) == 0


def test_lanes_get_as_much_each_and_silence_costs_nothing() -> None:
    def due(rows: int, number: int) -> Any:
        return SimpleNamespace(rows=rows, window=number)

    rows = [0, 0, 0, 1, 1, 0, 1, 1, 2, 0, 2, 0]
    dues = [due(count, number) for number, count in enumerate(rows)]
    parts = backlog._shares(dues, 2)
    assert [number for part in parts for number in part] == list(range(len(rows)))
    assert [sum(rows[number] for number in part) for part in parts] == [4, 4]
    assert backlog._shares([due(0, 0)], 1) == [[0]]


@pytest.mark.parametrize("seed", range(20))
def test_a_window_tells_of_those_left_out_just_before_it(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(seed)
    # So few at a time that windows wait for several turns, and others are left out behind them.
    monkeypatch.setattr(backlog, "_whole_batches", lambda rows, lanes: min(rows, 1))
    queue = backlog.Backlog(lanes=1, max_delay_s=60.0)
    speakers: list[Any] = [backlog.Speaker.__new__(backlog.Speaker) for _ in range(3)]
    for speaker in speakers:
        speaker.left_out = 0
    given: dict[int, list[int]] = {id(speaker): [] for speaker in speakers}
    told: dict[int, list[tuple[int, int]]] = {id(speaker): [] for speaker in speakers}

    def window(speaker: Any) -> backlog.Due:
        number = len(given[id(speaker)])
        given[id(speaker)].append(number)
        counts = bool(rng.random() < 0.3)
        sounds = SimpleNamespace(number=number, counts=counts, sounding=np.array([True]))
        long_ago = time.monotonic() - (120.0 if rng.random() < 0.6 else 0.0)
        return backlog.Due(Any, speaker, sounds, long_ago)  # type: ignore[arg-type]

    turns = 0
    while turns < 40 or len(queue):
        if turns < 40:
            queue.add([window(rng.choice(speakers)) for _ in range(rng.integers(4))])
        for due in queue.next():
            told[id(due.speaker)].append((due.window.number, due.left_out))  # type: ignore[attr-defined]
        turns += 1
    queue.close()
    for speaker in speakers:
        numbers = [number for number, _ in told[id(speaker)]]
        before = np.diff([-1, *numbers]) - 1
        assert [count for _, count in told[id(speaker)]] == before.tolist()
        assert sum(before) > 0
        assert sum(before) + len(numbers) + speaker.left_out == len(given[id(speaker)])
