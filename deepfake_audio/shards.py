"""Recordings in a list, rows in a file: what scoring at scale reads and writes, wherever it runs.

Lists come from folders, buckets and manifests; results are parquet files that appear whole or not
at all.
"""

from __future__ import annotations

import fnmatch
import importlib
import io
import os
import posixpath
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, BinaryIO, cast

from .audio import AudioSource
from .datasets.clip import AUDIO_SUFFIXES
from .errors import ConfigError, DatasetError, DeepfakeAudioError, MissingExtraError
from .report import Report

SHARD_ITEMS = 500
"""Recordings in a shard: a minute or two of work, and of what a killed worker costs."""

RESULTS_PATTERN = "part-*.parquet"
"""Name of the files that a run leaves in its output folder."""

OBJECT_STORES = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "az", "adl", "oss"})
"""Protocols of stores in which an object is there whole or not at all, and which a manifest on
this machine may point to."""


@dataclass(frozen=True)
class Item:
    """One recording to score.

    Attributes
    ----------
    name : str
        What its row is called.
    path : str
        File or URL of the recording, or of the parquet file that holds it.
    row : int or None
        Row of the parquet file, None for a recording of its own.
    """

    name: str
    path: str
    row: int | None = None


@dataclass(frozen=True)
class Shard:
    """Recordings that are scored into one file.

    Attributes
    ----------
    number : int
        Place in the list.
    items : tuple of Item
        Never empty.
    """

    number: int
    items: tuple[Item, ...]


def import_extra(name: str) -> Any:
    """Return a module of the extra ``distributed``, or say which extra brings it."""
    try:
        return importlib.import_module(name)
    except ImportError:
        raise MissingExtraError(
            f"scoring at scale needs {name.partition('.')[0]}",
            hint='pip install "deepfake-audio[distributed]"',
        ) from None


def filesystem_of(url: str) -> tuple[Any, str]:
    """Return the file system of a path or URL, and the path on it."""
    core = import_extra("fsspec.core")
    try:
        found: tuple[Any, str] = core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise ConfigError(
            f"cannot be opened ({error})", name=url, hint="give a path, or a URL like s3://…"
        ) from error
    return found


def find_items(source: str) -> list[Item]:
    """List the recordings of a folder or of a manifest, in a stable order.

    Parameters
    ----------
    source : str
        Path or URL (``s3://bucket/folder``, anything fsspec knows) of

        * a folder: every file below it with the suffix of audio or video;
        * a ``.csv`` or ``.parquet`` file with a column ``path`` (URLs, or paths relative to the
          file) and perhaps ``id``;
        * a ``.parquet`` file in the Hugging Face ``Audio`` layout (``audio.bytes``).

    Raises
    ------
    DatasetError
        If there are none, or a manifest has neither column.
    MissingExtraError
        If fsspec or pyarrow is missing.
    """
    filesystem, path = filesystem_of(source)
    suffix = posixpath.splitext(path)[1].lower()
    try:
        if suffix in (".csv", ".parquet"):
            items = list(_listed(filesystem, path, suffix))
        else:
            remote = _is_remote(filesystem)
            files = [
                str(filesystem.unstrip_protocol(file)) if remote else file
                for file in sorted(filesystem.find(path))
                if posixpath.splitext(file)[1].lower() in AUDIO_SUFFIXES
                and not posixpath.basename(file).startswith(".")
            ]
            items = [Item(file, file) for file in files]
    except (OSError, ValueError) as error:  # pyarrow's complaints are ValueErrors
        raise DatasetError(f"cannot be read ({error})", name=source, hint="check it") from error
    if not items:
        raise DatasetError("holds no recordings", name=source, hint="give a folder or a manifest")
    return items


def _is_remote(filesystem: Any) -> bool:
    return "file" not in filesystem.protocol


