"""Speech engines that are installed on this machine, and recordings of what they are made to say.

Each is a program on the PATH that is run in an empty folder of its own: with a list of arguments
and never by a shell, without the user's settings, for so long and no longer. What it writes is
decoded as any other input.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..audio import decode
from ..config import Limits
from ..datasets.cache import to_int16
from ..errors import ConfigError, DeepfakeAudioError
from .sentences import SENTENCES

SPEAK_S = 60.0
"""Longest that an engine may take for a recording, seconds."""

TEXT, SPEECH = "text.txt", "speech.wav"
"""What an engine reads, on standard input as well, and what it writes, in its folder."""

_SAID, _COMPLAINT = "said.txt", "complaint.txt"
_PREFIX = "deepfake-audio-drill-"
_VERSION = re.compile(r"\d+\.\d[\w.:-]*")
_LIMITS = Limits(max_duration_s=60.0, max_file_bytes=1 << 26)

Command = Callable[["Voice", np.random.Generator], list[str]]


class EngineError(DeepfakeAudioError):
    """An engine that is installed does not speak."""

    code = "engine_failed"


@dataclass(frozen=True)
class Skipped:
    """What a drill has not tried, and why."""

    what: str
    why: str


@dataclass(frozen=True)
class Voice:
    """One voice of an engine.

    Attributes
    ----------
    name : str
        As the engine knows it.
    language : str
        A key of :data:`~deepfake_audio.drill.sentences.SENTENCES`.
    """

    name: str
    language: str


@dataclass(frozen=True)
class Spoken:
    """A recording of an engine.

    Attributes
    ----------
    samples : np.ndarray, int16, shape (samples,)
        16 kHz.
    voice : Voice
    command : list of str
        What was run, in a folder with the text in ``text.txt``.
    """

    samples: np.ndarray
    voice: Voice
    command: list[str]


@dataclass(frozen=True)
class Engine:
    """A speech engine.

    Attributes
    ----------
    name : str
    version : str
        As it says itself; empty if it does not.
    program : str
        Path of the executable.
    voices : tuple of Voice
        Those of which the drill knows sentences.
    command : callable
        Makes the arguments, pace and pitch drawn anew.
    """

    name: str
    version: str
    program: str
    voices: tuple[Voice, ...]
    command: Command

    @property
    def languages(self) -> list[str]:
        """Languages that it speaks, of those that the drill knows."""
        return sorted({voice.language for voice in self.voices})

    def voice(self, number: int, rng: np.random.Generator) -> Voice:
        """Draw a voice for a recording; the languages take turns."""
        language = self.languages[number % len(self.languages)]
        voices = [voice for voice in self.voices if voice.language == language]
        return voices[int(rng.integers(len(voices)))]

    def speak(self, voice: Voice, text: str, rng: np.random.Generator) -> Spoken:
        """Let it say something.

        Raises
        ------
        EngineError
            If it fails, takes too long, or writes nothing that can be decoded.
        """
        arguments = self.command(voice, rng)
        with tempfile.TemporaryDirectory(prefix=_PREFIX) as folder:
            _run(self.program, arguments[1:], Path(folder), name=self.name, text=text)
            try:
                audio = decode(Path(folder) / SPEECH, name=self.name, limits=_LIMITS)
            except DeepfakeAudioError as error:
                raise EngineError(f"wrote no speech ({error.message})", name=self.name) from error
        return Spoken(to_int16(audio.samples[0]), voice, arguments)


def find_engines(
    wanted: Sequence[str] = (), piper_voices: Sequence[Path] = ()
) -> tuple[list[Engine], list[Skipped]]:
    """Look for engines on the PATH.

    Parameters
    ----------
    wanted : sequence of str
        Names; all that are known if none.
    piper_voices : sequence of path
        ONNX files of piper, which brings none.

    Returns
    -------
    engines : list of Engine
        With at least one voice each.
    skipped : list of Skipped

    Raises
    ------
    ConfigError
        If a name is not known.
    """
    for name in wanted:
        if name not in _KINDS:
            raise ConfigError("unknown engine", name=name, hint=f"use {', '.join(_KINDS)}")
    engines: list[Engine] = []
    skipped: list[Skipped] = []
    for name, kind in _KINDS.items():
        if wanted and name not in wanted:
            continue
        program, asked = shutil.which(kind.program), shutil.which(kind.asked or kind.program)
        if program is None or asked is None:
            skipped.append(Skipped(name, "is not on the PATH"))
            continue
        try:
            voices = tuple(kind.voices(asked, piper_voices))
            version = _version(asked)
        except EngineError as error:
            skipped.append(Skipped(name, error.message))
            continue
        if voices:
            engines.append(Engine(name, version, program, voices, kind.command))
        else:
            skipped.append(Skipped(name, kind.without_voices))
    return engines, skipped


def _run(
    program: str,
    arguments: list[str],
    folder: Path,
    *,
    name: str,
    text: str = "",
    may_fail: bool = False,
) -> str:
    """Run a program in a folder, and return what it printed."""
    (folder / TEXT).write_text(text + "\n", encoding="utf-8")
    # Neither settings of the user's nor of the caller's: the same seed gives the same speech. The
    # folder is named as seen from itself, since some voices of espeak-ng depend on HOME's letters.
    path = os.environ.get("PATH", os.defpath)
    environment = {"PATH": path, "HOME": ".", "LC_ALL": "C.UTF-8"}
    with (
        (folder / TEXT).open("rb") as stdin,
        (folder / _SAID).open("wb") as stdout,
        (folder / _COMPLAINT).open("wb") as stderr,
    ):
        try:
            process = subprocess.Popen(
                [program, *arguments], cwd=folder, env=environment,
                stdin=stdin, stdout=stdout, stderr=stderr, start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            raise EngineError(f"cannot be run ({error.strerror})", name=name) from error
        try:
            status = process.wait(SPEAK_S)
        except subprocess.TimeoutExpired:
            raise EngineError(f"took longer than {SPEAK_S:g} s", name=name) from None
        finally:
            with contextlib.suppress(ProcessLookupError):  # whatever it has started goes with it
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if status and not may_fail:
        lines = (folder / _COMPLAINT).read_text("utf-8", "replace").strip().splitlines()
        said = f": {lines[-1][:200]}" if lines else ""
        raise EngineError(f"ended with status {status}{said}", name=name)
    return (folder / _SAID).read_text("utf-8", "replace")


def _ask(program: str, *arguments: str) -> list[str]:
    """Return the lines that a program prints, whatever its status: flite's is always 1."""
    name = Path(program).name
    with tempfile.TemporaryDirectory(prefix=_PREFIX) as folder:
        return _run(program, [*arguments], Path(folder), name=name, may_fail=True).splitlines()


