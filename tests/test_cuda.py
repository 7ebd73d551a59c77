"""What of the way to a GPU can be tested without one; the rest is in tests/gpu."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

import numpy as np
import pytest
import torch

from deepfake_audio import cuda
from deepfake_audio.checkpoint import load_checkpoint
from deepfake_audio.cuda import CudaRunner, as_heard, as_sent
from deepfake_audio.devices import resolve_devices
from deepfake_audio.features import Frontend
from deepfake_audio.onnx_network import Outputs

MakeSpeech = Callable[..., np.ndarray]
UNITTEST = load_checkpoint("unittest")


def pcm(samples: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(samples * 32768), -32768, 32767).astype(np.int16)


def test_16_bit_sound_is_sent_in_16_bits_and_heard_to_the_last_bit(speech: MakeSpeech) -> None:
    sound = pcm(np.stack([speech(2, seed) for seed in range(3)]))
    sound[0, :2] = -32768, 32767
    floats = sound.astype(np.float32) / 32768
    for batch in (sound, floats):
        sent = as_sent(batch, pin=False)
        assert sent.dtype == torch.int16
        np.testing.assert_array_equal(as_heard(sent).numpy(), floats)
    frontend = Frontend(UNITTEST.header.branches[0].frontend)
    assert torch.equal(frontend(as_heard(sent)), frontend(torch.from_numpy(floats)))


@pytest.mark.parametrize("odd", [1 / 65536, 1.0, -1.5, 3.0, np.nan, np.inf])
@pytest.mark.parametrize("row", [0, 2])
def test_sound_of_more_than_16_bits_is_sent_as_it_is(odd: float, row: int) -> None:
    floats = np.zeros((3, 100), dtype=np.float32)
    floats[row, 17] = odd
    sent = as_sent(floats, pin=False)
    assert sent.dtype == torch.float32
    floats_then = floats.copy()
    floats[:] = 0.5  # the memory is used again while the copy is under way
    np.testing.assert_array_equal(as_heard(sent).numpy(), floats_then)


class SlowGpu:
    """Says which device it is; a batch takes until the others have one, too."""

    meeting: threading.Barrier

    def __init__(self, network: object, device: torch.device, precision: str) -> None:
        self.device, self.network = device, network
        self._busy = threading.Lock()

    def run(self, batches: Iterable[np.ndarray]) -> list[Outputs]:
        assert self._busy.acquire(blocking=False), "two threads on one device"
        try:
            self.meeting.wait(20)
            if self.device.index == 1:
                raise torch.OutOfMemoryError("made up")
            return [Outputs(batch[:, 0], batch[:, 0], batch) for batch in batches]
        finally:
            self._busy.release()


def test_threads_share_the_devices_one_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "_Gpu", SlowGpu)
    SlowGpu.meeting = threading.Barrier(3)
    devices = [torch.device("cuda", index) for index in range(3)]
    runner = CudaRunner(UNITTEST.torch_network, devices, "fp32")
    assert runner.lanes == 6
    found: list[object] = []

    def ask(number: int) -> None:
        try:
            found.append([float(o.logit[0]) for o in runner.run([np.full((1, 2), number)])])
        except cuda.DeviceError as error:
            found.append(error.name)

    for _ in range(2):  # a device that failed is asked again
        threads = [threading.Thread(target=ask, args=(i,)) for i in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found.count("cuda:1") == 1
        assert len(found) == 3
        found.clear()


def test_cuda_means_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [str(d) for d in resolve_devices("cuda")] == ["cuda:0", "cuda:1"]
    assert [str(d) for d in resolve_devices("cuda:1")] == ["cuda:1"]
    assert [str(d) for d in resolve_devices("cpu")] == ["cpu"]