def _listed(filesystem: Any, path: str, suffix: str) -> Iterator[Item]:
    pa = import_extra("pyarrow")
    with filesystem.open(path, "rb") as file:
        if suffix == ".csv":
            texts = {"id": pa.string(), "path": pa.string()}  # 007 is no number
            options = import_extra("pyarrow.csv").ConvertOptions(column_types=texts)
            table = pa.csv.read_csv(file, convert_options=options)
            schema = table.schema
        else:
            parquet = import_extra("pyarrow.parquet").ParquetFile(file)
            schema = parquet.schema_arrow
            table = parquet.read(columns=[c for c in ("id", "path") if c in schema.names])
    ids = table["id"].to_pylist() if "id" in schema.names else None
    whole = str(filesystem.unstrip_protocol(path)) if _is_remote(filesystem) else path
    if "path" in schema.names:
        for row, entry in enumerate(map(str, table["path"].to_pylist())):
            yield Item(str(ids[row]) if ids else entry, _resolved(entry, whole))
    elif suffix == ".parquet" and _holds_audio(schema):
        for row in range(parquet.metadata.num_rows):
            yield Item(str(ids[row]) if ids else f"{posixpath.basename(path)}:{row}", whole, row)
    else:
        raise DatasetError(
            "has no column of recordings",
            name=whole,
            hint="give it a column path, or audio with a field bytes",
        )


def _holds_audio(schema: Any) -> bool:
    pa = import_extra("pyarrow")
    if "audio" not in schema.names:
        return False
    kind = schema.field("audio").type
    return bool(pa.types.is_struct(kind)) and kind.get_field_index("bytes") >= 0


def _resolved(entry: str, manifest: str) -> str:
    """Return where an entry of a manifest lies.

    A manifest that came from elsewhere must not make this machine read its own files, or fetch
    what somebody else's server offers.
    """
    home, remote = posixpath.dirname(manifest), "://" in manifest
    protocol = entry.partition("://")[0] if "://" in entry else ""
    if protocol:
        allowed = {manifest.partition("://")[0]} if remote else OBJECT_STORES
        fits = protocol in allowed and "::" not in entry
    else:
        fits = not remote or not (entry.startswith("/") or ".." in entry.split("/"))
    if not fits:
        raise DatasetError(
            f"lists {entry!r}, where it may not lead",
            name=manifest,
            hint="list paths below its own folder, or URLs of its own store",
        )
    return entry if protocol else posixpath.join(home, entry)


def in_shards(items: Sequence[Item], size: int = SHARD_ITEMS) -> list[Shard]:
    """Cut a list into shards of ``size`` recordings; the last may be smaller."""
    if size < 1:
        raise ConfigError("must be at least 1", name="shard_size")
    return [
        Shard(number, tuple(items[start : start + size]))
        for number, start in enumerate(range(0, len(items), size))
    ]


class _LazyFile:
    """A remote recording that is opened by whoever reads it first: a decoding thread.

    A recording that is not there is a finding. A store that cannot be reached is none: it goes
    into ``outages``, so that no shard is finished without what it would have held.
    """

    def __init__(self, url: str, outages: list[tuple[str, Exception]]) -> None:
        self.name = url
        self._outages = outages
        self._file: BinaryIO | None = None

    def read(self, size: int = -1) -> bytes:
        try:
            if self._file is None:
                filesystem, path = filesystem_of(self.name)
                self._file = cast(BinaryIO, filesystem.open(path, "rb"))
            content = self._file.read(size)
            if not content:
                self._file.close()
            return content
        except FileNotFoundError:
            raise
        except Exception as error:
            self._outages.append((self.name, error))
            raise


def open_items(
    items: Iterable[Item], outages: list[tuple[str, Exception]]
) -> Iterator[AudioSource]:
    """Open recordings as they are needed; a parquet file is read once, front to back."""
    embedded: tuple[str, Iterator[tuple[int, bytes]]] = ("", iter(()))
    for item in items:
        if item.row is None:
            remote = "://" in item.path
            yield cast(AudioSource, _LazyFile(item.path, outages)) if remote else item.path
            continue
        if embedded[0] != item.path:
            embedded = (item.path, _embedded(item.path, item.row))
        content = next((content for row, content in embedded[1] if row == item.row), None)
        if content is None:
            raise DatasetError(
                "has fewer rows than when it was listed", name=item.path, hint="run again"
            )
        yield content


def _embedded(path: str, first: int) -> Iterator[tuple[int, bytes]]:
    """Yield rows of a parquet file with audio in it, from ``first`` on."""
    filesystem, inner = filesystem_of(path)
    with filesystem.open(inner, "rb") as file:
        parquet = import_extra("pyarrow.parquet").ParquetFile(file)
        start = 0
        for group in range(parquet.num_row_groups):
            rows = parquet.metadata.row_group(group).num_rows
            if start + rows > first:
                at = start
                for batch in parquet.iter_batches(64, row_groups=[group], columns=["audio"]):
                    if at + batch.num_rows > first:
                        for offset, audio in enumerate(batch.column(0).to_pylist()):
                            yield at + offset, (audio or {}).get("bytes") or b""
                    at += batch.num_rows
            start += rows


