"""Options of the loop: flat minima, teachers, crops that grow; and resuming with them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_training import TINY, cache_of, maker_of
from torch import nn

from deepfake_audio.augment.renderings import Rendering
from deepfake_audio.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from deepfake_audio.errors import CheckpointError, ConfigError
from deepfake_audio.training import Recipe
from deepfake_audio.training.loop import STATE_NAME, make_state, run, train_step
from deepfake_audio.training.recipe import DistillConfig, OptimConfig
from deepfake_audio.training.sampler import BatchMaker
from deepfake_audio.training.sharpness import still_statistics, worst_nearby
from deepfake_audio.training.state import TrainingState
from deepfake_audio.training.teachers import Teachers

CPU = torch.device("cpu")


def with_optim(**values: Any) -> Recipe:
    return dataclasses.replace(TINY, optim=TINY.optim.replace(**values))


@pytest.mark.parametrize("adaptive", [False, True])
def test_the_move_is_up_the_slope_and_as_long_as_asked_for(adaptive: bool) -> None:
    torch.manual_seed(0)
    weights = [
        nn.Parameter(values) for values in (torch.randn(3, 4), torch.randn(5), torch.ones(2))
    ]
    before = [w.detach().clone() for w in weights]
    (weights[0].square().sum() + weights[1].sin().sum()).backward()  # the third has no gradient
    with worst_nearby(weights, 0.1, adaptive=adaptive):
        moves = [(w.detach() - b) for w, b in zip(weights, before, strict=True)]
        lengths = [
            (m / (b.abs() + 0.01) if adaptive else m).square().sum()
            for m, b in zip(moves, before, strict=True)
        ]
        assert sum(lengths).sqrt().item() == pytest.approx(0.1, rel=1e-3)
        assert all(
            ((m * w.grad) >= 0).all()
            for m, w in zip(moves, weights, strict=True)
            if w.grad is not None
        )
        assert torch.equal(weights[2], before[2])
    for weight, old in zip(weights, before, strict=True):
        assert torch.equal(weight, old)


def test_statistics_stay_still_but_are_those_of_the_batch() -> None:
    torch.manual_seed(0)
    norm = nn.BatchNorm1d(3)
    values = torch.randn(8, 3) + 5
    before = {k: v.clone() for k, v in norm.state_dict().items()}
    with still_statistics(norm):
        still = norm(values)
    assert all(torch.equal(v, norm.state_dict()[k]) for k, v in before.items())
    assert torch.equal(norm(values), still)
    assert norm.num_batches_tracked == 1


def test_sharpness_takes_the_gradient_elsewhere_and_statistics_from_here() -> None:
    plain, sharp = with_optim(), with_optim(sharpness=0.05)
    states = {}
    for recipe in (plain, sharp):
        state = make_state(recipe, CPU)
        state.network.branches[0].body.dropout.p = 0.0  # type: ignore[union-attr]
        train_step(state, maker_of().make(0), recipe.optim.replace(freq_mask=0.0, time_mask=0.0))
        states[recipe.optim.sharpness] = state
    ours, theirs = states[0.0].network, states[0.05].network
    assert any(
        not torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True)
    )
    for (name, a), (_, b) in zip(ours.named_buffers(), theirs.named_buffers(), strict=True):
        assert torch.equal(a, b), name


def teacher_of(
    checkpoint: Checkpoint, path: Path, scale: float = 1.0, offset: float = 0.25
) -> Path:
    path = path.with_suffix(".safetensors")
    calibration = dataclasses.replace(checkpoint.header.calibration, scale=scale, offset=offset)
    header = dataclasses.replace(checkpoint.header, calibration=calibration)
    save_checkpoint(path, checkpoint.torch_network, header)
    return path


def test_teachers_say_the_mean_of_their_calibrated_logits(
    checkpoint: Checkpoint, tmp_path: Path
) -> None:
    paths = [teacher_of(checkpoint, tmp_path / f"t{scale}", scale) for scale in (1, 3)]
    recipe = dataclasses.replace(TINY, distill=DistillConfig(teachers=tuple(map(str, paths))))
    teachers = Teachers.of(recipe, CPU)
    assert teachers is not None
    waveforms = 0.1 * torch.randn(3, 16_000)
    with torch.inference_mode():
        logit = checkpoint.torch_network.eval()(waveforms).logit
    torch.testing.assert_close(teachers(waveforms), 2 * logit + 0.25, atol=1e-4, rtol=1e-4)
    assert teachers.identity == [load_checkpoint(path).sha256 for path in paths]
    assert Teachers.of(TINY, CPU) is None


def test_the_student_comes_to_agree_with_its_teacher(
    checkpoint: Checkpoint, tmp_path: Path
) -> None:
    batch = maker_of().make(0)
    spoken = batch.is_speech > 0
    with torch.inference_mode():
        logit = checkpoint.torch_network.eval()(batch.waveforms).logit[spoken]
    scale = 2.0 / logit.std().item()  # an untrained one is sure of nothing
    path = teacher_of(checkpoint, tmp_path / "t", scale, -scale * logit.mean().item())
    only = {"freq_mask": 0.0, "time_mask": 0.0, "family_weight": 0.0, "speech_weight": 0.0}
    optim = TINY.optim.replace(steps=60, warmup_steps=5, learning_rate=0.01, **only)
    distill = DistillConfig(teachers=(str(path),), weight=100.0, temperature=2.0)
    recipe = dataclasses.replace(TINY, optim=optim, distill=distill)
    teachers, state = Teachers.of(recipe, CPU), make_state(recipe, CPU)
    assert teachers is not None
    taught = torch.sigmoid(teachers(batch.waveforms)[spoken] / 2)
    floor = 4 * nn.functional.binary_cross_entropy(taught, taught).item()
    figures = [train_step(state, batch, optim, teachers)["distill"] - floor for _ in range(60)]
    assert figures[0] > 0
    assert figures[-1] < 0.5 * figures[0]


def test_the_clean_view_is_the_crop_as_it_was_recorded() -> None:
    cache = cache_of()
    coded = Rendering("halved", (cache.samples // 2).astype(np.int16), np.arange(len(cache)))
    augment = TINY.augment.replace(codec=0.7, trim=0.5, speed=0.3, noise=0.5)

    def make(clean: bool) -> BatchMaker:
        return BatchMaker(
            cache,
            np.arange(len(cache)),
            optim=TINY.optim,
            sampler=TINY.sampler,
            augment=augment,
            coded=[coded],
            clean=clean,
        )

    for step in range(4):
        batch, without = make(True).make(step), make(False).make(step)
        assert torch.equal(batch.waveforms, without.waveforms)
        assert without.clean is None
        assert batch.clean is not None
        for row in range(6):
            crop = (batch.clean[row, :400] * 32768).short().numpy()
            found = np.lib.stride_tricks.sliding_window_view(cache.samples, 8) == crop[:8]
            assert found.all(1).any()  # as in the recording, sample by sample


def test_a_run_with_everything_goes_on_bit_for_bit(checkpoint: Checkpoint, tmp_path: Path) -> None:
    teacher = teacher_of(checkpoint, tmp_path / "t", 100.0)
    recipe = dataclasses.replace(
        TINY,
        optim=TINY.optim.replace(
            objective="oc_softmax",
            supcon_weight=0.1,
            centre_weight=0.1,
            sharpness=0.1,
            sharpness_adaptive=True,
            crop_from_s=(0.3, 0.4),
        ),
        model=TINY.model.replace(head="cosine"),
        distill=DistillConfig(teachers=(str(teacher),), heard="augmented"),
    )

    def go_on(out: Path, stop_after: int | None = None) -> TrainingState:
        teachers = Teachers.of(recipe, CPU)
        assert teachers is not None
        return run(
            recipe,
            maker_of(recipe),
            out,
            device=CPU,
            identity={"recipe": recipe.to_dict(), "teachers": teachers.identity},
            teachers=teachers,
            stop_after=stop_after,
        )

    whole = go_on(tmp_path / "whole")
    go_on(tmp_path / "parts", stop_after=3)
    parts = go_on(tmp_path / "parts")
    for ours, theirs in (
        (whole.network, parts.network),
        (whole.average, parts.average),
        (whole.objective, parts.objective),
    ):
        assert theirs.state_dict().keys() == ours.state_dict().keys()
        for name, tensor in ours.state_dict().items():
            assert torch.equal(tensor, theirs.state_dict()[name]), name
    assert whole.objective.state_dict()["centre"].abs().sum() > 0
    teacher_of(checkpoint, tmp_path / "t", 101.0)
    with pytest.raises(CheckpointError, match="another teachers"):
        go_on(tmp_path / "parts")


def test_a_state_from_before_an_option_came_goes_on(tmp_path: Path) -> None:
    recipe = TINY.to_dict()
    del recipe["distill"], recipe["optim"]["sharpness"], recipe["model"]["head"]
    state, path = make_state(TINY, CPU), tmp_path / STATE_NAME
    state.step = 3
    state.save(path, {"recipe": recipe, "data": "x"})
    again = make_state(TINY, CPU)
    again.restore(path, {"recipe": TINY.to_dict(), "data": "x"})
    assert again.step == 3
    with pytest.raises(CheckpointError, match="another recipe"):
        again.restore(path, {"recipe": with_optim(sharpness=0.1).to_dict(), "data": "x"})


def test_crops_grow_evenly() -> None:
    optim = OptimConfig(steps=101, crop_s=(2.0, 4.0), crop_from_s=(1.0, 1.5))
    assert optim.crop_range_s(0) == (1.0, 1.5)
    assert optim.crop_range_s(50) == pytest.approx((1.5, 2.75))
    assert optim.crop_range_s(100) == (2.0, 4.0)
    assert OptimConfig().crop_range_s(0) == OptimConfig().crop_s
    grown = maker_of(with_optim(crop_from_s=(0.2, 0.2)))
    assert grown.make(0).waveforms.shape[1] == 3_200
    assert grown.make(5).waveforms.shape == maker_of().make(5).waveforms.shape
    assert Recipe.from_dict(json.loads(json.dumps(with_optim(crop_from_s=(1.0, 1.0)).to_dict())))


@pytest.mark.parametrize(
    ("table", "values", "message"),
    [
        ("optim", {"sharpness": -1.0}, "sharpness"),
        ("optim", {"crop_from_s": [3.0, 1.0]}, "crop_from_s"),
        ("distill", {"teachers": "default"}, "list"),
        ("distill", {"heard": "none"}, "heard"),
        ("distill", {"temperature": 0.0}, "distill"),
    ],
)
def test_wrong_settings_are_named(table: str, values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Recipe.from_dict({table: values})
