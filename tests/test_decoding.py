from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from deepfake_audio import decoding
from deepfake_audio.decoding import DecodeAhead, Decoded
from deepfake_audio.errors import DeepfakeAudioError

MakeWav = Callable[..., Path]


def test_results_come_in_order_and_errors_in_place(speech_wav: MakeWav) -> None:
    paths = [speech_wav(f"{seconds}.wav", seconds) for seconds in (3, 1, 2)]
    named = [(paths[0], None), (b"no audio", "bad"), (paths[1], "mine"), (paths[2], None)]
    first, bad, second, third = DecodeAhead(named)
    assert isinstance(bad, DeepfakeAudioError)
    assert "bad" in str(bad)
    found = [item for item in (first, second, third) if isinstance(item, Decoded)]
    assert [item.audio.info.duration_s for item in found] == [3, 1, 2]
    assert found[1].audio.info.name == "mine"
    assert all(item.elapsed_s > 0 for item in found)


def test_it_begins_when_told_to(monkeypatch: pytest.MonkeyPatch, speech_wav: MakeWav) -> None:
    path = speech_wav("clip.wav", 1)
    real, fourth_begun, calls = decoding.begin, threading.Event(), []

    def watched(*args: object, **kwargs: object) -> object:
        calls.append(args)
        if len(calls) == 4:
            fourth_begun.set()
        return real(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(decoding, "begin", watched)
    decoded = DecodeAhead([(path, str(i)) for i in range(5)])
    assert not calls
    decoded.begin()
    decoded.begin()  # a second time changes nothing
    assert fourth_begun.wait(20)
    names = [item.audio.info.name for item in decoded if isinstance(item, Decoded)]
    assert names == list("01234")


def test_it_rests_while_asked_to(speech_wav: MakeWav) -> None:
    decoded = DecodeAhead([(speech_wav("clip.wav", 1), None)])
    done = threading.Event()

    def take() -> None:
        next(decoded)
        done.set()

    taker = threading.Thread(target=take)
    with decoded.resting():
        taker.start()
        assert not done.wait(0.3)
    assert done.wait(20)
    taker.join()
