from __future__ import annotations

from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from deepfake_audio.batching import batch_sizes, in_groups


def test_groups_keep_order_and_take_no_more_than_needed() -> None:
    taken = []

    def stream() -> Iterator[int]:
        for item in range(10):
            taken.append(item)
            yield item

    groups = in_groups(stream(), lambda item: item, 6)
    assert next(groups) == [0, 1, 2, 3]
    assert taken == [0, 1, 2, 3]
    assert list(groups) == [[4, 5], [6], [7], [8], [9]]
    assert list(in_groups([0, 0, 0], lambda _: 0, 2)) == [[0, 0], [0]]


def test_groups_may_begin_small_and_grow() -> None:
    groups = in_groups(range(12), lambda _: 1, 5, first=1)
    assert [len(group) for group in groups] == [1, 2, 4, 5]


@given(st.integers(0, 100), st.integers(1, 20))
def test_batches_have_few_sizes_and_miss_nothing(count: int, largest: int) -> None:
    sizes = list(batch_sizes(count, largest))
    assert sum(sizes) == count
    assert all(size == largest or size.bit_count() == 1 for size in sizes)
    assert max(sizes, default=0) <= largest
    rest = [size for size in sizes if size != largest]
    assert len(set(rest)) == len(rest)
