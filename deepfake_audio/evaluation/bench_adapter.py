"""Released models as the benchmark ``speech-spoof-bench`` wants them: ``load``, ``score_batch``.

The benchmark is given a class as ``deepfake_audio.evaluation.bench_adapter:Default``, calls it
without arguments, and hands over mono recordings at 16 kHz; a score is high for bona fide speech.
No base class is needed, so that nothing has to be installed here for its sake.

For a checkpoint of one's own::

    class Mine(Default):
        name = "mine"
        checkpoint = "runs/mine/model.safetensors"
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from ..config import SAMPLE_RATE_HZ
from ..detector import Detector
from ..errors import ConfigError, DeepfakeAudioError

NO_EVIDENCE = 0.0
"""Score of a recording in which nothing can be judged, as silence or a tenth of a second: a
log-likelihood ratio of 0 speaks for neither class, and no recording is missing from a table."""


class Default:
    """The released model ``default``; its score is the calibrated LLR, turned around.

    Computed in fp32, so that a recording scores the same whatever stands beside it in a batch.

    Attributes
    ----------
    name : str
        What the table calls it.
    checkpoint : str
        Name of a released model, or path of a checkpoint.
    device : str
        As for :class:`~deepfake_audio.detector.Detector`.
    expected_sample_rate, batch_size : int
        What it is fed, hertz; and how many recordings at a time, at most.
    """

    name: ClassVar[str] = "deepfake-audio-default"
    checkpoint: ClassVar[str] = "default"
    device: ClassVar[str] = "auto"
    expected_sample_rate: ClassVar[int] = SAMPLE_RATE_HZ
    batch_size: ClassVar[int] = 64

    _detector: Detector | None = None

    def load(self) -> None:
        """Load the model; called once, before anything is scored.

        Raises
        ------
        CheckpointError, DeviceError
            As for :meth:`Detector.load`.
        """
        self._detector = Detector.load(self.checkpoint, device=self.device, precision="fp32")

    def unload(self) -> None:
        """Let go of the model."""
        self._detector = None

    def score_batch(self, audios: Sequence[np.ndarray], srs: Sequence[int]) -> list[float]:
        """Score recordings of any lengths.

        Parameters
        ----------
        audios : sequence of ndarray, float32, shape (samples,)
            Full scale 1.
        srs : sequence of int
            The rate of each, 16000.

        Returns
        -------
        list of float
            One a recording, finite, high = bona fide; :data:`NO_EVIDENCE` where there is nothing
            to judge.

        Raises
        ------
        ConfigError
            If :meth:`load` was not called, or a rate is not 16000.
        AudioError
            If a recording is none, as one of NaNs; the benchmark then tries each by itself and
            counts it as skipped.
        """
        if self._detector is None:
            raise ConfigError("no model is loaded", name=self.name, hint="call load() first")
        if any(rate != SAMPLE_RATE_HZ for rate in srs) or len(srs) != len(audios):
            raise ConfigError(
                f"rates must be {SAMPLE_RATE_HZ} Hz, one a recording",
                name=self.name,
                hint="resample before",
            )
        scores = []
        for report in self._detector.detect_many(audios, sample_rate_hz=SAMPLE_RATE_HZ):
            if isinstance(report, DeepfakeAudioError):
                raise report
            llr = report.llr_synthetic
            scores.append(NO_EVIDENCE if llr is None else -llr)
        return scores


class Tiny(Default):
    """The released model ``tiny``."""

    name = "deepfake-audio-tiny"
    checkpoint = "tiny"
