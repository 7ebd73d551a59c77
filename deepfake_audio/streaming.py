"""Live audio: chunks of any size in, an event each second out, many streams in shared batches.

What a stream is told at its end equals what :meth:`deepfake_audio.detector.Detector.detect` says
of the same audio in one piece; what it is told on the way is about the last seconds.
"""

from __future__ import annotations

import dataclasses
import weakref
from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .audio import AudioInfo
from .config import SAMPLE_RATE_HZ, Limits
from .intake import Intake, Sound
from .jitter import Arrivals
from .judging import Judge
from .listening import Listener, Window, hear
from .quality import SHORT_S, quality_flags
from .reduction import Evidence, SegmentScores, conclude
from .report import Reason, Report, Segment, Verdict
from .scoring import Heard, Scorer
from .windows import FRAME_S, BoolArray, FloatArray

EVENT_SCHEMA = "deepfake_audio.event/1"

MAX_WINDOWS = 512
"""Windows scored in one go; more than so many due ones follow in further goes."""


@dataclass(frozen=True)
class StreamEvent:
    """What is heard at one moment of a stream.

    Attributes
    ----------
    time_s : float
        Where the newest window ends, seconds of sound since the beginning.
    verdict : Verdict
        On the speech of the last seconds (``memory_s`` of the stream).
    reason : Reason or None
        Why it is inconclusive.
    p_synthetic, llr_synthetic : float or None
        Smoothed: of the mean over the windows of the last seconds, in the channel where it is
        highest. None while there is no speech.
    segments : tuple of Segment
        The newest window, for each channel that speaks in it.
    arrivals : Arrivals
        What became of the chunks so far.
    """

    time_s: float
    verdict: Verdict
    reason: Reason | None
    p_synthetic: float | None
    llr_synthetic: float | None
    segments: tuple[Segment, ...]
    arrivals: Arrivals

    def to_dict(self) -> dict[str, Any]:
        """Return the event as plain JSON types."""
        values = dataclasses.asdict(self)
        values["verdict"] = self.verdict.value
        values["reason"] = self.reason.value if self.reason else None
        values["segments"] = list(values["segments"])
        return {"schema": EVENT_SCHEMA, **values}


@dataclass(frozen=True)
class StreamConfig:
    """How a stream is heard.

    Attributes
    ----------
    hop_s : float
        Seconds between events; must divide the spacing and the length of the model's windows.
    memory_s : float
        Seconds that an event's verdict is about.
    patience_s : float
        How much later sound may wait for a missing chunk, seconds.
    """

    hop_s: float = 1.0
    memory_s: float = 12.0
    patience_s: float = 0.5


_DEFAULT = StreamConfig()


