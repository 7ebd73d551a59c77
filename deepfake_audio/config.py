"""Typed, frozen settings with units in their names, to and from plain JSON.

Everything that decides how audio is heard lives here, so that one JSON object in a checkpoint
rebuilds the very same pipeline.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self, get_args

from .errors import ConfigError

SAMPLE_RATE_HZ = 16_000
"""The rate at which everything after decoding works, in hertz."""

FAMILIES = ("tts", "vc", "vocoder", "codec")
"""Attack families told apart by the network's second head, in output order."""

FrontendKind = Literal[
    "log_linear", "log_mel", "constant_q", "lfcc", "mfcc", "long_term", "long_term_phase"
]
Normalization = Literal["none", "level", "mean"]
HeadKind = Literal["linear", "cosine"]


@dataclass(frozen=True)
class Config:
    """Base of all settings: JSON in and out, unknown keys refused by name."""

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as plain JSON types."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Build from plain JSON types.

        Raises
        ------
        ConfigError
            If a key is unknown; the message lists the known ones.
        """
        fields = {field.name: field for field in dataclasses.fields(cls)}
        unknown = sorted(set(values) - set(fields))
        if unknown:
            raise ConfigError(
                f"unknown setting {', '.join(unknown)}",
                name=cls.__name__,
                hint=f"known settings are {', '.join(fields)}",
            )
        # JSON has no tuples; the dataclasses are hashable and so have no lists.
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})

    def replace(self, **changes: Any) -> Self:
        """Return a copy with the given fields changed."""
        return dataclasses.replace(self, **changes)


def _require(condition: bool, name: str, message: str) -> None:
    if not condition:
        raise ConfigError(message, name=name)


@dataclass(frozen=True)
class Limits(Config):
    """What one input may cost; enforced while reading, before memory is taken.

    Attributes
    ----------
    max_duration_s : float
        Longest audio accepted, seconds.
    max_channels : int
        Most channels accepted.
    min_sample_rate_hz, max_sample_rate_hz : int
        Range of accepted source rates, hertz.
    max_samples : int
        Budget of samples x channels at 16 kHz, and so of memory: four bytes each. The default
        is 1 GB, or four hours of one channel.
    max_source_samples : int
        Budget of samples x channels at the source rate, and so of work.
    max_file_bytes : int
        Largest file, bytes.
    max_decode_s : float
        Wall-clock seconds that decoding one input may take.
    """

    max_duration_s: float = 4 * 3600.0
    max_channels: int = 32
    min_sample_rate_hz: int = 4_000
    max_sample_rate_hz: int = 384_000
    max_samples: int = 250_000_000
    max_source_samples: int = 1_500_000_000
    max_file_bytes: int = 4 * 1024**3
    max_decode_s: float = 600.0

    def __post_init__(self) -> None:
        for limit in dataclasses.fields(self):
            _require(getattr(self, limit.name) > 0, f"limits.{limit.name}", "must be above zero")


@dataclass(frozen=True)
class WindowConfig(Config):
    """How a recording is cut into the windows that the network hears.

    A recording of up to ``single_s`` is one window, of the largest multiple of ``step_s``, or
    of two, that fits; a longer one gives windows of ``window_s``. No window is ever padded.

    Attributes
    ----------
    window_s : float
        Length of each window of a long recording, seconds.
    hop_s : float
        Largest distance between the starts of neighbouring windows, seconds.
    single_s : float
        Longest recording heard as one window, seconds; at least ``window_s``. Two windows that
        nearly coincide would cost twice as much and hear nothing more.
    step_s : float
        Granularity of the length of a single window, seconds; twice as coarse from eight steps on.
    min_window_s : float
        Shortest window the network is asked about, seconds.
    """

    window_s: float = 4.0
    hop_s: float = 3.0
    single_s: float = 6.0
    step_s: float = 0.25
    min_window_s: float = 0.5

    def __post_init__(self) -> None:
        _require(0 < self.step_s <= self.window_s, "windows.step_s", "must lie in (0, window_s]")
        _require(0 < self.hop_s <= self.window_s, "windows.hop_s", "must lie in (0, window_s]")
        _require(self.single_s >= self.window_s, "windows.single_s", "must be at least window_s")
        _require(
            0 < self.min_window_s <= self.window_s,
            "windows.min_window_s",
            "must lie in (0, window_s]",
        )


@dataclass(frozen=True)
class FrontendConfig(Config):
    """Which features feed the network.

    Attributes
    ----------
    kind : {"log_linear", "log_mel", "constant_q", "lfcc", "mfcc", "long_term", "long_term_phase"}
        Base representation; ``constant_q`` has bands of equal width in octaves, ``long_term`` and
        ``long_term_phase`` are one spectrum of the whole window, see
        :mod:`deepfake_audio.features.long_term`.
    n_fft, win_length, hop_length : int
        Short-time Fourier transform, samples at 16 kHz.
    n_bands : int
        Filters of the bank; ``long_term`` and ``long_term_phase`` have none.
    n_coefficients : int
        Cepstral coefficients kept (``lfcc`` and ``mfcc`` only).
    deltas : bool
        Append first and second time derivatives as input channels.
    delta_width : int
        Frames that a derivative is taken over, odd.
    phase : bool
        Append group delay and instantaneous frequency, pooled to the same bands.
    normalize : {"none", "level", "mean"}
        ``level`` subtracts one number a window (loudness); ``mean`` subtracts the mean of each
        band over time (the linear channel).
    """

    kind: FrontendKind = "log_linear"
    n_fft: int = 512
    win_length: int = 400
    hop_length: int = 160
    n_bands: int = 80
    n_coefficients: int = 40
    deltas: bool = False
    delta_width: int = 9
    phase: bool = False
    normalize: Normalization = "level"

    def __post_init__(self) -> None:
        _require(
            self.kind in get_args(FrontendKind), "frontend.kind", f"unknown kind {self.kind!r}"
        )
        _require(
            self.normalize in get_args(Normalization),
            "frontend.normalize",
            f"unknown normalisation {self.normalize!r}",
        )
        _require(0 < self.win_length <= self.n_fft, "frontend.win_length", "must lie in (0, n_fft]")
        _require(self.hop_length > 0, "frontend.hop_length", "must be above zero")
        _require(
            0 < self.n_bands <= self.n_fft // 2, "frontend.n_bands", "must lie in (0, n_fft / 2]"
        )
        _require(
            self.kind not in ("lfcc", "mfcc") or 0 < self.n_coefficients <= self.n_bands,
            "frontend.n_coefficients",
            "must lie in (0, n_bands]",
        )
        _require(
            self.delta_width >= 3 and self.delta_width % 2 == 1,
            "frontend.delta_width",
            "must be odd and at least 3",
        )
        _require(
            not self.is_long_term or not (self.deltas or self.phase),
            "frontend.kind",
            f"{self.kind} has neither deltas nor phase",
        )
        _require(
            self.kind != "long_term_phase" or 4 * self.hop_length <= self.win_length,
            "frontend.hop_length",
            "long_term_phase needs frames that overlap by three quarters",
        )

    @property
    def is_long_term(self) -> bool:
        """Whether there is one frame a window, of bins that no bank pools."""
        return self.kind in ("long_term", "long_term_phase")

    @property
    def n_channels(self) -> int:
        """Input channels of the network."""
        if self.is_long_term:
            return 2 if self.kind == "long_term" else 1
        return (3 if self.deltas else 1) + (2 if self.phase else 0)

    @property
    def n_rows(self) -> int:
        """Height of the feature map."""
        if self.is_long_term:
            return self.n_fft // 2
        return self.n_coefficients if self.kind in ("lfcc", "mfcc") else self.n_bands


@dataclass(frozen=True)
class ModelConfig(Config):
    """Shape of the network.

    Attributes
    ----------
    kind : {"resnet", "spectrum", "unittest"}
        Entry of the registry in :mod:`deepfake_audio.model`. ``spectrum`` is for front ends of kind
        ``long_term`` or ``long_term_phase``.
    stem_channels : int
        Width of the first convolution, which halves both axes.
    channels, blocks : tuple of int
        Width and number of residual blocks of each stage; each halves both axes again. ``spectrum``
        has one convolution a stage and no use for ``blocks``.
    embedding_dim : int
        Length of the embedding.
    dropout : float
        Probability of dropping an embedding unit in training.
    head : {"linear", "cosine"}
        What the logit is: a linear function of the rectified embedding, or the cosine of the
        embedding to one direction, times a constant (for losses of angles).
    """

    kind: str = "resnet"
    stem_channels: int = 16
    channels: tuple[int, ...] = (32, 64, 128)
    blocks: tuple[int, ...] = (2, 2, 1)
    embedding_dim: int = 128
    dropout: float = 0.2
    head: HeadKind = "linear"

    def __post_init__(self) -> None:
        _require(self.head in get_args(HeadKind), "model.head", f"unknown head {self.head!r}")
        _require(
            len(self.channels) == len(self.blocks) > 0,
            "model.channels",
            "channels and blocks need the same number of stages",
        )
        _require(0 <= self.dropout < 1, "model.dropout", "must lie in [0, 1)")


@dataclass(frozen=True)
class BranchConfig(Config):
    """One branch of a network: what it hears, and its shape."""

    frontend: FrontendConfig = field(default_factory=FrontendConfig)
    model: ModelConfig = field(default_factory=ModelConfig)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Build from plain JSON types; see :meth:`Config.from_dict`."""
        return super().from_dict(
            {
                **values,
                "frontend": FrontendConfig.from_dict(values["frontend"]),
                "model": ModelConfig.from_dict(values["model"]),
            }
        )


