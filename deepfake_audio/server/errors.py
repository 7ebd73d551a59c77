"""What a client is told when its request cannot be done."""

from __future__ import annotations

from ..errors import DeepfakeAudioError


class RequestError(DeepfakeAudioError):
    """A request that cannot be done as it is.

    Parameters
    ----------
    message, name, hint : str
        As for :class:`~deepfake_audio.errors.DeepfakeAudioError`.
    status : int
        HTTP status.
    code : str, optional
        For programs.
    retry_after_s : int, optional
        When to come again, seconds.
    """

    code = "bad_request"

    def __init__(
        self,
        message: str,
        *,
        name: str | None = None,
        hint: str | None = None,
        status: int = 400,
        code: str | None = None,
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(message, name=name, hint=hint)
        self.status = status
        self.code = code or type(self).code
        self.retry_after_s = retry_after_s


class NotFoundError(RequestError):
    """There is no such thing, or it belongs to somebody else: the two look alike."""

    code = "not_found"

    def __init__(self, message: str) -> None:
        super().__init__(message, status=404)
