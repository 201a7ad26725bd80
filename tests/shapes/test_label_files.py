"""Label files in every format mean the same; counts of triangles and of polygons are told apart."""

import json

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mvdecor.errors import InputError
from mvdecor.shapes import MeshFolder
from mvdecor.shapes.label_files import ENDINGS, find_labels, read_face_labels, read_labels, write_labels

NAMES = ("leg", "seat", "back")


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(-1, 2), min_size=1, max_size=30))
def test_every_format_gives_back_what_was_written(tmp_path, labels):
    for ending in ENDINGS:
        path = tmp_path / f"a{ending}"
        write_labels(path, np.array(labels), NAMES)
        assert read_labels(path, NAMES).tolist() == labels


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a_labels.txt", "0\n1\n-1\n2\n"),
        ("a.seg", "\ufeff0\r\n1\r\n255\r\n2"),
        ("a_labels.txt", "# label\n 0 # leg\n\n1\n-7\n2\n\n"),
        ("a_labels.txt", "0\n1\n-1\n2\n".encode("utf-16")),
        ("a_labels.txt", b"0 # f\xfc\xdfe\r1\r-1\r2\r"),
        ("a_labels.txt", "0.000000000000000000e+00\n1.000000000000000000e+00\n-1.0\n2.\n"),  # numpy.savetxt
        ("a_labels.json", '{"label_names": ["leg", "seat", "back"], "labels": [0, 1, -1, 2]}'),
        ("a_labels.json", '{"label_names": ["back", "unused", "seat", "leg"], "labels": [3, 2, 255, 0]}'),
        ("a_labels.json", "[0, 1, -1, 2]"),
    ],
)
def test_dialects(tmp_path, name, content):
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    assert find_labels(tmp_path, "a") == tmp_path / name
    assert read_labels(tmp_path / name, NAMES).tolist() == [0, 1, -1, 2]


def test_names_instead_of_numbers(tmp_path):
    (tmp_path / "a_labels.json").write_text('{"labels": ["seat", "leg", "seat"]}')
    assert read_labels(tmp_path / "a_labels.json", NAMES).tolist() == [1, 0, 1]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a_labels.txt", "0\nleg\n", r"a_labels\.txt, line 2: 'leg' is no label; write one integer per line"),
        ("a.seg", "0 1 2\n", r"line 1: '0 1 2' is no label"),
        ("a.seg", "99999999999999999999\n", "line 1"),
        ("a.seg", b"\xff\xfe0", "line 1: .* is no label"),
        ("a.seg", "0.5\n", "line 1: '0.5' is no label"),
        ("a.seg", "nan\n", "line 1: 'nan' is no label"),
        ("a_labels.txt", "0\n3\n", "label 3 has no name, there are 3 label names"),
        ("a_labels.json", "{", "not valid JSON"),
        ("a_labels.json", "3", "holds no list of labels"),
        ("a_labels.json", '{"labels": 3}', "holds no list of labels"),
        ("a_labels.json", '{"labels": [0, "leg"]}', "must all be integers or all be names"),
        ("a_labels.json", '{"labels": [0.5]}', "must all be integers or all be names"),
        ("a_labels.json", '{"labels": [true]}', "must all be integers or all be names"),
        ("a_labels.json", '{"labels": [1e400]}', "must all be integers or all be names"),
        ("a_labels.json", '{"labels": ["arm"]}', "label name 'arm' is none of the data set's, leg, seat, back"),
        ("a_labels.json", '{"label_names": ["leg", "arm"], "labels": [0, 1]}', "label name 'arm' is none"),
        ("a_labels.json", '{"label_names": ["leg"], "labels": [1]}', r"label 1 has no name, there are 1 .* its own"),
        ("a_labels.json", '{"label_names": ["leg", "leg"], "labels": [1]}', "names leg twice"),
    ],
)
def test_bad_files_are_named(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=message):
        read_labels(tmp_path / name, NAMES)


def test_per_triangle_or_per_polygon(tmp_path):
    """A quad, a triangle and a pentagon: 3 labels or 6, and nothing else."""
    polygons = torch.tensor([0, 0, 1, 2, 2, 2])
    path = tmp_path / "a_labels.txt"
    write_labels(path, np.array([2, -1, 1]), NAMES)
    assert read_face_labels(path, 6, NAMES, polygons).tolist() == [2, 2, -1, 1, 1, 1]
    write_labels(path, np.arange(6) % 3, NAMES)
    assert read_face_labels(path, 6, NAMES, polygons).tolist() == [0, 1, 2, 0, 1, 2]
    for count in (2, 4, 5, 7):
        write_labels(path, np.zeros(count, dtype=int), NAMES)
        with pytest.raises(InputError, match=f"{count} labels for a mesh of 3 faces, which are read as 6 triangles"):
            read_face_labels(path, 6, NAMES, polygons)
    with pytest.raises(InputError, match=r"7 labels for a mesh of 6 faces; write one label per face"):
        read_face_labels(path, 6, NAMES)


def test_six_labels_for_six_quads(tmp_path):
    corners = [(x, y, z) for x in (0, 1) for y in (0, 1) for z in (0, 1)]
    quads = [[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]]
    header = "ply\nformat ascii 1.0\nelement vertex 8\nproperty float x\nproperty float y\nproperty float z\n"
    header += "element face 6\nproperty list uchar int vertex_indices\nend_header\n"
    rows = [" ".join(map(str, corner)) for corner in corners] + ["4 " + " ".join(map(str, quad)) for quad in quads]
    (tmp_path / "m.ply").write_text(header + "\n".join(rows) + "\n")
    (tmp_path / "labels.json").write_text(json.dumps({"labels": list(NAMES)}))
    np.save(tmp_path / "m_labels.npy", np.array([0, 1, 2, 0, 1, -1]))
    labels = MeshFolder(tmp_path).load("m").face_labels.tolist()
    assert labels == [0, 0, 1, 1, 2, 2, 0, 0, 1, 1, -1, -1]
