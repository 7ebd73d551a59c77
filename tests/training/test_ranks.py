"""Two real processes that share each batch find the weights that one finds."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tiny_training import TINY, silent, toml_of, weights_of

from deepfake_audio.errors import ConfigError
from deepfake_audio.model import build_network
from deepfake_audio.training import Sources, train
from deepfake_audio.training.loop import LOG_NAME
from deepfake_audio.training.ranks import Ranks

# Nothing in it is drawn within a process; it has losses that need the whole batch.
SHARED = dataclasses.replace(
    TINY,
    optim=TINY.optim.replace(
        freq_mask=0.0,
        time_mask=0.0,
        supcon_weight=0.3,
        centre_weight=0.1,
        sharpness=0.05,
        steps=5,
    ),
    model=TINY.model.replace(dropout=0.0),
)


@pytest.mark.long
def test_two_processes_find_what_one_finds(data: Path, tmp_path: Path) -> None:
    lines = data.read_text().splitlines()
    table = data.with_name("no-dev.csv")
    table.write_text("\n".join(line for line in lines if not line.endswith(",dev")))
    (tmp_path / "recipe.toml").write_text(toml_of(SHARED))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", "2", "-m", "deepfake_audio", "train", "--device", "cpu"]
    command += ["--config", str(tmp_path / "recipe.toml"), "--data", str(table)]
    command += ["--out", str(tmp_path / "two")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}

    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, timeout=500
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(tmp_path / "two" / "model.safetensors")
    assert done.stderr.count("clips to train on") == 1  # the first alone speaks
    train(SHARED, Sources([table]), tmp_path / "one", say=silent)
    one, two = weights_of(tmp_path / "one"), weights_of(tmp_path / "two")
    assert one.keys() == two.keys()
    fresh = build_network(SHARED.frontend, SHARED.model, seed=SHARED.optim.seed).state_dict()
    assert not torch.allclose(
        one["branches.0.body.embed.weight"], fresh["branches.0.body.embed.weight"], atol=1e-3
    )
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, atol=2e-5, rtol=1e-4, msg=name)
    assert (tmp_path / "two" / LOG_NAME).exists()


def test_rows_are_shared_evenly() -> None:
    rows = [list(range(8))[Ranks(rank, 2).rows(8)] for rank in (0, 1)]
    assert sorted(rows[0] + rows[1]) == list(range(8))
    assert len(rows[0]) == len(rows[1])
    with pytest.raises(ConfigError, match="multiple of 3"):
        Ranks(0, 3).rows(8)
