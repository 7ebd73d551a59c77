from __future__ import annotations

import dataclasses
import json
from typing import Any

import jsonschema
import pytest

from deepfake_audio.report import (
    InputInfo,
    ModelInfo,
    PolicyInfo,
    Provenance,
    Reason,
    Report,
    Segment,
    Verdict,
    json_schema,
    printable,
)

DESIGNED = {
    "schema": "deepfake_audio.report/1",
    "input": {
        "name": "clip.ogg", "sha256": "3f" * 32, "format": "OGG/OPUS", "sample_rate_hz": 48000,
        "channels": 2, "duration_s": 12.4, "speech_s": 9.8,
    },
    "verdict": "likely_synthetic", "reason": None, "p_synthetic": 0.973, "llr_synthetic": 3.58,
    "novelty": 0.35,
    "policy": {
        "name": "balanced", "threshold": 0.9, "expected_fpr": 0.01, "prior_synthetic": 0.5,
        "max_novelty": None, "authentic_below": 0.44,
    },
    "warnings": ["narrow_band"],
    "segments": [
        {"channel": 0, "start_s": 0.0, "end_s": 4.0, "p_synthetic": 0.98, "llr_synthetic": 3.9},
        {"channel": 1, "start_s": 0.0, "end_s": 4.0, "p_synthetic": 0.5, "llr_synthetic": 0.0},
    ],
    "provenance": {"aigc": None, "c2pa": None, "rhythm_s": None, "read": False},
    "model": {"name": "default", "version": "1.0.0", "sha256": "ab" * 32},
    "timing_ms": {"decode": 9, "score": 10},
}  # fmt: skip


LATER_FIELDS = {"novelty", "max_novelty", "authentic_below"}
"""Fields that older reports lack; they stay valid."""


def make(**changes: Any) -> Report:
    return dataclasses.replace(Report.from_dict(DESIGNED), **changes)


def test_json_form_is_the_documented_one() -> None:
    report = make()
    assert report.to_dict() == DESIGNED
    assert list(report.to_dict()) == list(DESIGNED)
    assert json.loads(report.to_json()) == DESIGNED
    assert Report.from_dict(json.loads(report.to_json())) == report


def test_older_reports_are_read() -> None:
    older = {key: value for key, value in DESIGNED.items() if key != "novelty"}
    older["policy"] = {k: v for k, v in DESIGNED["policy"].items() if k != "max_novelty"}
    jsonschema.validate(older, json_schema())
    assert Report.from_dict(older) == make(novelty=None)
    assert "novelty" not in str(Report.from_dict(older))


INCONCLUSIVE = {
    "verdict": Verdict.INCONCLUSIVE,
    "reason": Reason.NO_SPEECH,
    "p_synthetic": None,
    "llr_synthetic": None,
    "novelty": None,
    "segments": (),
}


@pytest.mark.parametrize("changes", [{}, INCONCLUSIVE, {"warnings": ()}])
def test_reports_fit_the_schema(changes: dict[str, Any]) -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema())
    jsonschema.validate(make(**changes).to_dict(), json_schema())


