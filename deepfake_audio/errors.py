"""Every error this package raises on purpose, in one small tree.

Each class carries a stable ``code`` for programs; the message says what happened, to which
input, and what to do about it. Catch :class:`DeepfakeAudioError` to catch them all.
"""

from __future__ import annotations


class DeepfakeAudioError(Exception):
    """Base of all errors raised by this package.

    Parameters
    ----------
    message : str
        What happened, in one sentence without a trailing full stop.
    name : str, optional
        The input (file name, configuration key, model name) it happened to.
    hint : str, optional
        The remedy: what the reader can do next.
    """

    code: str = "error"

    def __init__(self, message: str, *, name: str | None = None, hint: str | None = None) -> None:
        self.message = message
        self.name = name
        self.hint = hint
        super().__init__(message)

    def __str__(self) -> str:
        # One line whatever the input is called, so that logs and terminals stay readable.
        parts = [self.message]
        if self.name:
            parts.insert(0, self.name)
        if self.hint:
            parts.append(self.hint)
        return ": ".join(" ".join(part.split()) for part in parts)


class AudioError(DeepfakeAudioError):
    """An input could not be turned into samples."""

    code = "unreadable_audio"


class AudioNotFoundError(AudioError):
    """The path does not exist, is a directory, or may not be read."""

    code = "not_found"


class UnsupportedFormatError(AudioError):
    """The content is not audio, or not in a format that is read here."""

    code = "unsupported_format"


class CorruptAudioError(AudioError):
    """The container was recognised but its content cannot be decoded."""

    code = "corrupt_audio"


class EmptyAudioError(AudioError):
    """The input holds no samples at all."""

    code = "empty_audio"


class LimitExceededError(AudioError):
    """The input is larger or longer than the configured :class:`~deepfake_audio.config.Limits`."""

    code = "limit_exceeded"


class InvalidSamplesError(AudioError):
    """The samples cannot be sound: NaN, infinite, absurdly large, or of the wrong shape."""

    code = "invalid_samples"


class MissingExtraError(DeepfakeAudioError):
    """A feature needs an optional dependency that is not installed."""

    code = "missing_extra"


class ConfigError(DeepfakeAudioError, ValueError):
    """A configuration value is unknown or out of range."""

    code = "bad_config"


class LabelError(DeepfakeAudioError):
    """A label cannot be written, or not be taken back."""

    code = "label_refused"


class CheckpointError(DeepfakeAudioError):
    """A model file is missing, damaged, or of an unknown version."""

    code = "bad_checkpoint"


class DatasetError(DeepfakeAudioError):
    """A training or evaluation set is missing, malformed, or unusable."""

    code = "bad_dataset"


class DeviceError(DeepfakeAudioError):
    """The requested compute device is not available."""

    code = "device_unavailable"
