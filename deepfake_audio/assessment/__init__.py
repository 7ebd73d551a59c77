"""A security assessment of a deployment: one report in which every number says where it is from.

Read in the order of the imports: ``config`` says what is assessed and what is aimed at;
``evidence`` keeps files, hashes and places in them; ``cells`` turns evaluation, robustness and
score tables into error rates with intervals, ``service`` and ``drift`` what a deployment has done;
``findings`` holds the cells against their targets and keeps the rectification log; ``document`` is
the report as a tree, which ``sections`` fills with the words of ``texts``; ``markdown``, ``html``
and ``pdf`` write it down; ``assessing`` does all of it.
"""

from .assessing import Assessment, assess
from .config import AssessmentConfig

__all__ = ["Assessment", "AssessmentConfig", "assess"]
