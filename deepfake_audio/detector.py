"""The facade most users meet: load a model once, then detect in one input or in many."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Self

import numpy as np

from .audio import AudioSource, DecodedAudio, LongAudio
from .batching import in_groups
from .checkpoint import Checkpoint, load_checkpoint
from .config import Limits, Policy
from .decoding import READ_AHEAD_BYTES, DecodeAhead, Decoded, blocks_of
from .devices import Precision
from .errors import CheckpointError, ConfigError, DeepfakeAudioError
from .judging import Judge, choose_policy
from .listening import listen
from .readahead import read_ahead
from .report import ModelInfo, Report
from .scoring import Scorer
from .streaming import Stream, StreamConfig, StreamPool

GROUP_WINDOWS = 256
"""Inputs are scored together until they have this many windows."""

WORKER_GROUP_WINDOWS = 96
"""The same where several groups are scored at a time, unless a batch is larger: the last one,
beside which nothing is left to do, should be short."""

WORKER_FIRST_WINDOWS = 32
"""Where several groups are scored at a time they begin with this many, so that few inputs are
shared out, too, and grow: windows of one length are many enough to fill batches in a large one."""


Group = list[Decoded | DeepfakeAudioError]


class Detector:
    """A model, a device and an operating point.

    Most users call :meth:`load`.

    Parameters
    ----------
    checkpoint : Checkpoint
        Network and header.
    device : str, default "auto"
        ``auto``, ``cpu``, ``cuda`` or ``cuda:1``; ``cuda`` takes all GPUs that are visible, and
        ``auto`` too, if there are any.
    policy : str or Policy, default "balanced"
        An operating point of the checkpoint by name, or one of your own.
    threshold : float, optional
        ``p_synthetic`` from which a clip is ``likely_synthetic``, instead of the policy's.
    limits : Limits, optional
        What one input may cost.
    precision : {"auto", "fp32", "tf32", "bf16"}, default "auto"
        What convolutions compute in; ``auto`` is bf16 where the device multiplies it natively.
    workers : int, default 1
        Groups of inputs, or of windows of live streams, scored at a time, each on a thread of its
        own. Pays on a CPU after
        ``torch.set_num_threads(1)``: threads that each do the whole of a batch wait for nobody.
        On GPUs at least two for each: one group is made ready while another is scored.

    Raises
    ------
    ConfigError
        If the policy or the precision is unknown, the threshold is outside [0, 1], there are no
        workers, or the policy has a ``max_novelty`` and the model cannot tell novelty.
    DeviceError
        If the device is not available.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        device: str = "auto",
        policy: str | Policy = "balanced",
        threshold: float | None = None,
        limits: Limits | None = None,
        precision: Precision = "auto",
        workers: int = 1,
    ) -> None:
        if workers < 1:
            raise ConfigError(f"must be at least 1, not {workers}", name="workers")
        header = checkpoint.header
        self.judge = Judge(
            choose_policy(header.policies, policy, threshold),
            ModelInfo(header.name, header.version, checkpoint.sha256),
            header.known_speech,
        )
        self.limits = limits or Limits()
        self.scorer = Scorer(checkpoint.network, header, device, precision=precision)
        self.workers = max(workers, self.scorer.lanes)

    def __repr__(self) -> str:
        devices = ", ".join(map(str, self.scorer.devices))
        return f"<Detector {self.model}, {self.policy.name}, on {devices}>"

    @property
    def policy(self) -> Policy:
        """The operating point in force."""
        return self.judge.policy

    @property
    def model(self) -> ModelInfo:
        """Which model speaks."""
        return self.judge.model

    @classmethod
    def load(
        cls,
        model: str | Path = "default",
        *,
        device: str = "auto",
        policy: str | Policy = "balanced",
        threshold: float | None = None,
        limits: Limits | None = None,
        precision: Precision = "auto",
        workers: int = 1,
    ) -> Self:
        """Load a released model by name or any checkpoint by path.

        Parameters
        ----------
        model : str or Path, default "default"
            Name or path, as for :func:`~deepfake_audio.checkpoint.load_checkpoint`.
        device, policy, threshold, limits, precision, workers
            As for the class.

        Raises
        ------
        CheckpointError
            If there is no such model, or its file is damaged.
        ConfigError, DeviceError
            As for the class.
        """
        return cls(
            load_checkpoint(model),
            device=device,
            policy=policy,
            threshold=threshold,
            limits=limits,
            precision=precision,
            workers=workers,
        )

    def detect(
        self, source: AudioSource, *, sample_rate_hz: int | None = None, name: str | None = None
    ) -> Report:
        """Report on one input; :meth:`detect_many` with one element.

        Parameters
        ----------
        source : path, bytes, binary file object, or ndarray
            Arrays are shaped (samples,) or (channels, samples), full scale 1.
        sample_rate_hz : int, optional
            Rate of an array; files state their own.
        name : str, optional
            What the report calls the input.

        Raises
        ------
        AudioError
            If the input cannot be turned into samples.
        """
        names = None if name is None else [name]
        [result] = self.detect_many([source], sample_rate_hz=sample_rate_hz, names=names)
        if isinstance(result, DeepfakeAudioError):
            raise result
        return result

    def detect_many(
        self,
        sources: Iterable[AudioSource],
        *,
        sample_rate_hz: int | None = None,
        names: Iterable[str] | None = None,
    ) -> Iterator[Report | DeepfakeAudioError]:
        """Report on many inputs, decoding beside scoring.

        Memory is bounded whatever the number of inputs: sources are taken as they are needed.

        Parameters
        ----------
        sources : iterable
            Each as for :meth:`detect`.
        sample_rate_hz : int, optional
            Rate of the arrays among them.
        names : iterable of str, optional
            What the reports call the inputs.

        Yields
        ------
        Report or DeepfakeAudioError
            One for each source, in order. An input that cannot be read gives its error, and the
            others are scored.
        """
        if isinstance(sources, (str, bytes, os.PathLike, np.ndarray)):
            raise TypeError("sources is one input; use detect(), or a list of inputs")
        named: Iterable[tuple[AudioSource, str | None]] = (
            ((source, None) for source in sources)
            if names is None
            else zip(sources, names, strict=True)
        )
        return self.detect_decoded(
            DecodeAhead(named, sample_rate_hz=sample_rate_hz, limits=self.limits)
        )

    def detect_decoded(self, decoded: DecodeAhead) -> Iterator[Report | DeepfakeAudioError]:
        """Report on inputs whose decoding may have begun before there was a detector.

        Parameters
        ----------
        decoded : DecodeAhead
            Taken as they are needed; errors are passed on in their places.

        Yields
        ------
        Report or DeepfakeAudioError
            One for each, in order.
        """
        if self.workers > 1:
            with decoded.resting():
                self.scorer.prepare()
            enough = max(WORKER_GROUP_WINDOWS, self.scorer.batch_windows)
            groups = in_groups(decoded, self._n_windows, enough, first=WORKER_FIRST_WINDOWS)
            for outcomes in read_ahead(
                self._judged,
                groups,
                threads=self.workers,
                max_items=self.workers + 1,
                max_weight=READ_AHEAD_BYTES,
                weigh=lambda _: 0,
                weigh_item=_group_bytes,
            ):
                yield from outcomes
            return
        for group in in_groups(decoded, self._n_windows, GROUP_WINDOWS):
            with decoded.resting():
                outcomes = self._judged(group)
            yield from outcomes

    def _judged(self, group: Group) -> list[Report | DeepfakeAudioError]:
        """Return what is to be said about each of a group of inputs."""
        whole = [
            item.audio.samples
            for item in group
            if isinstance(item, Decoded) and isinstance(item.audio, DecodedAudio)
        ]
        scores = iter(self.scorer.score(whole))
        outcomes: list[Report | DeepfakeAudioError] = []
        for item in group:
            if isinstance(item, DeepfakeAudioError):
                outcomes.append(item)
            elif isinstance(item.audio, LongAudio):
                outcomes.append(self._judged_long(item.audio, item.elapsed_s))
            else:
                audio = item.audio
                outcomes.append(
                    self.judge.report(
                        audio.info, audio.flags, next(scores), decode_s=item.elapsed_s
                    )
                )
        return outcomes

    def _judged_long(self, audio: LongAudio, decode_s: float) -> Report | DeepfakeAudioError:
        """Decode and score an input block by block."""
        try:
            score = listen(self.scorer, blocks_of(audio), audio.channels)
        except CheckpointError:  # the fault of the model, and not of this input
            raise
        except DeepfakeAudioError as error:
            return error
        info, flags = audio.end
        return self.judge.report(info, flags, score, decode_s=decode_s)

    def _n_windows(self, item: Decoded | DeepfakeAudioError) -> int:
        if isinstance(item, DeepfakeAudioError):
            return 0
        if isinstance(item.audio, LongAudio):
            return GROUP_WINDOWS
        return self.scorer.n_windows(item.audio.samples)

    def stream(
        self,
        sample_rate_hz: int,
        channels: int = 1,
        *,
        name: str = "<stream>",
        config: StreamConfig | None = None,
    ) -> Stream:
        """Listen to one live recording.

        For many at a time, open them in one :meth:`stream_pool`. On a CPU the first one takes half
        a second to open, see :meth:`Scorer.prepare`.

        Parameters
        ----------
        sample_rate_hz : int
            Of the chunks that will come, hertz.
        channels : int
            Scored separately; the most suspicious one decides.
        name : str
            What the report calls the stream.
        config : StreamConfig, optional
            Time between events, what they are about, patience with late chunks.

        Raises
        ------
        LimitExceededError
            If the rate or the number of channels is out of range.

        Examples
        --------
        >>> stream = detector.stream(48_000)  # doctest: +SKIP
        >>> for chunk in chunks:  # doctest: +SKIP
        ...     for event in stream.feed(chunk):
        ...         print(event.time_s, event.verdict, event.p_synthetic)
        >>> report = stream.close()  # doctest: +SKIP
        """
        return self.stream_pool(config).open(sample_rate_hz, channels, name=name)

    def stream_pool(self, config: StreamConfig | None = None) -> StreamPool:
        """Return a pool in which many live recordings share batches; see :meth:`stream`."""
        self.scorer.prepare()  # now, rather than while somebody waits for an event
        return StreamPool(
            self.scorer,
            self.judge,
            config or StreamConfig(),
            self.limits,
            workers=self.workers,
        )


def _group_bytes(group: Group) -> int:
    return sum(item.nbytes for item in group if isinstance(item, Decoded))


def detect(
    source: AudioSource,
    *,
    sample_rate_hz: int | None = None,
    name: str | None = None,
    model: str | Path = "default",
    device: str = "auto",
    policy: str | Policy = "balanced",
    threshold: float | None = None,
) -> Report:
    """Load a model and report on one input.

    For more than one input, load a :class:`Detector` once.

    Parameters
    ----------
    source, sample_rate_hz, name
        As for :meth:`Detector.detect`.
    model, device, policy, threshold
        As for :meth:`Detector.load`.

    Raises
    ------
    DeepfakeAudioError
        Whatever goes wrong, as one of its kinds; see :mod:`deepfake_audio.errors`.

    Examples
    --------
    >>> report = detect("clip.wav")  # doctest: +SKIP
    >>> report.verdict  # doctest: +SKIP
    <Verdict.LIKELY_AUTHENTIC: 'likely_authentic'>
    """
    detector = Detector.load(model, device=device, policy=policy, threshold=threshold)
    return detector.detect(source, sample_rate_hz=sample_rate_hz, name=name)
