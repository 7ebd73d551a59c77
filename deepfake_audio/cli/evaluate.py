"""``deepfake-audio evaluate``: figures of a model on labelled clips, or of a score file."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .._process import one_thread_each
from ..errors import ConfigError, DeepfakeAudioError, MissingExtraError
from . import EXIT_INTERRUPTED, EXIT_SOME_UNREADABLE
from .console import (
    DeviceName,
    DeviceOption,
    JsonOption,
    ModelOption,
    PolicyName,
    PolicyOption,
    QuietOption,
    check_writable,
    errors_end_the_command,
    say,
    silent_libraries,
    use_utf8,
    with_progress,
)
from .labelled import (
    LimitOption,
    NoiseOption,
    OptionalDataOption,
    SplitOption,
    load_clips,
    tell_what_was_learned,
)
from .robustness import Suite, run_suite

if TYPE_CHECKING:
    from ..audio import AudioSource
    from ..config import Policy
    from ..datasets import Clip
    from ..detector import Detector
    from ..evaluation import Evaluation, ScoreTable
    from ..evaluation.nuisances import Column
    from ..report import Report

SUITE_NAME = "robustness.json"


class ScoreFormat(StrEnum):
    """Forms of the scores written to ``--out``."""

    CSV = "csv"
    ASVSPOOF = "asvspoof"


def evaluate(
    data: OptionalDataOption = None,
    split: SplitOption = None,
    model: ModelOption = "default",
    policy: PolicyOption = PolicyName.BALANCED,
    threshold: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="On p_synthetic, for verdicts and breakdowns; instead of the policy's.",
        ),
    ] = None,
    device: DeviceOption = DeviceName.AUTO,
    limit: LimitOption = None,
    scores: Annotated[
        Path | None, typer.Option(help="ASVspoof score file (high = bona fide), not a model.")
    ] = None,
    protocol: Annotated[
        Path | None, typer.Option(help="ASVspoof protocol, if the score file has no labels.")
    ] = None,
    asv_scores: Annotated[
        Path | None, typer.Option(help="Scores of a speaker verifier, for t-DCF and a-DCF.")
    ] = None,
    bootstrap: Annotated[
        int, typer.Option(min=0, help="Replicates behind the 95 % intervals; 0: none.")
    ] = 1000,
    plots: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Draw DET curve, reliability, systems and scores there, as PNG."
        ),
    ] = None,
    nuisances: Annotated[
        bool,
        typer.Option(
            "--nuisances",
            help="Also within bins of bandwidth, level, silence, length, source codec and rate.",
        ),
    ] = False,
    robustness: Annotated[
        bool,
        typer.Option(
            "--robustness",
            help="Also under all conditions of `deepfake-audio robustness`, attacks and splices "
            "included; takes as many times as long.",
        ),
    ] = False,
    noise: NoiseOption = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write metrics.json, report.md, scores.")
    ] = None,
    format: Annotated[
        ScoreFormat, typer.Option(help="Of the scores in --out; asvspoof is high = bona fide.")
    ] = ScoreFormat.CSV,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Measure a model on labelled clips, or a score file, with 95 % intervals.

    Exit status: 0 every clip was scored or inconclusive; 2 wrong usage; 3 some clips could not be
    read; 4 nothing could be evaluated; 130 interrupted.
    """
    if bool(data) == bool(scores):
        raise typer.BadParameter("give one of them", param_hint="--data, --scores")
    if protocol and not scores:
        raise typer.BadParameter("goes with --scores", param_hint="--protocol")
    for name, wanted in (
        ("--robustness", robustness),
        ("--nuisances", nuisances),
        ("--threshold", threshold is not None),
    ):
        if scores and wanted:
            raise typer.BadParameter("needs a model and --data", param_hint=name)
    use_utf8()
    with errors_end_the_command():
        from ..augment.conditions import EVERYTHING
        from ..evaluation import evaluate_scores, read_asv_scores, read_asvspoof
        from ..evaluation.pictures import save_pictures
        from ..plots import require_matplotlib

        for folder in (out, plots):
            if folder:
                _create(folder)
        if plots:
            require_matplotlib()
        policies: list[Policy] = []
        failed = False
        suite: Suite | None = None
        columns: dict[str, Column] | None = None
        about: dict[str, Any] = {"scores": str(scores)}
        if scores:
            table = read_asvspoof(scores, protocol)
        else:
            clips = load_clips(data or [], split, limit)
            workers = one_thread_each(device) if robustness else 1
            detector = _load(model, device, policy, threshold, workers)
            tell_what_was_learned(detector, clips)
            about = {"model": str(detector.model), "data": ", ".join(data or [])}
            about |= {"split": split} if split else {}
            policies = _policies(detector)
            with silent_libraries():
                table, failed = _score(detector, clips, quiet=quiet)
                columns = _nuisances(clips, table) if nuisances else None
            if robustness:
                conditions = [
                    name for name in EVERYTHING if name != "attacks" or _is_torch(detector)
                ]

                def keep(suite: Suite) -> None:
                    if out:
                        suite.write(out / SUITE_NAME, **about)

                suite = run_suite(
                    detector, clips, conditions, noise=noise, splices=True, quiet=quiet, keep=keep
                )
        result = evaluate_scores(
            table,
            policies,
            asv=read_asv_scores(asv_scores) if asv_scores else None,
            nuisances=columns,
            n_bootstrap=bootstrap,
            about=about,
        )
        # Printed before anything is saved: a full disk must not cost the result.
        typer.echo(_json(result, suite) if json else result.to_markdown().rstrip())
        if suite and not json:
            typer.echo(f"\n## Robustness\n\n{suite.to_markdown()}")
        if out:
            _save(result, table, out, format)
            if suite and suite.results:
                _save_suite(suite, out, about)
        if plots and not save_pictures(table, result, plots):
            say(f"{plots}: nothing to draw, there are clips of one class only")
        if suite and not suite.complete:
            raise typer.Exit(EXIT_INTERRUPTED)
        if failed:
            raise typer.Exit(EXIT_SOME_UNREADABLE)


