"""Conditions: what they do to a clip, alike each time; and the table over all of them."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from sounds import make_speech
from typer.testing import CliRunner

from deepfake_audio.augment import SoundBank
from deepfake_audio.augment.codecs import CODECS
from deepfake_audio.augment.conditions import CONDITIONS, SUITE, condition, expand
from deepfake_audio.cli.tools import app
from deepfake_audio.datasets import load_manifest
from deepfake_audio.errors import ConfigError
from deepfake_audio.evaluation.robustness import measure_robustness, robustness_table

pytest.importorskip("av")


@pytest.fixture(autouse=True)
def threads():
    """The commands leave torch with one thread."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def samples():
    speech = (make_speech(2.0) * 20_000).astype(np.int16)
    speech[:8_000] = 0  # something to trim
    return speech


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    for index in range(8):
        path = folder / ("bonafide" if index % 2 else "spoof") / f"{index}.wav"
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, make_speech(1.5 + 0.2 * index, index), 16_000)
    (folder / "spoof" / "broken.wav").write_bytes(b"no audio")
    return folder


@pytest.mark.parametrize("name", expand(CONDITIONS))
def test_a_condition_changes_a_clip_alike_each_time(samples, name):
    apply = condition(name)
    once, again = apply(samples, 3), apply(samples, 3)
    assert once.dtype == np.int16
    if name.startswith(("speed", "tempo")):
        assert len(once) == pytest.approx(len(samples) / float(name[6:]), abs=1)
    elif name != "trim":
        assert once.shape == samples.shape
    np.testing.assert_array_equal(once, again)
    assert np.array_equal(once, samples) == (name == "clean")


def test_conditions_joined_come_one_after_the_other(samples):
    both = condition("opus:12000+a-law")(samples, 0)
    first, second = condition("opus:12000"), condition("a-law")
    np.testing.assert_array_equal(both, second(first(samples, 0), 0))


def test_a_topic_stands_for_its_conditions():
    assert expand(["clean", "packets", "reverb"]) == ["clean", "loss:5", "loss:20", "reverb"]
    assert set(SUITE) - set(CONDITIONS) == {"durations", "attacks"}


def test_music_and_babble_lie_as_far_below_as_they_say(samples):
    hiss = np.random.default_rng(0).integers(-9_000, 9_000, 50_000).astype(np.int16)
    bank = SoundBank(music=[hiss], babble=[hiss])
    for name, given in (("music:20", SoundBank()), ("music:20", bank), ("babble:20", bank)):
        added = condition(name, given)(samples, 0).astype(float) - samples
        ratio = 10 * np.log10(np.square(samples, dtype=float).mean() / np.square(added).mean())
        assert ratio == pytest.approx(20, abs=0.3)
    with pytest.raises(ConfigError, match="babble"):
        condition("babble:20")


def test_noise_lies_as_far_below_as_it_says(samples):
    for decibels in (10, 30):
        noisy = condition(f"noise:{decibels}")(samples, 0).astype(float)
        noise = noisy - samples
        ratio = 10 * np.log10(np.square(samples, dtype=float).mean() / np.square(noise).mean())
        assert ratio == pytest.approx(decibels, abs=0.5)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "opus",
        "a-law:64000",
        "noise",
        "noise:x",
        "clean:1",
        "mp4",
        "trim:1",
        "trim:x",
        "mp4+trim",
    ],
)
def test_unknown_conditions_are_refused_with_the_known_ones(name):
    with pytest.raises(ConfigError, match="noise:DECIBELS") as caught:
        condition(name)
    assert all(codec in str(caught.value) for codec in CODECS)


@pytest.mark.parametrize("name", ["speed:0", "loss:100", "resample:10", "pitch:40"])
def test_numbers_out_of_range_are_refused(name):
    with pytest.raises(ConfigError, match="lies between"):
        condition(name)


def test_attacks_need_a_detector():
    with pytest.raises(ConfigError, match="attacks a detector"):
        condition("pgd:30")


def test_a_row_for_each_condition(detector, data):
    clips = load_manifest([data])
    policies = [detector.policy]
    clean, again, noisy = measure_robustness(
        detector, clips, ["clean", "clean", "noise:5"], policies=policies
    )
    assert clean.row() == again.row()
    assert clean.row()["without_score"] == 1  # the broken one, and it costs nothing else
    assert clean.evaluation.clips["total"] == 9
    assert 0 <= clean.row()["pooled_eer"] <= 1
    assert noisy.evaluation.figures["auc"] != clean.evaluation.figures["auc"]
    lines = robustness_table([clean, noisy]).splitlines()
    assert len(lines) == 4
    assert "+0.0" in lines[2]
    assert lines[3].startswith("| noise:5 |")


def test_all_conditions_are_checked_first(detector, data):
    results = measure_robustness(detector, load_manifest([data]), ["clean", "nosuch"])
    with pytest.raises(ConfigError, match="nosuch"):
        next(results)


