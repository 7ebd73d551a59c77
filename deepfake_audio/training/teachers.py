"""Released models as teachers: what several large ones think, for one small one to learn."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..checkpoint import Checkpoint, load_checkpoint
from ..model import fused
from .recipe import Recipe


class Teachers:
    """The mean opinion of trained models (Hinton et al., 1503.02531).

    Parameters
    ----------
    checkpoints : sequence of Checkpoint
        At least one; each says its log-likelihood ratio as it was calibrated, so that none speaks
        louder than the others.
    device : torch.device
        Where to compute.
    dtype : torch.dtype
        What their convolutions compute in.
    """

    def __init__(
        self,
        checkpoints: Sequence[Checkpoint],
        device: torch.device,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.identity = [checkpoint.sha256 for checkpoint in checkpoints]
        self._calibrations = [checkpoint.header.calibration for checkpoint in checkpoints]
        self._networks = [
            fused(checkpoint.torch_network, dtype).to(device).requires_grad_(False)
            for checkpoint in checkpoints
        ]

    @classmethod
    def of(cls, recipe: Recipe, device: torch.device) -> Teachers | None:
        """Load the teachers that a recipe names; None if there are none.

        Raises
        ------
        CheckpointError
            If one cannot be loaded, or has no torch weights.
        """
        if not recipe.distill.active:
            return None
        dtype = torch.bfloat16 if recipe.optim.precision == "bf16" else torch.float32
        return cls([load_checkpoint(name) for name in recipe.distill.teachers], device, dtype)

    @torch.no_grad()
    def __call__(self, waveforms: Tensor) -> Tensor:
        """Return the mean log-likelihood ratio of waveforms (batch, samples), shape (batch,)."""
        opinions = [
            calibration.scale * network(waveforms).logit.float() + calibration.offset
            for network, calibration in zip(self._networks, self._calibrations, strict=True)
        ]
        return torch.stack(opinions).mean(0)
