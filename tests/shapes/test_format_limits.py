"""What is wrong with a PLY, OFF or STL file, or left out of it, is said by name."""

import struct
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mvdecor.errors import InputError
from mvdecor.shapes import read_mesh
from mvdecor.shapes.sampling import sample_texture

PLY = """ply
format ascii 1.0
{head}element vertex 4
property float x
property float y
property float z
{vertex}element face 2
property list uchar int vertex_indices
{face}{after}end_header
"""
SQUARE = ["0 0 0", "1 0 0", "1 1 0", "0 1 0"]
TRIANGLES = ["3 0 1 2", "3 0 2 3"]
TEX = "comment TextureFile a.png\n"
TWO = TEX + "comment TextureFile b.png\n"
ST = "property float s\nproperty float t\n"
ST_ROWS = [f"{row} 0.5 0.5" for row in SQUARE]
NUMBER = "property int texnumber\n"
WEDGES = "property list uchar float texcoord\n"
RGB = ("red", "green", "blue")


def write_square(folder: Path, head="", vertex="", face="", after="", rows=SQUARE, faces=TRIANGLES, tail=()) -> Path:
    header = PLY.format(head=head, vertex=vertex, face=face, after=after)
    (folder / "a.ply").write_text(header + "\n".join([*rows, *faces, *tail]) + "\n")
    return folder / "a.ply"


def colours_at_centres(shape) -> list[list[int]]:
    sampled = sample_texture(shape.texture, shape.texture.image_ids, shape.texture.uv.mean(dim=1))
    return (255 * sampled).round().int().tolist()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"after": "element tristrips 1\nproperty list int int vertex_indices\n", "tail": ["4 0 1 2 3"]},
            "its element 'tristrips' cannot be read",
        ),
        (
            {"head": TWO, "vertex": ST, "rows": ST_ROWS},
            r"several textures \(a.png, b.png\) and no property 'texnumber'",
        ),
        (
            {"head": TEX, "vertex": ST, "rows": ST_ROWS, "face": NUMBER, "faces": ["3 0 1 2 0", "3 0 2 3 1"]},
            "texture number 1, but it names 1",
        ),
        (
            {"head": TEX, "face": WEDGES, "faces": ["3 0 1 2 4 0 0 1 1", "3 0 2 3 0"]},
            "texture coordinates of a face are not two for each corner",
        ),
        ({"head": TEX, "vertex": ST, "rows": [*ST_ROWS[:3], "0 1 0 nan 0"]}, "texture coordinates are NaN"),
        ({"face": "property half weight\n"}, "unknown type 'half'"),
        ({"vertex": "property float x\n"}, "two properties of one name"),
        ({"faces": ["3 0 1 4", "3 0 2 3"]}, "refers to vertex 4 of 4"),
        ({"faces": ["3 0 1 -1", "3 0 2 3"]}, "refers to vertex -1 of 4"),
        ({"faces": ["3 0 1 2.5", "3 0 2 3"]}, "refers to vertex 2.5 of 4"),
        ({"faces": ["2 0 1", "3 0 2 3"]}, "face 1 has fewer than three corners"),
        ({"faces": ["3 0 1 2 255", "3 0 2 3 255"]}, "a list|more numbers|refers|ends before"),
        ({"faces": ["3 0 1 2"]}, "ends before its 2 rows of 'face'"),
        ({"faces": ["-3 0 1 2", "3 0 2 3"]}, "has -3.0 values"),
    ],
)
def test_ply_files_that_are_refused_say_why(tmp_path, options, message):
    for name in ("a.png", "b.png"):
        Image.new("RGB", (2, 2), (255, 255, 0)).save(tmp_path / name)
    with pytest.raises(InputError, match=message) as error:
        read_mesh(write_square(tmp_path, **options))
    assert "a.ply" in str(error.value) and "\n" not in str(error.value)


def test_images_of_ply_by_number_and_faces_without(tmp_path):
    for name, colour in (("a.png", (255, 255, 0)), ("b.png", (0, 255, 255))):
        Image.new("RGB", (2, 2), colour).save(tmp_path / name)
    options = {"head": TWO, "vertex": ST, "rows": ST_ROWS, "face": NUMBER}
    path = write_square(tmp_path, **options, faces=["4 0 1 2 3 1", "3 0 2 3 -1"])
    assert colours_at_centres(read_mesh(path)) == [[0, 255, 255], [0, 255, 255], [204, 204, 204]]
    path = write_square(tmp_path, head=TEX, face=WEDGES, faces=["3 0 1 2 6 0 0 1 1 1 0", "3 0 2 3 0"])
    assert colours_at_centres(read_mesh(path)) == [[255, 255, 0], [204, 204, 204]]


