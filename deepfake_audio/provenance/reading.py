"""From a file to what it says about itself."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from .._containers import SeekableFile, read_header
from .._sources import Deadline, display_name, open_source
from ..audio import AudioSource, LongAudio, begin
from ..config import SAMPLE_RATE_HZ, Limits
from ..errors import DeepfakeAudioError, UnsupportedFormatError
from ..labels import Provenance
from . import flac, id3, mp4, ogg, riff
from .aigc import LabelReading, read_label
from .manifest import read_manifest
from .places import Found, Metered
from .rhythm import RhythmListener

Finder = Callable[[SeekableFile, int], Iterator[Found]]

FINDERS: dict[str, Finder] = {
    "WAV": riff.find, "AIFF": riff.find, "MP3": id3.find, "AAC": id3.find, "FLAC": flac.find,
    "OGG": ogg.find, "M4A": mp4.find, "MP4": mp4.find, "MOV": mp4.find, "3GP": mp4.find,
}  # fmt: skip
"""By the label of a container; no place is known in the others."""

STANDARD_PLACES = (
    "RIFF chunk AIGC",
    "ID3 TXXX:AIGC",
    "Vorbis comment AIGC",
    "MP4 moov/udta/meta, ----:com.apple.iTunes:AIGC",
)
"""Where labels belong; the first that is there counts."""

_MAX_FOUND = 16
_BLOCK_SAMPLES = 60 * SAMPLE_RATE_HZ


def read_provenance(
    source: AudioSource, *, name: str | None = None, limits: Limits | None = None
) -> Provenance:
    """Read the labels of a file: AIGC, C2PA, and the rhythm that can be heard.

    To put them beside a score, ``report.with_provenance(read_provenance(path))``. Parameters and
    errors are those of :func:`read_tags`.

    Returns
    -------
    Provenance
        With ``read`` False if tags are damaged; what was found in others is there. Sound that
        cannot be decoded has no rhythm.
    """
    return _read(source, name or display_name(source), limits or Limits(), listen=True)


def read_tags(
    source: AudioSource, *, name: str | None = None, limits: Limits | None = None
) -> Provenance:
    """Read the labels among the tags of a file, AIGC and C2PA; nothing is decoded.

    Parameters
    ----------
    source : path, bytes or binary file object
        As for :func:`deepfake_audio.audio.decode`; arrays have no labels.
    name : str, optional
        What messages call the input.
    limits : Limits, optional
        What it may cost.

    Returns
    -------
    Provenance
        With ``read`` False if tags are damaged; what was found in others is there.

    Raises
    ------
    AudioError
        If the input cannot be opened, or is not of a known format.
    """
    return _read(source, name or display_name(source), limits or Limits(), listen=False)


def _read(source: AudioSource, name: str, limits: Limits, *, listen: bool) -> Provenance:
    deadline = Deadline(name, limits)
    with open_source(source, name, limits, deadline, digest=False) as (file, _):
        header = read_header(file, file.size)
        if header is None:
            raise UnsupportedFormatError(
                "not audio of a known format", name=name, hint="give an audio or video file"
            )
        container = header.container.label
        found, complete = search(file, file.size, container)
        deadline.check()
        manifest = next((item for item in found if item.kind == "c2pa"), None)
        c2pa = read_manifest(file, container, manifest) if manifest else None
        rhythm_s = None
        if listen:
            file.seek(0)
            again: Any = source if isinstance(source, str | bytes | os.PathLike) else file
            rhythm_s = _listen(again, name, limits)
    return Provenance(aigc=_aigc(found), c2pa=c2pa, rhythm_s=rhythm_s, read=complete)


def search(file: SeekableFile, size: int, container: str) -> tuple[list[Found], bool]:
    """Return what is in a file, and whether all of its tags could be read."""
    found: list[Found] = []
    try:
        if container in FINDERS:
            found += itertools.islice(FINDERS[container](Metered(file), size), _MAX_FOUND)
    except DeepfakeAudioError:
        return found, False
    return found, True


def best_label(found: Iterable[Found]) -> tuple[Found, LabelReading] | None:
    """Return the label that counts: one that says something, where the standard has it."""
    readings = [(item, read_label(item.value)) for item in found if item.kind == "aigc"]
    return min(
        readings, key=lambda pair: (pair[1].says is None, _rank(pair[0].where)), default=None
    )


def _rank(where: str) -> int:
    return STANDARD_PLACES.index(where) if where in STANDARD_PLACES else len(STANDARD_PLACES)


def _aigc(found: list[Found]) -> dict[str, Any] | None:
    best = best_label(found)
    if best is None:
        return None
    item, reading = best
    deviations = list(reading.deviations)
    if item.where not in STANDARD_PLACES:
        deviations.append("is not where the standard has it")
    others = [read_label(other.value) for other in found if other.kind == "aigc"]
    if any(other.label != reading.label for other in others):
        deviations.append("another label in the file differs")
    return {
        "says": reading.says.value if reading.says else None,
        "where": item.where,
        "fields": reading.fields,
        "deviations": deviations,
    }


def _listen(source: AudioSource, name: str, limits: Limits) -> float | None:
    """Return where the rhythm begins, seconds; None if there is none or nothing to be heard."""
    try:
        audio = begin(source, name=name, limits=limits, keep_samples=_BLOCK_SAMPLES)
        blocks = audio.blocks() if isinstance(audio, LongAudio) else [audio.samples]
        channels = audio.channels if isinstance(audio, LongAudio) else len(audio.samples)
        listener = RhythmListener(channels)
        for block in blocks:
            listener.feed(block)
    except DeepfakeAudioError:
        return None
    return listener.found_s()
