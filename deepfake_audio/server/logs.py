"""What the service says of itself: lines to read, or one JSON object each.

There is never audio, nor a key or a secret, in what is logged.
"""

from __future__ import annotations

import json
import logging
import os
from datetime import UTC, datetime
from typing import Literal

LogFormat = Literal["text", "json"]


_FORMAT = "DEEPFAKE_AUDIO_LOG_FORMAT"
_kind: LogFormat = "text"


class JsonFormatter(logging.Formatter):
    """One JSON object a line: ``time`` (UTC), ``level``, ``logger``, ``message``, ``exception``."""

    def format(self, record: logging.LogRecord) -> str:
        """Return a record as JSON."""
        said = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            said["exception"] = self.formatException(record.exc_info)
        return json.dumps(said, ensure_ascii=False)


def begin(kind: LogFormat) -> None:
    """Log to standard error from here on, unless somebody has seen to it already."""
    global _kind
    _kind = kind
    handler = logging.StreamHandler()
    if kind == "json":
        handler.setFormatter(JsonFormatter())
    else:
        handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    # What they have to say on an ordinary day is of no use, and an URL may hold a secret.
    for talker in ("alembic", "httpx"):
        logging.getLogger(talker).setLevel(logging.WARNING)


def for_child() -> dict[str, str]:
    """Return the part of a child's environment that :func:`inherited` reads there."""
    return {_FORMAT: _kind}


def inherited() -> LogFormat:
    """Return how the process that started this one logs."""
    return "json" if os.environ.get(_FORMAT) == "json" else "text"
