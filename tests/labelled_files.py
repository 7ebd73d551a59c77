"""Files of every container that takes a label, and other people's tools to write and read one."""

from __future__ import annotations

import io
import json
import subprocess
from functools import cache
from pathlib import Path

import av
import mutagen
import mutagen.flac
import mutagen.id3
import mutagen.mp4
import soundfile
from audio_files import encode, encode_av, speech_like
from mutagen._riff import RiffFile

RATE_HZ = 16_000
FIELDS = {
    "Label": "1", "ContentProducer": "00119131011", "ProduceID": "v0300", "ReservedCode1": "s1",
    "ContentPropagator": "00119131022", "PropagateID": "p7", "ReservedCode2": "s2",
}  # fmt: skip

_SNDFILE = {
    "wav": ("WAV", "PCM_16"), "rf64": ("RF64", "PCM_16"), "odd.wav": ("WAV", "PCM_U8"),
    "flac": ("FLAC", "PCM_16"), "mp3": ("MP3", None),
    "ogg": ("OGG", "VORBIS"), "opus": ("OGG", "OPUS"),
}  # fmt: skip
_FFMPEG = {
    "ffmpeg.mp3": ("mp3", "libmp3lame", {}), "ffmpeg.flac": ("flac", "flac", {}),
    "ffmpeg.ogg": ("ogg", "flac", {}), "m4a": ("ipod", "aac", {}),
    "front.m4a": ("ipod", "aac", {"faststart": True}), "mp4": ("mp4", "aac", {"video": True}),
    "front.mp4": ("mp4", "aac", {"video": True, "faststart": True}), "mov": ("mov", "aac", {}),
}  # fmt: skip
KINDS = (*_SNDFILE, *_FFMPEG)
"""The ending says the container, what is before it the maker or a peculiarity."""


@cache
def recording(kind: str) -> bytes:
    """Return two seconds in a container."""
    sound = speech_like(2.0, RATE_HZ)
    if kind in _FFMPEG:
        container, codec, options = _FFMPEG[kind]
        return encode_av(sound, RATE_HZ, container, codec, **options)
    # An odd number of bytes, where that is possible.
    return encode(sound[:-1] if kind == "odd.wav" else sound, RATE_HZ, *_SNDFILE[kind])


def save(folder: Path, kind: str) -> Path:
    """Write a recording to a file."""
    path = folder / f"clip.{kind}"
    path.write_bytes(recording(kind))
    return path


def write_with_mutagen(path: Path, text: str) -> None:
    """Label a file where the standard has it."""
    if path.suffix == ".wav":
        with path.open("r+b") as file:
            RiffFile(file).insert_chunk("AIGC", text.encode())
        return
    tags = mutagen.File(path)
    if tags.tags is None:
        tags.add_tags()
    if path.suffix == ".mp3":
        tags.tags.add(mutagen.id3.TXXX(desc="AIGC", text=text))
    elif isinstance(tags, mutagen.mp4.MP4):
        tags["----:com.apple.iTunes:AIGC"] = mutagen.mp4.MP4FreeForm(text.encode())
    else:
        tags["AIGC"] = text
    tags.save()


def read_with_mutagen(path: Path) -> list[str]:
    """Return all labels that are where the standard has them."""
    if path.suffix == ".wav":
        with path.open("rb") as file:
            chunks = RiffFile(file).root.subchunks()
            return [chunk.read().decode() for chunk in chunks if chunk.id == "AIGC"]
    tags = mutagen.File(path).tags
    if path.suffix == ".mp3":
        return [frame.text[0] for frame in tags.getall("TXXX:AIGC")]
    if isinstance(tags, mutagen.mp4.MP4Tags):
        return [bytes(item).decode() for item in tags["----:com.apple.iTunes:AIGC"]]
    return list(tags["AIGC"])


def read_with_ffmpeg(path: Path) -> str | None:
    """Return the label as FFmpeg finds it; it knows none in WAV."""
    with av.open(str(path)) as container:
        found = {**container.metadata, **container.streams.audio[0].metadata}
    return found.get("AIGC")


def read_with_ffprobe(path: Path) -> str | None:
    """Return the label as the program ffprobe prints it; it knows none in WAV."""
    entries = ("-show_entries", "format_tags:stream_tags", "-of", "json")
    said = json.loads(_run("ffprobe", *entries, str(path)))
    tags = [said.get("format", {}), *said.get("streams", ())]
    found = {name: text for each in tags for name, text in each.get("tags", {}).items()}
    return found.get("AIGC")


def stream_hashes(path: Path) -> str:
    """Return the hash of each encoded stream, as the program ffmpeg takes them out."""
    return _run("ffmpeg", "-i", str(path), "-map", "0", "-c", "copy", "-f", "streamhash", "-")


def _run(program: str, *arguments: str) -> str:
    command = [program, "-v", "error", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def packets(path: Path) -> list[tuple[int | None, bytes]]:
    """Return the encoded audio, packet by packet with its time, as FFmpeg takes it out."""
    with av.open(str(path)) as container:
        [stream] = container.streams.audio
        return [(packet.pts, bytes(packet)) for packet in container.demux(stream)]


def pcm(path: Path) -> bytes:
    """Return the decoded audio: by FFmpeg, and by libsndfile where that knows the format."""
    if path.suffix not in (".m4a", ".mp4", ".mov") and "ffmpeg.ogg" not in path.name:
        samples, _ = soundfile.read(path, dtype="float32")
        return samples.tobytes() + _by_ffmpeg(path)
    return _by_ffmpeg(path)


def _by_ffmpeg(path: Path) -> bytes:
    with av.open(str(path)) as container:
        return b"".join(frame.to_ndarray().tobytes() for frame in container.decode(audio=0))


def remuxed(folder: Path, name: str, metadata: dict[str, str], **options: str) -> Path:
    """Let FFmpeg write the AAC of a recording into another file, with metadata of its own."""
    path = folder / name
    with (
        av.open(io.BytesIO(recording("m4a"))) as source,
        av.open(str(path), "w", options=options) as target,
    ):
        target.metadata.update(metadata)
        stream = target.add_stream_from_template(source.streams.audio[0])
        for packet in source.demux(source.streams.audio[0]):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    return path
