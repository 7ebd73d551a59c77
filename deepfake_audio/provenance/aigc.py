"""The AIGC label of GB 45438-2025, appendix E: a line of JSON that says who made and who spread.

The Labelling Measures (in force since 2025-09-01, article 6) know three grades, and so has
``Label``: "1" the content is generated (属于), "2" it may be (可能为), "3" it is suspected to be
(疑似). Labels in the wild deviate from the standard; they are read, and how they deviate is said.
"""

from __future__ import annotations

import codecs
import dataclasses
import json
from dataclasses import dataclass
from typing import Any

from ..errors import LabelError
from ..labels import Claim
from .places import AIGC

CLAIMS = {"1": Claim.IS_GENERATED, "2": Claim.MAY_BE, "3": Claim.SUSPECTED}
"""By the value of ``Label``, from the strongest to the weakest."""

KEYS = (
    "Label", "ContentProducer", "ProduceID", "ReservedCode1", "ContentPropagator", "PropagateID",
    "ReservedCode2",
)  # fmt: skip
"""In the order of the standard."""

# Other spellings, as found in files and in the code of those who write them.
_ALIASES = {key.lower(): key for key in KEYS} | {
    "reservecode1": "ReservedCode1",
    "reservecode2": "ReservedCode2",
    "producer": "ContentProducer",
    "propagator": "ContentPropagator",
    "propatorid": "PropagateID",
    "propagatorid": "PropagateID",
}
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig", "begins with a byte order mark"),
    (codecs.BOM_UTF16_LE, "utf-16", "is UTF-16"),
    (codecs.BOM_UTF16_BE, "utf-16", "is UTF-16"),
)
_MAX_FIELDS = 32


@dataclass(frozen=True)
class AigcLabel:
    """A label as the standard has it.

    Attributes
    ----------
    label : str
        "1", "2" or "3", see :data:`CLAIMS`; "" to keep the claim of a label that is there.
    content_producer, produce_id : str
        Name or code of the service that generated the content, and its number for it.
    reserved_code1 : str
        Where the producer may secure the label, such as by a signature.
    content_propagator, propagate_id, reserved_code2 : str
        The same of the service that spread it last.
    """

    label: str
    content_producer: str = ""
    produce_id: str = ""
    reserved_code1: str = ""
    content_propagator: str = ""
    propagate_id: str = ""
    reserved_code2: str = ""

    def to_json(self) -> str:
        """Return the text of appendix E: all seven keys in order, all values strings."""
        values = dict(zip(KEYS, dataclasses.astuple(self), strict=True))
        return json.dumps({AIGC: values}, ensure_ascii=False, separators=(",", ":"))


@dataclass(frozen=True)
class LabelReading:
    """What was read from a label.

    Attributes
    ----------
    says : Claim or None
        None if ``Label`` means nothing known.
    fields : dict
        Keys and values as they were found.
    deviations : tuple of str
        Where the label departs from the standard, in words.
    label : AigcLabel or None
        The same under the standard's keys; None if ``says`` is.
    """

    says: Claim | None
    fields: dict[str, Any]
    deviations: tuple[str, ...]
    label: AigcLabel | None


def read_label(value: bytes | str | None) -> LabelReading:
    """Read a label, whatever state it is in.

    Parameters
    ----------
    value : bytes or str or None
        As found in a file; None for one that is too long to be read.
    """
    deviations: list[str] = []
    try:
        fields = _fields(value, deviations)
    except (ValueError, RecursionError) as error:
        reason = str(error) if isinstance(error, _NotALabelError) else "is not JSON"
        return LabelReading(None, {}, (*deviations, reason), None)
    values: dict[str, str] = {}
    for key, field in fields.items():
        known = _ALIASES.get(key.lower())
        if known is None:
            deviations.append(f"unknown key {_quoted(key)}")
            continue
        if known != key:
            deviations.append(f"key {_quoted(key)} for {known}")
        if not isinstance(field, str):
            deviations.append(f"{known} is not a string")
            field = "" if field is None else json.dumps(field, ensure_ascii=False)
        values.setdefault(known, field)
    deviations += [f"no {key}" for key in KEYS if key not in values]
    stated = values.get("Label", "")
    if stated not in CLAIMS and "Label" in values:
        deviations.append(f'Label is {_quoted(stated)}, not "1", "2" or "3"')
    # Written by some in place of "1": the content is AIGC.
    number = {AIGC: "1"}.get(stated.strip().upper(), stated.strip())
    says = CLAIMS.get(number)
    ordered = [values.get(key, "") for key in KEYS[1:]]
    label = AigcLabel(number, *ordered) if says else None
    return LabelReading(says, fields, tuple(deviations), label)


