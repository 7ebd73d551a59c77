"""Everything a training run depends on but the data: one TOML file, kept in the checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from .._files import read_toml
from ..augment import AugmentConfig
from ..config import Config, FrontendConfig, ModelConfig, WindowConfig
from ..errors import ConfigError

Precision = Literal["fp32", "bf16"]
MainLoss = Literal["bce", "oc_softmax"]
Contrast = Literal["family", "system"]
Heard = Literal["clean", "augmented"]


@dataclass(frozen=True)
class OptimConfig(Config):
    """How the weights are fitted.

    Attributes
    ----------
    seed : int
        Of the weights, the sampling and the augmentation.
    steps, batch_size : int
        Length of the run, clips a step.
    crop_s : (float, float)
        Range of the crop length; one length a batch, seconds.
    crop_from_s : (float, float), optional
        Range at the first step, from which it moves evenly to ``crop_s`` at the last: short crops
        are cheap, and long ones are what counts (progressive learning, Tan & Le, 2104.00298).
    learning_rate, weight_decay : float
        AdamW; the rate warms up over ``warmup_steps`` and falls along a cosine.
    final_rate : float
        Share of ``learning_rate`` at which the cosine ends. Above zero the weights keep moving
        around a wide valley, whose middle their average finds.
    ema_decay : float
        Of the moving average of the weights, which is what is evaluated and released.
    average_from : int
        From this step on the average becomes the plain mean of the weights of all steps since
        (stochastic weight averaging, Izmailov et al., 1803.05407; for sources that were never
        heard, Cha et al., 2102.08604). 0 keeps to ``ema_decay``.
    grad_clip : float
        Largest gradient norm.
    label_smoothing : float
        Share of the target given to the other class.
    family_weight, speech_weight : float
        Weights of the two side losses.
    precision : {"fp32", "bf16"}
        ``bf16`` computes the network under autocast.
    freq_mask, time_mask : float
        Largest share of bands and of frames hidden by SpecAugment (Park et al., 1904.08779).
    style_mix : float
        Share of clips that take on the spectral statistics of another, see
        :func:`deepfake_audio.training.loop.mix_styles`.
    objective : {"bce", "oc_softmax"}
        Binary cross-entropy, or one-class softmax, which needs ``model.head = "cosine"`` and knows
        no label smoothing; see :func:`deepfake_audio.training.objectives.one_class_softmax`.
    oc_real, oc_fake, oc_scale : float
        Margins and sharpness of the one-class softmax.
    supcon_weight, supcon_temperature : float
        Of the supervised contrastive loss of the embedding, see
        :func:`deepfake_audio.training.objectives.supervised_contrastive`.
    supcon_classes : {"family", "system"}
        What is one class beside genuine speech.
    centre_weight : float
        Of half the mean squared distance of the embeddings of genuine speech to a centre that is
        learned (Wen et al., ECCV 2016).
    sharpness : float
        Radius of sharpness-aware minimisation, see
        :func:`deepfake_audio.training.sharpness.worst_nearby`; costs a second pass. 0: none.
    sharpness_adaptive : bool
        Measure the radius in units of the weights; it is then some ten times as large.
    pair_weight : float
        Of the ranking loss over the pairs that ``sampler.pairs`` draws (Burges et al., ICML 2005):
        a synthetic clip should score above its own original.
    """

    seed: int = 0
    steps: int = 3000
    batch_size: int = 64
    crop_s: tuple[float, float] = (2.0, 4.0)
    crop_from_s: tuple[float, float] | None = None
    learning_rate: float = 2e-3
    weight_decay: float = 0.02
    warmup_steps: int = 200
    final_rate: float = 0.0
    ema_decay: float = 0.998
    average_from: int = 0
    grad_clip: float = 2.0
    label_smoothing: float = 0.05
    family_weight: float = 0.2
    speech_weight: float = 0.2
    precision: Precision = "fp32"
    freq_mask: float = 0.15
    time_mask: float = 0.15
    style_mix: float = 0.0
    objective: MainLoss = "bce"
    oc_real: float = 0.9
    oc_fake: float = 0.2
    oc_scale: float = 20.0
    supcon_weight: float = 0.0
    supcon_temperature: float = 0.1
    supcon_classes: Contrast = "family"
    centre_weight: float = 0.0
    pair_weight: float = 0.0
    sharpness: float = 0.0
    sharpness_adaptive: bool = False

    def __post_init__(self) -> None:
        if self.precision not in get_args(Precision):
            raise ConfigError(f"unknown precision {self.precision!r}", name="optim.precision")
        if self.objective not in get_args(MainLoss):
            raise ConfigError(f"unknown loss {self.objective!r}", name="optim.objective")
        if self.supcon_classes not in get_args(Contrast):
            raise ConfigError(f"unknown {self.supcon_classes!r}", name="optim.supcon_classes")
        if self.supcon_temperature <= 0:
            raise ConfigError("must be above zero", name="optim.supcon_temperature")
        if not -1 <= self.oc_fake < self.oc_real <= 1:
            raise ConfigError("needs -1 <= oc_fake < oc_real <= 1", name="optim.oc_fake")
        for name, crop_s in (("crop_s", self.crop_s), ("crop_from_s", self.crop_from_s)):
            if crop_s and not 0 < crop_s[0] <= crop_s[1]:
                raise ConfigError("needs 0 < shortest <= longest", name=f"optim.{name}")
        if self.sharpness < 0:
            raise ConfigError("may not be below zero", name="optim.sharpness")
        if not 0 <= self.final_rate <= 1:
            raise ConfigError("must lie in [0, 1]", name="optim.final_rate")
        if min(self.steps, self.batch_size) < 1:
            raise ConfigError("steps and batch_size must be positive", name="optim")

    def crop_range_s(self, step: int) -> tuple[float, float]:
        """Return the range of the crop length at a step, seconds."""
        if self.crop_from_s is None:
            return self.crop_s
        done = min(step / max(self.steps - 1, 1), 1.0)
        (low, high), (last_low, last_high) = self.crop_from_s, self.crop_s
        return low + done * (last_low - low), high + done * (last_high - high)


@dataclass(frozen=True)
class SamplerConfig(Config):
    """What a batch is made of.

    Attributes
    ----------
    spoof_share : float
        Synthetic share of the speech in a batch.
    nonspeech_share : float
        Share of the batch that is noise, music or tones, for the speech head.
    copy_share : float
        Share of the synthetic half taken from vocoder copies of genuine clips.
    copied_by : tuple of str
        Vocoders whose copies are taken, by the name of their file or folder without its ending;
        all that are given, if empty.
    source_power, system_power, speaker_power : float
        A group of n clips is drawn in proportion to ``n ** power``: 0 treats all groups alike,
        1 all clips alike.
    pairs : float
        Share of the synthetic half drawn together with its genuine original: the clip behind a
        vocoder copy, or one with the same ``sentence``, of the same source where possible. Both
        are cut at the same place and go through the same channel, so that what differs is the
        synthesis. A ``copy_share`` of the pairs are copies; all, where no sentences are known.
    """

    spoof_share: float = 0.5
    nonspeech_share: float = 0.06
    copy_share: float = 0.0
    copied_by: tuple[str, ...] = ()
    source_power: float = 0.5
    system_power: float = 0.5
    speaker_power: float = 0.5
    pairs: float = 0.0


@dataclass(frozen=True)
class DistillConfig(Config):
    """Who teaches, beside the labels.

    Attributes
    ----------
    teachers : tuple of str
        Names of released models, or paths of checkpoints. What is learned is the mean of their
        log-likelihood ratios.
    weight : float
        Of the cross-entropy with the teachers' probabilities.
    temperature : float
        Both logits are divided by it; above 1, how sure the teachers are counts for more than
        which side they are on (Hinton et al., 1503.02531).
    heard : {"clean", "augmented"}
        Whether the teachers hear the crop as it was recorded, or what the student hears.
    """

    teachers: tuple[str, ...] = ()
    weight: float = 1.0
    temperature: float = 1.0
    heard: Heard = "clean"

    def __post_init__(self) -> None:
        if self.heard not in get_args(Heard):
            raise ConfigError(f"unknown {self.heard!r}", name="distill.heard")
        if isinstance(self.teachers, str):
            raise ConfigError("must be a list", name="distill.teachers")
        if self.weight < 0 or self.temperature <= 0:
            raise ConfigError("weight and temperature must be positive", name="distill")

    @property
    def active(self) -> bool:
        """Whether there is anything to learn from teachers."""
        return bool(self.teachers) and self.weight > 0


@dataclass(frozen=True)
class Recipe:
    """One training run.

    Attributes
    ----------
    name, version : str
        Of the model that comes out.
    optim, sampler, distill, augment, frontend, model, windows
        Settings by topic; each is a table of the TOML file.
    codec_renderings : int
        Coded versions kept of every training clip.
    copied_clips : int
        Genuine training clips copied by each vocoder.
    held_out_sources : int
        Training sources kept out and looked at beside dev: a comparison of recipes on dev alone
        is one on few sources. 0 for a model to be released.
    eval_every, save_every : int
        Steps between looks at dev, and between checkpoints.
    """

    name: str = "model"
    version: str = "0"
    optim: OptimConfig = field(default_factory=OptimConfig)
    sampler: SamplerConfig = field(default_factory=SamplerConfig)
    distill: DistillConfig = field(default_factory=DistillConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    frontend: FrontendConfig = field(default_factory=FrontendConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    windows: WindowConfig = field(default_factory=WindowConfig)
    codec_renderings: int = 1
    copied_clips: int = 1000
    held_out_sources: int = 0
    eval_every: int = 250
    save_every: int = 250

    def __post_init__(self) -> None:
        if self.optim.pair_weight and not self.sampler.pairs:
            raise ConfigError(
                "needs pairs to rank", name="optim.pair_weight", hint="set sampler.pairs"
            )
        if not 0 <= self.sampler.pairs <= 1:
            raise ConfigError("must lie in [0, 1]", name="sampler.pairs")
        if self.optim.objective == "oc_softmax" and self.model.head != "cosine":
            raise ConfigError(
                "is a loss of angles", name="optim.objective", hint='set model.head = "cosine"'
            )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Recipe:
        """Build from plain types; unknown keys are refused by name."""
        tables: dict[str, type[Config]] = {
            "optim": OptimConfig,
            "sampler": SamplerConfig,
            "distill": DistillConfig,
            "augment": AugmentConfig,
            "frontend": FrontendConfig,
            "model": ModelConfig,
            "windows": WindowConfig,
        }
        scalars = (
            "name",
            "version",
            "codec_renderings",
            "copied_clips",
            "held_out_sources",
            "eval_every",
            "save_every",
        )
        if unknown := sorted(set(values) - set(tables) - set(scalars)):
            raise ConfigError(
                f"unknown setting {', '.join(unknown)}",
                name="recipe",
                hint=f"known settings are {', '.join((*scalars, *tables))}",
            )
        built: dict[str, Any] = {key: values[key] for key in scalars if key in values}
        for key, table in tables.items():
            if key in values:
                built[key] = table.from_dict(values[key])
        return cls(**built)

    @classmethod
    def load(cls, path: str | Path) -> Recipe:
        """Read a TOML file.

        Raises
        ------
        ConfigError
            If the file is missing, is no TOML, or holds an unknown setting.
        """
        return cls.from_dict(read_toml(path))

    def to_dict(self) -> dict[str, Any]:
        """Return the recipe as plain JSON types."""
        return {
            key: value.to_dict() if isinstance(value, Config) else value
            for key, value in vars(self).items()
        }
