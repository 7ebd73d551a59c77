"""``deepfake-audio drill``: a fresh red-team set, and what the deployed detector makes of it."""

from __future__ import annotations

import json as json_module
import secrets
import shlex
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .._process import one_thread_each
from ..errors import ConfigError
from .console import (
    DeviceName,
    DeviceOption,
    JsonOption,
    ModelOption,
    PolicyName,
    PolicyOption,
    QuietOption,
    errors_end_the_command,
    say,
    silent_libraries,
    use_utf8,
    with_progress,
)
from .labelled import NoiseOption

if TYPE_CHECKING:
    from ..detector import Detector
    from ..drill import Deployment, LocalDeployment

_MANY_SEEDS = 2**32
_VOCODERS = ("griffin_lim", "lpc", "world")
_NOT_IN_COMMAND = ("quiet", "json")


class SurfaceName(StrEnum):
    """Where recordings are said to come from."""

    UPLOAD = "upload"
    MESSAGE = "message"
    LIVE = "live"


def drill(
    out: Annotated[Path, typer.Option(metavar="DIR", help="New folder for set and outcome.")],
    genuine: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR|MANIFEST",
            help="Genuine speech of your own: a folder of files, or labelled clips. The bundled "
            "samples if none, which are too few for a figure.",
        ),
    ] = None,
    synthetic: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="DIR|MANIFEST",
            help="Fakes that you know of, of a new generator for instance: a folder of files, "
            "whose name is taken for the system's, or labelled clips; repeatable.",
        ),
    ] = None,
    engine: Annotated[
        list[str] | None,
        typer.Option(
            help="espeak-ng, festival, flite, piper; repeatable. All that are installed if none."
        ),
    ] = None,
    piper_voice: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE.onnx", help="Voice of piper; may be given repeatedly."),
    ] = None,
    vocoder: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME|FILE|DIR",
            help="Copies genuine clips: codec2, griffin_lim, lpc, world, weights (of `vocoder` or "
            "HiFi-GAN), or the folder of Lyra's graphs; repeatable. griffin_lim, lpc and world if "
            "none.",
        ),
    ] = None,
    condition: Annotated[
        list[str] | None,
        typer.Option(help="As for `robustness`; repeatable. Ten of them if none."),
    ] = None,
    noise: NoiseOption = None,
    clips: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=500,
            help="Recordings of each attack, and of each class under each condition; 24 if none.",
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="To make a set again; another one each time if none.")
    ] = None,
    surface: Annotated[
        list[SurfaceName] | None,
        typer.Option(help="Where recordings are said to come from, in turn; repeatable."),
    ] = None,
    model: ModelOption = "default",
    policy: PolicyOption = PolicyName.BALANCED,
    policy_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Policy of the service, as for `serve`.")
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(min=0, max=1, help="On p_synthetic, your own.")
    ] = None,
    service: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Ask this running service and not a model here."),
    ] = None,
    key_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Holds its key, of the scopes submit and read."),
    ] = None,
    device: DeviceOption = DeviceName.AUTO,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Attack the deployed detector with what is installed here, and say what it missed.

    Writes clips/, manifest.csv, scores.csv and drill.json; `assess` reads the last as evidence.
    """
    given = {name: value for name, value in locals().items() if name not in _NOT_IN_COMMAND}
    use_utf8()
    with errors_end_the_command():
        from .. import drill as drilling
        from ..augment import SoundBank, conditions
        from ..augment.vocoders import find_vocoder

        _check(policy_file, threshold, service, key_file)
        given["seed"] = secrets.randbelow(_MANY_SEEDS) if seed is None else seed
        engines, skipped = drilling.find_engines(engine or (), piper_voice or ())
        plan = drilling.Plan(
            seed=given["seed"],
            genuine=genuine,
            fakes=synthetic or (),
            engines=engines,
            vocoders={Path(name).stem: find_vocoder(name) for name in vocoder or _VOCODERS},
            conditions=conditions.expand(condition) if condition else drilling.CONDITIONS,
            surfaces=[each.value for each in surface or SurfaceName],
            bank=SoundBank.load(noise, held_out=True) if noise else SoundBank(),
            clips=clips or drilling.CLIPS,
        )
        deployment: Deployment
        if service:
            deployment = drilling.ServiceDeployment(
                service, _key(key_file), {"drill": given["seed"]}
            )
        else:
            deployment = _local(model, policy, policy_file, threshold, device)
        with silent_libraries():
            made = drilling.make_set(plan, out, None if quiet else lambda name: say(f"{name} ..."))
            answers = with_progress(
                deployment.ask(made.recordings), len(made.recordings), quiet=quiet, label="drill"
            )
            heard = [
                drilling.Heard(recording, answer)
                for recording, answer in zip(made.recordings, answers, strict=True)
            ]
        protocol = drilling.write_protocol(
            made, heard, plan, skipped, command=_command(given), deployment=deployment.name
        )
        if json:
            typer.echo(json_module.dumps(protocol, indent=2, ensure_ascii=False))
            return
        typer.echo(drilling.table(drilling.count(heard)))
        if not quiet:
            for each in protocol["skipped"]:
                say(f"skipped: {each['what']}: {each['why']}")
            unscored = protocol["counts"]["without_score"]
            say(
                f"seed {given['seed']}, {len(heard)} recordings, {unscored} of them without a "
                f"score, {protocol['about']['model']}"
            )
        typer.echo(out / drilling.PROTOCOL)


def _check(
    policy_file: Path | None, threshold: float | None, service: str | None, key_file: Path | None
) -> None:
    if service and (policy_file or threshold is not None):
        raise ConfigError(
            "has a policy and thresholds of its own", name="--service",
            hint="leave out --policy-file and --threshold",
        )  # fmt: skip
    if policy_file and threshold is not None:
        raise ConfigError(
            "goes by the operating points of the policy", name="--policy-file",
            hint="leave out one of it and --threshold",
        )  # fmt: skip
    if key_file and not service:
        raise ConfigError("is of a service", name="--key-file", hint="give --service")


def _local(
    model: str,
    policy: PolicyName,
    policy_file: Path | None,
    threshold: float | None,
    device: DeviceName,
) -> LocalDeployment:
    from ..checkpoint import load_checkpoint
    from ..detector import Detector
    from ..drill import LocalDeployment

    checkpoint, workers = load_checkpoint(model), one_thread_each(device)

    @cache
    def load(point: str) -> Detector:
        return Detector(
            checkpoint, device=device, policy=point, threshold=threshold, workers=workers
        )

    return LocalDeployment(load, policy.value, policy_file)


def _key(file: Path | None) -> str | None:
    if file is None:
        return None
    try:
        return file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            "cannot be read", name=str(file), hint="give a file with a key"
        ) from error


def _command(given: dict[str, Any]) -> str:
    """Return the command that does this again."""
    words = ["deepfake-audio", "drill"]
    for name, value in given.items():
        for each in value if isinstance(value, list) else [value]:
            if each is not None:
                words += [f"--{name.replace('_', '-')}", str(each)]
    return shlex.join(words)
