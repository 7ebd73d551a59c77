"""Losses: each does what its paper says, and none is there unless it is asked for."""

from __future__ import annotations

import dataclasses
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_training import TINY, cache_of, maker_of, silent
from torch.nn import functional as F

from deepfake_audio.augment.channel import NO_AUGMENTATION
from deepfake_audio.augment.renderings import Rendering
from deepfake_audio.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from deepfake_audio.config import BranchConfig
from deepfake_audio.datasets.cache import AudioCache
from deepfake_audio.errors import CheckpointError, ConfigError
from deepfake_audio.export import export_onnx
from deepfake_audio.model import COSINE_SCALE, ModelOutput, Network
from deepfake_audio.training import Recipe, finetune
from deepfake_audio.training.loop import make_state, train_step
from deepfake_audio.training.objectives import (
    Objective,
    one_class_softmax,
    supervised_contrastive,
)
from deepfake_audio.training.recipe import OptimConfig, SamplerConfig
from deepfake_audio.training.sampler import NO_PAIR, Batch, BatchMaker, find_originals

FIRST, LAST = 695814851, 2701163674  # checksums of batches made before there were options

COSINE = dataclasses.replace(
    TINY, model=TINY.model.replace(head="cosine"), optim=TINY.optim.replace(objective="oc_softmax")
)


def loss_of(output: ModelOutput, batch: Batch, optim: OptimConfig) -> dict[str, torch.Tensor]:
    return Objective(optim, output.embedding.shape[1])(output, batch)


def output_of(batch: Batch, recipe: Recipe = TINY) -> ModelOutput:
    output: ModelOutput = make_state(recipe, torch.device("cpu")).network.eval()(batch.waveforms)
    return output


def test_what_is_off_changes_nothing() -> None:
    # As the batches and weights were before any option of this module came into being.
    speech_only = TINY.sampler.replace(nonspeech_share=0.0)
    recipe = dataclasses.replace(TINY, augment=NO_AUGMENTATION, sampler=speech_only)
    plain = maker_of(recipe)
    made = [plain.make(step) for step in range(3)]
    sums = [zlib.crc32((batch.waveforms * 32768).short().numpy().tobytes()) for batch in made]
    assert (sums[0], sums[-1]) == (FIRST, LAST)
    state = make_state(TINY, torch.device("cpu"))
    for step in range(6):
        figures = train_step(state, maker_of().make(step), TINY.optim)
    assert set(figures) == {"spoof", "family", "speech", "total", "grad_norm"}
    assert figures["total"] == pytest.approx(1.05766, abs=1e-3)
    weight = sum(float(p.detach().double().abs().sum()) for p in state.network.parameters())
    assert weight == pytest.approx(213.9327, abs=0.05)


def test_losses_ignore_what_they_do_not_apply_to() -> None:
    batch = maker_of().make(0)
    optim = TINY.optim.replace(supcon_weight=1.0, centre_weight=1.0)
    output = output_of(batch)
    parts = loss_of(output, batch, optim)
    other = 1 - batch.is_speech
    moved = output._replace(
        logit=output.logit + 100 * other, embedding=output.embedding + 100 * other[:, None]
    )
    for name in ("spoof", "supcon", "centre"):
        assert torch.equal(loss_of(moved, batch, optim)[name], parts[name])
    shifted = output._replace(logit=output.logit + 100 * batch.is_speech)
    assert loss_of(shifted, batch, optim)["spoof"] > parts["spoof"]
    fakes = batch.is_synthetic[:, None]
    elsewhere = output._replace(embedding=output.embedding + 100 * fakes)
    assert torch.equal(loss_of(elsewhere, batch, optim)["centre"], parts["centre"])


def test_the_total_is_the_weighted_sum() -> None:
    batch = maker_of().make(0)
    optim = TINY.optim.replace(supcon_weight=0.5, centre_weight=2.0)
    parts = loss_of(output_of(batch), batch, optim)
    expected = parts["spoof"] + 0.2 * (parts["family"] + parts["speech"])
    expected = expected + 0.5 * parts["supcon"] + 2.0 * parts["centre"]
    torch.testing.assert_close(parts["total"], expected)


