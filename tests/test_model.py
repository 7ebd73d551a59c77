"""The network: shapes, size, independence of the rows of a batch."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deepfake_audio.config import FAMILIES, FrontendConfig, ModelConfig
from deepfake_audio.errors import ConfigError
from deepfake_audio.model import UNITTEST_MODEL, build_network, fused


def test_the_default_shape_has_at_most_a_million_parameters() -> None:
    assert 100_000 < build_network(FrontendConfig(), ModelConfig()).n_parameters <= 1_000_000


def test_all_heads_have_their_shapes() -> None:
    network = build_network(FrontendConfig(), ModelConfig(), seed=0).eval()
    output = network(torch.randn(3, 16_000))
    assert output.logit.shape == (3,)
    assert output.speech.shape == (3,)
    assert output.family.shape == (3, len(FAMILIES))
    assert output.embedding.shape == (3, ModelConfig().embedding_dim)


@settings(max_examples=15, deadline=None)
@given(n_samples=st.integers(4_000, 40_000), rows=st.integers(2, 5))
def test_a_window_does_not_hear_its_neighbours(n_samples: int, rows: int) -> None:
    network = build_network(FrontendConfig(n_bands=24), UNITTEST_MODEL, seed=0).eval()
    windows = torch.randn(rows, n_samples, generator=torch.Generator().manual_seed(n_samples))
    with torch.inference_mode():
        together = network(windows).logit
        alone = torch.cat([network(window[None]).logit for window in windows])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-4)


def test_seeded_weights_are_reproducible_and_leave_the_generator_alone() -> None:
    torch.manual_seed(3)
    first = build_network(FrontendConfig(), UNITTEST_MODEL, seed=7)
    after = torch.rand(1)
    torch.manual_seed(3)
    assert torch.equal(after, torch.rand(1))
    second = build_network(FrontendConfig(), UNITTEST_MODEL, seed=7)
    other = build_network(FrontendConfig(), UNITTEST_MODEL, seed=8)
    assert torch.equal(first.branches[0].body.stem.weight, second.branches[0].body.stem.weight)
    assert not torch.equal(first.branches[0].body.stem.weight, other.branches[0].body.stem.weight)


def test_a_fused_copy_says_the_same() -> None:
    network = build_network(FrontendConfig(), ModelConfig(), seed=0)
    windows = torch.randn(4, 16_000, generator=torch.Generator().manual_seed(0))
    network.train()(windows)  # statistics that are not those of a fresh network
    network.eval()
    copied = fused(network)
    with torch.inference_mode():
        for ours, theirs in zip(network(windows), copied(windows), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    assert sum(isinstance(m, torch.nn.BatchNorm2d) for m in copied.modules()) == 1
    assert sum(isinstance(m, torch.nn.BatchNorm2d) for m in network.modules()) > 10


def test_unknown_kinds_are_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"'transformer'.*resnet"):
        build_network(FrontendConfig(), ModelConfig(kind="transformer"))
