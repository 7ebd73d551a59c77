"""What a file is, told from its bytes: the container, and whether it ends where it should.

A file name is a claim by whoever sent it; the bytes decide which decoder gets to see them.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from typing import Protocol

_HEAD_BYTES = 4096
_OGG_PAGE_BYTES = 65_307  # the largest page: 27 bytes of header, 255 segments of 255 bytes
_HEADER_SLACK_BYTES = 256  # writers that put the file size where the data size belongs
_MAX_CHUNKS = 1000
_SCAN_BYTES = 1 << 20
_OGG_FIRST_PAGE = re.compile(rb"OggS\0[\x02\x03\x06\x07]")
_OGG_AUDIO = (b"\x01vorbis", b"OpusHead", b"\x7fFLAC", b"Speex   ")
_MAX_LINKS = 1000
_MAX_MPEG_FRAME_BYTES = 1441


class SeekableFile(Protocol):
    """All that is asked of a file here."""

    def read(self, count: int, /) -> bytes:
        """Return up to `count` bytes."""

    def seek(self, offset: int, /) -> int:
        """Move to an absolute position."""


@dataclass(frozen=True)
class Container:
    """A kind of file, and who reads it.

    Attributes
    ----------
    label : str
        Name shown in reports.
    content : str
        What a message says needs the ``av`` extra.
    sndfile : bool
        libsndfile is asked first.
    demuxer : str or None
        The one FFmpeg demuxer that may open it, None where FFmpeg is not asked at all.
    """

    label: str
    content: str
    sndfile: bool
    demuxer: str | None


@dataclass(frozen=True)
class Header:
    """The container of a file and what its bytes say about its length.

    Attributes
    ----------
    container : Container
        What the file is.
    cut_short : bool
        The container says that more bytes should follow than there are.
    states_length : bool
        The number of samples is written in the file, and not estimated from its size.
    audio_end : int or None
        For MP3, where tags at the end of the file begin.
    links : tuple of int
        For Ogg, where each of the recordings begins that were joined into the file; the first
        is zero. Empty if there is only one.
    extra_tracks : bool
        For Ogg, several audio tracks run side by side.
    """

    container: Container
    cut_short: bool = False
    states_length: bool = True
    audio_end: int | None = None
    links: tuple[int, ...] = ()
    extra_tracks: bool = False


WAV = Container("WAV", "this WAV codec", sndfile=True, demuxer="wav")
AIFF = Container("AIFF", "this AIFF codec", sndfile=True, demuxer="aiff")
CAF = Container("CAF", "this CAF codec", sndfile=True, demuxer="caf")
OGG = Container("OGG", "this Ogg codec", sndfile=True, demuxer="ogg")
FLAC = Container("FLAC", "FLAC", sndfile=True, demuxer=None)
MP3 = Container("MP3", "MP3", sndfile=True, demuxer="mp3")
W64 = Container("W64", "W64", sndfile=True, demuxer=None)
AU = Container("AU", "AU", sndfile=True, demuxer=None)
SPHERE = Container("NIST", "NIST SPHERE", sndfile=True, demuxer=None)
ADTS = Container("AAC", "AAC", sndfile=False, demuxer="aac")
AMR = Container("AMR", "AMR", sndfile=False, demuxer="amr")
ASF = Container("WMA", "WMA", sndfile=False, demuxer="asf")
MATROSKA = Container("MKV", "WebM/MKV", sndfile=False, demuxer="matroska")
WEBM = Container("WEBM", "WebM/MKV", sndfile=False, demuxer="matroska")
M4A = Container("M4A", "AAC", sndfile=False, demuxer="mov")
THREE_GP = Container("3GP", "3GP", sndfile=False, demuxer="mov")
MOV = Container("MOV", "MOV", sndfile=False, demuxer="mov")
MP4 = Container("MP4", "MP4", sndfile=False, demuxer="mov")

_SIGNATURES = (
    (b"fLaC", FLAC),
    (b"OggS", OGG),
    (b"caff", CAF),
    (b".snd", AU),
    (b"riff\x2e\x91\xcf\x11", W64),
    (b"NIST_1A\n", SPHERE),
    (b"#!AMR", AMR),
    (bytes.fromhex("3026b2758e66cf11"), ASF),  # pragma: allowlist secret
)
_ATOMS = (b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")
_BRANDS = ((b"M4A", M4A), (b"M4B", M4A), (b"3g", THREE_GP), (b"qt", MOV))


def read_header(file: SeekableFile, size: int) -> Header | None:
    """Recognise the container of an open file of `size` bytes; None if it is none of ours."""
    start = _skip_id3(file)
    head = _read_at(file, start, _HEAD_BYTES)
    container = _recognise(head, tagged=start > 0)
    if container is MP3:
        end = _skip_end_tags(file, size)
        stated = _mpeg_stated_bytes(head[:512])
        # What is stated ends with the first of several files that were joined.
        covered = stated > 0 and start + stated + _MAX_MPEG_FRAME_BYTES >= end
        return Header(MP3, states_length=covered, audio_end=end)
    if container in (ADTS, AMR):
        return Header(container, states_length=False)
    if container is OGG:
        links, cut_short, extra = _ogg_links(file)
        return Header(
            OGG,
            cut_short=cut_short or _ogg_cut_short(file, size),
            links=links,
            extra_tracks=extra,
        )
    if container in (WAV, AIFF, CAF):
        return Header(container, cut_short=_chunks_cut_short(file, size, head))
    return Header(container) if container else None


def _recognise(head: bytes, *, tagged: bool) -> Container | None:
    for magic, container in _SIGNATURES:
        if head.startswith(magic):
            return container
    if head[:4] in (b"RIFF", b"RIFX", b"RF64") and head[8:12] == b"WAVE":
        return WAV
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return AIFF
    if head.startswith(b"\x1a\x45\xdf\xa3"):
        return WEBM if b"webm" in head[:64] else MATROSKA
    if head[4:8] == b"ftyp":
        return next((c for brand, c in _BRANDS if head[8:12].startswith(brand)), MP4)
    if head[4:8] in _ATOMS:
        return MOV
    if _is_adts(head):
        return ADTS
    return MP3 if tagged or _is_mpeg_audio(head) else None


def _read_at(file: SeekableFile, position: int, count: int) -> bytes:
    file.seek(position)
    return file.read(count)


def _skip_id3(file: SeekableFile) -> int:
    """Return where the audio starts after any ID3v2 tags, which MP3, AAC and FLAC may carry."""
    start = 0
    for _ in range(8):
        tag = _read_at(file, start, 10)
        if len(tag) < 10 or tag[:3] != b"ID3":
            break
        # Four bytes of seven bits each, then an optional footer.
        length = tag[6] << 21 | tag[7] << 14 | tag[8] << 7 | tag[9]
        start += 10 + length + (10 if tag[5] & 0x10 else 0)
    return start


def _skip_end_tags(file: SeekableFile, size: int) -> int:
    """Return where the audio ends before any ID3v1 and APE tags."""
    end = size
    for _ in range(8):
        if end >= 128 and _read_at(file, end - 128, 3) == b"TAG":
            end -= 128
            continue
        footer = _read_at(file, end - 32, 32) if end >= 32 else b""
        if footer[:8] != b"APETAGEX":
            break
        length, _, flags = struct.unpack("<III", footer[12:24])
        end = max(0, end - length - (32 if flags >> 31 else 0))
    return end


def _mpeg_stated_bytes(head: bytes) -> int:
    """Return the length of an MP3 by the Xing, Info or VBRI header in its first frame, or 0."""
    for mark in (b"Xing", b"Info"):
        at = head.find(mark)
        if at >= 0 and len(head) >= at + 16:
            flags, *fields = struct.unpack(">III", head[at + 4 : at + 16])
            return int(fields[1]) if flags & 3 == 3 else 0  # frames, then bytes
    at = head.find(b"VBRI")
    if at >= 0 and len(head) >= at + 14:
        return int.from_bytes(head[at + 10 : at + 14], "big")
    return 0


def _is_adts(head: bytes) -> bool:
    if len(head) < 7 or head[0] != 0xFF or head[1] & 0xF6 != 0xF0:
        return False
    length = (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5
    following = head[length : length + 2]
    return length >= 7 and (len(following) < 2 or following[1] & 0xF6 == 0xF0)


def _is_mpeg_audio(head: bytes) -> bool:
    """Tell whether an MPEG audio frame starts here and another where it ends.

    One sync word proves nothing: the byte order mark of UTF-16 text passes for one.
    """
    length = _mpeg_frame_bytes(head[:4])
    if not length:
        return False
    following = head[length : length + 4]
    return len(following) < 4 or _mpeg_frame_bytes(following) > 0


# Kilobits a second by (MPEG-1?, layer): ISO 11172-3 table 2.4.2.3 and ISO 13818-3.
_MPEG_KBPS = {
    (True, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}


def _mpeg_frame_bytes(header: bytes) -> int:
    """Return the length of the MPEG audio frame with this header, 0 if it is none."""
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE0 != 0xE0:
        return 0
    version, layer = header[1] >> 3 & 3, 4 - (header[1] >> 1 & 3)
    bitrate, rate = header[2] >> 4, header[2] >> 2 & 3
    if version == 1 or layer == 4 or bitrate in (0, 15) or rate == 3:
        return 0
    rate_hz = (44_100, 48_000, 32_000)[rate] >> (0, 1, 2)[(3, 2, 0).index(version)]
    bits_per_s = 1000 * _MPEG_KBPS[version == 3, layer][bitrate - 1]
    padding = header[2] >> 1 & 1
    if layer == 1:
        return 4 * (12 * bits_per_s // rate_hz + padding)
    return (72 if layer == 3 and version != 3 else 144) * bits_per_s // rate_hz + padding


def _ogg_links(file: SeekableFile) -> tuple[tuple[int, ...], bool, bool]:
    """Find joined recordings: where each begins, whether there are too many, and extra tracks.

    Every byte is searched: a walk from page to page could be led astray by one wrong length.
    """
    links: list[int] = []
    follows, tracks, extra = -1, 0, False
    offset = 0
    while chunk := _read_at(file, offset, _SCAN_BYTES):
        for match in _OGG_FIRST_PAGE.finditer(chunk):
            position = offset + match.start()
            page = _read_at(file, position, 27 + 255 + 8)
            if len(page) < 27:
                continue
            # The first pages of tracks that run side by side follow each other directly.
            if position != follows:
                if len(links) == _MAX_LINKS:
                    return tuple(links), True, extra
                links.append(position)
                tracks = 0
            body = 27 + page[26]
            follows = position + body + sum(page[27:body])
            tracks += page[body:].startswith(_OGG_AUDIO)
            extra |= tracks > 1
        if len(chunk) < _SCAN_BYTES:
            break
        offset += len(chunk) - 5  # a mark may lie across the border
    return (tuple(links) if len(links) > 1 else ()), False, extra


def _ogg_cut_short(file: SeekableFile, size: int) -> bool:
    """Tell whether the last page is incomplete or does not carry the end-of-stream bit."""
    offset = max(0, size - _OGG_PAGE_BYTES)
    tail = _read_at(file, offset, _OGG_PAGE_BYTES)
    page = tail.rfind(b"OggS\0")
    if page < 0 or page + 27 > len(tail):
        return True
    segments = tail[page + 27 : page + 27 + tail[page + 26]]
    complete = page + 27 + tail[page + 26] + sum(segments) <= len(tail)
    return not (complete and tail[page + 5] & 4)


def _chunks_cut_short(file: SeekableFile, size: int, head: bytes) -> bool:
    """Tell whether the chunk of samples of a WAV, AIFF or CAF is longer than the file."""
    is_caf = head[:4] == b"caff"
    layout = ">q" if is_caf else "<I" if head[:4] in (b"RIFF", b"RF64") else ">I"
    prefix = 4 + struct.calcsize(layout)
    position = 8 if is_caf else 12
    for _ in range(_MAX_CHUNKS):
        chunk = _read_at(file, position, prefix)
        if len(chunk) < prefix:
            return False  # no samples at all: the decoder has something to say about that
        (length,) = struct.unpack(layout, chunk[4:])
        if chunk[:4] in (b"data", b"SSND"):
            if head[:4] == b"RF64" and length == 0xFFFFFFFF and head[12:16] == b"ds64":
                (length,) = struct.unpack("<Q", head[28:36])
            if _is_streaming_size(length):
                return False
            return bool(position + prefix + length > size + _HEADER_SLACK_BYTES)
        if length < 0:
            return False
        position += prefix + length + (0 if is_caf else length & 1)
    return False


def _is_streaming_size(length: int) -> bool:
    # Programs that write to a pipe cannot come back to fill in the size.
    return length <= 0 or length >= 0xFFFFFF00 or 0x7FFFFF00 <= length <= 0x80000000