def test_one_class_softmax_wants_a_narrow_cone_and_a_wide_gap() -> None:
    logit = COSINE_SCALE * -torch.tensor([0.95, 0.5, 0.1, 0.5])  # cosines to genuine speech
    is_synthetic = torch.tensor([0.0, 0.0, 1.0, 1.0])
    loss = one_class_softmax(logit, is_synthetic, real=0.9, fake=0.2, scale=20.0)
    expected = np.log1p(np.exp(20.0 * np.array([-0.05, 0.4, -0.1, 0.3])))
    np.testing.assert_allclose(loss.numpy(), expected, rtol=1e-5)


def test_supervised_contrast_is_that_of_the_paper() -> None:
    rng = np.random.default_rng(0)
    embedding = rng.standard_normal((7, 4))
    classes = np.array([0, 0, 0, 1, 1, 2, 0])  # the one of class 2 is alone
    unit = embedding / np.linalg.norm(embedding, axis=1, keepdims=True)
    terms = []
    for anchor in range(7):
        others = [i for i in range(7) if i != anchor]
        alike = [i for i in others if classes[i] == classes[anchor]]
        below = sum(np.exp(unit[anchor] @ unit[i] / 0.2) for i in others)
        shares = [-np.log(np.exp(unit[anchor] @ unit[i] / 0.2) / below) for i in alike]
        terms += [np.mean(shares)] if alike else []
    vectors = torch.from_numpy(embedding).requires_grad_()
    loss = supervised_contrastive(vectors, torch.from_numpy(classes), 0.2)
    assert float(loss.detach()) == pytest.approx(np.mean(terms))
    loss.backward()  # type: ignore[no-untyped-call]
    assert vectors.grad is not None
    assert torch.isfinite(vectors.grad).all()
    lonely = supervised_contrastive(vectors, torch.arange(7), 0.2)
    assert float(lonely.detach()) == 0


@pytest.mark.long
def test_a_cosine_head_is_saved_asked_and_exported(
    checkpoint: Checkpoint, data: Path, tmp_path: Path
) -> None:
    pytest.importorskip("onnxscript", reason='pip install "deepfake-audio[export]"')
    branch = BranchConfig(COSINE.frontend, COSINE.model)
    header = dataclasses.replace(checkpoint.header, branches=(branch,))
    network = make_state(COSINE, torch.device("cpu")).network.eval()
    assert isinstance(network, Network)
    waveforms = torch.randn(3, 16_000)
    save_checkpoint(tmp_path / "model.safetensors", network, header)
    saved = load_checkpoint(tmp_path)
    with torch.inference_mode():
        output, again = network(waveforms), saved.torch_network(waveforms)
        cosine = F.cosine_similarity(output.embedding, network.branches[0].body.heads.weight[:1])
    torch.testing.assert_close(again.logit, COSINE_SCALE * cosine)
    assert export_onnx(saved, tmp_path / "model.onnx") < 1e-3
    with pytest.raises(CheckpointError, match="cosine"):
        finetune(saved, [data], tmp_path / "tuned", say=silent)


def test_one_class_softmax_learns_a_batch() -> None:
    optim = COSINE.optim.replace(steps=40, warmup_steps=5, freq_mask=0.0, time_mask=0.0)
    state = make_state(dataclasses.replace(COSINE, optim=optim), torch.device("cpu"))
    batch = maker_of().make(0)
    first = train_step(state, batch, optim)["spoof"]
    for _ in range(39):
        last = train_step(state, batch, optim)["spoof"]
    assert last < 0.5 * first


def paired_cache() -> AudioCache:
    """Clips of which every synthetic one repeats a genuine one, sample by sample, but negated."""
    cache = cache_of()
    clips = [
        dataclasses.replace(clip, sentence=f"t{i // 2}", source="s") if i < 8 else clip
        for i, clip in enumerate(cache.clips)
    ]
    lengths = np.repeat(cache.lengths[::2], 2)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    samples = np.concatenate([(-1) ** i * cache[i - i % 2] for i in range(len(clips))])
    return AudioCache(clips, samples.astype(np.int16), offsets)


