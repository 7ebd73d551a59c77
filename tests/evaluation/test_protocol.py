"""ASVspoof files: what is read, what is written, what is refused."""

import gzip

import numpy as np
import pytest

from deepfake_audio.errors import DatasetError
from deepfake_audio.evaluation import (
    ScoreTable,
    read_asv_scores,
    read_asvspoof,
    read_protocol,
    read_sasv_scores,
    read_scores,
    write_protocol,
    write_scores,
)

PROTOCOL = "S1 U1 - - bonafide\nS1 U2 - A07 spoof\n\nS2 U3 - A08 spoof\n"


@pytest.fixture
def write(tmp_path):
    def write(text, name="file.txt"):
        path = tmp_path / name
        if name.endswith(".gz"):
            path.write_bytes(gzip.compress(text.encode()))
        else:
            path.write_text(text)
        return path

    return write


@pytest.mark.parametrize("name", ["protocol.txt", "protocol.txt.gz"])
def test_protocol_of_2019_plain_or_gzipped(write, name):
    rows = read_protocol(write(PROTOCOL, name))
    assert [row.id for row in rows] == ["U1", "U2", "U3"]
    assert rows[0] == ("S1", "U1", "", "bonafide", "")
    assert rows[1] == ("S1", "U2", "A07", "spoof", "")


def test_protocols_of_later_challenges_name_the_codec(write):
    text = (
        "LA_0009 LA_E_1 alaw ita_tx A07 spoof notrim eval\n"
        "LA_0020 LA_E_2 g722 loc_tx bonafide bonafide notrim eval\n"
        "E_1607 E_0009538969 M C05 2 E_0001 AC3 A18 spoof -\n"
        "E_1607 E_0009538970 M - - - - bonafide bonafide -\n"
    )
    rows = read_protocol(write(text))
    assert [row[2:] for row in rows] == [
        ("A07", "spoof", "alaw"),
        ("", "bonafide", "g722"),
        ("A18", "spoof", "C05"),
        ("", "bonafide", ""),
    ]


def test_scores_alone_with_a_header_or_with_keys(write):
    assert read_scores(write("U1 2.5\nU2 -1e-3\n")) == ({"U1": 2.5, "U2": -0.001}, [])
    assert read_scores(write("filename\tcm-score\nU1\t2.5\n"))[0] == {"U1": 2.5}
    scores, rows = read_scores(write("S1 U1 - - bonafide 3\nS1 U2 - A07 spoof -3\n"))
    assert scores == {"U1": 3, "U2": -3}
    assert [row.attack for row in rows] == ["", "A07"]


def test_an_evaluation_table_needs_no_model(write):
    protocol, scores = write(PROTOCOL), write("U2 -1.5\nU1 2\nelsewhere 9\n", "scores.txt")
    table = read_asvspoof(scores, protocol)
    assert table.id.tolist() == ["U1", "U2", "U3"]
    np.testing.assert_array_equal(table.llr_synthetic, [-2, 1.5, np.nan])
    assert table.system.tolist() == ["", "A07", "A08"]
    assert table.reason.tolist() == ["", "", "no_score"]
    with pytest.raises(DatasetError, match=r"scores.txt: gives scores but no keys: give the pro"):
        read_asvspoof(scores)
    with pytest.raises(DatasetError, match="no score for any trial"):
        read_asvspoof(write("X1 1\n", "other.txt"), protocol)


@pytest.mark.parametrize("name", ["out.txt", "out.txt.gz"])
def test_what_is_written_reads_back(write, tmp_path, name):
    table = ScoreTable.from_columns(
        ["U1", "U2", "U3"],
        ["bonafide", "spoof", "spoof"],
        [-2.0, 0.1, np.nan],
        system=["ignored", "Fast Speech", ""],
        speaker=["", "S 2", "S3"],
    )
    write_scores(tmp_path / name, table)
    assert read_scores(tmp_path / name) == ({"U1": 2.0, "U2": -0.1}, [])
    write_scores(tmp_path / name, table, with_protocol=True)
    back = read_asvspoof(tmp_path / name)
    assert back.llr_synthetic.tolist() == [-2.0, 0.1]
    assert back.system.tolist() == ["", "Fast_Speech"]
    write_protocol(tmp_path / name, table)
    assert [tuple(row)[:4] for row in read_protocol(tmp_path / name)] == [
        ("-", "U1", "", "bonafide"),
        ("S_2", "U2", "Fast_Speech", "spoof"),
        ("S3", "U3", "", "spoof"),
    ]


def test_verifier_scores_with_and_without_ids(write):
    asv = read_asv_scores(write("- target 7.5\nA07 spoof 1\n- nontarget -2\n"))
    assert asv.of("target").tolist() == [7.5]
    assert asv.id is None
    named = read_asv_scores(write("S1 U1 target 7.5\nS1 U2 spoof 1\n"))
    assert named.id.tolist() == ["U1", "U2"]


def test_sasv_trials(write):
    text = "asv_score,cm_score,sasv_label\n0.5,3.0,1.0\n0.1,2.0,2\n0.6,-4.0,0\n"
    table, asv = read_sasv_scores(write(text))
    assert table.label.tolist() == ["bonafide", "bonafide", "spoof"]
    assert table.bonafide_score.tolist() == [3, 2, -4]
    assert asv.key.tolist() == ["target", "nontarget", "spoof"]
    assert asv.id.tolist() == table.id.tolist()


@pytest.mark.parametrize(
    ("read", "text", "message"),
    [
        (read_protocol, "S1 U1 - bonafide\nS1 U2\n", "line 2 is not 'speaker id"),
        (read_protocol, "U1 bonafide\n", "line 1 is not"),
        (read_protocol, "S1 U1 - - bonafide\nS1 U1 - - bonafide\n", "id U1 occurs more"),
        (read_protocol, "", "holds no trials"),
        (read_scores, "U1 1\nU2 x\n", "line 2 is neither"),
        (read_scores, "U1 A07 1\n", "line 1 is neither"),
        (read_scores, "U1 1\nU1 2\n", "id U1 occurs more"),
        (read_scores, "S U1 - - bonafide 1\nU2 2\n", "only some lines"),
        (read_asv_scores, "- target 1\n- impostor 1\n", "line 2 is not 'source key score'"),
        (read_asv_scores, "- target\n", "line 1"),
        (read_sasv_scores, "1,2,3\n", "first line"),
        (read_sasv_scores, "asv_score,cm_score,sasv_label\n1,x,1\n", "three numbers"),
        (read_sasv_scores, "asv_score,cm_score,sasv_label\n1,2,3\n", "must be 0, 1 or 2"),
    ],
)
def test_malformed_files_are_refused_by_name_and_line(write, read, text, message):
    with pytest.raises(DatasetError, match=rf"^file\.txt: .*{message}"):
        read(write(text))


def test_unreadable_files_are_refused(tmp_path):
    (tmp_path / "not.gz").write_bytes(b"plain")
    (tmp_path / "cut.gz").write_bytes(gzip.compress(PROTOCOL.encode())[:-9])
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00\x01")
    for name in ("gone.txt", "not.gz", "cut.gz", "binary.txt"):
        with pytest.raises(DatasetError, match=rf"^{name}: cannot be read"):
            read_protocol(tmp_path / name)
