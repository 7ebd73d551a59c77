"""Scoring at scale: a list of recordings in shards, each scored into one parquet file.

A shard is the unit of work, of failure and of resuming: its file appears whole or not at all, and
its name says what is in it and what scored it. A run that was killed is begun again with the same
arguments and makes only the files that are missing. Where shards are scored is the engine's
business: in this process, or by the actors of a Ray cluster.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import posixpath
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, BinaryIO, Literal, cast, get_args

from .audio import AudioSource
from .checkpoint import load_checkpoint
from .datasets.manifest import AUDIO_SUFFIXES
from .detector import Detector
from .errors import ConfigError, DatasetError, DeepfakeAudioError, MissingExtraError
from .report import Report

Engine = Literal["local", "ray"]

SHARD_ITEMS = 500
"""Recordings in a shard: a minute or two of work, and of what a killed worker costs."""

RESULTS_PATTERN = "part-*.parquet"
"""Name of the files that a run leaves in its output folder."""

OnProgress = Callable[[int, int], None]


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


@dataclass(frozen=True)
class Settings:
    """How recordings are scored; as for :meth:`deepfake_audio.detector.Detector.load`."""

    model: str = "default"
    policy: str = "balanced"
    threshold: float | None = None
    device: str = "auto"


@dataclass(frozen=True)
class Outcome:
    """What a run did.

    Attributes
    ----------
    scored, failed : int
        Recordings with a report, and with an error, in the files made by this run.
    shards, resumed_shards : int
        Shards in all, and those found finished.
    """

    scored: int
    failed: int
    shards: int
    resumed_shards: int


def _import(name: str) -> Any:
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError:
        raise MissingExtraError(
            f"scoring at scale needs {name.partition('.')[0]}",
            hint='pip install "deepfake-audio[distributed]"',
        ) from None


def _filesystem(url: str) -> tuple[Any, str]:
    """Return the file system of a path or URL, and the path on it."""
    core = _import("fsspec.core")
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
    filesystem, path = _filesystem(source)
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
    except OSError as error:
        raise DatasetError(f"cannot be read ({error})", name=source, hint="check it") from error
    if not items:
        raise DatasetError("holds no recordings", name=source, hint="give a folder or a manifest")
    return items


def _is_remote(filesystem: Any) -> bool:
    return "file" not in filesystem.protocol


def _listed(filesystem: Any, path: str, suffix: str) -> Iterator[Item]:
    with filesystem.open(path, "rb") as file:
        if suffix == ".csv":
            table = _import("pyarrow.csv").read_csv(file)
            names = set(table.column_names)
        else:
            parquet = _import("pyarrow.parquet").ParquetFile(file)
            names = set(parquet.schema_arrow.names)
            table = parquet.read(columns=[c for c in ("id", "path") if c in names])
    ids = table["id"].to_pylist() if "id" in names else None
    whole = str(filesystem.unstrip_protocol(path)) if _is_remote(filesystem) else path
    if "path" in names:
        for row, entry in enumerate(map(str, table["path"].to_pylist())):
            absolute = entry if "://" in entry else posixpath.join(posixpath.dirname(whole), entry)
            yield Item(str(ids[row]) if ids else entry, absolute)
    elif suffix == ".parquet" and "audio" in names:
        count = parquet.metadata.num_rows
        for row in range(count):
            yield Item(str(ids[row]) if ids else f"{posixpath.basename(path)}:{row}", whole, row)
    else:
        raise DatasetError(
            "has no column of recordings", name=whole, hint="give it a column path, or audio"
        )


def in_shards(items: Sequence[Item], size: int = SHARD_ITEMS) -> list[Shard]:
    """Cut a list into shards of ``size`` recordings; the last may be smaller."""
    if size < 1:
        raise ConfigError("must be at least 1", name="shard_size")
    return [
        Shard(number, tuple(items[start : start + size]))
        for number, start in enumerate(range(0, len(items), size))
    ]


def result_name(shard: Shard, settings: Settings, model_sha256: str) -> str:
    """Return the name of a shard's file: another list, model or policy gives another name."""
    what = json.dumps([[asdict(item) for item in shard.items], model_sha256, asdict(settings)])
    return f"part-{shard.number:06d}-{hashlib.sha256(what.encode()).hexdigest()[:16]}.parquet"


