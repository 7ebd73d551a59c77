"""The network: a small residual CNN over feature maps, with three heads.

Read top to bottom: a squeeze-and-excitation residual block, the CNN over time and frequency, the
one along a long-term spectrum, the branch that puts a front end before either, the network that
averages branches, and the registry of known shapes.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from .config import FAMILIES, FrontendConfig, ModelConfig
from .errors import ConfigError
from .features import Bands, Frontend
from .features.frontend import Spectra

COSINE_SCALE = 10.0
"""What a cosine is multiplied by to be a logit: over about the range of a linear head."""


class ModelOutput(NamedTuple):
    """What the network says about a batch of windows.

    Attributes
    ----------
    logit : Tensor, shape (batch,)
        High means synthetic. Uncalibrated: see :mod:`deepfake_audio.calibration`.
    embedding : Tensor, shape (batch, embedding_dim)
        The layer below the heads.
    family : Tensor, shape (batch, len(FAMILIES))
        Logits over attack families; only meaningful for synthetic windows.
    speech : Tensor, shape (batch,)
        Logit that the window holds speech rather than noise, music or tones.
    """

    logit: Tensor
    embedding: Tensor
    family: Tensor
    speech: Tensor


class SqueezeExcite(nn.Module):
    """Reweights channels by what the whole map holds (Hu et al., 1709.01507)."""

    def __init__(self, channels: int, reduction: int = 8) -> None:
        super().__init__()
        self.reduce = nn.Linear(channels, max(channels // reduction, 4))
        self.expand = nn.Linear(self.reduce.out_features, channels)

    def forward(self, maps: Tensor) -> Tensor:
        """Scale each channel of maps shaped (batch, channels, rows, frames)."""
        gate = torch.sigmoid(self.expand(F.relu(self.reduce(maps.mean((2, 3))))))
        return maps * gate[:, :, None, None]


def _fold(conv: nn.Module, norm: nn.Module) -> nn.Conv2d:
    """Put a normalisation with fixed statistics into the convolution before it."""
    assert isinstance(conv, nn.Conv2d)
    assert isinstance(norm, nn.BatchNorm2d)
    return fuse_conv_bn_eval(conv, norm)


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut (He et al., 1512.03385)."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)
        self.norm1: nn.BatchNorm2d | nn.Identity = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False)
        self.norm2: nn.BatchNorm2d | nn.Identity = nn.BatchNorm2d(out_channels)
        self.gate = SqueezeExcite(out_channels)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            self.shortcut = nn.Sequential(
                # Averaging before the 1 x 1 convolution loses no cell, unlike striding over them.
                nn.AvgPool2d(stride, ceil_mode=True) if stride != 1 else nn.Identity(),
                nn.Conv2d(in_channels, out_channels, 1, bias=False),
                nn.BatchNorm2d(out_channels),
            )

    def fuse(self) -> None:
        """Fold the normalisations into the convolutions before them; for inference only."""
        self.conv1, self.norm1 = _fold(self.conv1, self.norm1), nn.Identity()
        self.conv2, self.norm2 = _fold(self.conv2, self.norm2), nn.Identity()
        if isinstance(self.shortcut, nn.Sequential):
            pool, conv, norm = self.shortcut
            self.shortcut = nn.Sequential(pool, _fold(conv, norm))

    def forward(self, maps: Tensor) -> Tensor:
        """Map (batch, in_channels, rows, frames) to (batch, out_channels, rows', frames')."""
        residual = F.relu(self.norm1(self.conv1(maps)), inplace=True)
        residual = self.gate(self.norm2(self.conv2(residual)))
        return F.relu(residual + self.shortcut(maps), inplace=True)


class Body(nn.Module):
    """What bodies have in common: from pooled maps to an embedding, and from it to the heads."""

    def _add_heads(self, pooled_dim: int, config: ModelConfig) -> None:
        self.embed = nn.Linear(pooled_dim, config.embedding_dim, bias=False)
        self.embed_norm = nn.BatchNorm1d(config.embedding_dim)
        self.dropout = nn.Dropout(config.dropout)
        self.heads = nn.Linear(config.embedding_dim, 2 + len(FAMILIES))
        self.cosine = config.head == "cosine"

    def _judge(self, maps: Tensor) -> ModelOutput:
        """Pool the last axis of (batch, channels, rows, cells) and ask the heads."""
        mean = maps.mean(3, keepdim=True)
        variance = (maps - mean).square().mean(3)  # several times faster than ``var``
        pooled = torch.cat([mean[..., 0], (variance + 1e-5).sqrt()], 1).flatten(1)
        embedding = self.embed_norm(self.embed(pooled))
        heads = self.heads(self.dropout(F.relu(embedding)))
        logit = heads[:, 0]
        if self.cosine:
            # Not rectified: genuine speech has to find a direction opposite to this one.
            logit = COSINE_SCALE * F.cosine_similarity(embedding, self.heads.weight[:1])
        return ModelOutput(logit, embedding, heads[:, 2:], heads[:, 1])

    def fuse(self, dtype: torch.dtype) -> None:
        """Get ready for inference in ``dtype``; nothing to do by default."""


class ResNet(Body):
    """Residual CNN with mean-and-deviation pooling over time.

    Parameters
    ----------
    in_channels, n_rows : int
        Shape of the feature maps, from :class:`~deepfake_audio.config.FrontendConfig`.
    config : ModelConfig
        Widths and depths.
    """

    def __init__(self, in_channels: int, n_rows: int, config: ModelConfig) -> None:
        super().__init__()
        width = config.stem_channels
        self.input_norm = nn.BatchNorm2d(in_channels)
        self.stem = nn.Conv2d(in_channels, width, 5, 2, 2, bias=False)
        self.stem_norm: nn.BatchNorm2d | nn.Identity = nn.BatchNorm2d(width)
        rows = (n_rows + 1) // 2
        blocks: list[nn.Module] = []
        for channels, depth in zip(config.channels, config.blocks, strict=True):
            rows = (rows + 1) // 2  # every stage halves both axes
            for index in range(depth):
                blocks.append(ResidualBlock(width, channels, stride=2 if index == 0 else 1))
                width = channels
        self.blocks = nn.Sequential(*blocks)
        self._add_heads(2 * width * rows, config)

    def fuse(self, dtype: torch.dtype) -> None:
        """Fold the normalisations into the layers before them; for inference only.

        Convolutions then compute in ``dtype``; what comes after pooling stays in float32.
        """
        if not isinstance(self.stem_norm, nn.Identity):
            self.stem, self.stem_norm = _fold(self.stem, self.stem_norm), nn.Identity()
            for block in self.blocks:
                if isinstance(block, ResidualBlock):
                    block.fuse()
        self.stem.to(dtype)
        self.blocks.to(dtype)

    def forward(self, features: Tensor) -> ModelOutput:
        """Map features of shape (batch, in_channels, n_rows, frames) to :class:`ModelOutput`."""
        # Normalised plane by plane, before the planes are interleaved: several times faster.
        maps = self.input_norm(features).to(
            self.stem.weight.dtype, memory_format=torch.channels_last
        )
        maps = F.relu(self.stem_norm(self.stem(maps)), inplace=True)
        maps = self.blocks(maps).float()  # (batch, channels, rows, frames)
        # Rows stay apart: where in frequency a trace lies matters, when in time does not.
        return self._judge(maps)


class SpectrumNet(Body):
    """CNN along frequency over one long-term spectrum, pooled in a few bands.

    It looks for the shape of peaks, wherever in a band they are: which frequency exactly belongs to
    a voice or to one vocoder.

    Parameters
    ----------
    in_channels : int
        Spectra beside each other, from :class:`~deepfake_audio.config.FrontendConfig`.
    config : ModelConfig
        Widths.
    """

    bands = 8

    def __init__(self, in_channels: int, config: ModelConfig) -> None:
        super().__init__()
        self.input_norm = nn.BatchNorm1d(in_channels)
        width = config.stem_channels
        layers: list[nn.Module] = [
            nn.Conv1d(in_channels, width, 9, padding=4, bias=False),
            nn.BatchNorm1d(width),
            nn.ReLU(),
            nn.MaxPool1d(4),
        ]
        for channels in config.channels:
            layers += [
                nn.Conv1d(width, channels, 5, stride=2, padding=2, bias=False),
                nn.BatchNorm1d(channels),
                nn.ReLU(),
            ]
            width = channels
        self.layers = nn.Sequential(*layers)
        self._add_heads(2 * width * self.bands, config)

    def forward(self, features: Tensor) -> ModelOutput:
        """Map features of shape (batch, in_channels, bins, 1) to :class:`ModelOutput`."""
        maps = self.layers(self.input_norm(features[..., 0]))  # (batch, channels, bins')
        return self._judge(maps.unflatten(2, (self.bands, -1)))


class Branch(nn.Module):
    """A front end and its CNN: windows of samples in, :class:`ModelOutput` out."""

    def __init__(self, frontend: FrontendConfig, model: ModelConfig) -> None:
        super().__init__()
        self.frontend = Frontend(frontend)
        self.body = _BODIES[model.kind](frontend, model)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, waveform: Tensor) -> ModelOutput:
        """Map windows of shape (batch, samples), 16 kHz in [-1, 1], to :class:`ModelOutput`."""
        output: ModelOutput = self.body(self.frontend(waveform))
        return output


class Network(nn.Module):
    """One or more branches that hear the same windows, and their mean opinion.

    Branches that differ in front end, size or training make different mistakes; their mean makes
    fewer (Hansen & Salamon, 1990).

    Parameters
    ----------
    branches : sequence of Branch
        At least one.
    spreads : sequence of float, optional
        Standard deviation of each branch's logit over speech it was not trained on; logits are
        divided by it, so that none speaks louder than the others. All 1 by default.
    """

    spreads: Tensor

    def __init__(self, branches: Sequence[Branch], spreads: Sequence[float] | None = None) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)
        self.register_buffer("spreads", torch.tensor(spreads or [1.0] * len(branches)))

    def forward(self, waveform: Tensor) -> ModelOutput:
        """Map windows of shape (batch, samples), 16 kHz in [-1, 1], to :class:`ModelOutput`.

        Embeddings stand side by side; everything else is a mean.
        """
        # Branches may share a front end, or the first half of one.
        branches = cast("list[Branch]", list(self.branches))
        spectra = Spectra(waveform, [branch.frontend.config for branch in branches])
        bands: dict[tuple[object, ...], Bands] = {}
        features: dict[FrontendConfig, Tensor] = {}
        outputs: list[ModelOutput] = []
        for branch in branches:
            frontend = branch.frontend
            if frontend.bands_key not in bands:
                bands[frontend.bands_key] = frontend.bands(waveform, spectra)
            if frontend.config not in features:
                features[frontend.config] = frontend.features(bands[frontend.bands_key])
            outputs.append(branch.body(features[frontend.config]))
        logits = torch.stack([output.logit for output in outputs])  # (branches, batch)
        return ModelOutput(
            logit=(logits / self.spreads[:, None]).mean(0),
            embedding=torch.cat([output.embedding for output in outputs], 1),
            family=torch.stack([output.family for output in outputs]).mean(0),
            speech=torch.stack([output.speech for output in outputs]).mean(0),
        )

    @property
    def n_parameters(self) -> int:
        """Number of trained values."""
        return sum(parameter.numel() for parameter in self.parameters())


def _resnet(frontend: FrontendConfig, model: ModelConfig) -> nn.Module:
    return ResNet(frontend.n_channels, frontend.n_rows, model)


def _spectrum_net(frontend: FrontendConfig, model: ModelConfig) -> nn.Module:
    cells = frontend.n_rows >> (2 + len(model.channels))
    if not frontend.is_long_term or cells < 2 * SpectrumNet.bands:
        raise ConfigError(
            "kind spectrum needs a long_term front end, and frames long enough",
            name="model.kind",
            hint="frontend.kind = long_term or long_term_phase, n_fft = 2048",
        )
    return SpectrumNet(frontend.n_channels, model)


_BODIES: dict[str, Callable[[FrontendConfig, ModelConfig], nn.Module]] = {
    "resnet": _resnet,
    "spectrum": _spectrum_net,
    # Few and random weights: lets the tests of everything around the network run untrained.
    "unittest": _resnet,
}

UNITTEST_MODEL = ModelConfig(
    kind="unittest", stem_channels=4, channels=(4, 8), blocks=(1, 1), embedding_dim=8
)
"""Shape of the random-weight model that tests use."""


def build_network(
    frontend: FrontendConfig, model: ModelConfig, *, seed: int | None = None
) -> Network:
    """Make a network of one branch with fresh weights.

    Parameters
    ----------
    frontend, model : FrontendConfig, ModelConfig
        What to build.
    seed : int, optional
        Makes the weights reproducible and leaves torch's global generator as it was.

    Raises
    ------
    ConfigError
        If ``model.kind`` is not registered.
    """
    if model.kind not in _BODIES:
        raise ConfigError(
            f"unknown network kind {model.kind!r}",
            name="model.kind",
            hint=f"registered are {', '.join(_BODIES)}",
        )
    if seed is None:
        return Network([Branch(frontend, model)])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Network([Branch(frontend, model)])


def fused(network: Network, dtype: torch.dtype = torch.float32) -> Network:
    """Copy a network for inference: normalisations folded into convolutions, a fifth faster.

    Parameters
    ----------
    network : Network
        Stays as it is.
    dtype : torch.dtype
        What the convolutions compute in. In float32 the outputs stay the same to rounding.

    Returns
    -------
    Network
        In evaluation mode; cannot be trained.
    """
    copied = copy.deepcopy(network).eval()
    for module in list(copied.modules()):
        if isinstance(module, Body):
            module.fuse(dtype)
    copied.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return copied


def join(networks: Sequence[Network], spreads: Sequence[float] | None = None) -> Network:
    """Put the branches of several networks into one; see :class:`Network` for ``spreads``."""
    branches = [branch for network in networks for branch in network.branches]
    joined = Network([branch for branch in branches if isinstance(branch, Branch)], spreads)
    return joined.train(all(network.training for network in networks))