def _schema() -> Any:
    pa = import_extra("pyarrow")
    text, number, count = pa.string(), pa.float64(), pa.int32()
    times = {"start_s": number, "end_s": number}
    scores = {"p_synthetic": number, "llr_synthetic": number}
    segment = pa.struct({"channel": count, **times, **scores})
    columns = {
        **dict.fromkeys(("name", "error_code", "error", "verdict", "reason"), text),
        **scores,
        **{"novelty": number, "policy": text, "threshold": number, "prior_synthetic": number},
        **{"duration_s": number, "speech_s": number, "format": text},
        **{"sample_rate_hz": count, "channels": count, "warnings": pa.list_(text)},
        **dict.fromkeys(("sha256", "model", "model_version", "model_sha256"), text),
        "segments": pa.list_(segment),
    }
    return pa.schema(columns)


def result_row(item: Item, result: Report | DeepfakeAudioError) -> dict[str, Any]:
    """One row of the results; columns that a row lacks are null."""
    if isinstance(result, DeepfakeAudioError):
        return {"name": item.name, "error_code": result.code, "error": str(result)}
    heard, policy, model = result.input, result.policy, result.model
    return {
        "name": item.name,
        "verdict": result.verdict.value,
        "reason": result.reason and result.reason.value,
        "p_synthetic": result.p_synthetic,
        "llr_synthetic": result.llr_synthetic,
        "novelty": result.novelty,
        "policy": policy.name,
        "threshold": policy.threshold,
        "prior_synthetic": policy.prior_synthetic,
        "duration_s": heard.duration_s,
        "speech_s": heard.speech_s,
        "format": heard.format,
        "sample_rate_hz": heard.sample_rate_hz,
        "channels": heard.channels,
        "warnings": list(result.warnings),
        "sha256": heard.sha256,
        "model": model.name,
        "model_version": model.version,
        "model_sha256": model.sha256,
        "segments": [asdict(segment) for segment in result.segments],
    }


def write_rows(output: str, name: str, rows: list[dict[str, Any]]) -> None:
    """Write a file that is there whole or not at all."""
    pa, buffer = import_extra("pyarrow"), io.BytesIO()
    table = pa.Table.from_pylist(rows, schema=_schema())
    import_extra("pyarrow.parquet").write_table(table, buffer, compression="zstd")
    filesystem, folder = filesystem_of(output)
    target = posixpath.join(folder, name)
    protocols = filesystem.protocol
    if OBJECT_STORES & set([protocols] if isinstance(protocols, str) else protocols):
        filesystem.pipe_file(target, buffer.getvalue())
        return
    partial = f"{target}.partial"  # of a killed run: overwritten by the next
    filesystem.pipe_file(partial, buffer.getvalue())
    if _is_remote(filesystem):
        filesystem.mv(partial, target)
    else:
        os.replace(partial, target)


def finished_files(output: str) -> set[str]:
    """Return the names of the results in a folder, which is made if there is none."""
    filesystem, folder = filesystem_of(output)
    filesystem.makedirs(folder, exist_ok=True)
    filesystem.invalidate_cache()
    try:
        names = [posixpath.basename(path) for path in filesystem.ls(folder, detail=False)]
    except FileNotFoundError:  # a bucket has no folder before there is something in it
        return set()
    return {name for name in names if fnmatch.fnmatch(name, RESULTS_PATTERN)}


def count_rows(output: str, name: str) -> tuple[int, int]:
    """Count the recordings scored and failed in a finished file."""
    filesystem, folder = filesystem_of(output)
    with filesystem.open(posixpath.join(folder, name), "rb") as file:
        # Threads of pyarrow's for one small column outlive it, and with it a short process.
        parquet = import_extra("pyarrow.parquet").ParquetFile(file, pre_buffer=False)
        codes = parquet.read(columns=["error_code"], use_threads=False)["error_code"]
    return int(codes.null_count), len(codes) - int(codes.null_count)