class _LazyFile:
    """A remote recording that is opened by whoever reads it first: a decoding thread."""

    def __init__(self, url: str) -> None:
        self.name = url
        self._file: BinaryIO | None = None

    def read(self, size: int = -1) -> bytes:
        if self._file is None:
            filesystem, path = _filesystem(self.name)
            self._file = cast(BinaryIO, filesystem.open(path, "rb"))
        content = self._file.read(size)
        if not content:
            self._file.close()
        return content


def _sources(items: Iterable[Item]) -> Iterator[AudioSource]:
    """Open recordings as they are needed; a parquet file is read once, front to back."""
    embedded: tuple[str, Iterator[tuple[int, bytes]]] = ("", iter(()))
    for item in items:
        if item.row is None:
            yield cast(AudioSource, _LazyFile(item.path)) if "://" in item.path else item.path
            continue
        if embedded[0] != item.path:
            embedded = (item.path, _embedded(item.path, item.row))
        yield next(content for row, content in embedded[1] if row == item.row)


def _embedded(path: str, first: int) -> Iterator[tuple[int, bytes]]:
    """Yield rows of a parquet file with audio in it, from ``first`` on."""
    filesystem, inner = _filesystem(path)
    with filesystem.open(inner, "rb") as file:
        parquet = _import("pyarrow.parquet").ParquetFile(file)
        start = 0
        for group in range(parquet.num_row_groups):
            rows = parquet.metadata.row_group(group).num_rows
            if start + rows > first:
                at = start
                for batch in parquet.iter_batches(64, row_groups=[group], columns=["audio"]):
                    for offset, audio in enumerate(batch.column(0).to_pylist()):
                        yield at + offset, (audio or {}).get("bytes") or b""
                    at += batch.num_rows
            start += rows


def _schema() -> Any:
    pa = _import("pyarrow")
    text, number, count = pa.string(), pa.float64(), pa.int32()
    times = {"start_s": number, "end_s": number}
    scores = {"p_synthetic": number, "llr_synthetic": number}
    segment = pa.struct({"channel": count, **times, **scores})
    columns = {
        **dict.fromkeys(("name", "error_code", "error", "verdict", "reason"), text),
        **scores,
        **{"policy": text, "threshold": number, "prior_synthetic": number},
        **{"duration_s": number, "speech_s": number, "format": text},
        **{"sample_rate_hz": count, "channels": count, "warnings": pa.list_(text)},
        **dict.fromkeys(("sha256", "model", "model_version", "model_sha256"), text),
        "segments": pa.list_(segment),
    }
    return pa.schema(columns)


def _row(item: Item, result: Report | DeepfakeAudioError) -> dict[str, Any]:
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


def _write(output: str, name: str, rows: list[dict[str, Any]]) -> None:
    """Write a file that is there whole or not at all."""
    pa, buffer = _import("pyarrow"), io.BytesIO()
    table = pa.Table.from_pylist(rows, schema=_schema())
    _import("pyarrow.parquet").write_table(table, buffer, compression="zstd")
    filesystem, folder = _filesystem(output)
    target = posixpath.join(folder, name)
    if _is_remote(filesystem):
        filesystem.pipe_file(target, buffer.getvalue())  # object stores know no half objects
        return
    partial = f"{target}.{os.getpid()}.partial"
    with open(partial, "wb") as file:
        file.write(buffer.getvalue())
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, target)


def _finished(output: str) -> set[str]:
    filesystem, folder = _filesystem(output)
    filesystem.makedirs(folder, exist_ok=True)
    filesystem.invalidate_cache()
    return {posixpath.basename(path) for path in filesystem.glob(f"{folder}/{RESULTS_PATTERN}")}


def _score_shards(
    shards: Sequence[Shard], output: str, names: Sequence[str], detector: Detector
) -> Iterator[tuple[int, int]]:
    """Score shards one after the other, without a pause between; yields (scored, failed)."""
    items = [item for shard in shards for item in shard.items]
    results = detector.detect_many(_sources(items), names=[item.name for item in items])
    for shard, name in zip(shards, names, strict=True):
        rows = [_row(item, next(results)) for item in shard.items]
        _write(output, name, rows)
        failed = sum("error_code" in row for row in rows)
        yield len(rows) - failed, failed