@dataclass(frozen=True)
class Policy(Config):
    """An operating point, and what it cost on genuine speech that was not trained on.

    Attributes
    ----------
    name : str
        ``recall``, ``balanced``, ``precision`` or a name of your own.
    threshold : float
        ``p_synthetic`` from which a clip is ``likely_synthetic``.
    authentic_below : float
        ``p_synthetic`` below which a clip is ``likely_authentic``; between the two lies the
        abstain band, ``uncertain``.
    prior_synthetic : float
        Prior probability of synthetic speech under which ``p_synthetic`` is stated.
    expected_fpr : float
        Share of genuine calibration clips at or above ``threshold``, pooled.
    expected_fnr : float
        Share of synthetic calibration clips below ``threshold``, pooled.
    worst_source : str
        Calibration source with the highest false-positive rate.
    worst_source_fpr : float
        False-positive rate of that source.
    max_novelty : float, optional
        Novelty above which a verdict becomes ``uncertain``, see :mod:`deepfake_audio.novelty`;
        None: never.
    """

    name: str = "balanced"
    threshold: float = 0.5
    authentic_below: float = 0.5
    prior_synthetic: float = 0.5
    expected_fpr: float | None = None
    expected_fnr: float | None = None
    worst_source: str | None = None
    worst_source_fpr: float | None = None
    max_novelty: float | None = None

    def __post_init__(self) -> None:
        _require(
            0 <= self.authentic_below <= self.threshold <= 1,
            "policy.threshold",
            "needs 0 <= authentic_below <= threshold <= 1",
        )
        _require(0 < self.prior_synthetic < 1, "policy.prior_synthetic", "must lie in (0, 1)")
        _require(
            self.max_novelty is None or 0 <= self.max_novelty <= 1,
            "policy.max_novelty",
            "must lie in [0, 1]",
        )

    def replace(self, **changes: Any) -> Self:
        """Return a copy with the given fields changed.

        What an operating point cost says nothing about another: with another ``threshold`` or
        prior it is ``custom``, and its rates are unknown, unless they are given as well. A lower
        threshold takes ``authentic_below`` down with it.
        """
        if any(getattr(self, key) != changes.get(key, getattr(self, key)) for key in _DECIDING):
            below = min(self.authentic_below, changes.get("threshold", 1.0))
            unknown = {"name": "custom", **dict.fromkeys(_MEASURED), "authentic_below": below}
            changes = unknown | changes
        return super().replace(**changes)


_DECIDING = ("threshold", "prior_synthetic")
_MEASURED = ("expected_fpr", "expected_fnr", "worst_source", "worst_source_fpr")
