from __future__ import annotations

import json
from typing import Any

import pytest
from labelled_files import FIELDS

from deepfake_audio.errors import LabelError
from deepfake_audio.provenance.aigc import KEYS, AigcLabel, merge_label, read_label
from deepfake_audio.report import Claim

LABEL = AigcLabel(*FIELDS.values())


def text(wrap: bool = True, **changes: Any) -> str:
    fields = {k: v for k, v in {**FIELDS, **changes}.items() if v is not ...}
    return json.dumps({"AIGC": fields} if wrap else fields)


def test_the_text_is_that_of_appendix_e() -> None:
    assert LABEL.to_json() == (
        '{"AIGC":{"Label":"1","ContentProducer":"00119131011","ProduceID":"v0300",'
        '"ReservedCode1":"s1","ContentPropagator":"00119131022","PropagateID":"p7",'
        '"ReservedCode2":"s2"}}'
    )
    assert tuple(json.loads(AigcLabel("2").to_json())["AIGC"]) == KEYS


@pytest.mark.parametrize(
    ("value", "claim"),
    [("1", Claim.IS_GENERATED), ("2", Claim.MAY_BE), ("3", Claim.SUSPECTED)],
)
def test_grades(value: str, claim: Claim) -> None:
    reading = read_label(text(Label=value))
    assert (reading.says, reading.deviations) == (claim, ())
    assert reading.fields == {**FIELDS, "Label": value}


@pytest.mark.parametrize(
    ("found", "says", "deviations"),
    [
        (text(Label="AIGC"), "is_generated", ['Label is "AIGC", not "1", "2" or "3"']),
        (text(Label=1), "is_generated", ["Label is not a string"]),
        (text(Label="4"), None, ['Label is "4", not "1", "2" or "3"']),
        (text(Label=None), None, ["Label is not a string", 'Label is "", not "1", "2" or "3"']),
        (text(Label=...), None, ["no Label"]),
        (text(Label=["1"]), None, ['Label is "[\\"1\\"]", not "1", "2" or "3"']),
        (text(ReservedCode2=...), "is_generated", ["no ReservedCode2"]),
        (text(Extra="x"), "is_generated", ['unknown key "Extra"']),
        (text(wrap=False), "is_generated", ['no "AIGC" around the fields']),
        (json.dumps(text()), "is_generated", ["JSON inside a string"]),
        (json.dumps({"AIGC": text(wrap=False)}), "is_generated", ["JSON inside a string"]),
        (text() + "\0\n", "is_generated", ["has white space or NUL around it"]),
        (text().encode("utf-8-sig"), "is_generated", ["begins with a byte order mark"]),
        (text().encode("utf-16"), "is_generated", ["is UTF-16"]),
        (text().encode("utf-16-le"), "is_generated", ["is UTF-16"]),
        (text().encode("utf-16-be"), "is_generated", ["is UTF-16"]),
        (text(ContentProducer="服务").encode(), "is_generated", []),
        (
            text().replace("00119131011", "服务").encode("gb18030"),
            "is_generated",
            ["is not UTF-8"],
        ),
        ("AIGC", None, ["is not JSON"]),
        (b"", None, ["is not JSON"]),
        (b"\xff\xfe", None, ["is UTF-16", "is not JSON"]),
        ("[]", None, ["is not a JSON object"]),
        ('{"AIGC": null}', None, ["is not a JSON object"]),
        ('{"AIGC":{"Label":"1","Label":"3"}}', None, ["has a key twice"]),
        ("[" * 30_000, None, ["is not JSON"]),
        ('{"AIGC":' * 30 + "1" + "}" * 30, None, ["is nested too deep"]),
        (None, None, ["is too long to be read"]),
        (json.dumps({"AIGC": dict.fromkeys(map(str, range(50)))}), None, ["has too many fields"]),
    ],
)
def test_deviations(found: Any, says: str | None, deviations: list[str]) -> None:
    reading = read_label(found)
    assert reading.says == says
    expected = set(deviations)
    assert expected <= set(reading.deviations)
    if says:
        assert expected == set(reading.deviations)
    assert (reading.label is None) == (says is None)
    json.dumps([reading.fields, reading.deviations], allow_nan=False).encode()


def test_keys_of_other_spellings_are_known_and_kept() -> None:
    fields = {
        "Label": "2", "ContentProducer": "P", "ProduceID": "1", "ReserveCode1": "a",
        "Propagator": "Q", "PropatorID": "2", "ReserveCode2": "b",
    }  # fmt: skip
    reading = read_label(json.dumps({"AIGC": fields}))
    assert reading.fields == fields
    assert reading.label == AigcLabel("2", "P", "1", "a", "Q", "2", "b")
    assert set(reading.deviations) == {
        'key "ReserveCode1" for ReservedCode1',
        'key "Propagator" for ContentPropagator',
        'key "PropatorID" for PropagateID',
        'key "ReserveCode2" for ReservedCode2',
    }


def test_values_cannot_break_a_report() -> None:
    reading = read_label('{"AIGC":{"Label":"1","ProduceID":"\\ud800","x":NaN,"y":{"z":[1e999]}}}')
    json.dumps(reading.fields, ensure_ascii=False, allow_nan=False).encode()


def test_first_writing() -> None:
    produced = merge_label(None, AigcLabel("1", "P", "1"))
    assert (produced.content_propagator, produced.propagate_id) == ("P", "1")
    spread = merge_label(None, AigcLabel("3", content_propagator="Q", propagate_id="2"))
    assert (spread.content_producer, spread.produce_id) == ("", "")


def test_a_propagator_adds_to_what_the_producer_wrote() -> None:
    added = AigcLabel("1", content_propagator="R", propagate_id="9")
    merged = merge_label(LABEL, added)
    assert merged == AigcLabel("1", "00119131011", "v0300", "s1", "R", "9", "")
    assert merge_label(LABEL, AigcLabel("1")) == LABEL


@pytest.mark.parametrize(
    ("new", "message"),
    [
        (AigcLabel("1", "Somebody"), "another content_producer"),
        (AigcLabel("1", produce_id="x"), "another produce_id"),
        (AigcLabel("1", reserved_code1="x"), "another reserved_code1"),
        (AigcLabel("3"), "already labelled is generated"),
    ],
)
def test_what_is_there_is_not_contradicted(new: AigcLabel, message: str) -> None:
    with pytest.raises(LabelError, match=message):
        merge_label(LABEL, new)


def test_a_suspicion_can_be_confirmed() -> None:
    suspected = AigcLabel("3", content_propagator="Q", propagate_id="2")
    assert merge_label(suspected, AigcLabel("1", "P", "1")) == AigcLabel(
        "1", "P", "1", "", "Q", "2"
    )