class _ShardScorer:
    """An actor: holds the model, scores the shards it is handed."""

    def __init__(self, settings: Settings, output: str) -> None:
        self._detector = Detector.load(**asdict(settings))
        self._output = output

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        items = tuple(Item(**item) for item in json.loads(row["items"]))
        shard = Shard(int(row["number"]), items)
        [(scored, failed)] = _score_shards([shard], self._output, [row["name"]], self._detector)
        return {"scored": scored, "failed": failed}


def _on_ray(
    shards: Sequence[Shard],
    output: str,
    names: Sequence[str],
    settings: Settings,
    workers: int | None,
) -> Iterator[tuple[int, int]]:
    """Score shards on the actors of a Ray cluster: the one RAY_ADDRESS names, or one made here."""
    ray = _import("ray")
    data = _import("ray.data")
    if not ray.is_initialized():
        ray.init(include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    gpus = int(ray.cluster_resources().get("GPU", 0)) if settings.device != "cpu" else 0
    count = workers or gpus or max(int(ray.cluster_resources().get("CPU", 1)), 1)
    rows = [
        {
            "number": shard.number,
            "name": name,
            "items": json.dumps([asdict(item) for item in shard.items]),
        }
        for shard, name in zip(shards, names, strict=True)
    ]
    data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    dataset = data.from_items(rows, override_num_blocks=len(rows)).map(
        _ShardScorer,
        fn_constructor_args=(settings, output),
        compute=data.ActorPoolStrategy(size=min(count, len(rows))),
        num_cpus=0 if gpus else 1,
        num_gpus=1 if gpus else 0,
    )
    for row in dataset.iter_rows():
        yield int(row["scored"]), int(row["failed"])


def score(
    source: str,
    output: str,
    *,
    engine: Engine = "local",
    settings: Settings | None = None,
    shard_size: int = SHARD_ITEMS,
    workers: int | None = None,
    on_progress: OnProgress | None = None,
) -> Outcome:
    """Score all recordings of a folder or manifest into parquet files.

    Parameters
    ----------
    source : str
        What to score, see :func:`find_items`.
    output : str
        Folder or URL for ``part-*.parquet``, one row a recording: its report, or ``error_code``
        and ``error``. Shards whose file is there already are not scored again.
    engine : {"local", "ray"}
        This process, or a Ray cluster (``RAY_ADDRESS``, or one of this machine's cores); its
        actors read ``source`` and write ``output`` themselves.
    settings : Settings, optional
        Model, policy and device.
    shard_size : int
        Recordings a file. Another size makes other files.
    workers : int, optional
        Of the local engine, groups scored at a time (see :class:`~deepfake_audio.Detector`; 1 by
        default); of Ray, actors, by default one a GPU or, without any, one a core.
    on_progress : callable, optional
        Called with the number of finished shards and of all.

    Raises
    ------
    DatasetError, ConfigError, CheckpointError, DeviceError, MissingExtraError
        Before anything is scored.
    """
    if engine not in get_args(Engine):
        raise ConfigError(f"unknown engine {engine!r}", hint="use local or ray")
    settings = settings or Settings()
    sha256 = load_checkpoint(settings.model).sha256
    shards = in_shards(find_items(source), shard_size)
    finished = _finished(output)
    named = [(shard, result_name(shard, settings, sha256)) for shard in shards]
    left = [(shard, name) for shard, name in named if name not in finished]
    resumed = len(shards) - len(left)
    counts: list[tuple[int, int]] = []
    if left:
        missing, names = [shard for shard, _ in left], [name for _, name in left]
        if engine == "ray":
            steps = _on_ray(missing, output, names, settings, workers)
        else:
            detector = Detector.load(**asdict(settings), workers=workers or 1)
            steps = _score_shards(missing, output, names, detector)
        for step in steps:
            counts.append(step)
            if on_progress:
                on_progress(resumed + len(counts), len(shards))
    return Outcome(
        scored=sum(scored for scored, _ in counts),
        failed=sum(failed for _, failed in counts),
        shards=len(shards),
        resumed_shards=resumed,
    )
