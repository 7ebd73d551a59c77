"""Chunks from a network: what comes out, and what a hostile sender can pile up."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from deepfake_audio.jitter import JitterBuffer

RATE_HZ = 16_000


def test_empty_chunks_behind_a_gap_do_not_pile_up() -> None:
    buffer = JitterBuffer(RATE_HZ, patience_s=0.5)
    list(buffer.put(np.zeros((1, 160)), sequence=0))
    given_back = 0
    for number in range(2, 2_002):
        given_back += len(list(buffer.put(np.zeros((1, 0)), sequence=number)))
        assert number - 1 - given_back <= 500  # a millisecond each at least
    assert buffer.arrivals.lost == 1


@settings(max_examples=60, deadline=None)
@given(
    order=st.permutations(list(range(12))),
    lost=st.sets(st.integers(1, 11), max_size=4),
)
def test_whatever_the_order_what_comes_out_goes_forward_and_is_accounted_for(
    order: list[int], lost: set[int]
) -> None:
    # The first chunk sets the beginning; all the others come in any order, or not at all.
    buffer = JitterBuffer(RATE_HZ, patience_s=10.0)
    sent = [0, *(n for n in order if n and n not in lost)]
    pieces = []
    for number in sent:
        pieces += buffer.put(np.full((1, 160), number), sequence=number)
    pieces += buffer.flush()
    heard = [int(piece.samples[0, 0]) for piece in pieces if piece.samples is not None]
    assert heard == sorted(sent)  # with patience enough nothing is late
    last = max(sent)
    silent = sum(piece.n_lost for piece in pieces if piece.samples is None)
    assert silent == 160 * len([n for n in lost if n < last])
    assert buffer.arrivals.late == 0
