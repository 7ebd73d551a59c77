"""What training minimises: one main loss, two side heads, and further losses as options.

Each is a function of what the network says about a whole batch. :class:`Objective` weighs them as
the recipe asks, and leaves out what has no weight.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..model import COSINE_SCALE, ModelOutput
from .recipe import DistillConfig, OptimConfig
from .sampler import NO_FAMILY, NO_PAIR, Batch


class Objective(nn.Module):
    """The loss of a batch under one recipe.

    Parameters
    ----------
    optim : OptimConfig
        Which losses, and their weights.
    embedding_dim : int
        Length of the embedding.
    distill : DistillConfig
        How much the teachers count.
    """

    def __init__(
        self, optim: OptimConfig, embedding_dim: int, distill: DistillConfig | None = None
    ) -> None:
        super().__init__()
        self.optim = optim
        self.distill = distill or DistillConfig()
        if optim.centre_weight:
            self.centre = nn.Parameter(torch.zeros(embedding_dim))

    def forward(
        self, output: ModelOutput, batch: Batch, taught: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Return the loss of each kind, averaged over the clips it applies to.

        Parameters
        ----------
        output : ModelOutput
            What the network says.
        batch : Batch
            What is true.
        taught : Tensor, shape (batch,), optional
            What the teachers say: log-likelihood ratios.

        Returns
        -------
        dict of str to Tensor
            ``spoof`` (the main loss, speech only), ``family`` (cross-entropy over synthetic clips
            of known family), ``speech``, the options that have a weight, and the weighted sum of
            all, ``total``.
        """
        optim = self.optim
        speech = F.binary_cross_entropy_with_logits(output.speech, batch.is_speech)
        known = (batch.family != NO_FAMILY).sum().clamp_min(1)
        family = (
            F.cross_entropy(output.family, batch.family, ignore_index=NO_FAMILY, reduction="sum")
            / known
        )
        spoof = _of_speech(self._main(output.logit, batch.is_synthetic), batch)
        parts = {"spoof": spoof, "family": family, "speech": speech}
        total = spoof + optim.family_weight * family + optim.speech_weight * speech
        for name, weight, loss in (
            ("supcon", optim.supcon_weight, self._supcon),
            ("centre", optim.centre_weight, self._centre),
            ("pair", optim.pair_weight, _ranking),
        ):
            if weight:
                parts[name] = loss(output, batch)
                total = total + weight * parts[name]
        if taught is not None:
            parts["distill"] = _of_speech(self._learned(output.logit, taught), batch)
            total = total + self.distill.weight * parts["distill"]
        return {**parts, "total": total}

    def _main(self, logit: Tensor, is_synthetic: Tensor) -> Tensor:
        optim = self.optim
        if optim.objective == "oc_softmax":
            return one_class_softmax(
                logit, is_synthetic, optim.oc_real, optim.oc_fake, optim.oc_scale
            )
        smoothed = is_synthetic * (1 - optim.label_smoothing) + 0.5 * optim.label_smoothing
        return F.binary_cross_entropy_with_logits(logit, smoothed, reduction="none")

    def _learned(self, logit: Tensor, taught: Tensor) -> Tensor:
        """Return the cross-entropy with what the teachers think, of as much pull at any heat."""
        heat = self.distill.temperature
        target = torch.sigmoid(taught / heat)
        each = F.binary_cross_entropy_with_logits(logit / heat, target, reduction="none")
        return heat**2 * each

    def _supcon(self, output: ModelOutput, batch: Batch) -> Tensor:
        kinds = batch.family if self.optim.supcon_classes == "family" else batch.system
        genuine = NO_FAMILY - 1  # NO_FAMILY itself is the class of other synthetic speech
        classes = torch.where(batch.is_synthetic > 0, kinds, genuine)
        spoken = batch.is_speech > 0
        return supervised_contrastive(
            output.embedding[spoken], classes[spoken], self.optim.supcon_temperature
        )

    def _centre(self, output: ModelOutput, batch: Batch) -> Tensor:
        genuine = batch.is_speech * (1 - batch.is_synthetic)
        distance = 0.5 * (output.embedding - self.centre).square().mean(1)
        return (distance * genuine).sum() / genuine.sum().clamp_min(1)


def _of_speech(each: Tensor, batch: Batch) -> Tensor:
    return (each * batch.is_speech).sum() / batch.is_speech.sum().clamp_min(1)


def _ranking(output: ModelOutput, batch: Batch) -> Tensor:
    """Return how far synthetic clips are from scoring above their originals (RankNet)."""
    fake = torch.nonzero(batch.original != NO_PAIR)[:, 0]
    difference = output.logit[fake] - output.logit[batch.original[fake]]
    return F.softplus(-difference).sum() / max(len(fake), 1)


def one_class_softmax(
    logit: Tensor, is_synthetic: Tensor, real: float, fake: float, scale: float
) -> Tensor:
    """Return the one-class softmax loss of each clip (Zhang et al., 2010.13995).

    Genuine speech is drawn into a narrow cone around one direction; synthetic speech, of whatever
    kind, need only stay out of a wider one.

    Parameters
    ----------
    logit : Tensor, shape (batch,)
        Of a cosine head: COSINE_SCALE times the cosine to the direction opposite to genuine speech.
    is_synthetic : Tensor, shape (batch,)
        1 or 0.
    real, fake : float
        Cosine above which genuine speech, and below which synthetic speech, costs little.
    scale : float
        Sharpness of both margins.
    """
    cosine = -logit / COSINE_SCALE  # to the direction of genuine speech
    short = torch.where(is_synthetic > 0, cosine - fake, real - cosine)
    return F.softplus(scale * short)


def supervised_contrastive(embedding: Tensor, classes: Tensor, temperature: float) -> Tensor:
    """Return the supervised contrastive loss (Khosla et al., 2004.11362, their L_out).

    Parameters
    ----------
    embedding : Tensor, shape (batch, dim)
        Of any length; directions are compared.
    classes : Tensor, int64, shape (batch,)
        Clips that are alone in their class only serve as contrast.
    temperature : float
        The smaller, the more the nearest of other classes count.
    """
    unit = F.normalize(embedding, dim=1)
    itself = torch.eye(len(unit), dtype=torch.bool, device=unit.device)
    similarity = (unit @ unit.T / temperature).masked_fill(itself, -torch.inf)
    log_share = similarity.log_softmax(1)  # (batch, batch)
    alike = (classes[:, None] == classes[None]) & ~itself
    count = alike.sum(1)
    each = -torch.where(alike, log_share, 0.0).sum(1) / count.clamp_min(1)
    return each.sum() / (count > 0).sum().clamp_min(1)
