"""Errors are one line, have a code of their own, and form one tree."""

from __future__ import annotations

import inspect

from deepfake_audio import errors

TREE = [
    value
    for _, value in inspect.getmembers(errors, inspect.isclass)
    if issubclass(value, errors.DeepfakeAudioError)
]


def test_codes_are_unique() -> None:
    codes = [error.code for error in TREE]
    assert len(TREE) > 10
    assert len(set(codes)) == len(codes)


def test_message_names_input_and_remedy_on_one_line() -> None:
    error = errors.CorruptAudioError("ends\nearly", name="a\nb.wav", hint="copy it again")
    assert str(error) == "a b.wav: ends early: copy it again"
    assert error.code == "corrupt_audio"


def test_bad_settings_are_value_errors_too() -> None:
    assert issubclass(errors.ConfigError, ValueError)
