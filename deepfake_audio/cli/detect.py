"""``detect``: a verdict for each file."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .._process import loading, one_thread_each
from ..errors import DeepfakeAudioError
from ..report import Report, Verdict
from . import (
    EXIT_BROKEN_PIPE,
    EXIT_HIT,
    EXIT_INTERRUPTED,
    EXIT_NOTHING_SCORED,
    EXIT_SOME_UNREADABLE,
)
from .console import (
    DeviceName,
    DeviceOption,
    ModelOption,
    PolicyName,
    PolicyOption,
    QuietOption,
    VersionOption,
    check_writable,
    fail,
    fail_unexpectedly,
    say,
    silent_libraries,
    use_utf8,
    with_progress,
)
from .outputs import CsvOutput, JsonLinesOutput, JsonOutput, Output, TextOutput

if TYPE_CHECKING:
    from ..audio import DecodedAudio
    from ..decoding import DecodeAhead
    from ..detector import Detector
    from .inputs import Inputs

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class FailOn(StrEnum):
    """Verdicts that make the command fail."""

    SYNTHETIC = "synthetic"
    UNCERTAIN = "uncertain"
    INCONCLUSIVE = "inconclusive"


_HITS = {
    FailOn.SYNTHETIC: frozenset({Verdict.LIKELY_SYNTHETIC}),
    FailOn.UNCERTAIN: frozenset({Verdict.LIKELY_SYNTHETIC, Verdict.UNCERTAIN}),
    FailOn.INCONCLUSIVE: frozenset(set(Verdict) - {Verdict.LIKELY_AUTHENTIC}),
}


@app.command()
def detect(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE|DIR|GLOB|-...", help="Audio or video files, folders, patterns, or stdin."
        ),
    ],
    json: Annotated[bool, typer.Option("--json", help="One JSON array of reports.")] = False,
    jsonl: Annotated[bool, typer.Option("--jsonl", help="One JSON report a line.")] = False,
    csv: Annotated[bool, typer.Option("--csv", help="One row a report.")] = False,
    segments: Annotated[
        bool, typer.Option("--segments", help="Scores over time (JSON always has them).")
    ] = False,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="OUT.png", help="Draw the score over time; a folder for many inputs."),
    ] = None,
    provenance: Annotated[
        bool,
        typer.Option("--provenance", help="Read labels, too: AIGC, C2PA, and the audible rhythm."),
    ] = False,
    policy: PolicyOption = PolicyName.BALANCED,
    threshold: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="p_synthetic that is likely synthetic, your own."),
    ] = None,
    device: DeviceOption = DeviceName.AUTO,
    recursive: Annotated[
        bool, typer.Option("--recursive", "-r", help="Look into the folders of folders.")
    ] = False,
    fail_on: Annotated[
        FailOn | None,
        typer.Option(
            help="Exit 1 if there is such a verdict; uncertain includes synthetic, inconclusive "
            "all but likely authentic."
        ),
    ] = None,
    model: ModelOption = "default",
    quiet: QuietOption = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Full reports, timings, skipped files.")
    ] = False,
    version: VersionOption = False,
) -> None:
    """Tell synthetic speech from genuine.

    Exit status: 0 everything was heard, whatever the verdict, inconclusive included; 1 only with
    --fail-on and a hit, whatever else; 2 wrong usage; 3 some inputs could not be read or drawn,
    the others were scored; 4 nothing could be scored; 130 interrupted.
    """
    if json + jsonl + csv > 1:
        raise typer.BadParameter("choose one", param_hint="--json, --jsonl, --csv")
    use_utf8()
    text = TextOutput(segments=segments)
    output: Output = text
    if json:
        output = JsonOutput()
    elif jsonl:
        output = JsonLinesOutput()
    elif csv:
        output = CsvOutput(segments=segments)

    def load(*, many: bool) -> Detector:
        with loading():
            from ..detector import Detector

            exported = model.endswith(".onnx")  # has threads of its own
            workers = one_thread_each(device) if many and not exported else 1
            return Detector.load(
                model, device=device, policy=policy.value, threshold=threshold, workers=workers
            )

    def run() -> int:
        found = _find(inputs, recursive=recursive, quiet=quiet, verbose=verbose)
        many = len(found.names) > 1
        text.many = many and not verbose
        plots = _Plots(plot, many=many) if plot else None
        tally = _Tally(failed=len(found.failures), hits=_HITS[fail_on] if fail_on else frozenset())
        if found.names:
            with silent_libraries():
                decoded = _begin_decoding(found)
                detector = load(many=many)
                if verbose:
                    scorer = detector.scorer
                    devices = ", ".join(map(str, scorer.devices))
                    say(
                        f"model {detector.model} on {devices}, {scorer.precision}, "
                        f"{detector.workers} at a time"
                    )
                results = detector.detect_decoded(decoded)
                if provenance:
                    results = _with_provenance(results, found)
                _write(detector, results, found, output, plots, tally, quiet=quiet, verbose=verbose)
        return tally.status

    raise typer.Exit(_guarded(run, output, verbose=verbose))


def _guarded(run: Callable[[], int], output: Output, *, verbose: bool) -> int:
    """Run the command; whatever ends it, close the output and return the exit status."""
    try:
        try:
            return run()
        except KeyboardInterrupt:
            return EXIT_INTERRUPTED
        except DeepfakeAudioError as error:
            return fail(error).exit_code
        finally:
            output.close()
    except BrokenPipeError:
        # Whoever read the results has gone; what is still buffered has nowhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_BROKEN_PIPE
    except (typer.Exit, typer.BadParameter):
        raise
    except Exception as error:
        return fail_unexpectedly(error, verbose=verbose).exit_code


def _find(arguments: list[str], *, recursive: bool, quiet: bool, verbose: bool) -> Inputs:
    from ..config import Limits
    from .inputs import collect

    found = collect(arguments, recursive=recursive, limits=Limits())
    for failure in found.failures:
        say(str(failure))
    if not quiet:
        for warning in found.warnings:
            say(warning)
    if verbose:
        for path in found.skipped:
            say(f"{path}: skipped, hidden or no audio")
    return found


@dataclass
class _Tally:
    """What happened, and the exit status it makes."""

    failed: int
    hits: frozenset[Verdict]
    scored: int = 0
    hit: bool = False

    @property
    def status(self) -> int:
        if not self.scored:
            return EXIT_NOTHING_SCORED
        if self.hit:
            return EXIT_HIT
        return EXIT_SOME_UNREADABLE if self.failed else 0


class _Plots:
    """Where plots go: one file, or a folder with a file for each input."""

    def __init__(self, path: Path, *, many: bool) -> None:
        from ..plots import check_format

        self._path = path
        self._taken: set[str] = set()
        self._is_folder = path.is_dir()
        if self._is_folder:
            check_format(path / "each.png")
            check_writable(path)
            return
        if many:
            raise typer.BadParameter(
                "must be an existing folder for more than one input", param_hint="--plot"
            )
        check_format(path)
        check_writable(path.parent)

    def draw(self, report: Report, audio: DecodedAudio) -> None:
        """Draw one input; raises DeepfakeAudioError if the file cannot be written."""
        from ..plots import save_plot

        save_plot(report, audio, self._file_for(report.input.name))

    def _file_for(self, name: str) -> Path:
        if not self._is_folder:
            return self._path
        stem = Path(name).name
        names = (f"{stem}{f'-{i}' if i else ''}.png" for i in itertools.count())
        free = next(name for name in names if name not in self._taken)
        self._taken.add(free)
        return self._path / free


def _begin_decoding(found: Inputs) -> DecodeAhead:
    from ..config import Limits
    from ..decoding import DecodeAhead

    decoded = DecodeAhead(zip(found.sources, found.names, strict=True), limits=Limits())
    decoded.begin()
    return decoded


def _with_provenance(
    results: Iterator[Report | DeepfakeAudioError], found: Inputs
) -> Iterator[Report | DeepfakeAudioError]:
    """Put the labels of each file beside its verdict."""
    from ..provenance import read_provenance

    for source, result in zip(found.sources, results, strict=True):
        if isinstance(result, DeepfakeAudioError):
            yield result
            continue
        try:
            labels = read_provenance(source, name=result.input.name)
        except DeepfakeAudioError as error:
            say(f"{error}; labels not read")
            yield result
            continue
        if not labels.read:
            say(f"{result.input.name}: its tags are damaged; labels may be missing")
        yield result.with_provenance(labels)


def _write(
    detector: Detector,
    results: Iterator[Report | DeepfakeAudioError],
    found: Inputs,
    output: Output,
    plots: _Plots | None,
    tally: _Tally,
    *,
    quiet: bool,
    verbose: bool,
) -> None:
    from ..audio import decode

    shown = with_progress(results, len(found.names), quiet=quiet, label="detect")
    for source, result in zip(found.sources, shown, strict=True):
        if isinstance(result, DeepfakeAudioError):
            tally.failed += 1
            say(str(result))
            continue
        tally.scored += 1
        tally.hit |= result.verdict in tally.hits
        output.write(result)
        if verbose:
            timing = result.timing_ms
            say(f"{result.input.name}: decode {timing.decode} ms, score {timing.score} ms")
        if plots:
            try:
                name = result.input.name
                plots.draw(result, decode(source, name=name, limits=detector.limits))
            except DeepfakeAudioError as error:
                tally.failed += 1
                say(str(error))
