"""Public corpora as they are distributed: the folder one unpacks is the folder one names.

Recognised are ASVspoof 2019 LA, 2021 LA and DF, ASVspoof 5, In-the-Wild, MLAAD, WaveFake and
FakeAVCeleb. Trials whose audio is not there are left out, so that a part of a corpus will do.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from ..errors import DatasetError
from .clip import AUDIO_SUFFIXES, Clip, Label
from .protocol import read_protocol

_ASVSPOOF_SPLITS = {"train": "train", "dev": "dev", "eval": "test"}
_FAMILIES_2019: dict[str, str] = {
    # Wang et al., 1911.01601; those that convert what a synthesiser said count as synthesisers.
    **dict.fromkeys(("A01", "A02", "A03", "A04", "A07", "A08", "A09", "A10", "A11", "A12"), "tts"),
    **dict.fromkeys(("A13", "A14", "A15", "A16"), "tts"),
    **dict.fromkeys(("A05", "A06", "A17", "A18", "A19"), "vc"),
}
_FAKEAVCELEB = {
    "RealVideo-RealAudio": "bonafide",
    "FakeVideo-RealAudio": "bonafide",
    "RealVideo-FakeAudio": "spoof",
    "FakeVideo-FakeAudio": "spoof",
}


def read_layout(root: Path) -> list[Clip] | None:
    """Return the clips of a corpus, or None if the folder is none that is known here.

    Parameters
    ----------
    root : Path
        The folder that the corpus was unpacked into.

    Raises
    ------
    DatasetError
        If it is one, but damaged, or without any of its audio.
    """
    for recognise in _LAYOUTS:
        found = recognise(root)
        if found is None:
            continue
        clips = list(found)
        if not clips:
            raise DatasetError(
                "has its protocol but none of its audio",
                name=str(root),
                hint="unpack the audio beside it",
            )
        return clips
    return None


def _asvspoof_2019(root: Path) -> Iterator[Clip] | None:
    """``ASVspoof2019_LA_cm_protocols`` beside ``ASVspoof2019_LA_{train,dev,eval}/flac``."""
    protocols = sorted(root.glob("ASVspoof2019_LA_cm_protocols/ASVspoof2019.LA.cm.*.txt*"))
    if not protocols:
        return None

    def clips() -> Iterator[Clip]:
        for path in protocols:
            part = path.name.split(".")[3]
            audio = [root / f"ASVspoof2019_LA_{part}" / "flac"]
            yield from _trials(path, audio, "ASVspoof2019-LA", _ASVSPOOF_SPLITS.get(part, ""))

    return clips()


def _asvspoof_2021(root: Path) -> Iterator[Clip] | None:
    """``ASVspoof2021_{LA,DF}_eval*/flac`` beside ``keys/{LA,DF}/CM/trial_metadata.txt``."""
    keys = {path.parts[-3]: path for path in root.glob("**/CM/trial_metadata.txt")}
    if not keys.keys() & {"LA", "DF"}:
        return None

    def clips() -> Iterator[Clip]:
        for track in sorted(keys.keys() & {"LA", "DF"}):
            audio = sorted(root.glob(f"**/ASVspoof2021_{track}_eval*/flac"))
            yield from _trials(keys[track], audio, f"ASVspoof2021-{track}", "test")

    return clips()


def _asvspoof_5(root: Path) -> Iterator[Clip] | None:
    """``ASVspoof5.{train,dev.track_1,eval.track_1}.tsv`` beside ``flac_{T,D,E_eval}``."""
    protocols = sorted(
        path for path in root.glob("**/ASVspoof5.*.tsv") if "track_2" not in path.name
    )
    if not protocols:
        return None

    def clips() -> Iterator[Clip]:
        for path in protocols:
            part = path.name.split(".")[1]
            audio = sorted(root.glob(f"**/flac_{part[:1].upper()}*"))
            yield from _trials(path, audio, "ASVspoof5", _ASVSPOOF_SPLITS.get(part, ""))

    return clips()


def _trials(protocol: Path, audio: Sequence[Path], source: str, split: str) -> Iterator[Clip]:
    """Yield those trials of a protocol whose audio is in one of the folders."""
    there = {file.stem: file for folder in audio for file in folder.glob("*.flac")}
    if not there:
        return
    for row in read_protocol(protocol):
        if row.id not in there:
            continue
        label: Label = "spoof" if row.label == "spoof" else "bonafide"
        known = _FAMILIES_2019 if source != "ASVspoof5" else {}  # numbers begin anew there
        yield Clip(
            id=f"{source}/{row.id}",
            label=label,
            path=there[row.id],
            system=row.attack,
            family=known.get(row.attack, "") if label == "spoof" else "none",
            source=source,
            speaker=row.speaker,
            language="en",
            channel=row.channel,
            split=split,
        )


def _in_the_wild(root: Path) -> Iterator[Clip] | None:
    """``meta.csv`` with ``file,speaker,label`` beside the files (Müller et al., 2203.16263)."""
    table = root / "meta.csv"
    if not table.is_file() or _columns(table, ",")[:3] != ["file", "speaker", "label"]:
        return None

    def clips() -> Iterator[Clip]:
        for row in _rows(table, ","):
            path = root / row["file"]
            if path.is_file():
                yield Clip(
                    id=f"In-the-Wild/{row['file']}",
                    label="spoof" if row["label"].strip().lower() == "spoof" else "bonafide",
                    path=path,
                    source="In-the-Wild",
                    speaker=row["speaker"],
                    language="en",
                )

    return clips()


def _mlaad(root: Path) -> Iterator[Clip] | None:
    """``fake/LANGUAGE/SYSTEM/meta.csv``, parted by ``|`` (Müller et al., 2401.09512)."""
    tables = sorted(root.glob("fake/*/*/meta.csv"))
    if not tables:
        return None

    def clips() -> Iterator[Clip]:
        for table in tables:
            language, system = table.parts[-3], table.parts[-2]
            for file in sorted(table.parent.glob("*.wav")):
                yield Clip(
                    id=f"MLAAD/{language}/{system}/{file.name}",
                    label="spoof",
                    path=file,
                    system=system,
                    family="tts",
                    source="MLAAD",
                    language=language,
                    # The recording that the sentence was taken from has the same number.
                    sentence=f"mailabs:{language}:{file.stem}",
                )

    return clips()


def _wavefake(root: Path) -> Iterator[Clip] | None:
    """``{ljspeech,jsut,common_voices}_SYSTEM`` folders, with the originals if they are beside."""
    folders = sorted(
        path
        for prefix in ("ljspeech", "jsut", "common_voices")
        for path in root.glob(f"{prefix}_*")
        if path.is_dir()
    )
    if not folders:
        return None
    originals = [*root.glob("LJSpeech-1.*/wavs"), *root.glob("jsut_ver1.*/basic5000/wav")]

    def clips() -> Iterator[Clip]:
        for folder in (*folders, *sorted(originals)):
            spoof = folder in folders
            prefix = folder.name.split("_")[0] if spoof else ""
            language = "ja" if prefix == "jsut" or "jsut" in str(folder.parent.parent) else "en"
            for file in sorted(folder.glob("*.wav")):
                utterance = file.stem.removesuffix("_gen").removesuffix("_generated")
                yield Clip(
                    id=f"WaveFake/{folder.name}/{file.name}",
                    label="spoof" if spoof else "bonafide",
                    path=file,
                    system=folder.name.removeprefix(f"{prefix}_") if spoof else "",
                    family="vocoder" if spoof else "none",
                    source="WaveFake",
                    language=language,
                    sentence=f"wavefake:{utterance}",
                )

    return clips()


def _fakeavceleb(root: Path) -> Iterator[Clip] | None:
    """``{Real,Fake}Video-{Real,Fake}Audio/...`` with videos (Khalid et al., 2108.05080)."""
    kinds = [name for name in _FAKEAVCELEB if (root / name).is_dir()]
    if not kinds:
        return None

    def clips() -> Iterator[Clip]:
        for kind in kinds:
            label: Label = "spoof" if _FAKEAVCELEB[kind] == "spoof" else "bonafide"
            for file in sorted((root / kind).rglob("*")):
                if file.suffix.lower() in AUDIO_SUFFIXES:
                    inside = file.relative_to(root)
                    yield Clip(
                        id=f"FakeAVCeleb/{inside}",
                        label=label,
                        path=file,
                        system="SV2TTS" if label == "spoof" else "",
                        family="tts" if label == "spoof" else "none",
                        source="FakeAVCeleb",
                        speaker=next((part for part in inside.parts if part[:2] == "id"), ""),
                        language="en",
                    )

    return clips()


_LAYOUTS: tuple[Callable[[Path], Iterator[Clip] | None], ...] = (
    _asvspoof_2019,
    _asvspoof_5,
    _in_the_wild,
    _mlaad,
    _fakeavceleb,
    _wavefake,
    _asvspoof_2021,  # last: it looks in every folder
)


def _columns(table: Path, delimiter: str) -> list[str]:
    with table.open(newline="", encoding="utf-8-sig") as file:
        return [name.strip().lower() for name in next(csv.reader(file, delimiter=delimiter), [])]


def _rows(table: Path, delimiter: str) -> Iterator[dict[str, str]]:
    with table.open(newline="", encoding="utf-8-sig") as file:
        for row in csv.DictReader(file, delimiter=delimiter):
            yield {(key or "").strip().lower(): value or "" for key, value in row.items() if key}