def test_what_ply_files_have_and_is_left_out_is_said(tmp_path):
    Image.new("RGB", (2, 2)).save(tmp_path / "a.png")
    with pytest.warns(UserWarning, match=r"a\.ply: names the image 'a.png', but has no texture coordinates"):
        assert read_mesh(write_square(tmp_path, head=TEX)).texture is None
    bytes_ = "".join(f"property uchar {name}\n" for name in RGB)
    rows = [f"{row} 255 0 0" for row in SQUARE]
    path = write_square(tmp_path, vertex=bytes_, rows=rows, face=bytes_, faces=[f"{row} 0 0 255" for row in TRIANGLES])
    with pytest.warns(UserWarning, match="those of the faces are left out"):
        assert colours_at_centres(read_mesh(path)) == [[255, 0, 0]] * 2
    floats = "".join(f"property float {name}\n" for name in RGB)
    with pytest.warns(UserWarning, match="its colours are not numbers from 0 to 1"):
        assert (
            read_mesh(write_square(tmp_path, vertex=floats, rows=[f"{row} -1 0 0" for row in SQUARE])).texture is None
        )
    with warnings.catch_warnings():
        warnings.simplefilter(
            "error"
        )  # texture coordinates without an image, as Blender writes them, are nothing amiss
        assert read_mesh(write_square(tmp_path, vertex=ST, rows=ST_ROWS)).texture is None


def test_a_tail_of_a_binary_ply_is_left_out_and_said(tmp_path):
    header = PLY.format(head="", vertex="", face="", after="").replace("ascii", "binary_big_endian").encode()
    rows = np.arange(12, dtype=">f4").tobytes() + struct.pack(">B3iB3i", 3, 0, 1, 2, 3, 0, 2, 3)
    (tmp_path / "a.ply").write_bytes(header + rows + b"tail")
    with pytest.warns(UserWarning, match="4 bytes after its elements are left out"):
        assert read_mesh(tmp_path / "a.ply").num_faces == 2


OFF = "3 1 0\n0 0 0\n1 0 0\n0 1 0\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("OFF BINARY\n" + OFF + "3 0 1 2\n", "binary OFF cannot be read"),
        ("nOFF\n4\n" + OFF + "3 0 1 2\n", "dimension 4 cannot be read"),
        ("4nOFF\n3\n" + OFF + "3 0 1 2\n", "dimension 3 cannot be read"),
        ("COFF\n" + OFF + "3 0 1 2\n", "3 or 4 of their colour"),
        ("OFF\n" + OFF + "2 0 1\n", "face 1 has fewer than three corners"),
        ("OFF\n" + OFF + "3 0 1 -1\n", "refers to vertex -1 of 3"),
        ("4OFF\n" + OFF + "3 0 1 2\n", "a vertex has fewer than 4 coordinates"),
        ("OFF\n-3 1 0\n", "counts are negative"),
        ("4OFF\n3 1 0\n0 0 0 0\n1 0 0 1\n0 1 0 1\n3 0 1 2\n", "NaN or infinite"),
        ("LIST\n", "does not begin with OFF"),
    ],
)
def test_off_files_that_are_refused_say_why(tmp_path, text, message):
    (tmp_path / "a.off").write_text(text)
    with pytest.raises(InputError, match=message) as error:
        read_mesh(tmp_path / "a.off")
    assert "a.off" in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("OFF\n" + OFF + "3 0 1 2 7\n", "no colour of 3 or 4"),
        ("OFF\n3 1 0\n0 0 0 9\n1 0 0 9\n0 1 0 9\n3 0 1 2\n", "numbers after its vertices"),
        ("OFF\n" + OFF + "3 0 1 2\n3 0 1 2\n", "1 lines after its faces"),
        ("OFF\n" + OFF + "3 0 1 2 300000 0 0\n", "its colours are not numbers"),
    ],
)
def test_what_off_files_have_and_is_left_out_is_said(tmp_path, text, message):
    (tmp_path / "a.off").write_text(text)
    with pytest.warns(UserWarning, match=message) as warned:
        assert read_mesh(tmp_path / "a.off").texture is None
    assert len(warned) == 1 and "a.off" in str(warned[0].message)


def test_points_of_4off_are_divided_and_faces_without_colour_are_grey(tmp_path):
    (tmp_path / "a.off").write_text("4OFF\n3 2 0\n0 0 0 2\n1 0 0 0.5\n0 4 0 4\n3 0 1 2 255 0 0\n3 2 1 0\n")
    shape = read_mesh(tmp_path / "a.off")
    assert shape.vertices.tolist() == [[0, 0, 0], [2, 0, 0], [0, 1, 0]]
    assert colours_at_centres(shape) == [[255, 0, 0], [204, 204, 204]]


def stl(count: int, triangles: int, tail: bytes = b"", attribute: int = 0) -> bytes:
    row = np.array([0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0], dtype="<f4").tobytes() + struct.pack("<H", attribute)
    return b"solid".ljust(80) + struct.pack("<I", count) + row * triangles + tail


