"""Live rooms: speakers heard as they speak, an event a second, alerts, and a report at the end.

Read in this order: ``protocol`` (what clients say), ``outbox`` (what they are told), ``sound``
(chunks -> samples), ``alarm`` (events -> alerts), ``room``, ``records`` (what stays of a room),
``recorder`` (their writer), ``lifelines`` (which process a room lives in), ``apart`` (a process
that scores), ``backlog`` (windows -> batches -> events), ``hub`` (the thread that hears all rooms),
``connection``.
"""
