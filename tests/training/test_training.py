"""Training: batches are functions of the step, and a stopped run goes on bit for bit."""

from __future__ import annotations

import dataclasses
import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from sounds import make_speech
from tiny_training import RATE_HZ, TINY, maker_of, silent, toml_of, weights_of
from typer.testing import CliRunner

from deepfake_audio.checkpoint import CheckpointHeader, load_checkpoint
from deepfake_audio.cli.tools import app
from deepfake_audio.datasets.cache import AudioCache
from deepfake_audio.datasets.clip import Clip
from deepfake_audio.detector import Detector
from deepfake_audio.errors import CheckpointError, ConfigError, DatasetError
from deepfake_audio.training import Recipe, Sources, soup, train
from deepfake_audio.training import run as run_module
from deepfake_audio.training.loop import (
    LOG_NAME,
    STATE_NAME,
    learning_rate,
    make_state,
    mix_styles,
    spec_augment,
    train_step,
)
from deepfake_audio.training.material import prepare
from deepfake_audio.training.recipe import OptimConfig, SamplerConfig
from deepfake_audio.training.sampler import BalancedTree, BatchMaker, hold_out_sources
from deepfake_audio.training.state import TrainingState

MODELS = Path(__file__).parents[2] / "models"


def test_a_batch_is_a_function_of_its_step() -> None:
    first, again, other = maker_of().make(3), maker_of().make(3), maker_of().make(4)
    assert torch.equal(first.waveforms, again.waveforms)
    assert first.waveforms.shape != other.waveforms.shape or not torch.equal(
        first.waveforms, other.waveforms
    )


def test_a_batch_with_every_effect_is_a_function_of_its_step() -> None:
    names = ("speed", "pitch", "convolutive", "impulsive", "stationary", "replay", "resample")
    effects = dict.fromkeys((*names, "packet_loss", "level"), 0.5)
    recipe = dataclasses.replace(TINY, augment=TINY.augment.replace(**effects))
    first, again = maker_of(recipe).make(3), maker_of(recipe).make(3)
    assert torch.equal(first.waveforms, again.waveforms)
    assert torch.isfinite(first.waveforms).all()
    plain = maker_of().make(3)
    assert first.waveforms.shape == plain.waveforms.shape
    assert not torch.equal(first.waveforms, plain.waveforms)


def test_a_batch_has_the_shares_asked_for() -> None:
    batch = maker_of().make(0)
    assert batch.waveforms.shape[0] == 8
    assert batch.is_speech.tolist() == [1, 1, 1, 1, 1, 1, 0, 0]
    assert batch.is_synthetic.tolist() == [1, 1, 1, 0, 0, 0, 0, 0]
    assert set(batch.family[3:].tolist()) == {-1}
    assert set(batch.family[:3].tolist()) <= {-1, 1}


@pytest.mark.parametrize(("power", "expected"), [(0.0, 0.5), (1.0, 0.9), (0.5, 0.75)])
def test_sampling_balances_sources(power: float, expected: float) -> None:
    clips = [
        Clip(id=str(i), label="bonafide", path=Path("x"), source="big" if i < 90 else "small")
        for i in range(100)
    ]
    tree = BalancedTree(clips, np.arange(100), SamplerConfig(source_power=power))
    rng = np.random.default_rng(0)
    drawn = np.array([tree.draw(rng) for _ in range(4_000)])
    assert np.mean(drawn < 90) == pytest.approx(expected, abs=0.03)
    assert len(set(drawn)) == 100


def test_held_out_sources_have_both_classes_first_and_are_never_large() -> None:
    def clips(source: str, bonafide: int, spoof: int) -> list[Clip]:
        labels = ["bonafide"] * bonafide + ["spoof"] * spoof
        return [
            Clip(id=f"{source}-{i}", label=label, path=Path(source), source=source)
            for i, label in enumerate(labels)
        ]

    both = [clip for i in range(6) for clip in clips(f"both-{i}", 8, 9)]
    single = [
        clip for i in range(6) for clip in clips(f"single-{i}", 12 * (i % 2), 12 * (1 - i % 2))
    ]
    chosen = hold_out_sources([*clips("large", 300, 300), *both, *single], 6)
    assert len(chosen) == 6
    assert sum(name.startswith("both") for name in chosen) == 3
    assert "large" not in chosen
    assert hold_out_sources(both, 6) >= hold_out_sources(both, 4)
    assert hold_out_sources(both, 0) == set()


