"""``deepfake-audio robustness``: the same clips through codecs, noise, rooms, losses, attacks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .._files import written_whole
from .._process import one_thread_each
from ..errors import ConfigError, DatasetError
from . import EXIT_INTERRUPTED
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
)
from .labelled import (
    DataOption,
    LimitOption,
    NoiseOption,
    SplitOption,
    load_clips,
    tell_what_was_learned,
)

if TYPE_CHECKING:
    from ..datasets import Clip
    from ..detector import Detector
    from ..evaluation.robustness import ConditionResult
    from ..evaluation.splices import SpliceResult


@dataclass(frozen=True)
class Suite:
    """What a run over the conditions gave; ``complete`` if it came to its end."""

    results: list[ConditionResult]
    splices: list[SpliceResult]
    complete: bool = False

    def to_dict(self, **about: Any) -> dict[str, Any]:
        """Return everything as plain JSON types."""
        from ..evaluation.robustness import to_dict

        return to_dict(self.results, self.splices, complete=self.complete, **about)

    def to_markdown(self) -> str:
        """Return the tables."""
        from ..evaluation.robustness import robustness_table
        from ..evaluation.splices import splice_table

        tables = [robustness_table(self.results)] if self.results else []
        tables += [splice_table(self.splices)] if self.splices else []
        tables += [] if self.complete else ["Not complete: the run was interrupted."]
        return "\n\n".join(tables)

    def write(self, path: Path, **about: Any) -> None:
        """Write everything as JSON, whole or not at all; pipes and the like as they are."""
        from ..evaluation.robustness import dump

        text = dump(self.to_dict(**about)) + "\n"
        try:
            if path.exists() and not path.is_file():
                path.write_text(text, encoding="utf-8")
                return
            with written_whole(path.resolve()) as partial:  # a link goes on being one
                partial.write_text(text, encoding="utf-8")
        except OSError as error:
            raise ConfigError(
                f"cannot be written ({error.strerror})",
                name=str(path),
                hint="see to its permissions and the space there, or choose another place",
            ) from error


def run_suite(
    detector: Detector,
    clips: Sequence[Clip],
    conditions: Sequence[str],
    *,
    noise: Path | None,
    splices: bool,
    quiet: bool,
    keep: Callable[[Suite], None],
) -> Suite:
    """Measure a detector under conditions and, if wanted, on partly synthetic recordings.

    Where there is too little data for one of them, or on Ctrl-C, what was measured before is kept.
    ``keep`` is given it after each condition: a suite takes minutes to hours.
    """
    from ..augment import SoundBank
    from ..evaluation.robustness import measure_robustness, one_line
    from ..evaluation.splices import make_splices, measure_splices

    bank = SoundBank.load(noise, held_out=True) if noise else None
    results: list[ConditionResult] = []
    partly: list[SpliceResult] = []
    keeping = True
    with silent_libraries():
        try:
            for result in measure_robustness(
                detector, clips, conditions, policies=[detector.policy], bank=bank
            ):
                results.append(result)
                if not quiet:
                    say(one_line(result))
                if keeping:
                    keeping = _kept(keep, Suite(results, partly))
            if splices:
                partly = list(measure_splices(detector.scorer, make_splices(clips)))
        except DatasetError as error:
            if not results:
                raise
            say(f"measured no further: {error}")
        except KeyboardInterrupt:
            say("interrupted: what follows is what was measured until now")
            return Suite(results, partly)
    return Suite(results, partly, complete=True)


def _kept(keep: Callable[[Suite], None], suite: Suite) -> bool:
    """Keep what there is so far; a full disk costs that, and not what is still to be measured."""
    try:
        keep(suite)
    except ConfigError as error:
        say(str(error))
        return False
    return True


def robustness(
    data: DataOption,
    split: SplitOption = None,
    condition: Annotated[
        list[str] | None,
        typer.Option(
            help="clean, noise:10, reverb, opus:12000, a-law+loss:5, pgd:30, duration:2, ..., or a "
            "topic: codecs, double, background, rooms, line, packets, edits, durations, attacks; "
            "repeatable. All topics but the last two by default."
        ),
    ] = None,
    splices: Annotated[
        bool, typer.Option("--splices", help="Also find synthetic stretches put into recordings.")
    ] = False,
    noise: NoiseOption = None,
    model: ModelOption = "default",
    policy: PolicyOption = PolicyName.BALANCED,
    threshold: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="On p_synthetic, instead of the policy's."),
    ] = None,
    device: DeviceOption = DeviceName.AUTO,
    limit: LimitOption = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH", help="Also write all figures here, as JSON, anew after each condition."
        ),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Also draw a heat map: .png, .svg, .pdf.")
    ] = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Measure a model on labelled clips as they are, coded, noisy, in rooms, edited, attacked.

    Of ``--noise`` only the recordings are used that training leaves out.
    """
    use_utf8()
    with errors_end_the_command():
        from ..augment.conditions import CONDITIONS
        from ..detector import Detector
        from ..evaluation.heat_map import save_heat_map
        from ..evaluation.robustness import dump
        from ..plots import check_format

        if plot:
            check_format(plot)
        if out and out.is_dir():
            raise ConfigError("is a folder", name=str(out), hint="give a file, such as suite.json")
        if out:
            check_writable(out.parent)
        clips = load_clips(data, split, limit)
        detector = Detector.load(
            model,
            device=device,
            policy=policy.value,
            threshold=threshold,
            workers=one_thread_each(device),
        )
        tell_what_was_learned(detector, clips)
        about = {"model": str(detector.model), "data": ", ".join(data), "clips": len(clips)}

        def keep(suite: Suite) -> None:
            if out:
                suite.write(out, **about)

        suite = run_suite(
            detector,
            clips,
            condition or CONDITIONS,
            noise=noise,
            splices=splices,
            quiet=quiet,
            keep=keep,
        )
        # Printed before anything is saved: a full disk must not cost the result.
        typer.echo(dump(suite.to_dict(**about)) if json else suite.to_markdown())
        keep(suite)
        if plot and suite.results:
            save_heat_map(suite.results, plot)
        if not suite.complete:
            raise typer.Exit(EXIT_INTERRUPTED)
