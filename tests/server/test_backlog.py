"""How many windows of live rooms are taken at a time, and how they are shared out."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

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
