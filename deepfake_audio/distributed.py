"""Scoring at scale: a list of recordings in shards, each scored into one parquet file.

A shard is the unit of work, of failure and of resuming: its file appears whole or not at all, and
its name says what is in it and what scored it. A run that was killed is begun again with the same
arguments and makes only the files that are missing. Where shards are scored is the engine's
business: in this process, or by the actors of a Ray cluster.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

from .detector import Detector
from .errors import ConfigError, DatasetError
from .shards import (
    SHARD_ITEMS,
    Item,
    Shard,
    count_rows,
    find_items,
    finished_files,
    import_extra,
    in_shards,
    open_items,
    result_row,
    write_rows,
)

Engine = Literal["local", "ray"]

OnProgress = Callable[[int, int], None]


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
        Recordings with a report, and with an error, in all files: those found finished, too.
    shards, resumed_shards : int
        Shards in all, and those found finished.
    """

    scored: int
    failed: int
    shards: int
    resumed_shards: int


def result_name(shard: Shard, settings: Settings, model_sha256: str) -> str:
    """Return the name of a shard's file: another list, model or policy gives another name."""
    how = [model_sha256, settings.policy, settings.threshold]  # and not on which device
    what = json.dumps([[asdict(item) for item in shard.items], how])
    return f"part-{shard.number:06d}-{hashlib.sha256(what.encode()).hexdigest()[:16]}.parquet"


def _score_shards(
    shards: Sequence[Shard], output: str, names: Sequence[str], detector: Detector
) -> Iterator[tuple[int, int]]:
    """Score shards one after the other, without a pause between; yields (scored, failed)."""
    items = [item for shard in shards for item in shard.items]
    outages: list[tuple[str, Exception]] = []
    results = detector.detect_many(open_items(items, outages), names=[item.name for item in items])
    for shard, name in zip(shards, names, strict=True):
        rows = [result_row(item, next(results)) for item in shard.items]
        if outages:
            where, error = outages[0]
            raise DatasetError(
                f"cannot be reached ({type(error).__name__}: {error})",
                name=where,
                hint="check network and credentials and run again; finished shards are kept",
            ) from error
        write_rows(output, name, rows)
        failed = sum("error_code" in row for row in rows)
        yield len(rows) - failed, failed
    next(results, None)  # to its end: its threads are gone before the interpreter is


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
    ray = import_extra("ray")
    data = import_extra("ray.data")
    started = not ray.is_initialized()
    if started:
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
    try:
        for row in dataset.iter_rows():
            yield int(row["scored"]), int(row["failed"])
    finally:
        if started:
            ray.shutdown()


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
        Before anything is scored; a DatasetError also when a store can no longer be reached.
    """
    if engine not in get_args(Engine):
        raise ConfigError(f"unknown engine {engine!r}", hint="use local or ray")
    settings = settings or Settings()
    source, output = _absolute(source), _absolute(output)
    if os.path.exists(settings.model):
        settings = replace(settings, model=os.path.abspath(settings.model))
    # Loaded here whatever the engine: wrong settings are said before anything is scored.
    detector = Detector.load(**asdict(settings), workers=workers or 1)
    shards = in_shards(find_items(source), shard_size)
    finished = finished_files(output)
    named = [(shard, result_name(shard, settings, detector.model.sha256)) for shard in shards]
    if foreign := finished - {name for _, name in named}:
        raise ConfigError(
            f"holds results of another list, model, policy or shard size ({min(foreign)})",
            name=output,
            hint="choose another folder, or remove them",
        )
    left = [(shard, name) for shard, name in named if name not in finished]
    counts = [count_rows(output, name) for _, name in named if name in finished]
    resumed = len(counts)
    if left:
        missing, names = [shard for shard, _ in left], [name for _, name in left]
        if engine == "ray":
            steps = _on_ray(missing, output, names, settings, workers)
        else:
            steps = _score_shards(missing, output, names, detector)
        for step in steps:
            counts.append(step)
            if on_progress:
                on_progress(len(counts), len(shards))
    return Outcome(
        scored=sum(scored for scored, _ in counts),
        failed=sum(failed for _, failed in counts),
        shards=len(shards),
        resumed_shards=resumed,
    )


def _absolute(path: str) -> str:
    """Return a path that means the same on every worker of this machine; URLs stay."""
    return path if "://" in path else os.path.abspath(path)