@pytest.mark.parametrize(
    "changes",
    [
        {"reason": Reason.TOO_SHORT},  # a reason belongs to an inconclusive verdict only
        {"verdict": Verdict.INCONCLUSIVE},  # which must have one
        {"p_synthetic": None},
        {"p_synthetic": 1.2},
        {"model": ModelInfo("m", "1", "not a hash")},
    ],
)
def test_schema_refuses_what_contradicts_itself(changes: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(make(**changes).to_dict(), json_schema())


def test_schema_knows_every_field() -> None:
    def compare(schema: dict[str, Any], value: Any) -> None:
        if isinstance(value, dict):
            assert set(schema["properties"]) == set(value)
            assert set(schema["required"]) == set(value) - LATER_FIELDS
            for key, inner in value.items():
                compare(schema["properties"][key], inner)
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            compare(schema["items"], value[0])

    compare(json_schema(), DESIGNED)


@pytest.mark.parametrize(
    "broken",
    [
        {**DESIGNED, "schema": "deepfake_audio.report/2"},
        {k: v for k, v in DESIGNED.items() if k != "input"},
        {**DESIGNED, "verdict": "fake"},
        {**DESIGNED, "model": {"name": "default"}},
        {},
    ],
)
def test_other_objects_are_refused(broken: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"report/1|not a valid Verdict"):
        Report.from_dict(broken)


def test_json_never_holds_nan() -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        make(llr_synthetic=float("nan")).to_json()


def test_text_states_what_a_number_means() -> None:
    text = str(make())
    for part in (
        "clip.ogg: likely synthetic",
        "p(synthetic) 0.973 under a prior of 0.5",
        "LLR +3.58",
        "0.350: further from what the model knows than 35 in 100 clips of the calibration set",
        "0.9 (balanced), likely authentic below 0.44",
        "flags about 1 in 100 genuine clips of the calibration set, more of other sources",
        "default 1.0.0 (abababab)",
        "9.8 s of speech in 12.4 s",
        "narrow_band",
    ):
        assert part in text
    assert "%" not in text
    assert "\n" not in make().summary()


def test_text_of_an_inconclusive_report_has_the_reason_and_no_number() -> None:
    text = str(make(**INCONCLUSIVE))
    assert "no speech found" in text
    assert "p(synthetic)" not in text
    assert "LLR" not in make(**INCONCLUSIVE).summary()


def test_own_threshold_promises_no_rate() -> None:
    text = str(make(policy=PolicyInfo("custom", 0.7, None, 0.5), novelty=None))
    assert "not measured" in text
    assert "in 100" not in text
    assert "uncertain above novelty 0.9" in str(make(policy=PolicyInfo("a", 0.7, None, 0.5, 0.9)))


FOUND = Provenance(
    aigc={
        "says": "may_be", "where": "RIFF chunk AIGC", "fields": {"Label": "2"},
        "deviations": ['unknown key "<b>\x1b"'],
    },
    c2pa={
        "where": "RIFF chunk C2PA", "n_bytes": 9, "state": "Valid", "problem": None,
        "generator": "G 1", "signer": "S", "source_types": ["trainedAlgorithmicMedia"],
        "says": "is_generated",
    },
    rhythm_s=0.25,
    read=True,
)  # fmt: skip


@pytest.mark.parametrize("found", [FOUND, Provenance(read=True), Provenance(rhythm_s=1.0)])
def test_labels_stand_beside_the_verdict(found: Provenance) -> None:
    report = make().with_provenance(found)
    jsonschema.validate(report.to_dict(), json_schema())
    assert Report.from_dict(json.loads(report.to_json())) == report
    assert dataclasses.replace(report, provenance=Provenance()) == make()


def test_labels_in_text() -> None:
    assert "labels" not in str(make())
    assert "labels     none found" in str(make().with_provenance(Provenance(read=True)))
    report = make().with_provenance(FOUND)
    text = str(report)
    assert (
        'labels     AIGC: may be generated (RIFF chunk AIGC); deviates: unknown key "<b>\\x1b"\n'
        in text
    )
    assert "labels     C2PA: valid, is generated (G 1, S, RIFF chunk C2PA)\n" in text
    assert "labels     audible label at 0.2 s\n" in text
    summary = "<AIGC: may be generated; C2PA: valid, is generated; audible label at 0.2 s>"
    assert report.summary().endswith(summary)
    assert "<b>" not in report._repr_html_().replace("<b style", "")
    unreadable = Provenance(aigc={**FOUND.aigc, "says": None}) if FOUND.aigc else FOUND
    assert unreadable.phrases() == ["AIGC: unreadable"]


@pytest.mark.parametrize(
    "broken",
    [
        {"aigc": {"says": "yes"}},
        {"aigc": {**(FOUND.aigc or {}), "says": "yes"}},
        {"c2pa": {**(FOUND.c2pa or {}), "says": "may_be"}},
        {"rhythm_s": -1},
    ],
)
def test_schema_knows_what_labels_say(broken: dict[str, Any]) -> None:
    report = make().with_provenance(dataclasses.replace(FOUND, **broken))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(report.to_dict(), json_schema())


def named(name: str) -> Report:
    return make(input=InputInfo(name, None, "WAV/PCM_16", 8000, 1, 1.0, 1.0))


def test_names_cannot_inject_anything() -> None:
    report = named("<script>a</script>\x1b[31m\n.wav")
    assert "<script>" not in report._repr_html_()
    assert "&lt;script&gt;" in report._repr_html_()
    assert str(report).splitlines()[0].endswith("\\x1b[31m\\n.wav: likely synthetic")
    assert printable("录音 é.wav") == "录音 é.wav"
    assert printable("\udc80.wav") == "\\udc80.wav"


def test_verdict_and_segment_are_plain_values() -> None:
    assert Verdict("uncertain") == "uncertain"
    assert Verdict.LIKELY_AUTHENTIC.phrase == "likely authentic"
    with pytest.raises(dataclasses.FrozenInstanceError):
        Segment(0, 0.0, 1.0, 0.5, 0.0).channel = 1  # type: ignore[misc]
