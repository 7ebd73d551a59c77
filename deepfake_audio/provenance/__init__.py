"""What a file says about itself, beside the score and never part of it.

AIGC labels (GB 45438-2025), C2PA manifests and the audible rhythm of a label are read by
:func:`read_provenance`; :func:`write_label` writes an AIGC label without touching the audio.
"""

from ..labels import Claim
from .aigc import AigcLabel
from .labelling import undo_label, write_label
from .reading import read_provenance

__all__ = ["AigcLabel", "Claim", "read_provenance", "undo_label", "write_label"]
