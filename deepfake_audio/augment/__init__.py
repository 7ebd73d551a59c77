"""What a voice goes through before it reaches a file: used in training and in evaluation."""

from .bank import SoundBank
from .channel import NO_AUGMENTATION, AugmentConfig, ChannelSimulator

__all__ = ["NO_AUGMENTATION", "AugmentConfig", "ChannelSimulator", "SoundBank"]
