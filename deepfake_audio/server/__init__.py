"""The moderation service: recordings and live rooms in, decisions out, every one accounted for.

Needs the extra ``server``. Read in the order of the imports: ``settings`` and ``policy`` say what
is wanted; ``database``, ``audit``, ``keys`` and ``store`` keep it; ``sandbox`` and ``engine`` turn
audio into reports; ``detections``, ``claims`` and ``worker`` carry a submission to its decision,
``reviews`` to people; ``rooms`` listens live; ``uploads`` and ``routes`` are the door,
and ``app`` puts all of it together.
"""