def test_held_out_sources_are_looked_at_and_not_trained_on(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = data.read_text().splitlines()
    more = [line.replace(",s0,", ",away,") if ",s0," in line else line for line in text]
    table = data.with_name("more.csv")
    table.write_text("\n".join(more))
    recipe = dataclasses.replace(TINY, held_out_sources=1)
    trained_on: set[str] = set()

    class Watched(BatchMaker):
        def __init__(self, cache: AudioCache, indices: np.ndarray, **options: Any) -> None:
            trained_on.update(cache.clips[i].source for i in indices)
            super().__init__(cache, indices, **options)

    monkeypatch.setattr(run_module, "BatchMaker", Watched)
    train(recipe, Sources([table]), tmp_path / "out", say=lambda _: None)
    assert len(trained_on) == 2  # of three
    entries = [json.loads(line) for line in (tmp_path / "out" / LOG_NAME).read_text().splitlines()]
    looks = [entry["dev"] for entry in entries if "dev" in entry]
    assert looks
    assert all("pooled_eer_with_held_out" in look for look in looks)
    everything = dataclasses.replace(TINY, held_out_sources=9)
    with pytest.raises(ConfigError, match="hold out fewer"):
        train(everything, Sources([table]), tmp_path / "other", say=lambda _: None)


def test_from_a_step_on_the_average_is_the_plain_mean() -> None:
    state = make_state(TINY, torch.device("cpu"))
    [weight, *_] = state.network.parameters()
    [averaged, *_] = state.average.parameters()
    seen = []
    for step in range(1, 200):
        state.step = step
        with torch.no_grad():
            weight.fill_(float(step))
        state.update_average(0.5, average_from=100)
        if step > 100:
            seen.append(float(step))
    # The moving average of the time before counts as one more step.
    assert averaged.mean().item() == pytest.approx(np.mean([99.0, *seen]), abs=0.1)
    state.update_average(0.5)
    assert averaged.mean().item() > 170  # without it, the last steps count


def test_the_learning_rate_may_end_above_zero() -> None:
    optim = OptimConfig(steps=100, warmup_steps=10, learning_rate=1.0, final_rate=0.25)
    assert learning_rate(10, optim) == pytest.approx(1.0)
    assert learning_rate(100, optim) == pytest.approx(0.25)
    with pytest.raises(ConfigError, match="final_rate"):
        OptimConfig(final_rate=1.5)


def test_learning_rate_warms_up_and_falls_to_zero() -> None:
    optim = OptimConfig(steps=100, warmup_steps=10, learning_rate=1.0)
    rates = [learning_rate(step, optim) for step in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == pytest.approx(1.0)
    assert rates[9:] == sorted(rates[9:], reverse=True)
    assert rates[100] == pytest.approx(0.0, abs=1e-9)


def test_spec_augment_hides_bounded_ranges_behind_the_mean() -> None:
    torch.manual_seed(0)
    features = torch.randn(16, 2, 40, 100)
    hidden = spec_augment(features, 0.2, 0.1) != features
    assert hidden.any()
    # A masked cell is masked in all input channels alike.
    assert (hidden[:, 0] == hidden[:, 1]).float().mean() > 0.999
    rows, frames = hidden[:, 0].all(2), hidden[:, 0].all(1)
    assert rows.sum(1).max() <= 9
    assert frames.sum(1).max() <= 11
    assert torch.equal(spec_augment(features, 0.0, 0.0), features)


def test_styles_come_from_the_batch_and_contents_stay() -> None:
    torch.manual_seed(0)
    features = torch.randn(64, 2, 5, 40) * torch.rand(64, 2, 5, 1) + torch.randn(64, 2, 5, 1)
    mixed = mix_styles(features, 0.5)
    changed = (mixed - features).abs().amax((1, 2, 3)) > 1e-3
    assert 0.2 < changed.float().mean() < 0.8
    # What is left when mean and deviation are taken out is untouched.
    for each in (features, mixed):
        each -= each.mean(3, keepdim=True)
        each /= each.std(3, keepdim=True)
    torch.testing.assert_close(mixed, features, atol=1e-3, rtol=1e-3)


def test_no_style_is_mixed_unless_asked_for() -> None:
    features = torch.randn(8, 1, 5, 40)
    torch.testing.assert_close(mix_styles(features, 0.0), features, atol=1e-5, rtol=1e-5)


def test_the_network_learns_a_batch() -> None:
    recipe = Recipe.from_dict({**TINY.to_dict()})
    optim = recipe.optim.replace(steps=60, warmup_steps=5, freq_mask=0.0, time_mask=0.0)
    state = make_state(TINY, torch.device("cpu"))
    batch = maker_of().make(0)
    first = train_step(state, batch, optim)["spoof"]
    for _ in range(59):
        last = train_step(state, batch, optim)["spoof"]
    assert last < 0.85 * first


def test_a_stopped_run_goes_on_bit_for_bit(data: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    train(TINY, Sources([data], cache=cache), tmp_path / "whole", say=silent)
    train(TINY, Sources([data], cache=cache), tmp_path / "parts", stop_after=3, say=silent)
    train(TINY, Sources([data], cache=cache), tmp_path / "parts", stop_after=4, say=silent)
    train(TINY, Sources([data], cache=cache), tmp_path / "parts", say=silent)
    whole, parts = weights_of(tmp_path / "whole"), weights_of(tmp_path / "parts")
    assert whole.keys() == parts.keys()
    for name, tensor in whole.items():
        assert torch.equal(tensor, parts[name]), name
    log = [json.loads(line) for line in (tmp_path / "whole" / LOG_NAME).read_text().splitlines()]
    looks = [entry for entry in log if "dev" in entry]
    assert [entry["step"] for entry in looks] == [3, 6]
    assert 0 <= looks[-1]["dev"]["pooled_eer"] <= 1


def test_the_checkpoint_is_calibrated_and_keeps_its_recipe(data: Path, tmp_path: Path) -> None:
    path = train(TINY, Sources([data]), tmp_path, say=silent)
    header = load_checkpoint(path).header
    assert [Recipe.from_dict(r) for r in header.training["recipes"]] == [TINY]
    assert set(header.policies) == {"recall", "balanced", "precision"}
    assert header.metrics["dev"]["clips"] == 6
    assert header.calibration.scale > 0
    known = header.known_speech
    assert known is not None
    assert known.mean.size == header.branches[0].model.embedding_dim
    assert 0 < known.novelty(float(np.median(known.levels))) < 1


def test_a_refit_learns_from_dev_and_keeps_the_thresholds_of_before(
    data: Path, tmp_path: Path
) -> None:
    sources = Sources([data], cache=tmp_path / "cache")
    other = Recipe.from_dict({**TINY.to_dict(), "frontend": {"kind": "log_mel", "n_bands": 20}})
    first = load_checkpoint(train([TINY, other], sources, tmp_path / "first", say=silent))
    again = load_checkpoint(
        train([TINY, other], sources, tmp_path / "both", refit=True, say=silent)
    )

    def fitted(header: CheckpointHeader) -> tuple[object, ...]:
        calibration = dataclasses.replace(header.calibration, speech_threshold=0.0)
        dev = {k: v for k, v in header.metrics["dev"].items() if k != "speech_gate"}
        return calibration, header.policies, dev, header.branches

    assert fitted(again.header) == fitted(first.header)
    assert (first.header.training["clips"], again.header.training["clips"]) == (10, 16)
    assert again.header.training["refit"] is True
    known, before = again.header.known_speech, first.header.known_speech
    assert known is not None
    assert before is not None
    np.testing.assert_array_equal(known.levels, before.levels)
    assert not np.allclose(known.mean, before.mean)
    torch.testing.assert_close(again.network.spreads, first.network.spreads)
    windows = torch.randn(3, 16_000)
    with torch.inference_mode():
        assert not torch.allclose(again.network(windows).logit, first.network(windows).logit)
    log = (tmp_path / "both" / "refit" / "branch-1" / LOG_NAME).read_text().splitlines()
    assert not any("dev" in json.loads(line) for line in log)
    with pytest.raises(ConfigError, match="goes on to learn from dev"):
        train([TINY, other], sources, tmp_path / "both", say=silent)
    with pytest.raises(CheckpointError, match="learned from dev"):
        soup([first, again], sources, tmp_path / "soup", say=silent)


def test_a_refit_needs_clips_of_dev_and_holds_nothing_out(data: Path, tmp_path: Path) -> None:
    recipe = dataclasses.replace(TINY, held_out_sources=1)
    with pytest.raises(ConfigError, match="holds sources out"):
        train(recipe, Sources([data]), tmp_path / "a", refit=True, say=silent)
    table = data.with_name("train.csv")
    rows = data.read_text().splitlines()
    table.write_text("\n".join(row for row in rows if not row.endswith(",dev")))
    with pytest.raises(DatasetError, match="no clips of split dev"):
        train(TINY, Sources([table]), tmp_path / "b", refit=True, say=silent)


def test_several_recipes_make_one_network_of_branches(data: Path, tmp_path: Path) -> None:
    other = Recipe.from_dict({**TINY.to_dict(), "frontend": {"kind": "log_mel", "n_bands": 20}})
    path = train([TINY, other], Sources([data]), tmp_path, say=silent)
    loaded = load_checkpoint(path)
    assert [b.frontend.kind for b in loaded.header.branches] == ["log_linear", "log_mel"]
    assert len(loaded.network.branches) == 2
    assert (loaded.network.spreads != 1).all()
    windows = torch.randn(3, 16_000)
    with torch.inference_mode():
        apart = [branch(windows).logit for branch in loaded.network.branches]
        mean = sum(a / s for a, s in zip(apart, loaded.network.spreads, strict=True)) / 2
        torch.testing.assert_close(loaded.network(windows).logit, mean)


def test_another_recipe_is_refused_instead_of_mixed_in(data: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    train(TINY, Sources([data], cache=cache), tmp_path, stop_after=1, say=silent)
    other = Recipe.from_dict({**TINY.to_dict(), "version": "0.2"})
    with pytest.raises(CheckpointError, match="another recipe"):
        train(other, Sources([data], cache=cache), tmp_path, say=silent)


def test_other_data_is_refused_instead_of_mixed_in(data: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    train(TINY, Sources([data], cache=cache), tmp_path, stop_after=1, say=silent)
    fewer = data.with_name("fewer.csv")
    fewer.write_text("\n".join(data.read_text().splitlines()[:-1]))
    with pytest.raises(CheckpointError, match="another data"):
        train(TINY, Sources([fewer], cache=cache), tmp_path, say=silent)


def test_ctrl_c_in_the_middle_of_a_step_goes_on_bit_for_bit(data: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    train(TINY, Sources([data], cache=cache), tmp_path / "whole", say=silent)
    clip_gradients = torch.nn.utils.clip_grad_norm_
    calls = 0

    def interrupt(*args, **kwargs):
        nonlocal calls
        calls += 1
        if calls == 3:
            signal.raise_signal(signal.SIGINT)
        return clip_gradients(*args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.nn.utils, "clip_grad_norm_", interrupt)
        with pytest.raises(KeyboardInterrupt):
            train(TINY, Sources([data], cache=cache), tmp_path / "parts", say=silent)
    assert calls == 3
    train(TINY, Sources([data], cache=cache), tmp_path / "parts", say=silent)
    whole, parts = weights_of(tmp_path / "whole"), weights_of(tmp_path / "parts")
    for name, tensor in whole.items():
        assert torch.equal(tensor, parts[name]), name


def test_clips_of_no_split_are_trained_on_and_test_is_not(data: Path, tmp_path: Path) -> None:
    lines = data.read_text().splitlines()
    mixed = [line.replace(",train", ",") for line in lines[:9]]
    mixed.append(lines[9].replace(",train", ",test"))
    table = data.with_name("mixed.csv")
    table.write_text("\n".join(mixed))
    said: list[str] = []
    recipe = Recipe.from_dict({**TINY.to_dict(), "eval_every": 100})
    train(recipe, Sources([table]), tmp_path, stop_after=1, say=said.append)
    assert "8 clips to train on, 0 to calibrate on" in said
    assert any("uncalibrated" in line for line in said)


def test_damaged_state_is_named(tmp_path: Path) -> None:
    state: TrainingState = make_state(TINY, torch.device("cpu"))
    path = tmp_path / STATE_NAME
    path.write_text("broken")
    with pytest.raises(CheckpointError, match="is no training state"):
        state.restore(path, TINY.to_dict())


def test_one_class_is_not_enough(tmp_path: Path) -> None:
    folder = tmp_path / "real"
    folder.mkdir()
    soundfile.write(folder / "a.wav", make_speech(1.0, 0, RATE_HZ), RATE_HZ)
    with pytest.raises(DatasetError, match="both classes, found bonafide"):
        train(TINY, Sources([tmp_path]), tmp_path / "out", say=silent)


def test_recipes_survive_toml_and_refuse_unknown_settings(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text('name = "x"\n[optim]\nsteps = 7\n[augment]\nsnr_db = [1.0, 2.0]\n')
    recipe = Recipe.load(path)
    assert (recipe.name, recipe.optim.steps, recipe.augment.snr_db) == ("x", 7, (1.0, 2.0))
    assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe
    path.write_text("[optim]\nlearning_speed = 1\n")
    with pytest.raises(ConfigError, match="learning_speed"):
        Recipe.load(path)
    path.write_text("not toml at all [")
    with pytest.raises(ConfigError, match="no valid TOML"):
        Recipe.load(path)


def test_copies_may_be_left_to_some_of_the_vocoders(data: Path, tmp_path: Path) -> None:
    pytest.importorskip("av", reason='pip install "deepfake-audio[av]"')
    sources = Sources([data], vocoders=["griffin_lim", "lpc"])

    def copied_by(*names: str) -> list[str]:
        sampler = TINY.sampler.replace(copy_share=0.5, copied_by=names)
        recipe = dataclasses.replace(TINY, sampler=sampler)
        prepared = prepare(recipe, sources, tmp_path, say=silent)
        return [rendering.name.split("-")[1] for rendering in prepared.copies]

    assert copied_by() == ["griffin_lim", "lpc"]
    assert copied_by("lpc") == ["lpc"]
    with pytest.raises(ConfigError, match=r"not among the vocoders: straw") as refused:
        copied_by("lpc", "straw")
    assert "griffin_lim, lpc" in (refused.value.hint or "")


@pytest.mark.long
@pytest.mark.parametrize("folder", sorted(p.parent for p in MODELS.glob("*/recipe.toml")))
def test_a_short_run_of_the_released_recipes_gives_a_model(
    folder: Path, data: Path, tmp_path: Path
) -> None:
    pytest.importorskip("av", reason='pip install "deepfake-audio[av]"')
    arguments = ["train", "--data", str(data), "--vocoder", "griffin_lim", "--device", "cpu", "-q"]
    names = [path.name for path in folder.glob("recipe*.toml")]
    for name in sorted(names, key=lambda name: (len(name), name)):
        recipe = Recipe.load(folder / name)
        assert recipe.name == folder.name
        # Nothing but shorter: the same front ends, networks, augmentation and copies.
        short = recipe.optim.replace(steps=2, batch_size=8, crop_s=(1.0, 1.5))
        (tmp_path / name).write_text(toml_of(dataclasses.replace(recipe, optim=short)))
        arguments += ["--config", str(tmp_path / name)]

    done = CliRunner().invoke(app, [*arguments, "--out", str(tmp_path / "out")])

    assert done.exit_code == 0, done.output
    made, released = load_checkpoint(tmp_path / "out"), load_checkpoint(folder.name)
    assert made.header.branches == released.header.branches
    assert made.header.windows == released.header.windows
    dev = made.header.metrics["dev"]
    assert dev["clips"] + dev["inconclusive"] == 6
    report = Detector(made, device="cpu").detect(data.with_name("12.wav"))
    assert report.model.name == folder.name
