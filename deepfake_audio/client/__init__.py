"""Clients of the moderation service: recordings in, detections out.

Need httpx, as of the extra ``server``; of the rest of this package they take reports and errors.

>>> with Client("http://127.0.0.1:8000", key) as client:  # doctest: +SKIP
...     found = client.submit("clip.wav", wait_s=20)
...     print(found.report.verdict, found.action)
>>> async with AsyncClient("http://127.0.0.1:8000", key) as client:  # doctest: +SKIP
...     found = await asyncio.gather(*(client.submit(path, wait_s=20) for path in paths))
"""

from ..errors import MissingExtraError
from ..signatures import SIGNATURE_HEADER, verify

try:
    from ._answers import Detection, ServiceError
    from ._async import AsyncClient
    from ._blocking import Client
except ModuleNotFoundError as error:
    raise MissingExtraError(
        "the client needs httpx", hint='pip install "deepfake-audio[server]"'
    ) from error

__all__ = [
    "SIGNATURE_HEADER",
    "AsyncClient",
    "Client",
    "Detection",
    "ServiceError",
    "verify",
]
