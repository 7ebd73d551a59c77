"""Streams in groups of about equal weight, groups in batches of few different sizes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def batch_sizes(count: int, largest: int) -> Iterator[int]:
    """Split ``count`` windows into batches of few different sizes.

    Kernels are built anew for each shape of a batch: full batches, then powers of two.
    """
    while count:
        size = largest if count >= largest else 1 << (count.bit_length() - 1)
        yield size
        count -= size


def in_groups(
    items: Iterable[T], weigh: Callable[[T], int], limit: int, *, first: int | None = None
) -> Iterator[list[T]]:
    """Collect a stream into lists of about equal weight, in order.

    Parameters
    ----------
    items : iterable
        The stream; taken no further than the current group needs.
    weigh : callable
        Weight of an item, at least zero; every item weighs at least one.
    limit : int
        A group is closed by the item that brings it to this weight.
    first : int, optional
        Weight of the first group, if smaller; each further one is twice the last, up to ``limit``.

    Yields
    ------
    list
        Never empty.
    """
    group: list[T] = []
    weight = 0
    enough = limit if first is None else min(first, limit)
    for item in items:
        group.append(item)
        weight += max(weigh(item), 1)
        if weight >= enough:
            yield group
            group, weight, enough = [], 0, min(2 * enough, limit)
    if group:
        yield group
