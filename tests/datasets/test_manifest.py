"""Manifests from parquet, CSV and folders; wrong ones are refused by name."""

from __future__ import annotations

import csv
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from sounds import make_speech

from deepfake_audio.datasets import load_manifest, open_cache
from deepfake_audio.datasets.manifest import iter_audio
from deepfake_audio.errors import DatasetError

RATE_HZ = 16_000


def write_wav(path: Path, seed: int = 0, seconds: float = 1.0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, make_speech(seconds, seed, RATE_HZ), RATE_HZ)
    return path


def write_parquet(path: Path, labels: list[str], tmp_path: Path, **columns: list[str]) -> Path:
    audio = []
    for index in range(len(labels)):
        wav = write_wav(tmp_path / "raw" / f"{path.stem}-{index}.wav", seed=index)
        audio.append({"bytes": wav.read_bytes(), "path": wav.name})
    table = pa.table({"audio": audio, "label": labels, **columns})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)
    return path


def test_parquet_knows_its_split_and_keeps_its_columns(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    write_parquet(
        folder / "train-00000-of-00001.parquet",
        ["bonafide", "spoof"],
        tmp_path,
        id=["a", "b"],
        system=["", "VITS"],
        source=["x", "y"],
    )
    write_parquet(folder / "dev-00000-of-00001.parquet", ["spoof"], tmp_path, id=["c"])
    clips = load_manifest([folder])
    assert {clip.id: (clip.split, clip.label, clip.system) for clip in clips} == {
        "a": ("train", "bonafide", ""),
        "b": ("train", "spoof", "VITS"),
        "c": ("dev", "spoof", ""),
    }
    assert [clip.id for clip in load_manifest([folder], split="dev")] == ["c"]


def test_csv_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    write_wav(tmp_path / "set" / "clips" / "one.wav")
    table = tmp_path / "set" / "list.csv"
    with table.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([("path", "label", "speaker"), ("clips/one.wav", "Real", "ann")])
    (clip,) = load_manifest([table])
    assert (clip.label, clip.speaker, clip.path.is_file()) == ("bonafide", "ann", True)


def test_splits_have_one_name_and_misspelt_ones_are_refused(tmp_path: Path) -> None:
    write_wav(tmp_path / "a.wav")
    table = tmp_path / "list.csv"
    table.write_text("path,label,split\na.wav,real,Validation\n")
    assert [clip.split for clip in load_manifest([table])] == ["dev"]
    with pytest.raises(DatasetError, match="no clips of split 'test'"):
        load_manifest([table], split="test")
    table.write_text("path,label,split\na.wav,real,tets\n")
    with pytest.raises(DatasetError, match="unknown split 'tets'"):
        load_manifest([table])


def test_a_named_parquet_file_of_another_split_is_not_measured(tmp_path: Path) -> None:
    parquet = write_parquet(tmp_path / "train-0.parquet", ["bonafide"], tmp_path)
    with pytest.raises(DatasetError, match="no clips of split 'test'"):
        load_manifest([parquet], split="test")


def test_folders_name_class_and_system(tmp_path: Path) -> None:
    write_wav(tmp_path / "real" / "r.wav")
    write_wav(tmp_path / "fake" / "VITS" / "f.wav")
    (tmp_path / "fake" / "notes.txt").write_text("not audio")
    clips = {clip.path.name: clip for clip in load_manifest([tmp_path])}
    assert set(clips) == {"r.wav", "f.wav"}
    assert clips["f.wav"].system == "VITS"
    assert clips["f.wav"].is_synthetic
    assert not clips["r.wav"].is_synthetic


def test_audio_comes_with_its_clip(tmp_path: Path) -> None:
    parquet = write_parquet(tmp_path / "train-0.parquet", ["bonafide"] * 5, tmp_path)
    clips = load_manifest([parquet])
    wanted = [clips[3], clips[1]]
    found = dict(iter_audio(wanted))
    raw = tmp_path / "raw"
    assert found[0] == (raw / "train-0-3.wav").read_bytes()
    assert found[1] == (raw / "train-0-1.wav").read_bytes()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda t: t / "nothing-here", "no such file or folder"),
        (lambda t: t, "holds no clips"),
        (lambda t: write_wav(t / "x.wav"), "is no manifest"),
        (lambda t: write_parquet(t / "a-0.parquet", ["maybe"], t), "unknown label 'maybe'"),
    ],
)
def test_what_is_no_manifest_is_refused_by_name(tmp_path: Path, make, message: str) -> None:
    path = make(tmp_path)
    with pytest.raises(DatasetError, match=message) as caught:
        load_manifest([path])
    assert str(path) in str(caught.value)


def test_repeated_ids_are_refused(tmp_path: Path) -> None:
    parquet = write_parquet(tmp_path / "a-0.parquet", ["spoof"] * 2, tmp_path, id=["same"] * 2)
    with pytest.raises(DatasetError, match="same: two clips share this id"):
        load_manifest([parquet])


def test_cache_keeps_samples_and_leaves_out_what_is_broken(tmp_path: Path) -> None:
    write_wav(tmp_path / "set" / "real" / "good.wav", seconds=1.5)
    (tmp_path / "set" / "fake").mkdir()
    (tmp_path / "set" / "fake" / "bad.wav").write_bytes(b"RIFF no sound here")
    clips = load_manifest([tmp_path / "set"])
    cache, failures = open_cache(clips, tmp_path / "cache")
    assert [str(f).split(":")[0] for f in failures] == ["fake/bad.wav"]
    assert [clip.path.name for clip in cache.clips] == ["good.wav"]
    assert len(cache[0]) == 24_000
    again, no_failures = open_cache(clips, tmp_path / "cache")
    assert not no_failures
    assert (again[0] == cache[0]).all()
