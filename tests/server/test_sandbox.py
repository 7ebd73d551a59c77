"""Decoding out of process: the same samples and errors, and no way out."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from bad_inputs import make_bad_inputs
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deepfake_audio.audio import decode
from deepfake_audio.config import Limits
from deepfake_audio.errors import AudioError, DeepfakeAudioError, LimitExceededError
from deepfake_audio.labels import Provenance
from deepfake_audio.provenance.reading import read_tags
from deepfake_audio.server import sandbox as sandbox_module
from deepfake_audio.server.sandbox import Sandbox

LIMITS = Limits(max_duration_s=120, max_samples=4_000_000, max_decode_s=20)
MEMORY = 2 * 1024**3


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(2, LIMITS, MEMORY) as found:
        yield found


def test_it_decodes_as_the_library_does(sandbox: Sandbox, samples: dict[str, Path]) -> None:
    for path in samples.values():
        ours = sandbox.decode(path, name="clip")
        expected = decode(path, name="clip", limits=LIMITS)
        np.testing.assert_array_equal(ours.samples, expected.samples)
        assert ours.info == expected.info
        assert ours.flags == expected.flags


def test_it_refuses_as_the_library_does(sandbox: Sandbox, tmp_path: Path) -> None:
    for name, path in make_bad_inputs(tmp_path).items():
        if len(path.name) > 255 or not path.is_file() or not os.access(path, os.R_OK):
            continue  # the service names its files itself
        try:
            expected: object = decode(path, name="clip", limits=LIMITS).flags
        except DeepfakeAudioError as error:
            expected = (error.code, str(error))
        try:
            found: object = sandbox.decode(path, name="clip").flags
        except DeepfakeAudioError as error:
            found = (error.code, str(error))
        assert found == expected, name


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_damage_costs_one_recording(
    sandbox: Sandbox, samples: dict[str, Path], tmp_path: Path, data: st.DataObject
) -> None:
    content = bytearray(_sources(samples)[data.draw(st.integers(0, 4))])
    for _ in range(data.draw(st.integers(1, 20))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "damaged"
    path.write_bytes(content[: data.draw(st.integers(1, len(content)))])
    try:
        samples_found = sandbox.read(path, name="damaged").audio.samples
    except AudioError as refused:
        told = refused.name
    else:
        assert np.isfinite(samples_found).all()
        told = "damaged"
    assert told == "damaged"


def _sources(samples: dict[str, Path]) -> list[bytes]:
    """A second of speech in several containers."""
    if not _CACHE:
        sound, rate_hz = soundfile.read(samples["genuine_librivox_1"], frames=16_000)
        for container, codec in (
            ("WAV", "PCM_16"),
            ("FLAC", "PCM_16"),
            ("OGG", "VORBIS"),
            ("OGG", "OPUS"),
            ("MP3", "MPEG_LAYER_III"),
        ):
            out = io.BytesIO()
            soundfile.write(out, sound, rate_hz, format=container, subtype=codec)
            _CACHE.append(out.getvalue())
    return _CACHE


_CACHE: list[bytes] = []


@pytest.mark.long
def test_a_decoder_that_is_killed_costs_one_recording(samples: dict[str, Path]) -> None:
    path = samples["genuine_librivox_1"]
    others = _children()
    with Sandbox(1, LIMITS, MEMORY) as sandbox:
        assert sandbox.decode(path, name="a").samples.size
        [child] = _children() - others
        os.kill(child, signal.SIGSTOP)  # it hangs
        limited = Sandbox.__new__(Sandbox)
        limited.__dict__ |= sandbox.__dict__ | {"_limits": LIMITS.replace(max_decode_s=0.1)}
        began = time.monotonic()
        with pytest.raises(LimitExceededError, match="longer than it may"):
            limited.decode(path, name="b")
        assert time.monotonic() - began < 15
        assert sandbox.decode(path, name="c").samples.size
        [child] = _children() - others
        os.kill(child, signal.SIGKILL)  # it crashes
        while _alive(child):
            time.sleep(0.01)
        assert sandbox.decode(path, name="d").samples.size  # a new one, as the old has gone
    assert _children() == others


def test_a_decoder_cannot_take_more_memory_than_it_may(tmp_path: Path) -> None:
    # A quarter of an hour of eight silent channels: 460 MB as float32, from a small file.
    path = tmp_path / "bomb.flac"
    with soundfile.SoundFile(path, "w", 16_000, 8, "PCM_16", format="FLAC") as file:
        for _ in range(15):
            file.write(np.zeros((60 * 16_000, 8), dtype=np.int16))
    assert path.stat().st_size < 3_000_000
    limits = LIMITS.replace(max_duration_s=3600, max_samples=1_000_000_000)
    with Sandbox(1, limits, 500 * 1024**2) as sandbox:
        with pytest.raises(AudioError, match="memory"):
            sandbox.decode(path, name="bomb")
        assert sandbox.decode(_tone(tmp_path), name="after").samples.size


def _tone(folder: Path) -> Path:
    path = folder / "tone.wav"
    soundfile.write(path, np.sin(np.arange(16_000) / 5), 16_000)
    return path


def test_a_decoder_can_write_no_file_and_sees_no_secret(tmp_path: Path) -> None:
    code = (
        "import json, os, sys\n"
        "from deepfake_audio.server import _decoder\n"
        "_decoder._confine(2 << 30)\n"
        "try:\n"
        "    os.write(os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY), b'x'); print('written')\n"
        "except OSError: print('refused')\n"
    )
    target = tmp_path / "out"
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            f"import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n{code}",
            str(target),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "refused"
    assert not target.exists() or target.read_bytes() == b""
    os.environ["DEEPFAKE_AUDIO_WEBHOOK_SECRET"] = "confidential"  # pragma: allowlist secret
    try:
        with Sandbox(1, LIMITS, MEMORY) as sandbox:
            others = _children()
            sandbox.decode(_tone(tmp_path), name="a")
            [child] = _children() - others
            assert b"confidential" not in Path(f"/proc/{child}/environ").read_bytes()
    finally:
        del os.environ["DEEPFAKE_AUDIO_WEBHOOK_SECRET"]


def test_labels_are_read_there_too(
    sandbox: Sandbox, samples: dict[str, Path], tmp_path: Path
) -> None:
    path = samples["synthetic_espeak_1"]
    bare = sandbox.read(path, name="a")
    np.testing.assert_array_equal(bare.audio.samples, decode(path).samples)
    assert bare.provenance == read_tags(path)
    assert bare.provenance.read
    assert not sandbox.read(_tone(tmp_path), name="b", audible_labels=True).provenance.rhythm_s


def test_tags_that_end_the_decoder_do_not_keep_the_sound_from_being_heard(tmp_path: Path) -> None:
    code = (
        "import os, deepfake_audio.server._decoder as decoder\n"
        "decoder.read_tags = lambda *given, **more: os.abort()\n"
        "decoder.main()"
    )
    with Sandbox(1, LIMITS, MEMORY) as sandbox:
        sandbox._command = [sys.executable, "-c", code, sandbox._command[-1]]
        found = sandbox.read(_tone(tmp_path), name="a")
        assert found.audio.samples.size
        assert found.provenance == Provenance()


@pytest.mark.parametrize(
    "said",
    [
        None,
        {"aigc": None, "c2pa": None, "rhythm_s": float("nan"), "read": True},
        {"aigc": {"fields": {"a": "x" * 100_000}}, "read": True},
        {"aigc": {"fields": {"a": "\0"}}, "read": True},
        {"unknown": 1},
        {"aigc": object()},
    ],
)
def test_labels_that_no_record_can_hold_are_left_out(said: object) -> None:
    assert sandbox_module._provenance(said) == Provenance()


def test_labels_are_text_that_can_be_sent() -> None:
    said = {"aigc": {"fields": {"a": "\ud800b"}}, "read": True}
    found = sandbox_module._provenance(said)
    assert found.aigc == {"fields": {"a": "?b"}}


def _children() -> set[int]:
    """Decoders of this process that are alive."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            status = (folder / "stat").read_text().rpartition(") ")[2].split()
            command = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if int(status[1]) == os.getpid() and status[0] != "Z" and b"_decoder" in command:
            found.add(int(folder.name))
    return found


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except OSError:
        return False
