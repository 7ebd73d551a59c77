from __future__ import annotations

from pathlib import Path

import pytest

from deepfake_audio.datasets import Clip, load_manifest
from deepfake_audio.errors import DatasetError

SHARED = Path(__file__).parents[3] / "shared" / "asvspoof" / "LA"


def put(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def only(clips: list[Clip], id: str) -> Clip:
    [clip] = [clip for clip in clips if clip.id == id]
    return clip


def test_the_real_piece_of_asvspoof_2019() -> None:
    if not SHARED.is_dir():
        pytest.skip("needs shared/asvspoof")
    clips = load_manifest([SHARED])
    assert len(clips) == 84
    assert sum(clip.is_synthetic for clip in clips) == 42
    assert {clip.split for clip in clips} == {"dev"}
    assert {clip.system for clip in clips if clip.is_synthetic} <= {f"A0{i}" for i in range(1, 7)}
    assert {clip.family for clip in clips} <= {"tts", "vc", "none"}
    assert all(clip.path.is_file() for clip in clips)


def test_asvspoof_2019(tmp_path: Path) -> None:
    protocols = tmp_path / "ASVspoof2019_LA_cm_protocols"
    write(
        protocols / "ASVspoof2019.LA.cm.train.trn.txt",
        "LA_0079 LA_T_1138215 - - bonafide\nLA_0079 LA_T_1271820 - A05 spoof\n",
    )
    write(protocols / "ASVspoof2019.LA.cm.eval.trl.txt", "LA_0039 LA_E_2834763 - A11 spoof\n")
    put(tmp_path, "ASVspoof2019_LA_train/flac/LA_T_1138215.flac")
    put(tmp_path, "ASVspoof2019_LA_train/flac/LA_T_1271820.flac")
    clips = load_manifest([tmp_path])
    assert len(clips) == 2  # the audio of eval is not there
    spoof = only(clips, "ASVspoof2019-LA/LA_T_1271820")
    assert (spoof.label, spoof.system, spoof.family) == ("spoof", "A05", "vc")
    assert (spoof.speaker, spoof.split, spoof.source) == ("LA_0079", "train", "ASVspoof2019-LA")
    assert only(clips, "ASVspoof2019-LA/LA_T_1138215").family == "none"


def test_asvspoof_2021(tmp_path: Path) -> None:
    write(
        tmp_path / "keys/LA/CM/trial_metadata.txt",
        "LA_0009 LA_E_9332881 alaw ita_tx A07 spoof notrim eval\n"
        "LA_0020 LA_E_6866159 g722 loc_tx bonafide bonafide notrim eval\n",
    )
    write(
        tmp_path / "keys/DF/CM/trial_metadata.txt",
        "LA_0023 DF_E_2000011 nocodec asvspoof A14 spoof notrim progress "
        "traditional_vocoder - - - -\n",
    )
    put(tmp_path, "ASVspoof2021_LA_eval/flac/LA_E_9332881.flac")
    put(tmp_path, "ASVspoof2021_LA_eval/flac/LA_E_6866159.flac")
    put(tmp_path, "ASVspoof2021_DF_eval_part00/ASVspoof2021_DF_eval/flac/DF_E_2000011.flac")
    clips = load_manifest([tmp_path])
    assert [clip.label for clip in clips] == ["spoof", "spoof", "bonafide"]
    assert {clip.split for clip in clips} == {"test"}
    first = only(clips, "ASVspoof2021-LA/LA_E_9332881")
    assert (first.system, first.channel, first.family) == ("A07", "alaw", "tts")
    assert only(clips, "ASVspoof2021-LA/LA_E_6866159").system == ""
    assert only(clips, "ASVspoof2021-DF/DF_E_2000011").system == "A14"


def test_asvspoof_5(tmp_path: Path) -> None:
    write(
        tmp_path / "ASVspoof5.train.tsv",
        "T_4850 T_0000000000 F - - - AC3 A05 spoof -\n"
        "T_1607 T_0000000022 F - - - - bonafide bonafide -\n",
    )
    write(tmp_path / "ASVspoof5.dev.track_1.tsv", "D_0062 D_01 F - - - AC1 A11 spoof -\n")
    put(tmp_path, "flac_T/T_0000000000.flac", "flac_T/T_0000000022.flac", "flac_D/D_01.flac")
    clips = load_manifest([tmp_path])
    assert {(clip.id, clip.label, clip.system, clip.split) for clip in clips} == {
        ("ASVspoof5/T_0000000000", "spoof", "A05", "train"),
        ("ASVspoof5/T_0000000022", "bonafide", "", "train"),
        ("ASVspoof5/D_01", "spoof", "A11", "dev"),
    }
    assert only(clips, "ASVspoof5/D_01").family == ""


def test_in_the_wild(tmp_path: Path) -> None:
    write(
        tmp_path / "meta.csv",
        "file,speaker,label\n0.wav,Alec Guinness,spoof\n1.wav,Alec Guinness,bona-fide\n"
        "2.wav,Nobody,spoof\n",
    )
    put(tmp_path, "0.wav", "1.wav")
    clips = load_manifest([tmp_path])
    assert [(clip.label, clip.speaker) for clip in clips] == [
        ("spoof", "Alec Guinness"),
        ("bonafide", "Alec Guinness"),
    ]


def test_mlaad(tmp_path: Path) -> None:
    for language, system in (("de", "xtts_v2"), ("fr", "bark")):
        folder = tmp_path / "fake" / language / system
        write(folder / "meta.csv", "path|original_file|language\n")
        put(folder, "a_01.wav")
    clips = load_manifest([tmp_path])
    assert [(clip.language, clip.system, clip.label) for clip in clips] == [
        ("de", "xtts_v2", "spoof"),
        ("fr", "bark", "spoof"),
    ]


def test_wavefake(tmp_path: Path) -> None:
    put(tmp_path, "ljspeech_hifiGAN/LJ001-0001_gen.wav", "jsut_parallel_wavegan/B_1_gen.wav")
    put(tmp_path, "LJSpeech-1.1/wavs/LJ001-0001.wav")
    clips = load_manifest([tmp_path])
    pair = [clip for clip in clips if clip.sentence == "wavefake:LJ001-0001"]
    assert {(clip.label, clip.system) for clip in pair} == {("spoof", "hifiGAN"), ("bonafide", "")}
    [japanese] = [clip for clip in clips if clip.language == "ja"]
    assert (japanese.system, japanese.family) == ("parallel_wavegan", "vocoder")


def test_fakeavceleb(tmp_path: Path) -> None:
    put(
        tmp_path,
        "RealVideo-RealAudio/African/men/id00076/00109.mp4",
        "FakeVideo-RealAudio/African/men/id00076/00109_1.mp4",
        "RealVideo-FakeAudio/African/men/id00076/00109_fake.mp4",
        "FakeVideo-FakeAudio/African/men/id00076/00109_2_wavtolip.mp4",
    )
    clips = load_manifest([tmp_path])
    assert sorted(clip.label for clip in clips) == ["bonafide", "bonafide", "spoof", "spoof"]
    assert {clip.speaker for clip in clips} == {"id00076"}


def test_a_protocol_without_audio_is_told(tmp_path: Path) -> None:
    write(
        tmp_path / "ASVspoof2019_LA_cm_protocols/ASVspoof2019.LA.cm.dev.trl.txt",
        "LA_0079 LA_D_1 - - bonafide\n",
    )
    with pytest.raises(DatasetError, match="none of its audio"):
        load_manifest([tmp_path])


def test_a_folder_for_each_class_is_still_that(tmp_path: Path) -> None:
    put(tmp_path, "real/a.wav", "fake/xtts/b.wav")
    clips = load_manifest([tmp_path])
    assert {(clip.label, clip.system) for clip in clips} == {("bonafide", ""), ("spoof", "xtts")}