def _version(program: str) -> str:
    """Return the first that looks like a version of what a program says of itself."""
    found = _VERSION.search("\n".join(_ask(program, "--version")))
    return found[0] if found else ""


# espeak-ng

_ESPEAK_LANGUAGES = {"cmn": "zh"} | {language: language for language in SENTENCES}
_ESPEAK_VARIANTS = ("m1", "m2", "m3", "m4", "m5", "m6", "m7", "f1", "f2", "f3", "f4", "f5")


def _espeak_voices(program: str, piper_voices: Sequence[Path]) -> list[Voice]:
    voices = []
    for line in _ask(program, "--voices")[1:]:
        code = line.split()[1]
        language = _ESPEAK_LANGUAGES.get(code.partition("-")[0])
        if language and "-latn" not in code and re.fullmatch(r"[\w-]+", code):
            voices += [Voice(f"{code}+{variant}", language) for variant in _ESPEAK_VARIANTS]
    return voices


def _espeak_command(voice: Voice, rng: np.random.Generator) -> list[str]:
    pace, pitch = int(rng.integers(130, 200)), int(rng.integers(25, 75))
    settings = ["-v", voice.name, "-s", str(pace), "-p", str(pitch)]
    return ["espeak-ng", *settings, "-f", TEXT, "-w", SPEECH]