class Stream:
    """One live recording. Opened by :meth:`StreamPool.open` or ``Detector.stream``.

    Not for several threads at a time.
    """

    def __init__(
        self,
        pool: StreamPool,
        *,
        sample_rate_hz: int,
        channels: int,
        name: str,
        config: StreamConfig,
    ) -> None:
        self._intake = Intake(
            sample_rate_hz, channels, name=name, patience_s=config.patience_s, limits=pool.limits
        )
        self.name = name
        self.channels = channels
        self.sample_rate_hz = sample_rate_hz
        self.closed = False
        self._pool = pool
        windows = pool.scorer.header.windows
        self._listener = Listener(channels, windows, every_s=config.hop_s, dtype=np.int16)
        self._hop_frames = round(config.hop_s / FRAME_S)
        self._recent: deque[_Recent] = deque(maxlen=max(round(config.memory_s / config.hop_s), 1))
        self._due: deque[Window] = deque()

    @property
    def arrivals(self) -> Arrivals:
        """What became of the chunks so far."""
        return self._intake.arrivals

    @property
    def expected(self) -> int | None:
        """Number of the chunk that comes next, where chunks are numbered; None before the first."""
        return self._intake.expected

    @property
    def duration_s(self) -> float:
        """Seconds of sound taken in."""
        return self._listener.duration_s + self._intake.waiting_s

    @property
    def n_bytes(self) -> int:
        """Memory held between chunks, bytes, resampler and due windows left out."""
        return self._listener.n_bytes + self._intake.n_bytes

    def push(
        self,
        samples: npt.NDArray[Any],
        *,
        sequence: int | None = None,
        time_s: float | None = None,
    ) -> int:
        """Take in a chunk and score nothing yet: :meth:`StreamPool.step` does, for all streams.

        Parameters
        ----------
        samples : ndarray, shape (samples,) or (channels, samples)
            Floats in [-1, 1] or integers at full scale, any number of them.
        sequence : int, optional
            Running number of the chunk. Chunks may come out of order; missing ones are waited for
            and then replaced by silence, which is reported.
        time_s : float, optional
            When the first sample was taken, seconds; in place of ``sequence``.

        Returns
        -------
        int
            Windows that now wait to be scored.

        Raises
        ------
        InvalidSamplesError
            If the shape, the type or the scale is wrong; the stream goes on.
        ValueError
            If the stream is closed, or ``sequence`` and ``time_s`` are mixed.
        """
        if self.closed:
            raise ValueError(f"the stream {self.name!r} is closed")
        for sound in self._intake.put(
            samples, sequence=sequence, time_s=time_s, wanted=self._until_due
        ):
            self._hear(sound)
        return len(self._due)

    def feed(
        self,
        samples: npt.NDArray[Any],
        *,
        sequence: int | None = None,
        time_s: float | None = None,
    ) -> list[StreamEvent]:
        """Take in a chunk and score what it completes; parameters as for :meth:`push`.

        Returns
        -------
        list of StreamEvent
            One for each ``hop_s`` that the chunk completes; often none.
        """
        self.push(samples, sequence=sequence, time_s=time_s)
        return [event for _, event in self._pool.score([self])]

    def close(self) -> Report:
        """End the stream and report on all of it.

        Raises
        ------
        ValueError
            If it is closed already.
        """
        if self.closed:
            raise ValueError(f"the stream {self.name!r} is closed")
        for sound in self._intake.end(self._until_due):
            self._hear(sound)
        self._pool.score([self])
        last = self._listener.finish()
        if last:
            self._enqueue([last])
            self._pool.score([self])
        self.closed = True
        self._pool.forget(self)
        rate = self.sample_rate_hz
        seconds = self._intake.taken / rate
        info = AudioInfo(self.name, None, "stream", rate, self.channels, seconds)
        flags = set()
        if (heard := self._listener.latest()).size:
            flags = quality_flags(heard, rate, self._intake.meter)
        if self.duration_s >= SHORT_S:  # only its last seconds were looked at
            flags.discard("short")
        if self.arrivals.lost:
            flags.add("lost_audio")
        score = conclude(self._listener.evidence())
        return self._pool.judge.report(info, tuple(sorted(flags)), score)

    def due(self) -> list[Window]:
        """Hand over the windows that wait to be scored."""
        self._pool.note_drained(self)
        waiting = list(self._due)
        self._due.clear()
        return waiting

    def _until_due(self) -> int:
        return self._listener.until_due

    def _hear(self, sound: Sound) -> None:
        self._enqueue(self._listener.feed(sound.samples, lost=sound.lost))

    def _enqueue(self, windows: Iterable[Window]) -> None:
        """Let windows wait to be scored."""
        self._due.extend(windows)
        if self._due:
            self._pool.note_waiting(self)

    def settle(self, window: Window, found: Heard) -> StreamEvent | None:
        """Take in what was found in a window, each shaped (channels,); say what it means."""
        self._listener.take(window, found)
        if window.final:
            return None  # the end of a stream is the matter of its report
        llr, speech, _ = found
        fresh = window.active[:, -self._hop_frames :] & speech[:, None]
        self._recent.append(_Recent(window.sounding, speech, llr, fresh.sum(axis=1) * FRAME_S))
        return self._event(window, llr, speech)

    def _event(self, window: Window, llr: FloatArray, speech: BoolArray) -> StreamEvent:
        judge = self._pool.judge
        score = conclude(_recent_evidence(self._recent, window))
        known = score.reason is not Reason.NO_SPEECH and score.llr is not None
        value = round(score.llr, 4) if known and score.llr is not None else None
        p = None if value is None else judge.probability(value)
        spoken = np.flatnonzero(speech)
        start = np.full(spoken.size, window.start / SAMPLE_RATE_HZ)
        end = np.full(spoken.size, window.end_s)
        return StreamEvent(
            time_s=round(window.end_s, 3),
            verdict=judge.verdict(p, score.reason),
            reason=score.reason,
            p_synthetic=p,
            llr_synthetic=value,
            segments=judge.segments(SegmentScores(spoken, start, end, llr[spoken])),
            arrivals=self.arrivals,
        )


@dataclass(frozen=True)
class _Recent:
    """What was found in one window of a stream, each shaped (channels,)."""

    sounding: BoolArray
    speech: BoolArray
    llr: FloatArray
    speech_s: FloatArray


