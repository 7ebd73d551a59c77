"""Sets on disk: what they hold, that they are read back, made alike, and gone on with."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import soundfile
from sounds import make_speech
from typer.testing import CliRunner

from deepfake_audio.augment.sets import MANIFEST
from deepfake_audio.cli.tools import app
from deepfake_audio.datasets import load_manifest

pytest.importorskip("av")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    lines = ["path,label,source,system,family,speaker,sentence,split"]
    for index in range(4):
        soundfile.write(folder / f"{index}.wav", make_speech(1.0, index), 16_000)
        label, system = ("spoof", "sys,tts") if index % 2 else ("bonafide", ",none")
        lines.append(f"{index}.wav,{label},s,{system},sp{index},hello {index},train")
    lines.append("broken.wav,bonafide,s,,none,sp,,train")
    (folder / "broken.wav").write_bytes(b"nothing")
    table = folder / "clips.csv"
    table.write_text("\n".join(lines))
    return table


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, ["augment", *map(str, arguments)])
    assert result.exit_code == 0, result.output
    return result.stderr


def rows(out: Path) -> list[dict[str, str]]:
    with (out / MANIFEST).open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_set_of_copies_and_degraded_clips(data: Path, tmp_path: Path) -> None:
    said = run("--data", data, "--out", tmp_path, "--vocoder", "lpc", "--condition", "g722+loss:20")
    assert "left out: broken.wav" in said
    clips = {clip.id: clip for clip in load_manifest([tmp_path / MANIFEST])}
    assert len(clips) == 2 + 4
    copy = clips["0.wav lpc"]
    assert (copy.label, copy.system, copy.family) == ("spoof", "lpc", "vocoder")
    assert (copy.source, copy.speaker, copy.sentence) == ("s", "sp0", "hello 0")
    assert copy.split == "train"
    assert "1.wav lpc" not in clips  # synthetic already
    lossy = clips["1.wav g722+loss:20"]
    assert (lossy.label, lossy.system, lossy.family) == ("spoof", "sys", "tts")
    assert {row["original"] for row in rows(tmp_path)} == {f"{i}.wav" for i in range(4)}
    for clip in clips.values():
        samples, rate_hz = soundfile.read(clip.path)
        assert (rate_hz, len(samples)) == (16_000, 16_000)


def test_a_set_is_made_alike_and_what_is_there_is_kept(data: Path, tmp_path: Path) -> None:
    arguments = ("--data", data, "--vocoder", "lpc", "--condition", "noise:10", "--quiet")
    first, second = tmp_path / "first", tmp_path / "second"
    for out in (first, second):
        run(*arguments, "--out", out)
    files = sorted(path.relative_to(first) for path in first.rglob("*.flac"))
    assert len(files) == 6
    assert all((first / f).read_bytes() == (second / f).read_bytes() for f in files)
    assert (first / MANIFEST).read_text() == (second / MANIFEST).read_text()
    kept, lost = first / files[0], first / files[1]
    content = lost.read_bytes()
    kept.write_bytes(b"not made again")
    lost.unlink()
    run(*arguments, "--out", first)
    assert kept.read_bytes() == b"not made again"
    assert lost.read_bytes() == content


def test_another_seed_is_another_set(data: Path, tmp_path: Path) -> None:
    arguments = ["augment", "--data", str(data), "--condition", "noise:10", "--quiet"]
    run(*arguments[1:], "--out", tmp_path / "a")
    run(*arguments[1:], "--out", tmp_path / "b", "--seed", 1)
    [one] = (tmp_path / "a").rglob("0.wav-*.flac")
    [other] = (tmp_path / "b").rglob("0.wav-*.flac")
    assert not np.array_equal(soundfile.read(one)[0], soundfile.read(other)[0])
    mixed = [*arguments, "--out", str(tmp_path / "a"), "--seed", "1"]
    result = CliRunner().invoke(app, mixed)
    assert result.exit_code == 2
    assert "another seed" in result.stderr


def test_later_versions_join_the_manifest(data: Path, tmp_path: Path) -> None:
    run("--data", data, "--out", tmp_path, "--condition", "a-law", "--limit", 2)
    run("--data", data, "--out", tmp_path, "--condition", "level:-20", "--limit", 2)
    assert {row["version"] for row in rows(tmp_path)} == {"a-law", "level:-20"}


def test_copies_may_be_coded_as_their_originals(data: Path, tmp_path: Path) -> None:
    for name, more in (("plain", ()), ("coded", ("--coded", "opus:64000"))):
        run("--data", data, "--out", tmp_path / name, "--vocoder", "lpc", "--limit", 1, *more)
    plain, coded = (
        soundfile.read(next((tmp_path / name).rglob("*.flac")))[0] for name in ("plain", "coded")
    )
    assert not np.array_equal(plain, coded)


@pytest.mark.parametrize(
    "arguments", [(), ("--condition", "nosuch"), ("--vocoder", "nosuch"), ("--condition", "pgd:30")]
)
def test_wrong_usage(arguments: tuple[str, ...], data: Path, tmp_path: Path) -> None:
    command = ["augment", "--data", str(data), "--out", str(tmp_path), *arguments]
    assert CliRunner().invoke(app, command).exit_code == 2
