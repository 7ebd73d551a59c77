"""Settings survive JSON, and wrong ones are refused by name."""

from __future__ import annotations

import json

import pytest

from deepfake_audio.config import (
    Config,
    FrontendConfig,
    Limits,
    ModelConfig,
    Policy,
    WindowConfig,
)
from deepfake_audio.errors import ConfigError


@pytest.mark.parametrize("kind", [FrontendConfig, Limits, ModelConfig, Policy, WindowConfig])
def test_settings_survive_json(kind: type[Config]) -> None:
    config = kind()
    assert kind.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_unknown_settings_are_named_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"WindowConfig: unknown setting hop_ms: .*hop_s"):
        WindowConfig.from_dict({"hop_ms": 10})


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: Limits(max_duration_s=0), "limits.max_duration_s"),
        (lambda: WindowConfig(hop_s=5.0), "windows.hop_s"),
        (lambda: WindowConfig(step_s=0.0), "windows.step_s"),
        (lambda: ModelConfig(channels=(8,), blocks=(1, 1)), "model.channels"),
        (lambda: ModelConfig(dropout=1.0), "model.dropout"),
        (lambda: Policy(threshold=0.4, authentic_below=0.6), "policy.threshold"),
        (lambda: Policy(prior_synthetic=1.0), "policy.prior_synthetic"),
    ],
)
def test_values_out_of_range_are_refused_by_name(make, name: str) -> None:
    with pytest.raises(ConfigError, match=name):
        make()


def test_another_operating_point_promises_no_rates_of_the_old_one() -> None:
    measured = Policy("balanced", 0.9, 0.4, 0.5, 0.02, 0.3, "studio", 0.16)
    assert measured.replace(max_novelty=0.99).expected_fpr == 0.02
    assert measured.replace(threshold=0.9) == measured
    for change in ({"threshold": 0.95}, {"prior_synthetic": 0.01}):
        other = measured.replace(**change)
        assert other.name == "custom"
        rates = (other.expected_fpr, other.expected_fnr, other.worst_source, other.worst_source_fpr)
        assert rates == (None, None, None, None)
    assert measured.replace(threshold=0.95).authentic_below == 0.4
    assert measured.replace(threshold=0.3).authentic_below == 0.3
    ours = measured.replace(threshold=0.95, name="ours", expected_fpr=0.01)
    assert (ours.name, ours.expected_fpr, ours.expected_fnr) == ("ours", 0.01, None)
