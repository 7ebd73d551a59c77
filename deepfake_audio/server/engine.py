"""The model in service: decoded recordings of any surface -> reports and decisions, in batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ..audio import DecodedAudio
from ..checkpoint import Checkpoint
from ..judging import Judge
from ..labels import Provenance
from ..report import ModelInfo, Report
from ..scoring import Scorer
from .policy import Decision, PolicyFile, Rules, Surface


@dataclass(frozen=True)
class Heard:
    """A decoded recording, where it comes from, and what labels in its file claim."""

    audio: DecodedAudio
    surface: Surface
    decode_s: float
    provenance: Provenance = field(default_factory=Provenance)


class Engine:
    """A model with the policy of the platform.

    Parameters
    ----------
    checkpoint : Checkpoint
        Network and header.
    policy : PolicyFile
        Thresholds and actions.
    device : str
        As for :class:`deepfake_audio.Detector`.
    """

    def __init__(self, checkpoint: Checkpoint, policy: PolicyFile, device: str = "auto") -> None:
        header = checkpoint.header
        self.rules = Rules(policy, header.policies)
        self.model = ModelInfo(header.name, header.version, checkpoint.sha256)
        self.scorer = Scorer(checkpoint.network, header, device)
        self.scorer.prepare()
        self.judges = {
            surface: Judge(point, self.model, header.known_speech)
            for surface, point in self.rules.operating_points.items()
        }

    def reports(self, heard: Sequence[Heard]) -> list[Report]:
        """Score recordings together; one report for each, in order."""
        scores = self.scorer.score([item.audio.samples for item in heard])
        return [
            self.judges[item.surface]
            .report(item.audio.info, item.audio.flags, score, decode_s=item.decode_s)
            .with_provenance(item.provenance)
            for item, score in zip(heard, scores, strict=True)
        ]

    def decide(self, surface: Surface, report: Report) -> Decision:
        """Say what is to be done with a recording."""
        return self.rules.decide(surface, report)

    def identity(self) -> dict[str, Any]:
        """Return what stands beside each decision: policy and model with their hashes."""
        return {
            "policy": self.rules.identity(),
            "model": {
                "name": self.model.name,
                "version": self.model.version,
                "sha256": self.model.sha256,
            },
        }
