"""A red-team set: made anew for each drill from a seed, of what is installed on this machine.

Genuine recordings, speech of the engines, fakes that the user knows of, copies of the genuine ones
by vocoders, and genuine ones with a synthetic stretch, each as made; and some of both classes
through codecs, noise, a loudspeaker in a room, narrow bands and lost packets. All files have names
of our own.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from ..audio import decode
from ..augment import SoundBank
from ..augment.codecs import CODECS, available_codecs
from ..augment.conditions import condition
from ..augment.sets import COLUMNS, MANIFEST, save_flac, save_table, slug
from ..augment.vocoders import Vocoder, copy_of
from ..config import SAMPLE_RATE_HZ
from ..datasets.cache import to_int16
from ..datasets.clip import Clip, Label
from ..errors import AudioError, ConfigError, DatasetError, DeepfakeAudioError, MissingExtraError
from ..evaluation.splices import MIN_HOST_S, STRETCH_S, splice
from . import given
from .engines import Engine, EngineError, Skipped
from .given import OWN
from .sentences import text_in

CLIPS = 24
"""Recordings of each attack, and of each class under each condition, unless another number is
given: with fewer than twenty an assessment judges nothing."""

CONDITIONS = (
    *("opus:12000", "mp3:32000", "aac:32000", "amr-nb:12200", "a-law"),
    *("noise:10", "music:10", "replay", "resample:8000", "loss:10"),
)
"""What some recordings go through unless other conditions are named."""

SURFACES = ("upload", "message", "live")
"""Where recordings are said to come from, in turn."""

AS_MADE = "as made"
"""Version of recordings that went through nothing."""

SPLICE = "splice"
"""Family of genuine recordings with a synthetic stretch."""

CLIPS_FOLDER = "clips"

_NOISES = ("noise", "music", "babble")
_TRIES = 3  # an engine that fails so often in a row is left alone
_ADDED = ("codec", "noise", "surface", "duration_s")
MANIFEST_COLUMNS = (*COLUMNS, *_ADDED)


@dataclass(frozen=True)
class Recording:
    """One recording of the set.

    Attributes
    ----------
    clip : Clip
        What it is, and where it lies; ``channel`` names what is neither codec nor noise.
    original, version : str
        Id of the recording that it was made of, if it is one of the set; and what was done to it.
    codec, noise, surface : str
        As an assessment groups by them; empty if there is none.
    duration_s : float
    """

    clip: Clip
    original: str = ""
    version: str = AS_MADE
    codec: str = ""
    noise: str = ""
    surface: str = ""
    duration_s: float = 0.0

    def row(self) -> dict[str, str]:
        """Return what a manifest says of it, but for its path."""
        own = (*_ADDED, "original", "version")
        about = {name: str(getattr(self.clip, name)) for name in COLUMNS if name not in own}
        return about | {
            "original": self.original,
            "version": self.version,
            "codec": self.codec,
            "noise": self.noise,
            "surface": self.surface,
            "duration_s": f"{self.duration_s:.2f}",
        }


@dataclass(frozen=True)
class Plan:
    """What a set is made of.

    Attributes
    ----------
    seed : int
        Everything that is random comes from it.
    genuine : path or None
        Manifest, data set or folder of genuine recordings; the bundled ones if None.
    fakes : sequence of path
        Manifests, data sets or folders of fakes that the user knows of.
    engines : sequence of Engine
    vocoders : mapping of str to callable
    conditions : sequence of str
    surfaces : sequence of str
    bank : SoundBank
        Noise and rooms; made up if empty.
    clips : int
        See :data:`CLIPS`.
    """

    seed: int
    genuine: Path | None = None
    fakes: Sequence[Path] = ()
    engines: Sequence[Engine] = ()
    vocoders: Mapping[str, Vocoder] = field(default_factory=dict)
    conditions: Sequence[str] = CONDITIONS
    surfaces: Sequence[str] = SURFACES
    bank: SoundBank = field(default_factory=SoundBank)
    clips: int = CLIPS


@dataclass(frozen=True)
class RedTeamSet:
    """A set on disk.

    Attributes
    ----------
    folder : Path
    recordings : list of Recording
    commands : list of dict
        Of each recording of an engine its ``id``, ``command`` and ``text``.
    skipped : list of Skipped
    own_systems : tuple of str
        Those of the fakes that the user knows of.
    """

    folder: Path
    recordings: list[Recording]
    commands: list[dict[str, object]]
    skipped: list[Skipped]
    own_systems: tuple[str, ...] = ()


def make_set(
    plan: Plan, folder: Path, on_progress: Callable[[str], None] | None = None
) -> RedTeamSet:
    """Make a set, as FLAC files and a manifest.

    Parameters
    ----------
    plan : Plan
    folder : Path
        New, or empty.
    on_progress : callable, optional
        Called with the name of what is made next.

    Raises
    ------
    ConfigError
        If the folder holds something, or cannot be written, or a condition is unknown.
    DatasetError
        If there is no genuine recording, or no fake where some were named.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise ConfigError("holds something already", name=str(folder), hint="choose another")
        return _Maker(plan, folder, on_progress or (lambda name: None)).make()
    except OSError as error:
        raise ConfigError(f"cannot be written ({error.strerror})", name=str(folder)) from error


