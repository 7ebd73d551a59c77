"""From labelled clips to a released model."""

from .recipe import Recipe
from .run import train

__all__ = ["Recipe", "train"]
