"""What is known of one labelled recording."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Label = Literal["bonafide", "spoof"]
AUDIO_SUFFIXES = frozenset((
    ".wav", ".wave", ".rf64", ".w64", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".mp2", ".mpga",
    ".aiff", ".aif", ".aifc", ".caf", ".au", ".snd", ".sph", ".nist", ".aac", ".amr", ".awb",
    ".m4a", ".m4b", ".m4v", ".mp4", ".mov", ".3gp", ".3g2", ".webm", ".mkv", ".mka", ".wma", ".asf",
))  # fmt: skip


@dataclass(frozen=True)
class Clip:
    """One labelled recording.

    Attributes
    ----------
    id : str
        Unique within the manifest.
    label : {"bonafide", "spoof"}
        Human or synthetic speech.
    path : Path
        File with the audio, or parquet file that holds it.
    row : int or None
        Row of the parquet file; None for an audio file.
    system, family : str
        Synthesiser, and its kind (tts, vc, vocoder, codec, other, none).
    source, speaker, language, channel, sentence : str
        Where known, else empty.
    source_codec, source_sample_rate_hz : str
        Of the recording before it came into the data set; where known, else empty.
    split : str
        ``train``, ``dev`` or ``test`` where known, else empty.
    """

    id: str
    label: Label
    path: Path
    row: int | None = None
    system: str = ""
    family: str = ""
    source: str = ""
    speaker: str = ""
    language: str = ""
    channel: str = ""
    sentence: str = ""
    source_codec: str = ""
    source_sample_rate_hz: str = ""
    split: str = ""

    @property
    def is_synthetic(self) -> bool:
        """Whether the label is ``spoof``."""
        return self.label == "spoof"