def _create(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot be created ({error.strerror})", name=str(folder)) from error
    check_writable(folder)


def _load(
    model: str, device: DeviceName, policy: PolicyName, threshold: float | None, workers: int
) -> Detector:
    from ..detector import Detector

    return Detector.load(
        model, device=device, policy=policy.value, threshold=threshold, workers=workers
    )


def _is_torch(detector: Detector) -> bool:
    """Tell whether there are gradients to attack with; an exported model has none."""
    from ..onnx_network import OnnxNetwork

    return not isinstance(detector.scorer.network, OnnxNetwork)


def _policies(detector: Detector) -> list[Policy]:
    """Return the policy in force, which the breakdowns use, and the others of the model."""
    others = detector.scorer.header.policies.values()
    return [detector.policy, *(policy for policy in others if policy != detector.policy)]


def _score(detector: Detector, clips: list[Clip], *, quiet: bool) -> tuple[ScoreTable, bool]:
    """Score labelled clips; also tell whether some could not be read."""
    from ..datasets.manifest import iter_audio, to_row
    from ..evaluation import score_table_from_reports

    order: list[int] = []

    def sources() -> Iterator[AudioSource]:
        for index, source in iter_audio(clips):
            order.append(index)
            yield source

    results = detector.detect_many(sources(), names=_names(clips, order))
    said: list[Report | DeepfakeAudioError] = []
    for result in with_progress(results, len(clips), quiet=quiet, label="evaluate"):
        said.append(result)
        if isinstance(result, DeepfakeAudioError):
            say(str(result))
    table = score_table_from_reports([to_row(clips[index]) for index in order], said)
    return table, any(isinstance(result, DeepfakeAudioError) for result in said)


def _names(clips: list[Clip], order: list[int]) -> Iterator[str]:
    # Runs beside the sources: each name belongs to the source that was taken last.
    for _ in clips:
        yield clips[order[-1]].id


def _nuisances(clips: list[Clip], table: ScoreTable) -> dict[str, Column]:
    """Measure clips in the order of the table."""
    from ..evaluation.nuisances import measure_clips, nuisance_columns

    by_id = {clip.id: clip for clip in clips}
    ordered = [by_id[name] for name in table.id.tolist()]
    return nuisance_columns(ordered, list(measure_clips(ordered)))


def _json(result: Evaluation, suite: Suite | None) -> str:
    from ..evaluation.robustness import dump

    return dump(result.to_dict() | ({"robustness": suite.to_dict()} if suite else {}))


def _save_suite(suite: Suite, out: Path, about: dict[str, Any]) -> None:
    """Write robustness.json, .md and, with matplotlib, .png."""
    from ..evaluation.heat_map import save_heat_map

    suite.write(out / SUITE_NAME, **about)
    try:
        (out / "robustness.md").write_text(suite.to_markdown() + "\n", encoding="utf-8")
        save_heat_map(suite.results, out / "robustness.png")
    except OSError as error:
        raise ConfigError(f"cannot be written ({error.strerror})", name=str(out)) from error
    except MissingExtraError as error:
        say(f"no heat map: {error}")


def _save(result: Evaluation, table: ScoreTable, out: Path, form: ScoreFormat) -> None:
    from ..evaluation import write_protocol, write_scores

    try:
        result.save(out)
        if form is ScoreFormat.ASVSPOOF:
            write_scores(out / "scores.txt", table)
            write_protocol(out / "protocol.txt", table)
        else:
            table.write_csv(out / "scores.csv")
    except OSError as error:
        raise ConfigError(f"cannot be written ({error.strerror})", name=str(out)) from error
