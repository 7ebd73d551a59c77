"""From labelled clips to a released model, and from a released model to one of your own."""

from .finetuning import finetune
from .material import Sources
from .recipe import Recipe
from .run import train
from .soup import soup

__all__ = ["Recipe", "Sources", "finetune", "soup", "train"]