class _Maker:
    """Makes one set; what is needed again stays in memory, 16 kHz int16."""

    def __init__(self, plan: Plan, folder: Path, on_progress: Callable[[str], None]) -> None:
        self._plan, self._folder, self._on_progress = plan, folder, on_progress
        self._made: list[Recording] = []
        self._samples: dict[str, np.ndarray] = {}
        self._commands: list[dict[str, object]] = []
        self._skipped: list[Skipped] = []

    def make(self) -> RedTeamSet:
        conditions = list(self._conditions())  # a wrong name ends the drill before it begins
        own = self._own_fakes()
        self._take_genuine()
        for system, clips in own.items():
            self._on_progress(system)
            self._take_fakes(system, clips)
        for engine in self._plan.engines:
            self._on_progress(engine.name)
            self._speak(engine)
        genuine = [each for each in self._made if not each.clip.is_synthetic]
        for name, vocoder in self._plan.vocoders.items():
            self._on_progress(name)
            self._copy(name, vocoder, genuine)
        self._on_progress(SPLICE)
        self._splice(genuine)
        # Not those with a stretch: what a condition does would be lost in what the stretch does.
        whole = [each for each in self._made if each.clip.family not in ("", SPLICE)]
        pools = [pool for pool in (genuine, whole) if pool]
        for name, change in conditions:
            self._on_progress(name)
            for pool in pools:
                self._change(name, change, pool)
        surfaces = self._plan.surfaces
        recordings = [
            replace(each, surface=surfaces[i % len(surfaces)]) for i, each in enumerate(self._made)
        ]
        rows = (
            {**each.row(), "path": each.clip.path.relative_to(self._folder).as_posix()}
            for each in recordings
        )
        save_table(self._folder / MANIFEST, MANIFEST_COLUMNS, rows)
        return RedTeamSet(self._folder, recordings, self._commands, self._skipped, tuple(own))

    def _rng(self, *names: str | int) -> np.random.Generator:
        """Return a generator of something's own: what else is installed changes nothing in it."""
        numbers = (zlib.crc32(name.encode()) if isinstance(name, str) else name for name in names)
        return np.random.default_rng([self._plan.seed, *numbers])

    def _add(self, samples: np.ndarray, made: Recording, *, keep: bool = True) -> None:
        name = made.clip.id
        path = self._folder / CLIPS_FOLDER / f"{name}.flac"
        save_flac(path, samples)
        if keep:
            self._samples[name] = samples
        duration_s = len(samples) / SAMPLE_RATE_HZ
        clip = replace(made.clip, path=path)
        self._made.append(replace(made, clip=clip, duration_s=duration_s))

    def _take_genuine(self) -> None:
        for number, (clip, samples) in enumerate(
            self._excerpts(list(given.genuine(self._plan.genuine)), "genuine", "genuine recordings")
        ):
            about = replace(given.nameless(clip, f"genuine-{number:03}"), system="", family="")
            self._add(samples, Recording(about))
        if not self._made:
            raise DatasetError(
                "no genuine recording could be read", name=str(self._plan.genuine or "samples"),
                hint="give a folder of genuine speech with --genuine",
            )  # fmt: skip

    def _own_fakes(self) -> dict[str, list[Clip]]:
        taken = {*(engine.name for engine in self._plan.engines), *self._plan.vocoders}
        return given.fakes_by_system(self._plan.fakes, taken)

    def _take_fakes(self, system: str, clips: list[Clip]) -> None:
        for clip, samples in self._excerpts(clips, f"{OWN} {system}", system):
            number = sum(each.clip.id.startswith(f"{OWN}-") for each in self._made)
            about = given.nameless(clip, f"{OWN}-{number:03}")
            about = replace(about, system=system, family=clip.family or OWN)
            self._add(samples, Recording(about))

    def _excerpts(
        self, clips: list[Clip], seed: str, name: str
    ) -> Iterator[tuple[Clip, np.ndarray]]:
        """Yield some clips of the user's, drawn anew, and what is heard of each."""
        order = self._rng(seed).permutation(len(clips))[: 2 * self._plan.clips]
        number = unreadable = 0
        for clip, source in given.audio([clips[i] for i in order]):
            if number == self._plan.clips:
                break
            try:
                samples = to_int16(decode(source, name=clip.id).samples[0])
            except AudioError:
                unreadable += 1
                continue
            yield clip, given.excerpt(samples, self._rng(seed, number))
            number += 1
        if unreadable:
            self._skipped.append(Skipped(name, f"{unreadable} cannot be read"))

    def _speak(self, engine: Engine) -> None:
        failed = 0
        for number in range(self._plan.clips):
            rng = self._rng(engine.name, number)
            voice = engine.voice(number, rng)
            text = text_in(voice.language, rng)
            try:
                spoken = engine.speak(voice, text, rng)
            except EngineError as error:
                self._skipped.append(
                    Skipped(f"{engine.name} {Path(voice.name).name}", error.message)
                )
                failed += 1
                if failed == _TRIES:
                    return
                continue
            failed = 0
            about = _synthetic(f"{engine.name}-{number:03}", engine.name, "tts")
            about = replace(
                about, language=voice.language, speaker=Path(voice.name).name, sentence=text
            )
            self._add(spoken.samples, Recording(about))
            self._commands.append({"id": about.id, "command": spoken.command, "text": text})

    def _copy(self, name: str, vocoder: Vocoder, genuine: Sequence[Recording]) -> None:
        for number in range(self._plan.clips):
            original = genuine[number % len(genuine)].clip
            samples = self._samples[original.id]
            try:
                copied = copy_of(samples, vocoder, self._rng(name, number))
            except DeepfakeAudioError as error:
                self._skipped.append(Skipped(name, str(error)))
                return
            about = _synthetic(f"{slug(name)}-{number:03}", name, "vocoder")
            about = replace(about, language=original.language)
            self._add(copied, Recording(about, original.id))

    def _splice(self, genuine: Sequence[Recording]) -> None:
        hosts = [each for each in genuine if each.duration_s >= MIN_HOST_S]
        synthetic = [each for each in self._made if each.clip.is_synthetic]
        stretches = [each for each in synthetic if each.duration_s >= STRETCH_S[1]]
        if not hosts or not stretches:
            what = "genuine" if not hosts else "synthetic"
            self._skipped.append(Skipped(SPLICE, f"no {what} recording is long enough"))
            return
        for number in range(self._plan.clips):
            rng = self._rng(SPLICE, number)
            host, donor = hosts[number % len(hosts)], stretches[int(rng.integers(len(stretches)))]
            into, of = (_as_float(self._samples[each.clip.id]) for each in (host, donor))
            made = splice(host.clip, into, of, rng)
            about = _synthetic(f"{SPLICE}-{number:03}", donor.clip.system, SPLICE)
            about = replace(about, language=host.clip.language)
            self._add(to_int16(made.samples), Recording(about, host.clip.id))

    def _conditions(self) -> Iterator[tuple[str, Callable[[np.ndarray, int], np.ndarray]]]:
        for name in dict.fromkeys(self._plan.conditions):
            change = condition(name, self._plan.bank)
            coded = {kind for part in name.split("+") if (kind := part.partition(":")[0]) in CODECS}
            try:
                missing = coded - set(available_codecs()) if coded else set()
            except MissingExtraError as error:
                self._skipped.append(Skipped(name, str(error)))
                continue
            if missing:
                self._skipped.append(Skipped(name, "this build of FFmpeg cannot encode it"))
            else:
                yield name, change

    def _change(
        self,
        name: str,
        change: Callable[[np.ndarray, int], np.ndarray],
        pool: Sequence[Recording],
    ) -> None:
        """Let some recordings of a class go through a condition."""
        rng = self._rng(name, pool[0].clip.label)
        for at in rng.permutation(len(pool))[: self._plan.clips]:
            original = pool[at].clip
            changed = change(self._samples[original.id], int(rng.integers(2**31)))
            about = replace(original, id=f"{original.id}+{slug(name)}", channel=_other(name))
            codec, noise = _codec(name), _noise(name)
            self._add(changed, Recording(about, original.id, name, codec, noise), keep=False)


def _synthetic(name: str, system: str, family: str) -> Clip:
    label: Label = "spoof"
    return Clip(name, label, Path(), system=system, family=family)


def _as_float(samples: np.ndarray) -> np.ndarray:
    scaled: np.ndarray = samples.astype(np.float32) / 32768.0
    return scaled


def _codec(name: str) -> str:
    return _steps(name, lambda kind: kind in CODECS)


def _noise(name: str) -> str:
    return _steps(name, lambda kind: kind in _NOISES)


def _other(name: str) -> str:
    return _steps(name, lambda kind: kind not in (*CODECS, *_NOISES))


def _steps(name: str, wanted: Callable[[str], bool]) -> str:
    """Return the steps of some kinds of a condition."""
    return "+".join(part for part in name.split("+") if wanted(part.partition(":")[0]))