def paired_maker(
    recipe: Recipe, cache: AudioCache, copies: tuple[Rendering, ...] = ()
) -> BatchMaker:
    return BatchMaker(
        cache,
        np.arange(len(cache)),
        optim=recipe.optim,
        sampler=recipe.sampler,
        augment=recipe.augment,
        copies=copies,
    )


def test_pairs_are_cut_and_treated_alike() -> None:
    sampler = TINY.sampler.replace(pairs=0.67)
    effects = {"codec": 0.0, "overload": 0.0, "nonlinear": 0.0}  # what is left is odd in its input
    recipe = dataclasses.replace(
        TINY, sampler=sampler, augment=TINY.augment.replace(speed=0.5, noise=0.0, **effects)
    )
    maker = paired_maker(recipe, paired_cache())
    seen = set()
    for step in range(8):
        batch = maker.make(step)
        assert batch.original.tolist() == [3, 4, *[NO_PAIR] * 6]
        for fake in (0, 1):
            wave, genuine = batch.waveforms[fake], batch.waveforms[batch.original[fake]]
            torch.testing.assert_close(wave, -genuine, atol=1e-4, rtol=0)
            seen.add(round(float(wave.abs().sum()), 3))
        assert torch.equal(batch.waveforms, maker.make(step).waveforms)
    assert len(seen) == 16


def test_a_copy_stands_beside_its_clip() -> None:
    cache = cache_of()
    genuine = np.arange(0, len(cache), 2)
    copy = Rendering("negated", -cache.samples, genuine)
    sampler = TINY.sampler.replace(pairs=1.0, copy_share=0.5)
    recipe = dataclasses.replace(TINY, sampler=sampler, augment=NO_AUGMENTATION)
    batch = paired_maker(recipe, cache, (copy,)).make(1)  # no sentences: all pairs are of copies
    assert torch.equal(batch.waveforms[:3], -batch.waveforms[3:6])
    assert len({row.sum().item() for row in batch.waveforms[:3]}) > 1
    assert batch.family[:3].tolist() == [2, 2, 2]
    with pytest.raises(ConfigError, match="sentence"):
        paired_maker(recipe, cache)


def test_originals_are_of_the_same_source_where_possible() -> None:
    clips = list(cache_of().clips)
    for index, source in ((0, "a"), (1, "b"), (2, "b"), (3, "a"), (5, "c")):
        clips[index] = dataclasses.replace(clips[index], sentence="t", source=source)
    everything = np.arange(len(clips))
    assert find_originals(clips, everything) == {1: [2], 3: [0], 5: [0, 2]}
    assert find_originals(clips, everything[1:]) == {1: [2], 3: [2], 5: [2]}


def test_the_ranking_loss_compares_within_pairs() -> None:
    batch = paired_maker(
        dataclasses.replace(TINY, sampler=SamplerConfig(nonspeech_share=0.25, pairs=0.67)),
        paired_cache(),
    ).make(0)
    optim = TINY.optim.replace(pair_weight=1.0)
    logit = torch.tensor([2.0, -1.0, 50.0, 0.5, 1.0, -50.0, 70.0, 70.0])
    output = output_of(batch)._replace(logit=logit)
    expected = F.softplus(torch.tensor([0.5 - 2.0, 1.0 + 1.0])).mean()
    torch.testing.assert_close(loss_of(output, batch, optim)["pair"], expected)


@pytest.mark.parametrize(
    ("table", "values", "message"),
    [
        ("optim", {"objective": "hinge"}, "hinge"),
        ("optim", {"objective": "oc_softmax"}, "cosine"),
        ("optim", {"oc_fake": 0.95}, "oc_fake"),
        ("optim", {"supcon_classes": "speaker"}, "speaker"),
        ("optim", {"supcon_temperature": 0.0}, "above zero"),
        ("optim", {"pair_weight": 1.0}, "sampler.pairs"),
        ("sampler", {"pairs": 1.5}, "pairs"),
        ("model", {"head": "none"}, "none"),
    ],
)
def test_wrong_settings_are_named(table: str, values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Recipe.from_dict({table: values})
