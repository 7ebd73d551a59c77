"""The review page: a fixed list of files that come with the package."""

from __future__ import annotations

from importlib.resources import files

from fastapi import APIRouter, Response

from ..errors import NotFoundError

router = APIRouter(include_in_schema=False)

_TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
}

NAMES = (
    "index.html", "style.css", "app.js", "api.js", "dom.js", "strings.js", "sound.js",
    "player.js", "charts.js", "queue.js", "detection.js", "dashboard.js",
)  # fmt: skip

# Read once, by names of ours: nothing of a request ever becomes part of a path.
FILES = {name: files("deepfake_audio.server").joinpath("page", name).read_bytes() for name in NAMES}


@router.get("/")
def page() -> Response:
    """Return the page."""
    return static("index.html")


@router.get("/static/{name}")
def static(name: str) -> Response:
    """Return one of its files."""
    if name not in FILES:
        raise NotFoundError("no such file")
    return Response(FILES[name], media_type=_TYPES[name.rpartition(".")[2]])
