"""Reports that were kept: the JSON lines of ``detect --jsonl``, the parquet files of ``score``.

A report says nothing of a recording's language or of where it came in. Where that was kept beside
it, it can be read too: in JSON lines an object ``metadata`` beside the report's own keys, or the
detections of the service, which have ``metadata`` and ``report``; in parquet files a column.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from ..datasets.manifest import import_parquet
from ..errors import DatasetError
from ..report import Report

FAILED = "failed"
"""Verdict on a recording that could not be read; only parquet files hold those."""

_SUFFIXES = (".jsonl", ".ndjson", ".parquet")
_COLUMNS = (
    "name", "error_code", "verdict", "reason", "p_synthetic", "llr_synthetic", "novelty",
    "policy", "threshold", "prior_synthetic", "duration_s", "speech_s", "format",
    "sample_rate_hz", "channels", "warnings", "model", "model_version", "model_sha256",
)  # fmt: skip
_BATCH_ROWS = 4096


@dataclass(frozen=True)
class ReportRow:
    """What is kept of one report; None where there is no value.

    Attributes
    ----------
    where : str
        File, and line or row in it.
    name : str
        Of the recording.
    verdict : str
        As in the report, or ``failed``.
    reason : str or None
        Why it is inconclusive; of a failure, the code of the error.
    p_synthetic, llr_synthetic, novelty, threshold : float or None
    duration_s, speech_s : float or None
        Seconds.
    format : str or None
    sample_rate_hz, channels : int or None
    warnings : tuple of str
    policy, model : str
        Thresholds in words, and model with the start of its hash; empty of a failure.
    properties : dict of str to str
        What was kept beside the report, of what was asked for.
    """

    where: str
    name: str
    verdict: str
    reason: str | None
    p_synthetic: float | None
    llr_synthetic: float | None
    novelty: float | None
    threshold: float | None
    duration_s: float | None
    speech_s: float | None
    format: str | None
    sample_rate_hz: int | None
    channels: int | None
    warnings: tuple[str, ...]
    policy: str
    model: str
    properties: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of_report(cls, report: Report, where: str) -> Self:
        """Keep what matters of a report."""
        heard, policy = report.input, report.policy
        return cls(
            where=where,
            name=heard.name,
            verdict=report.verdict.value,
            reason=report.reason.value if report.reason else None,
            p_synthetic=report.p_synthetic,
            llr_synthetic=report.llr_synthetic,
            novelty=report.novelty,
            threshold=policy.threshold,
            duration_s=heard.duration_s,
            speech_s=heard.speech_s,
            format=heard.format,
            sample_rate_hz=heard.sample_rate_hz,
            channels=heard.channels,
            warnings=report.warnings,
            policy=_policy(policy.name, policy.threshold, policy.prior_synthetic),
            model=str(report.model),
        )

    @classmethod
    def of_columns(cls, values: dict[str, Any], where: str) -> Self:
        """Build from a row of ``score``; columns that older files lack are missing."""
        names = set(cls.__dataclass_fields__) - {"properties"}
        kept: dict[str, Any] = {key: values.get(key) for key in names}
        if values["error_code"] is not None:
            kept |= {"verdict": FAILED, "reason": values["error_code"], "policy": "", "model": ""}
        else:
            sha256 = (values.get("model_sha256") or "")[:8]
            kept["model"] = f"{values.get('model')} {values.get('model_version')} ({sha256})"
            point = ("policy", "threshold", "prior_synthetic")
            kept["policy"] = _policy(*(values.get(name) for name in point))
        return cls(**{**kept, "where": where, "warnings": tuple(values.get("warnings") or ())})


def _policy(name: Any, threshold: Any, prior: Any) -> str:
    return f"{name}, threshold {threshold:g}, prior {prior:g}"


def _known(about: dict[str, Any], properties: Sequence[str]) -> dict[str, str]:
    """Return those properties that are there and are short values, as text."""
    found = {name: about.get(name) for name in properties}
    return {
        name: str(value)
        for name, value in found.items()
        if isinstance(value, str | int | float) and value != ""
    }


def read_reports(
    sources: Iterable[str | Path], properties: Sequence[str] = ()
) -> Iterator[ReportRow]:
    """Read reports one after the other; of a file, no more than a batch is held.

    Parameters
    ----------
    sources : iterable of path
        ``.jsonl`` files of ``detect --jsonl``, ``.parquet`` files of ``score``, or folders that
        hold such files.
    properties : sequence of str
        What to read of the metadata beside the reports; it need not be there.

    Yields
    ------
    ReportRow
        In the order of the sources, the files of a folder by name.

    Raises
    ------
    DatasetError
        If something is not there, cannot be read or is no report; names file and line.
    MissingExtraError
        If it is a parquet file and pyarrow is not installed.
    """
    for source in sources:
        for path in report_files(Path(source)):
            try:
                read = _parquet if path.suffix == ".parquet" else _json_lines
                yield from read(path, properties)
            except OSError as error:
                raise DatasetError(
                    f"cannot be read ({error.strerror or error})", name=str(path), hint="check it"
                ) from error


def report_files(source: Path) -> list[Path]:
    """Return the files of reports that a path stands for: itself, or those of a folder by name.

    Raises
    ------
    DatasetError
        If there are none.
    """
    if source.is_file():
        if source.suffix not in _SUFFIXES:
            raise DatasetError(
                "is no file of reports",
                name=str(source),
                hint="give .jsonl of `detect --jsonl`, or .parquet of `score`",
            )
        return [source]
    if not source.is_dir():
        raise DatasetError("no such file or folder", name=str(source), hint="check the path")
    found = sorted(path for path in source.iterdir() if path.suffix in _SUFFIXES)
    if not found:
        raise DatasetError(
            "holds no files of reports",
            name=str(source),
            hint="give .jsonl of `detect --jsonl`, or .parquet of `score`",
        )
    return found


def _json_lines(path: Path, properties: Sequence[str]) -> Iterator[ReportRow]:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            where = f"{path}:{number}"
            try:
                values = json.loads(line)
                if not isinstance(values, dict):
                    raise ValueError("no JSON object")
                about = _known(values.get("metadata") or {}, properties)
                row = replace(_of_json(values, where), properties=about)
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                raise DatasetError(
                    f"is no report ({error})", name=where, hint="give what `detect --jsonl` wrote"
                ) from error
            yield row


def _of_json(values: dict[str, Any], where: str) -> ReportRow:
    """Read a report, or a detection of the service with its report or its error."""
    report = values.get("report", values)
    if report is None and (error := values.get("error")):
        failed = {"name": values["name"], "error_code": error["code"]}
        return ReportRow.of_columns(failed, where)
    return ReportRow.of_report(Report.from_dict(report), where)


def _parquet(path: Path, properties: Sequence[str]) -> Iterator[ReportRow]:
    parquet = import_parquet()
    try:
        with parquet.ParquetFile(path) as file:
            # Files of earlier versions have no novelty.
            missing = set(_COLUMNS) - {"novelty"} - set(file.schema_arrow.names)
            if missing:
                raise DatasetError(
                    f"has no column {min(missing)}", name=str(path), hint="give what `score` wrote"
                )
            wanted = dict.fromkeys((*_COLUMNS, *properties))
            columns = [name for name in wanted if name in file.schema_arrow.names]
            row = 0
            for batch in file.iter_batches(_BATCH_ROWS, columns=columns):
                for values in batch.to_pylist():
                    about = _known(values, properties)
                    yield replace(ReportRow.of_columns(values, f"{path}:{row}"), properties=about)
                    row += 1
    except ValueError as error:  # pyarrow's complaints are ValueErrors
        raise DatasetError(
            f"is no parquet file ({error})", name=str(path), hint="give what `score` wrote"
        ) from error
