"""Labelled clips: where they are, what they are, and their decoded samples."""

from .cache import AudioCache, open_cache
from .clip import Clip
from .manifest import load_manifest

__all__ = ["AudioCache", "Clip", "load_manifest", "open_cache"]
