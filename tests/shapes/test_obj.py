import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mvdecor.errors import InputError
from mvdecor.shapes.obj import read_obj
from mvdecor.shapes.polygons import fan_triangles

SQUARE = "v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\n"


def write(tmp_path, text):
    path = tmp_path / "mesh.obj"
    path.write_text(text)
    return path


def naive_fans(polygons):
    return [[polygon[0], polygon[i], polygon[i + 1]] for polygon in polygons for i in range(1, len(polygon) - 1)]


@settings(deadline=None)
@given(st.lists(st.integers(3, 7), max_size=8))
def test_fans_equal_a_plain_loop(sizes):
    first = np.cumsum([0, *sizes])
    polygons = [list(range(first[i], first[i + 1])) for i in range(len(sizes))]
    triangles, polygon = fan_triangles(np.array(sizes, dtype=np.int64))
    assert triangles.tolist() == naive_fans(polygons)
    assert polygon.tolist() == [i for i, size in enumerate(sizes) for _ in range(size - 2)]


@settings(max_examples=30, deadline=None)
@given(
    polygons=st.lists(
        st.lists(st.integers(0, 4), min_size=3, unique=True).map(sorted), min_size=1, max_size=6
    ),  # on a parabola, so convex
    style=st.integers(0, 3),
)
def test_corner_styles_and_negative_indices_agree(tmp_path_factory, polygons, style):
    text = "".join(f"v {i} {i * i} 0\nvt {i / 8} {i / 4}\nvn 0 0 1\n" for i in range(5))
    corner = ["{0}", "{0}/{1}", "{0}//1", "{0}/{1}/1"][style]
    positive = "".join("f " + " ".join(corner.format(i + 1, 5 - i) for i in p) + "\n" for p in polygons)
    negative = "".join("f " + " ".join(corner.format(i - 5, -1 - i) for i in p) + "\n" for p in polygons)
    folder = tmp_path_factory.mktemp("obj")
    a, b = read_obj(write(folder, text + positive)), read_obj(write(folder, text + negative))
    assert a.faces.tolist() == b.faces.tolist() == naive_fans(polygons)
    expected = [[4 - i if style in (1, 3) else -1 for i in face] for face in naive_fans(polygons)]
    assert a.uv_faces.tolist() == b.uv_faces.tolist() == expected


def test_negative_indices_count_from_the_face_not_from_the_end(tmp_path):
    path = write(tmp_path, "v 0 0 0\nv 1 0 0\nv 0 1 0\nf -3 -2 -1\nv 5 0 0\nv 6 0 0\nv 5 1 0\nf -3 -2 -1\n")
    assert read_obj(path).faces.tolist() == [[0, 1, 2], [3, 4, 5]]


def test_materials_interleaved_with_faces_leave_their_order_alone(tmp_path):
    text = (
        SQUARE
        + "mtllib a b.mtl\nf 1 2 3\nusemtl Material#1\nf 1 3 4\nusemtl two words\nf 2 3 4\nusemtl Material#1\nf 4 2 1\n"
    )
    mesh = read_obj(write(tmp_path, text))
    assert mesh.faces.tolist() == [[0, 1, 2], [0, 2, 3], [1, 2, 3], [3, 1, 0]]
    assert mesh.materials == ("Material#1", "two words")
    assert mesh.material_ids.tolist() == [-1, 0, 1, 0]
    assert mesh.libraries == ("a b.mtl",)


def test_comments_colours_continuations_and_windows_line_ends(tmp_path):
    text = "# v 9 9 9\r\nv 0 0 0 1 0 0\r\nv 1 0 0 # here\r\nv 0 1 0\r\ns off\r\no thing\r\nl 1 2\r\nf 1 \\\r\n 2 \\ \t\r\n3\r\n"
    mesh = read_obj(write(tmp_path, text))
    assert mesh.vertices.tolist() == [[0, 0, 0], [1, 0, 0], [0, 1, 0]]
    assert mesh.faces.tolist() == [[0, 1, 2]]


def test_a_file_without_faces_is_empty_and_polygons_are_told(tmp_path):
    mesh = read_obj(write(tmp_path, SQUARE))
    assert (len(mesh.vertices), mesh.faces.shape, mesh.has_polygons) == (4, (0, 3), False)
    assert read_obj(write(tmp_path, SQUARE + "f 1 2 3 4\n")).has_polygons


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (SQUARE + "f 1 2 5\n", "vertex 5, but there are 4"),
        (SQUARE + "f 1 2 -5\n", "vertex -5"),
        (SQUARE + "f 0 1 2\n", "vertex 0"),
        (SQUARE + "f 1 2\n", "face 1 has 2 corners"),
        (SQUARE + "f 1 2 x\n", "'x'"),
        (SQUARE + "f 1/1 2/1 3/1\n", "texture coordinate 1, but there are 0"),
        ("v 0 0\nf 1 1 1\n", "not a valid OBJ"),
        ("v 0 a 0\nf 1 1 1\n", "not a valid OBJ"),
    ],
)
def test_malformed_files_are_named(tmp_path, text, message):
    path = write(tmp_path, text)
    with pytest.raises(InputError, match=r"mesh\.obj") as error:
        read_obj(path)
    assert message in str(error.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"none\.obj: cannot be read"):
        read_obj(tmp_path / "none.obj")
