"""The moderation service: recordings and live rooms in, decisions out, every one accounted for.

Needs the extra ``server``. Read in the order of the imports: ``settings`` and ``policy`` say what
is wanted; ``database``, ``audit``, ``keys`` and ``store`` keep it; ``sandbox`` and ``engine`` turn
audio into reports; ``detections`` and ``worker`` carry a submission from the door to the decision;
``uploads`` and ``api`` are the door, and ``app`` puts all of it together.
"""