def test_the_suite_beside_an_evaluation(data, tmp_path: Path, monkeypatch):
    from deepfake_audio.augment import conditions

    monkeypatch.setattr(conditions, "EVERYTHING", ("clean", "packets"))
    arguments = ["evaluate", "--data", str(data), "--model", "unittest", "--device", "cpu"]
    arguments += ["--bootstrap", "0", "--robustness", "--out", str(tmp_path)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 3, result.output  # one clip is broken
    assert "## Robustness" in result.stdout
    assert "| loss:20 |" in result.stdout
    saved = json.loads((tmp_path / "robustness.json").read_text())
    assert [row["condition"] for row in saved["rows"]] == ["clean", "loss:5", "loss:20"]
    assert "| loss:5 |" in (tmp_path / "robustness.md").read_text()
    figures = json.loads(CliRunner().invoke(app, [*arguments, "--json", "--quiet"]).stdout)
    assert figures["schema"] == "deepfake_audio.evaluation/1"
    assert len(figures["robustness"]["rows"]) == 3
    clean = figures["figures"]["pooled_eer"]["value"]
    assert figures["robustness"]["rows"][0]["pooled_eer"] == clean
    scores = ["evaluate", "--scores", "x", "--robustness"]
    assert CliRunner().invoke(app, scores).exit_code == 2


def test_the_command(data, tmp_path: Path):
    out = tmp_path / "robustness.json"
    arguments = ["robustness", "--data", str(data), "--model", "unittest", "--device", "cpu"]
    arguments += ["--condition", "clean", "--condition", "a-law", "--out", str(out)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "| a-law |" in result.stdout
    saved = json.loads(out.read_text())
    assert [row["condition"] for row in saved["rows"]] == ["clean", "a-law"]
    assert saved["evaluations"][1]["about"]["condition"] == "a-law"
    assert saved["splices"] == []
    pytest.importorskip("matplotlib")
    more = ["--plot", str(tmp_path / "map.png"), "--splices"]
    again = CliRunner().invoke(app, [*arguments, *more])
    assert again.exit_code == 0, again.output
    assert (tmp_path / "map.png").stat().st_size > 5_000
    assert "| window s |" in again.stdout
    longer = [*arguments, "--condition", "duration:60", "--condition", "trim"]
    stopped = CliRunner().invoke(app, longer)
    assert stopped.exit_code == 0
    assert "| a-law |" in stopped.stdout
    assert "measured no further" in stopped.stderr
    wrong = CliRunner().invoke(app, [*arguments, "--condition", "opus"])
    assert wrong.exit_code == 2


@pytest.fixture
def interrupted(monkeypatch):
    """Interrupt every suite after its first condition; ``interrupted(0)``: before it."""
    from deepfake_audio.evaluation import robustness

    measure = robustness.measure_robustness
    seen: list[Path] = []

    def until_interrupted(*arguments, **options):
        results = measure(*arguments, **options)
        if until_interrupted.after:
            yield next(results)
        # Already written, for whoever has no time to say goodbye.
        for path in seen:
            saved = json.loads(path.read_text())
            assert [row["condition"] for row in saved["rows"]] == ["clean"]
            assert saved["complete"] is False
        raise KeyboardInterrupt

    def begin(after: int, *paths: Path) -> None:
        until_interrupted.after = after
        seen[:] = paths

    monkeypatch.setattr(robustness, "measure_robustness", until_interrupted)
    return begin


def test_what_was_measured_survives_an_interruption(data, tmp_path: Path, interrupted):
    out = tmp_path / "suite.json"
    arguments = ["robustness", "--data", str(data), "--model", "unittest", "--device", "cpu"]
    arguments += ["--condition", "clean", "--condition", "a-law", "--out", str(out)]
    interrupted(1, out)
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 130, result.output
    assert "| clean |" in result.stdout
    assert "Not complete" in result.stdout
    assert "clean: EER" in result.stderr
    assert list(tmp_path.iterdir()) == [out]
    assert json.loads(out.read_text())["complete"] is False
    interrupted(0)
    assert CliRunner().invoke(app, arguments).exit_code == 130


def test_an_interrupted_suite_leaves_the_evaluation(data, tmp_path: Path, interrupted):
    arguments = ["evaluate", "--data", str(data), "--model", "unittest", "--device", "cpu"]
    arguments += ["--bootstrap", "0", "--robustness", "--out", str(tmp_path)]
    interrupted(1, tmp_path / "robustness.json")
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 130, result.output
    assert "## Robustness" in result.stdout
    assert (tmp_path / "metrics.json").exists()
    interrupted(0)
    assert CliRunner().invoke(app, arguments).exit_code == 130
    assert "Not complete" in result.stdout


def test_a_full_disk_costs_only_the_file(data, tmp_path: Path, monkeypatch):
    from deepfake_audio.cli import robustness

    out = tmp_path / "suite.json"
    arguments = ["robustness", "--data", str(data), "--model", "unittest", "--device", "cpu"]
    arguments += ["--condition", "clean", "--condition", "a-law", "--out"]

    def full(_: robustness.Suite, path: Path, **about: object) -> None:
        raise ConfigError("cannot be written (No space left on device)", name=str(path))

    with monkeypatch.context() as patched:
        patched.setattr(robustness.Suite, "write", full)
        result = CliRunner().invoke(app, [*arguments, str(out)])
    assert result.exit_code == 2
    assert "| a-law |" in result.stdout  # all of it was measured and printed
    assert result.stderr.count("No space left") == 2  # once on the way, once at the end
    for nowhere in (tmp_path, tmp_path / "missing" / "suite.json"):
        refused = CliRunner().invoke(app, [*arguments, str(nowhere)])
        assert refused.exit_code == 2
        assert "measured" not in refused.output
    link = tmp_path / "link.json"
    link.symlink_to(out)
    assert CliRunner().invoke(app, [*arguments, str(link)]).exit_code == 0
    assert link.is_symlink()
    assert json.loads(out.read_text())["complete"] is True