def _recent_evidence(recent: Sequence[_Recent], newest: Window) -> Evidence:
    """Return the evidence of the last windows as if they were a recording of their own."""
    return Evidence(
        duration_s=newest.end_s,
        length=newest.samples.shape[1],
        starts=np.zeros(len(recent), dtype=np.int64),
        sounding=np.stack([heard.sounding for heard in recent], axis=1),
        speech=np.stack([heard.speech for heard in recent], axis=1),
        llr=np.stack([heard.llr for heard in recent], axis=1),
        speech_s=np.sum([heard.speech_s for heard in recent], axis=0),
        distance=np.full(len(newest.sounding), np.nan),  # a matter of the whole
    )


class StreamPool:
    """Many live streams scored together: what they cost grows with windows, not with streams.

    Parameters
    ----------
    scorer : Scorer
        Where windows are scored.
    judge : Judge
        What scores mean.
    config : StreamConfig, optional
        How each stream is heard.
    limits : Limits, optional
        Which sample rates, and how many channels, are taken.
    workers : int, default 1
        Threads that share what is due, as of :class:`~deepfake_audio.detector.Detector`.
    """

    def __init__(
        self,
        scorer: Scorer,
        judge: Judge,
        config: StreamConfig = _DEFAULT,
        limits: Limits | None = None,
        *,
        workers: int = 1,
    ) -> None:
        self.limits = limits or Limits()
        self.workers = workers
        self._threads = ThreadPoolExecutor(workers) if workers > 1 else None
        self.scorer = scorer
        self.judge = judge
        self.config = config
        # A stream that nobody holds any more leaves by itself.
        self._streams: weakref.WeakValueDictionary[int, Stream] = weakref.WeakValueDictionary()
        # Those with windows that wait: to ask all of them would cost more than to score some.
        self._waiting: weakref.WeakValueDictionary[int, Stream] = weakref.WeakValueDictionary()

    def __len__(self) -> int:
        return len(self._streams)

    def open(self, sample_rate_hz: int, channels: int = 1, *, name: str = "<stream>") -> Stream:
        """Open a stream.

        Parameters
        ----------
        sample_rate_hz : int
            Of the chunks that will come, hertz.
        channels : int
            Scored separately; the most suspicious one decides.
        name : str
            What reports call it.

        Raises
        ------
        LimitExceededError
            If the rate or the number of channels is out of range.
        """
        stream = Stream(
            self, sample_rate_hz=sample_rate_hz, channels=channels, name=name, config=self.config
        )
        self._streams[id(stream)] = stream
        return stream

    def step(self) -> list[tuple[Stream, StreamEvent]]:
        """Score whatever waits in any stream; events of each stream in order."""
        waiting = [reference() for reference in self._waiting.valuerefs()]
        return self.score([stream for stream in waiting if stream is not None])

    def score(self, streams: Sequence[Stream]) -> list[tuple[Stream, StreamEvent]]:
        """Score whatever waits in the given streams."""
        due = [(stream, window) for stream in streams for window in stream.due()]
        events = []
        for first in range(0, len(due), MAX_WINDOWS):
            events += self._score(due[first : first + MAX_WINDOWS])
        return events

    def note_waiting(self, stream: Stream) -> None:
        """Have :meth:`step` ask a stream, which has windows now; streams say so themselves."""
        self._waiting[id(stream)] = stream

    def note_drained(self, stream: Stream) -> None:
        """Have :meth:`step` pass over a stream, which has handed its windows over."""
        self._waiting.pop(id(stream), None)

    def forget(self, stream: Stream) -> None:
        """Take a stream out, as its ``close`` does."""
        self._streams.pop(id(stream), None)
        self._waiting.pop(id(stream), None)

    def _score(self, due: Sequence[tuple[Stream, Window]]) -> list[tuple[Stream, StreamEvent]]:
        found = hear(self._heard, [window for _, window in due])
        events = []
        for (stream, window), its in zip(due, found, strict=True):
            if event := stream.settle(window, its):
                events.append((stream, event))
        return events

    def _heard(self, windows: Sequence[FloatArray]) -> Heard:
        """Score windows, shared out among the workers."""
        share = -(-len(windows) // self.workers)
        if self._threads is None or share == len(windows):
            return self.scorer.hear(windows)
        shares = [windows[first : first + share] for first in range(0, len(windows), share)]
        parts = list(self._threads.map(self.scorer.hear, shares))
        return Heard(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))