def merge_label(existing: AigcLabel | None, new: AigcLabel) -> AigcLabel:
    """Return the label of a file to which `new` is added.

    The one who spreads a file adds its own elements; what the producer wrote stays. The claim may
    become stronger and not weaker. On the first writing the elements of the propagator are those of
    the producer (appendix E, note 1) if none are given.

    Raises
    ------
    LabelError
        If the new label contradicts the one that is there.
    """
    if existing is None:
        if new.content_propagator or new.propagate_id:
            return new
        return dataclasses.replace(
            new, content_propagator=new.content_producer, propagate_id=new.produce_id
        )
    for key in ("content_producer", "produce_id", "reserved_code1"):
        there, given = getattr(existing, key), getattr(new, key)
        if there and given and there != given:
            raise LabelError(
                f"already labelled with another {key}, {_quoted(there)}",
                hint="what a producer has written is not replaced",
            )
    claim = new.label or existing.label
    if claim > existing.label:
        raise LabelError(
            f"already labelled {CLAIMS[existing.label].phrase}",
            hint="a label may become stronger, not weaker",
        )
    spread = bool(new.content_propagator or new.propagate_id or new.reserved_code2)
    latest = new if spread else existing
    return AigcLabel(
        claim,
        existing.content_producer or new.content_producer,
        existing.produce_id or new.produce_id,
        existing.reserved_code1 or new.reserved_code1,
        latest.content_propagator,
        latest.propagate_id,
        latest.reserved_code2,
    )


class _NotALabelError(ValueError):
    """Says in words what is wrong."""


def _fields(value: bytes | str | None, deviations: list[str]) -> dict[str, Any]:
    """Return keys and values as found, out of whatever they are wrapped in."""
    if value is None:
        raise _NotALabelError("is too long to be read")
    found: Any = value if isinstance(value, str) else _decoded(value, deviations)
    if found != (bare := found.strip("\0 \t\r\n\ufeff")):
        deviations.append("has white space or NUL around it")
    found = bare
    wrapped, times = True, 0
    while isinstance(found, str) or (isinstance(found, dict) and AIGC in found):
        times += 1
        if times > 6:
            raise _NotALabelError("is nested too deep")
        if isinstance(found, str):
            if times > 1:
                deviations.append("JSON inside a string")
            found = json.loads(found, object_pairs_hook=_without_repeats)
        else:
            wrapped = False
            found = found[AIGC]
    if not isinstance(found, dict):
        raise _NotALabelError("is not a JSON object")
    if wrapped:
        deviations.append(f'no "{AIGC}" around the fields')
    if len(found) > _MAX_FIELDS:
        raise _NotALabelError("has too many fields")
    return {_clean(key): _cleaned(field) for key, field in found.items()}


def _decoded(value: bytes, deviations: list[str]) -> str:
    for mark, encoding, deviation in _BOMS:
        if value.startswith(mark):
            deviations.append(deviation)
            return value.decode(encoding, "replace")
    if value[1:2] == b"\0" or value[:1] == b"\0":
        deviations.append("is UTF-16")
        return value.decode("utf-16-le" if value[1:2] == b"\0" else "utf-16-be", "replace")
    try:
        return value.decode()
    except UnicodeDecodeError:
        deviations.append("is not UTF-8")
        return value.decode("gb18030", "replace")  # the standard's own character set


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _NotALabelError("has a key twice")
    return found


def _cleaned(field: Any) -> Any:
    """Return a value that any JSON writer takes: no lone surrogates, infinities or deep trees."""
    if isinstance(field, str):
        return _clean(field)
    if field is None or isinstance(field, bool | int):
        return field
    return _clean(json.dumps(field, ensure_ascii=False))


def _clean(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


def _quoted(text: str) -> str:
    return json.dumps(text if len(text) <= 40 else text[:39] + "…", ensure_ascii=False)