FACET = "facet normal 0 0 1\nouter loop\nvertex 0 0 0\nvertex 1 0 0\nvertex 0 1 0\nendloop\nendfacet\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (stl(100, 12), "its triangle count is 100, but it has bytes for 12 triangles"),
        (stl(0, 12), "its triangle count is 0, but"),
        (stl(0, 1, b"12"), "its triangle count is 0, but 52 bytes follow"),
        (stl(5, 12), "its triangle count is 5, but it has bytes for 12 triangles"),
        (stl(12, 12)[:-1], "its triangle count is 12, but it has bytes for 11 triangles"),
        (stl(0, 0), "has no faces"),
        (b"solid nothing\nendsolid nothing\n", "has no faces"),
        (f"solid\n{FACET}{FACET}"[:-30].encode(), "ends within facet 2"),
        (f"solid\n{FACET}".replace("vertex 0 1 0\n", "").encode(), "facet 1 has not three corners"),
        (f"solid\n{FACET}".replace("0 1 0\n", "0 1\n").encode(), "cannot be read as a mesh"),
        (f"solid\n{FACET}".replace("0 1 0\n", "0 1,5 0\n").encode(), "cannot be read as a mesh"),
    ],
)
def test_stl_files_that_are_refused_say_why(tmp_path, content, message):
    (tmp_path / "a.stl").write_bytes(content)
    with pytest.raises(InputError, match=message) as error:
        read_mesh(tmp_path / "a.stl")
    assert "a.stl" in str(error.value)


@pytest.mark.parametrize(
    ("content", "faces", "message"),
    [
        (stl(12, 12, bytes(40)), 12, "40 bytes after its 12 triangles are left out"),
        (stl(12, 12, bytes(70)), 12, "70 bytes after its 12 triangles are left out"),
        (stl(12, 12, attribute=3), 12, "attributes of its triangles"),
        (f"solid a\n{FACET}endsolid\nmade by hand\n".encode(), 1, "1 lines that are no STL"),
    ],
)
def test_what_stl_files_have_and_is_left_out_is_said(tmp_path, content, faces, message):
    (tmp_path / "a.stl").write_bytes(content)
    with pytest.warns(UserWarning, match=message):
        assert read_mesh(tmp_path / "a.stl").num_faces == faces


@pytest.mark.parametrize("form", ["ascii", "binary_little_endian", "binary_big_endian"])
def test_dark_colours_of_bytes_are_dark_in_text_too(tmp_path, form):
    """The header says whether 1 is of 255 or full; the numbers of a dark mesh do not."""
    order = ">" if form.endswith("big_endian") else "<"
    for kind, code, colour in (("uchar", "B", [1, 0, 1]), ("float", "f", [255, 0, 255])):
        head = "".join(f"property {kind} {name}\n" for name in RGB)
        header = PLY.format(head="", vertex=head, face="", after="").replace("ascii", form).encode()
        rows = [[*map(float, row.split()), 1, 0, 1] for row in SQUARE]
        faces = [[int(word) for word in row.split()] for row in TRIANGLES]
        if form == "ascii":
            body = "".join(f"{' '.join(f'{x:g}' for x in row)}\n" for row in [*rows, *faces]).encode()
        else:
            body = b"".join(struct.pack(f"{order}3f3{code}", *row[:3], *(1, 0, 1)) for row in rows)
            body += b"".join(struct.pack(f"{order}B3i", *face) for face in faces)
        (tmp_path / "a.ply").write_bytes(header + body)
        assert colours_at_centres(read_mesh(tmp_path / "a.ply")) == [colour, colour]


def test_the_name_of_an_image_in_quotes(tmp_path):
    Image.new("RGB", (2, 2), (255, 255, 0)).save(tmp_path / "my a.png")
    write_square(tmp_path, 'comment TextureFile "my a.png"\n', ST, rows=ST_ROWS)
    assert colours_at_centres(read_mesh(tmp_path / "a.ply")) == [[255, 255, 0]] * 2


@pytest.mark.parametrize("name", ["", "a", "Facet 1", "my solid vertex", "endloop"])
def test_line_ends_of_text_stl_mean_nothing(tmp_path, name):
    """In lines, in one line, and with a line per corner or per facet."""
    body = FACET.replace("1 0 0", "1.5 0 0") + FACET
    expected = None
    for text in (body, body.replace("\n", " "), body.replace("loop\n", "loop "), body.replace("\nvertex", " vertex")):
        for ends in ("\n", "\r\n", "\r"):
            content = f"solid {name}\n{text}\nendsolid {name}\n".replace("\n", ends)
            (tmp_path / "a.stl").write_bytes(content.encode())
            shape = read_mesh(tmp_path / "a.stl")
            expected = shape.vertices[shape.faces] if expected is None else expected
            assert shape.num_faces == 2 and bool((shape.vertices[shape.faces] == expected).all())
    one_line = f"solid {body}endsolid solid b {body}endsolid b".replace("\n", " ")
    (tmp_path / "a.stl").write_text(one_line)
    assert read_mesh(tmp_path / "a.stl").num_faces == 4
