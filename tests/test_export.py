from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from sounds import make_speech

from deepfake_audio import Detector
from deepfake_audio.checkpoint import (
    HEADER_KEY,
    Checkpoint,
    CheckpointHeader,
    load_checkpoint,
    save_checkpoint,
)
from deepfake_audio.config import BranchConfig, FrontendConfig
from deepfake_audio.errors import CheckpointError, ConfigError, DeviceError
from deepfake_audio.export import export_onnx, export_onnx_int8, export_torchscript
from deepfake_audio.model import UNITTEST_MODEL, build_network, join
from deepfake_audio.novelty import fit_known_speech, with_levels

MakeSpeech = Callable[..., np.ndarray]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """Branches with random weights: all that released models have, and more."""
    long = {"n_fft": 512, "win_length": 512}
    frontends = [
        FrontendConfig(n_fft=128, win_length=128, hop_length=64, n_bands=24, deltas=True),
        FrontendConfig(kind="lfcc", n_bands=24, n_coefficients=12, phase=True),
        FrontendConfig(kind="long_term", hop_length=256, **long),
        FrontendConfig(kind="long_term_phase", hop_length=128, **long),
    ]
    spectrum = dataclasses.replace(UNITTEST_MODEL, kind="spectrum", channels=(8,), blocks=(1,))
    models = [UNITTEST_MODEL, UNITTEST_MODEL, spectrum, spectrum]
    plain = load_checkpoint("unittest")
    branches = tuple(map(BranchConfig, frontends, models))
    network = join([build_network(b.frontend, b.model, seed=i) for i, b in enumerate(branches)])
    header = dataclasses.replace(plain.header, branches=branches)
    sounds = [make_speech(1 + seed / 6, seed) for seed in range(40)]
    with torch.inference_mode():
        embeddings = [network.eval()(torch.from_numpy(s)[None]).embedding[0] for s in sounds]
    known = fit_known_speech(torch.stack(embeddings[:30]).numpy())
    known = with_levels(known, 2 * known.distance(torch.stack(embeddings).numpy()))
    header = dataclasses.replace(header, known_speech=known)
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    save_checkpoint(path, network, header)
    return load_checkpoint(path)


@pytest.fixture(scope="module")
def exported(checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("exported") / "model.onnx"
    assert export_onnx(checkpoint, path) < 1e-5
    return path


@pytest.mark.long
def test_reports_are_the_same(
    checkpoint: Checkpoint, exported: Path, speech: MakeSpeech, tmp_path: Path
) -> None:
    loaded = load_checkpoint(exported)
    assert loaded.header == checkpoint.header
    torch_detector = Detector(checkpoint, precision="fp32")
    onnx_detector = Detector(loaded)
    sounds = [speech(seconds, seed) for seed, seconds in enumerate((0.3, 1.2, 5, 13))]
    pairs = zip(
        torch_detector.detect_many(sounds, sample_rate_hz=16_000),
        onnx_detector.detect_many(sounds, sample_rate_hz=16_000),
        strict=True,
    )
    reports = []
    for one, other in pairs:
        reports.append(one)
        assert one.verdict == other.verdict
        assert one.input == other.input
        assert len(one.segments) == len(other.segments)
        assert (one.novelty is None) == (other.novelty is None)
        if one.novelty is not None:
            assert one.novelty == pytest.approx(other.novelty, abs=1e-3)
        if one.llr_synthetic is not None:
            assert one.llr_synthetic == pytest.approx(other.llr_synthetic, abs=2e-4)
    assert any(0 < (report.novelty or 0) < 1 for report in reports)
    assert onnx_detector.scorer.precision == "fp32"
    with pytest.raises(CheckpointError, match="exported"):
        export_onnx(loaded, tmp_path / "again.onnx")
    with pytest.raises(DeviceError, match="CPU"):
        Detector(loaded, device="cuda")


@pytest.mark.long
def test_it_needs_no_torch(exported: Path) -> None:
    sample = Path(__file__).parents[1] / "deepfake_audio/samples/genuine_librivox_1.flac"
    code = (
        "import sys; from deepfake_audio import Detector;"
        "d = Detector.load(sys.argv[1]); print(d.detect(sys.argv[2]).verdict);"
        "s = d.stream(16000); s.close();"
        "assert not {'torch', 'librosa', 'sklearn'} & set(sys.modules), 'imported too much'"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(exported), str(sample)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_torchscript_computes_the_same_at_any_size(
    checkpoint: Checkpoint, speech: MakeSpeech, tmp_path: Path
) -> None:
    path = tmp_path / "model.pt"
    assert export_torchscript(checkpoint, path) < 1e-5
    extra = {HEADER_KEY: ""}
    script = torch.jit.load(path, _extra_files=extra)
    header = CheckpointHeader.from_dict(json.loads(extra[HEADER_KEY]))
    assert header == checkpoint.header
    network = checkpoint.torch_network.eval()
    for seconds, count in ((1.3, 1), (4.0, 5)):
        windows = torch.from_numpy(np.stack([speech(seconds, i) for i in range(count)]))
        with torch.inference_mode():
            logit, said, embedding = script(windows)
            expected = network(windows)
        torch.testing.assert_close(logit, expected.logit, atol=1e-4, rtol=0)
        torch.testing.assert_close(said, expected.speech, atol=1e-4, rtol=0)
        torch.testing.assert_close(embedding, expected.embedding, atol=1e-4, rtol=0)
    # A device in the code would keep it from moving to a GPU.
    with zipfile.ZipFile(path) as archive:
        code = [archive.read(name) for name in archive.namelist() if name.endswith(".py")]
    assert code
    assert not any(b"torch.device" in text for text in code)
    with pytest.raises(CheckpointError, match="run code"):
        load_checkpoint(path)


@pytest.mark.long
def test_eight_bits_are_for_convolutions_alone(
    checkpoint: Checkpoint, exported: Path, speech: MakeSpeech, tmp_path: Path
) -> None:
    path = tmp_path / "int8.onnx"
    windows = [speech(2, seed) for seed in range(6)]
    found = export_onnx_int8(checkpoint, path, windows)
    assert 0 < found.logit_rms < 0.1
    loaded = load_checkpoint(path)
    assert loaded.header == checkpoint.header
    exact, coarse = load_checkpoint(exported).network, loaded.network
    unheard = np.stack([speech(1.5, seed) for seed in range(20, 30)])
    for ours, theirs in zip(coarse.run(unheard), exact.run(unheard), strict=True):
        assert not np.array_equal(ours, theirs)
        np.testing.assert_allclose(ours, theirs, atol=0.1)
    graph = onnx.load(path).graph
    restored = {node.output[0] for node in graph.node if node.op_type == "DequantizeLinear"}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    in_float = [node for node in convolutions if restored.isdisjoint(node.input)]
    assert len(in_float) == 4  # the stem of each branch
    assert len(convolutions) == 2 * (1 + 2 * 3) + 2 * (1 + 1)  # it, and two blocks or one layer
    assert all(set(node.input) <= restored for node in convolutions if node not in in_float)
    others = {node.op_type for node in graph.node if restored & set(node.input)}
    assert "STFT" not in others
    assert "MatMul" not in others
    with pytest.raises(ConfigError, match="--data"):
        export_onnx_int8(checkpoint, path, [])


def test_what_is_no_export_is_refused(tmp_path: Path, checkpoint: Checkpoint) -> None:
    with pytest.raises(CheckpointError, match="onnx"):
        export_onnx(checkpoint, tmp_path / "model.bin")
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"nothing of the kind")
    with pytest.raises(CheckpointError, match=r"broken\.onnx"):
        load_checkpoint(broken)
