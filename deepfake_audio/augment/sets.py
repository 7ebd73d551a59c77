"""Sets on disk: copies of clips by vocoders and clips under conditions, as FLAC and a manifest.

A set can be read back as any other data. Each file appears whole or not at all and is made alike
whenever it is made, so that a run that was killed is simply begun again.
"""

from __future__ import annotations

import csv
import json
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soundfile

from .._files import written_whole
from ..audio import decode
from ..config import SAMPLE_RATE_HZ
from ..datasets.cache import to_int16
from ..datasets.clip import Clip
from ..datasets.manifest import iter_audio
from ..decoding import READ_AHEAD_BYTES
from ..errors import AudioError, ConfigError
from ..readahead import read_ahead
from .conditions import CLEAN, Condition, condition
from .vocoders import Vocoder, copy_of

MANIFEST = "manifest.csv"
SETTINGS = "augment.json"

_THREADS = 2
_MAX_AHEAD = 16
COLUMNS = (
    *("path", "id", "label", "system", "family", "source", "speaker", "language", "channel"),
    *("sentence", "split", "original", "version"),
)
"""Of a manifest."""


@dataclass(frozen=True)
class Version:
    """One way of making new clips of clips.

    Attributes
    ----------
    name : str
        Of the vocoder or condition, as in the manifest and, cleaned, of the folder.
    make : Condition
        Takes int16 samples and a seed.
    vocoder : str
        What makes the result synthetic: then only genuine clips are taken. Otherwise empty, and
        clips keep their label.
    """

    name: str
    make: Condition
    vocoder: str = ""

    def of(self, clip: Clip, folder: Path) -> Clip:
        """Return what the version of a clip is, and where it lies."""
        path = folder / slug(self.name) / f"{slug(clip.id)}-{_number(clip.id):08x}.flac"
        made = replace(clip, id=f"{clip.id} {self.name}", path=path, row=None)
        if not self.vocoder:
            return made
        return replace(made, label="spoof", system=self.vocoder, family="vocoder")


class _Made(NamedTuple):
    clip: Clip
    original: str
    version: str


def copying(name: str, vocoder: Vocoder, coded: str | None = None) -> Version:
    """Return the version that a vocoder makes, coded as the originals have been if so wanted."""
    code = condition(coded or CLEAN)

    def make(samples: np.ndarray, seed: int) -> np.ndarray:
        return code(copy_of(samples, vocoder, np.random.default_rng([seed, _number(name)])), seed)

    return Version(f"{name}+{coded}" if coded else name, make, name)


def write_set(
    clips: Sequence[Clip],
    out: Path,
    versions: Sequence[Version],
    *,
    seed: int = 0,
    on_progress: Callable[[int], None] | None = None,
) -> tuple[list[Clip], list[AudioError]]:
    """Make every version of every clip that has it, and a manifest of them all.

    Parameters
    ----------
    clips : sequence of Clip
        The first channel of each is heard, at 16 kHz.
    out : Path
        Folder; what an earlier call left there is kept, and listed if it is one of these.
    versions : sequence of Version
        What to make.
    seed : int
        Each clip's own seed comes from this one and its id.
    on_progress : callable, optional
        Called with the number of clips done.

    Returns
    -------
    made : list of Clip
    failures : list of AudioError
        One for each clip that could not be decoded and is left out.

    Raises
    ------
    ConfigError
        If the folder holds a set made with another seed, or cannot be written.
    """
    try:
        return _write(clips, out, versions, seed, on_progress)
    except OSError as error:
        raise ConfigError(f"cannot be written ({error.strerror})", name=str(out)) from error


def _write(
    clips: Sequence[Clip],
    out: Path,
    versions: Sequence[Version],
    seed: int,
    on_progress: Callable[[int], None] | None,
) -> tuple[list[Clip], list[AudioError]]:
    _check_settings(out, {"seed": seed})

    def work(item: tuple[int, Path | bytes]) -> list[_Made] | AudioError:
        index, source = item
        try:
            return list(_versions_of(clips[index], source, out, versions, seed))
        except AudioError as error:
            return error

    made: list[_Made] = []
    failures: list[AudioError] = []
    results = read_ahead(
        work,
        iter_audio(clips),
        threads=_THREADS,
        max_items=_MAX_AHEAD,
        max_weight=READ_AHEAD_BYTES,
        weigh=lambda _: 0,
    )
    for count, result in enumerate(results, 1):
        if isinstance(result, AudioError):
            failures.append(result)
        else:
            made += result
        if on_progress:
            on_progress(count)
    _write_manifest(out, made)
    return [each.clip for each in made], failures


def _versions_of(
    clip: Clip, source: Path | bytes, out: Path, versions: Sequence[Version], seed: int
) -> Iterator[_Made]:
    """Make the versions of one clip that are not there yet."""
    wanted = [version for version in versions if not (version.vocoder and clip.is_synthetic)]
    targets = [version.of(clip, out) for version in wanted]
    samples = None
    for version, target in zip(wanted, targets, strict=True):
        if not target.path.exists():
            if samples is None:
                samples = to_int16(decode(source, name=clip.id).samples[0])
            own = int(np.random.default_rng([seed, _number(clip.id)]).integers(2**31))
            save_flac(target.path, version.make(samples, own))
        yield _Made(target, clip.id, version.name)


def save_flac(path: Path, samples: np.ndarray) -> None:
    """Write int16 samples at 16 kHz, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as partial:
        soundfile.write(partial, samples, SAMPLE_RATE_HZ, format="FLAC", subtype="PCM_16")


def _check_settings(out: Path, settings: dict[str, Any]) -> None:
    """Keep what files depend on beside them, and refuse to mix two sets."""
    out.mkdir(parents=True, exist_ok=True)
    path = out / SETTINGS
    if path.exists() and json.loads(path.read_text(encoding="utf-8")) != settings:
        raise ConfigError(
            "holds a set that was made with another seed", name=str(out), hint="choose another"
        )
    path.write_text(json.dumps(settings) + "\n", encoding="utf-8")


def _write_manifest(out: Path, made: Sequence[_Made]) -> None:
    """List what was made now, and what the manifest had of other versions before."""
    path = out / MANIFEST
    rows: dict[str, dict[str, str]] = {}
    if path.exists():
        with path.open(newline="", encoding="utf-8") as file:
            rows = {row["id"]: row for row in csv.DictReader(file)}
    for clip, original, version in made:
        rows[clip.id] = {
            **{name: str(getattr(clip, name)) for name in COLUMNS[1:-2]},
            "path": clip.path.relative_to(out).as_posix(),
            "original": original,
            "version": version,
        }
    save_table(path, COLUMNS, (rows[key] for key in sorted(rows)))


def save_table(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows as UTF-8 CSV with a header, whole or not at all."""
    with written_whole(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def slug(name: str) -> str:
    """Return a name as a part of a path."""
    return re.sub(r"[^A-Za-z0-9.+-]+", "_", name)[-80:].strip("_.") or "clip"


def _number(name: str) -> int:
    return zlib.crc32(name.encode())
