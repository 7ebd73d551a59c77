"""From events to alerts: one event proves little, several of the last ones are told."""

from __future__ import annotations

from collections import deque
from enum import StrEnum

from ...streaming import StreamEvent
from ..policy import Action, Rules, Surface

_LEVELS = (Action.BLOCK, Action.REVIEW)
"""What alerts are about, the strictest first."""

ORDER = list(Action)
"""From the mildest action to the strictest."""


class Change(StrEnum):
    """What an event does to the alert of its speaker."""

    RAISED = "alert"
    CLEARED = "alert_cleared"


class Alarm:
    """The alert of one speaker: raised when ``alert_windows`` of ``alert_of`` events ask for it.

    Parameters
    ----------
    rules : Rules
        Thresholds, and how many events.

    Attributes
    ----------
    level : Action
        ``pass`` while there is no alert.
    highest : Action
        The strictest one there was.
    """

    def __init__(self, rules: Rules) -> None:
        policy = rules.surfaces[Surface.LIVE]
        self._rules = rules
        self._needed = policy.alert_windows
        self._recent: deque[Action] = deque(maxlen=policy.alert_of)
        self.level = Action.PASS
        self.highest = Action.PASS

    def hear(self, event: StreamEvent) -> tuple[Action, Change | None]:
        """Return the action that an event alone asks for, and what becomes of the alert."""
        action = Action.PASS
        if event.reason is None and event.p_synthetic is not None:
            action = self._rules.action_at(Surface.LIVE, event.p_synthetic)
        self._recent.append(action)
        before, self.level = self.level, self._asked_for()
        self.highest = stricter(self.highest, self.level)
        if self.level == before:
            return action, None
        raised = ORDER.index(self.level) > ORDER.index(before)
        return action, Change.RAISED if raised else Change.CLEARED

    def _asked_for(self) -> Action:
        ranks = [ORDER.index(action) for action in self._recent]
        for level in _LEVELS:
            if sum(rank >= ORDER.index(level) for rank in ranks) >= self._needed:
                return level
        return Action.PASS


def stricter(one: Action, other: Action) -> Action:
    """Return the stricter of two actions."""
    return max(one, other, key=ORDER.index)