# flite

_FLITE_CLOCK = "awb_time"  # tells the time, and nothing else


def _flite_voices(program: str, piper_voices: Sequence[Path]) -> list[Voice]:
    listed = " ".join(_ask(program, "-lv")).partition(":")[2].split()
    return [
        Voice(name, "en") for name in listed if name != _FLITE_CLOCK and re.fullmatch(r"\w+", name)
    ]


def _flite_command(voice: Voice, rng: np.random.Generator) -> list[str]:
    stretch = f"duration_stretch={rng.uniform(0.85, 1.2):.2f}"
    return ["flite", "-voice", voice.name, "--setf", stretch, "-f", TEXT, "-o", SPEECH]


# festival

_FESTIVAL_LIST = (
    "(print (mapcar (lambda (name) (list name"
    " (cadr (assoc 'language (cadr (voice.description name)))))) (voice.list)))"
)
_FESTIVAL_LANGUAGES = {
    "english": "en", "americanenglish": "en", "britishenglish": "en", "german": "de",
    "spanish": "es", "castillian": "es", "italian": "it", "russian": "ru", "french": "fr",
}  # fmt: skip


def _festival_voices(program: str, piper_voices: Sequence[Path]) -> list[Voice]:
    listed = re.findall(r"\((\w+) '?(\w+)\)", " ".join(_ask(program, "-b", _FESTIVAL_LIST)))
    return [
        Voice(name, _FESTIVAL_LANGUAGES[language])
        for name, language in listed
        if language in _FESTIVAL_LANGUAGES
    ]


def _festival_command(voice: Voice, rng: np.random.Generator) -> list[str]:
    stretch = f"(Parameter.set 'Duration_Stretch {rng.uniform(0.85, 1.2):.2f})"
    choose = f"(begin (voice_{voice.name}) {stretch})"
    return ["text2wave", "-eval", choose, "-o", SPEECH, TEXT]


# piper


def _piper_voices(program: str, piper_voices: Sequence[Path]) -> list[Voice]:
    voices = []
    for path in piper_voices:
        if not path.is_file():
            raise ConfigError("no such file", name=str(path), hint="give an ONNX voice of piper")
        # Named after language and region: en_US-amy-medium.onnx
        language = re.split(r"[_-]", path.stem.lower())[0]
        if language not in SENTENCES:
            known = ", ".join(SENTENCES)
            raise ConfigError(
                "begins with no known language", name=path.name,
                hint=f"its name begins with one, as en_US-amy.onnx does; known are {known}",
            )  # fmt: skip
        voices.append(Voice(str(path.resolve()), language))
    return voices


def _piper_command(voice: Voice, rng: np.random.Generator) -> list[str]:
    pace = f"{rng.uniform(0.85, 1.2):.2f}"
    return ["piper", "--model", voice.name, "--length_scale", pace, "--output_file", SPEECH]


@dataclass(frozen=True)
class _Kind:
    """How an engine is found and run: the program that speaks, and the one that knows voices."""

    program: str
    voices: Callable[[str, Sequence[Path]], list[Voice]]
    command: Command
    asked: str = ""
    without_voices: str = "has no voice of a language that the drill knows"


_KINDS = {
    "espeak-ng": _Kind("espeak-ng", _espeak_voices, _espeak_command),
    "festival": _Kind("text2wave", _festival_voices, _festival_command, asked="festival"),
    "flite": _Kind("flite", _flite_voices, _flite_command),
    "piper": _Kind(
        "piper",
        _piper_voices,
        _piper_command,
        without_voices="no voice was given with --piper-voice",
    ),
}
ENGINES = tuple(_KINDS)
"""Names of the engines that are known."""
