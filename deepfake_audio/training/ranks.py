"""Several processes that train one network, each on its rows of every batch.

Losses are those of the whole batch: what each process' network says is gathered before they are
computed, and gradients are summed. Normalisations take the statistics of the whole batch. So the
weights are those that one process would find, to rounding; but for what is drawn within a process
(dropout, masks, mixed styles), which is drawn anew in each.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..errors import ConfigError

_PATIENCE = timedelta(days=1)  # others wait while one decodes a corpus or looks at dev
_SEEDS_APART = 10**12


@dataclass(frozen=True)
class Ranks:
    """Which of several processes this is; alone by default.

    Attributes
    ----------
    rank, count : int
        Number of this process, and how many there are.
    """

    rank: int = 0
    count: int = 1

    @property
    def leads(self) -> bool:
        """Whether this is the process that decodes, looks at dev, writes and speaks."""
        return self.rank == 0

    @property
    def seed_offset(self) -> int:
        """What keeps the draws of the processes apart; 0 in the first."""
        return self.rank * _SEEDS_APART

    def rows(self, batch_size: int) -> slice:
        """Return the rows of a batch that are this process' part.

        Raises
        ------
        ConfigError
            If the batch cannot be shared evenly.
        """
        if batch_size % self.count:
            raise ConfigError(
                f"{batch_size} cannot be shared by {self.count} processes",
                name="optim.batch_size",
                hint=f"choose a multiple of {self.count}",
            )
        return slice(self.rank, None, self.count)

    def gather(self, part: Tensor) -> Tensor:
        """Return the whole batch of what each process has its rows of, shape (batch, ...).

        Gradients flow into this process' rows only.
        """
        if self.count == 1:
            return part
        parts = [torch.empty_like(part) for _ in range(self.count)]
        dist.all_gather(parts, part.detach().contiguous())
        parts[self.rank] = part
        return torch.stack(parts, 1).flatten(0, 1)

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Add up the gradients of all processes, in place."""
        if self.count == 1:
            return
        gradients = [p.grad for p in parameters if p.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(flat)
        for gradient, summed in zip(
            gradients, flat.split([g.numel() for g in gradients]), strict=True
        ):
            gradient.copy_(summed.view_as(gradient))

    def wait(self) -> None:
        """Wait until all processes are here."""
        if self.count > 1:
            dist.barrier()


ALONE = Ranks()


@contextmanager
def joined(device: torch.device) -> Iterator[Ranks]:
    """Join the other processes that ``torchrun`` has started; alone without it.

    Parameters
    ----------
    device : torch.device
        ``cuda`` talks through NCCL, and gives each process a card of its own; else Gloo.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield ALONE
        return
    if device.type == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    backend = "nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, timeout=_PATIENCE)
    try:
        yield Ranks(dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()


class GlobalBatchNorm(_BatchNorm):
    """Batch normalisation over the rows of all processes, in training; on any device.

    PyTorch's own (``SyncBatchNorm``) knows GPUs only.
    """

    @classmethod
    def of(cls, norm: _BatchNorm) -> GlobalBatchNorm:
        """Return one with the same weights and statistics, shared and not copied."""
        shared = cls(norm.num_features, norm.eps, norm.momentum)
        shared.weight, shared.bias = norm.weight, norm.bias
        for name, statistic in norm.named_buffers():
            setattr(shared, name, statistic)
        return shared.train(norm.training)

    def _check_input_dim(self, input: Tensor) -> None:
        """Take any."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise (batch, channels, ...) over all dimensions but the second."""
        if not self.training:
            return super().forward(input)
        values = input.float()
        over = [0, *range(2, values.ndim)]
        shape = [1, -1] + [1] * (values.ndim - 2)
        count = values.numel() // values.shape[1] * dist.get_world_size()
        mean = _sum_of_all(values.sum(over)) / count
        centred = values - mean.view(shape)
        variance = _sum_of_all(centred.square().sum(over)) / count
        if self.track_running_stats:
            self._remember(mean.detach(), variance.detach() * count / max(count - 1, 1))
        scale = self.weight * (variance + self.eps).rsqrt()
        return (centred * scale.view(shape) + self.bias.view(shape)).to(input.dtype)

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        self.num_batches_tracked.add_(1)
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)


class _SumOfAll(torch.autograd.Function):
    """The sum over processes: what changes a part here changes the sum everywhere."""

    @staticmethod
    def forward(ctx: Any, part: Tensor) -> Tensor:
        """Return the sum of the parts of all processes."""
        return _summed(part)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        """Return what all processes make of the sum."""
        return _summed(gradients[0])


def _summed(part: Tensor) -> Tensor:
    whole = part.contiguous().clone()
    dist.all_reduce(whole)
    return whole


def _sum_of_all(part: Tensor) -> Tensor:
    whole: Tensor = _SumOfAll.apply(part)  # type: ignore[no-untyped-call]
    return whole


def share_statistics(network: nn.Module) -> None:
    """Let the normalisations of a network see the rows of all processes."""
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, _BatchNorm):
                setattr(parent, name, GlobalBatchNorm.of(child))
