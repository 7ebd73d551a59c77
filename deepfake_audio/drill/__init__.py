"""The hazard drill: a fresh red-team set, and what the deployed detector makes of it."""

from .asking import Answer, Deployment, LocalDeployment, ServiceDeployment
from .engines import ENGINES, Engine, Skipped, find_engines
from .making import CLIPS, CONDITIONS, Plan, Recording, RedTeamSet, make_set
from .outcome import AXES, PROTOCOL, SCHEMA, SCORES, Heard, count, groups_of, table, write_protocol

__all__ = [
    "AXES",
    "CLIPS",
    "CONDITIONS",
    "ENGINES",
    "PROTOCOL",
    "SCHEMA",
    "SCORES",
    "Answer",
    "Deployment",
    "Engine",
    "Heard",
    "LocalDeployment",
    "Plan",
    "Recording",
    "RedTeamSet",
    "ServiceDeployment",
    "Skipped",
    "count",
    "find_engines",
    "groups_of",
    "make_set",
    "table",
    "write_protocol",
]
