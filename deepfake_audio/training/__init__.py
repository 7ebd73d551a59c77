"""From labelled clips to a released model."""

from .recipe import Recipe
from .run import Sources, train

__all__ = ["Recipe", "Sources", "train"]
