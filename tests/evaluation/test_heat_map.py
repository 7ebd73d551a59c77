"""The picture of a robustness suite."""

import pytest

from deepfake_audio.errors import ConfigError
from deepfake_audio.evaluation import ScoreTable, evaluate_scores
from deepfake_audio.evaluation.robustness import ConditionResult

pytest.importorskip("matplotlib")

from deepfake_audio.evaluation.heat_map import cells_by_kind, heat_map, save_heat_map

NAMES = ("clean", "mp3:32000", "mp3:64000", "noise:10", "mp3:64000+trim")


@pytest.fixture(scope="module")
def results():
    table = ScoreTable.from_columns(
        list("abcd"), ["bonafide", "spoof"] * 2, [-1.0, 1.0, 0.5, -0.5], source=["s"] * 4
    )
    return [ConditionResult(name, evaluate_scores(table, n_bootstrap=0)) for name in NAMES]


def test_strengths_stand_in_the_row_of_their_kind(results):
    rows = cells_by_kind(results, "pooled_eer")
    assert list(rows) == ["clean", "mp3", "noise", "mp3:64000+trim"]
    assert [strength for strength, _ in rows["mp3"]] == ["32000", "64000"]


def test_every_cell_says_its_figure(results, tmp_path):
    eer, flagged = heat_map(results).axes
    assert [label.get_text() for label in eer.get_yticklabels()][1] == "mp3"
    assert "32000\n50.0" in {text.get_text() for text in eer.texts}
    assert {text.get_text() for text in flagged.texts} >= {"-", "10\n-"}  # no policy was given
    save_heat_map(results, tmp_path / "map.png")
    assert (tmp_path / "map.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ConfigError, match=r"\.png"):
        save_heat_map(results, tmp_path / "map.gif")
