"""One mesh in every format and dialect: the same faces in the same order, in the same colours, and the same labels."""

import struct
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from octants import save_octants
from PIL import Image

import mvdecor
from mvdecor.errors import InputError
from mvdecor.shapes import read_mesh
from mvdecor.shapes.sampling import sample_texture

L = [(2, 0), (2, 1), (1, 1), (1, 2), (0, 2), (0, 0)]
POINTS = np.array([(x, y, z) for z in (0, 1) for x, y in L], dtype=float)
FACES = [list(range(6))[::-1], list(range(6, 12)), *([k, (k + 1) % 6, 6 + (k + 1) % 6, 6 + k] for k in range(6))]
COLOURS = np.array([[51 * (k % 6), 255 - 51 * (k % 5), 51 * (k // 2)] for k in range(len(FACES))])
SIZES = [len(face) for face in FACES]
SPLIT = np.concatenate([POINTS[face] for face in FACES])  # each face on vertices of its own
SPLIT_FACES = [list(range(sum(SIZES[:k]), sum(SIZES[: k + 1]))) for k in range(len(FACES))]
SPLIT_COLOURS = COLOURS.repeat(SIZES, axis=0)
UV = [((k + 0.5) / len(FACES), 0.5) for k in range(len(FACES))]  # of the picture, whose columns are the colours


def words(*values) -> str:
    return " ".join(str(value) for value in values)


def picture(folder: Path, name: str) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(COLOURS.astype(np.uint8)[None].repeat(2, axis=0)).save(folder / name)


def obj(folder: Path, mtl: str, space: str = " ", ends: str = "\n", mark: str = "", uv: bool = False) -> Path:
    """An OBJ file with a material for each face; `mtl` has the statements of material {0}, with colour {1}."""
    materials, faces = [], []
    for k, face in enumerate(FACES):
        statements = mtl.format(k, space.join(f"{c / 255:.6f}" for c in COLOURS[k])).split("\n")
        materials += [f"newmtl{space}part {k}", *statements]
        faces += [f"usemtl{space}part{space}{k}"]  # in names, tabs and spaces are the same
        faces += [space.join(["f", *(f"{i + 1}/{k + 1}" if uv else f"{i + 1}" for i in face)])]
    lines = ["# Größe in m", f"mtllib{space}my materials.mtl", *(f"v{space}{words(*p)}" for p in POINTS)]
    lines += [f"vt{space}{words(*p)}" for p in UV] if uv else []
    encoding = "latin-1" if not mark else "utf-8"
    (folder / "my materials.mtl").write_bytes((mark + ends.join(["# Größe", *materials, ""])).encode(encoding))
    (folder / "a.obj").write_bytes((mark + ends.join([*lines, *faces, ""])).encode(encoding))
    return folder / "a.obj"


def obj_with_picture(folder: Path, name: str, statement: str = "map_Kd {}") -> Path:
    picture(folder, name.replace("\\", "/"))
    return obj(folder, statement.format(name), uv=True)


def obj_with_vertex_colours(folder: Path, alpha: str = "") -> Path:
    rows = [words("v", *p, *(c / 255), alpha) for p, c in zip(SPLIT, SPLIT_COLOURS)]
    (folder / "a.obj").write_text("\n".join([*rows, *(words("f", *(i + 1 for i in f)) for f in SPLIT_FACES)]) + "\n")
    return folder / "a.obj"


def off(folder: Path, header: str, vertex="{0} {1} {2}", colour=None, split=False, after: str = "") -> Path:
    """An OFF file; `vertex` has position 0-2 and colour 3-5 (of 255) and 6-8 (of 1), `colour` the same at 0-5 for a face."""
    points, faces, of_vertices = (
        (SPLIT, SPLIT_FACES, SPLIT_COLOURS) if split else (POINTS, FACES, COLOURS[:1].repeat(12, 0))
    )
    rows = [vertex.format(*p, *c, *(c / 255)) for p, c in zip(points, of_vertices)]
    colours = [(colour or "").format(*c, *(c / 255)) for c in COLOURS]
    rows += [words(len(f), *f, c) for f, c in zip(faces, colours)]
    text = header.format(words(len(points), len(faces), 0)) + "\n" + "\n".join(rows) + "\n" + after
    (folder / "a.off").write_bytes(text.encode("latin-1"))
    return folder / "a.off"


def ply(folder: Path, form: str, where: str, names=("red", "green", "blue"), kind="uchar", ends="\n", **more) -> Path:
    """A PLY file with colours at its `where` ("vertex", "face", "image", "wedge"), split where vertices carry them."""
    split = where in ("vertex", "image")
    points, faces = (SPLIT, SPLIT_FACES) if split else (POINTS, FACES)
    codes = {"uchar": "B", "ushort": "H", "float": "f", "double": "d", "int": "i"}
    scale = {"uchar": 1, "ushort": 257, "float": 1 / 255, "double": 1 / 255, "int": 1}[kind]
    rgb = "".join(f"property {kind} {name}\n" for name in names) + ("property uchar alpha\n" if kind == "uchar" else "")
    st = "".join(f"property float {name}\n" for name in more.get("coordinates", ("s", "t")))
    lines = ["ply", f"format {form} 1.0", "comment Größe"]
    if where in ("image", "wedge"):
        picture(folder, more.get("file", "my colours.png"))
        lines += [f"comment TextureFile {more.get('file', 'my colours.png')}"]
    header = (
        "\n".join(lines) + f"\nelement vertex {len(points)}\nproperty double x\nproperty double y\nproperty double z\n"
    )
    header += rgb if where == "vertex" else st if where == "image" else ""
    header += f"element face {len(faces)}\nproperty list uchar int {more.get('corners', 'vertex_indices')}\n"
    header += rgb if where == "face" else "property list uchar float texcoord\n" if where == "wedge" else ""
    header += "element edge 1\nproperty int vertex1\nproperty int vertex2\nend_header\n"

    def coloured(c):
        values = [x * scale if kind in ("float", "double") else int(x * scale) for x in c]
        return [(codes[kind], v) for v in values] + ([("B", 255)] if kind == "uchar" else [])

    rows = []
    for k, p in enumerate(points):
        row = [("d", x) for x in p]
        if where == "vertex":
            row += coloured(SPLIT_COLOURS[k])
        if where == "image":
            owner = next(f for f, face in enumerate(SPLIT_FACES) if k in face)
            row += [("f", x) for x in UV[owner]]
        rows.append(row)
    for k, face in enumerate(faces):
        row = [("B", len(face)), *(("i", i) for i in face)]
        if where == "wedge":
            row += [("B", 2 * len(face)), *(("f", x) for _ in face for x in UV[k])]
        rows.append(row + (coloured(COLOURS[k]) if where == "face" else []))
    rows.append([("i", 0), ("i", 1)])
    content = header.replace("\n", ends).encode("latin-1")
    if form == "ascii":
        content += "".join(words(*(v for _, v in row)) + ends for row in rows).encode()
    else:
        order = "<" if form == "binary_little_endian" else ">"
        content += b"".join(struct.pack(order + "".join(code for code, _ in row), *(v for _, v in row)) for row in rows)
    (folder / "a.ply").write_bytes(content)
    return folder / "a.ply"


DIALECTS = {
    "obj, Kd": lambda f: obj(f, "Kd {1}"),
    "obj, tabs": lambda f: obj(f, "\tKd\t{1}", space="\t"),
    "obj, tabs and spaces": lambda f: obj(f, "  Kd \t {1}", space=" \t"),
    "obj, Windows with a mark": lambda f: obj(f, "Kd {1}", ends="\r\n", mark="\ufeff"),
    "obj, old Mac": lambda f: obj(f, "Kd {1}", ends="\r"),
    "obj, lower case": lambda f: obj(f, "kd {1}"),
    "obj, picture": lambda f: obj_with_picture(f, "colours.png"),
    "obj, picture with spaces and options": lambda f: obj_with_picture(
        f, "my tex/the colours.png", "map_Kd -s 1 1 1 -clamp on -bm 2 {}"
    ),
    "obj, picture in quotes": lambda f: obj_with_picture(f, "the colours.png", 'map_Kd "{}"'),
    "obj, picture beside the folder": lambda f: obj_with_picture(f, "../images/colours.png"),
    "obj, picture beside, of Windows": lambda f: obj_with_picture(f, "..\\images\\colours.png"),
    "obj, colours of vertices": obj_with_vertex_colours,
    "obj, colours of vertices with alpha": lambda f: obj_with_vertex_colours(f, "1.0"),
    "off, whole numbers": lambda f: off(f, "OFF\n{}", colour="{0} {1} {2}"),
    "off, fractions and alpha": lambda f: off(f, "OFF\n# Größe\n{}", colour="{3:.6f} {4:.6f} {5:.6f} 1.0"),
    "off, counts on the header": lambda f: off(f, "OFF {}", colour="{0} {1} {2} 255 # a comment"),
    "off, lower case": lambda f: off(f, "off\n{}", colour="{0} {1} {2}"),
    "coff": lambda f: off(f, "COFF\n{}", "{0} {1} {2} {3} {4} {5} 255", split=True),
    "coff, fractions": lambda f: off(f, "COFF\n{}", "{0} {1} {2} {6:.6f} {7:.6f} {8:.6f} 1", split=True),
    "cnoff": lambda f: off(f, "CNOFF\n{}", "{0} {1} {2} 0 0 1 {3} {4} {5} 255", split=True),
    "stcnoff": lambda f: off(f, "STCNOFF\n{}", "{0} {1} {2} 0 0 1 {3} {4} {5} 0.5 0.5", split=True),
    "noff": lambda f: off(f, "NOFF\n{}", "{0} {1} {2} 0 0 1", colour="{0} {1} {2}"),
    "stoff": lambda f: off(f, "STOFF\n{}", "{0} {1} {2} 0.1 0.9", colour="{0} {1} {2}"),
    "4off": lambda f: off(f, "4OFF\n{}", "{0} {1} {2} 1", colour="{0} {1} {2}"),
    "noff of dimension 3": lambda f: off(f, "nOFF 3\n{}", colour="{0} {1} {2}"),
    **{
        f"ply, {where}, {form}, {kind}": lambda f, w=where, form=form, k=kind: ply(f, form, w, kind=k)
        for where in ("vertex", "face")
        for form in ("ascii", "binary_little_endian", "binary_big_endian")
        for kind in ("uchar", "ushort", "float")
    },
    "ply, r g b": lambda f: ply(f, "ascii", "vertex", ("r", "g", "b")),
    "ply, diffuse_red": lambda f: ply(
        f, "binary_little_endian", "vertex", ("diffuse_red", "diffuse_green", "diffuse_blue")
    ),
    "ply, double and int": lambda f: ply(f, "ascii", "face", kind="double"),
    "ply, int": lambda f: ply(f, "ascii", "face", kind="int"),
    "ply, vertex_index": lambda f: ply(f, "binary_little_endian", "face", corners="vertex_index"),
    "ply, Windows": lambda f: ply(f, "ascii", "face", ends="\r\n"),
    "ply, Windows, binary": lambda f: ply(f, "binary_little_endian", "face", ends="\r\n"),
    "ply, old Mac": lambda f: ply(f, "ascii", "face", ends="\r"),
    **{
        f"ply, picture, {form}, {'/'.join(names)}": lambda f, form=form, n=names: ply(f, form, "image", coordinates=n)
        for form in ("ascii", "binary_little_endian")
        for names in (("s", "t"), ("u", "v"), ("texture_u", "texture_v"))
    },
    "ply, wedges": lambda f: ply(f, "ascii", "wedge"),
    "ply, wedges, binary": lambda f: ply(f, "binary_big_endian", "wedge"),
    "ply, picture beside": lambda f: ply(f, "ascii", "wedge", file="../images/colours.png"),
}


def read(dialect: str, folder: Path):
    place = folder / "inside"
    place.mkdir()
    path = DIALECTS[dialect](place)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return read_mesh(path), path


@pytest.mark.parametrize("dialect", DIALECTS)
def test_faces_and_colours_of_every_dialect(tmp_path, dialect):
    shape, path = read(dialect, tmp_path)
    owner = [k for k, size in enumerate(SIZES) for _ in range(size - 2)]
    assert shape.polygons.tolist() == owner
    corners = shape.vertices[shape.faces].double()
    for triangle, face in zip(corners.tolist(), owner):
        assert {tuple(p) for p in triangle} <= {tuple(p) for p in POINTS[FACES[face]]}
    assert float(shape.face_areas.sum()) == pytest.approx(14)
    colours = 255 * sample_texture(shape.texture, shape.texture.image_ids, shape.texture.uv.mean(dim=1))
    assert np.abs(colours.numpy() - COLOURS[owner]).max() < 1
    first = read_mesh(obj_with_vertex_colours(tmp_path))
    assert torch.equal(corners, first.vertices[first.faces].double()), "the same triangles in the same order"
    plain = read_mesh(path, textures=False)
    assert plain.texture is None and torch.equal(plain.faces, shape.faces)


def test_stl_has_the_same_triangles(tmp_path):
    shape = read_mesh(obj_with_vertex_colours(tmp_path))
    triangles = shape.vertices[shape.faces].numpy().astype("<f4")
    rows = b"".join(bytes(12) + t.tobytes() + bytes(2) for t in triangles)
    (tmp_path / "binary.stl").write_bytes(b"solid".ljust(80) + struct.pack("<I", len(triangles)) + rows)
    text = ["solid a b"]
    for k, t in enumerate(triangles):
        if k == 9:
            text += ["endsolid a b", "", "solid facet"]
        text += ["  facet normal 0 0 0", "outer loop", *(f"\tvertex {words(*p)}" for p in t), "endloop", "endfacet"]
    for name, ends in (("text.stl", "\n"), ("windows.stl", "\r\n"), ("upper.stl", "\n")):
        content = ends.join([*text, "endsolid", ""])
        (tmp_path / name).write_bytes((content.upper() if name == "upper.stl" else content).encode())
    for name in ("binary.stl", "text.stl", "windows.stl", "upper.stl"):
        again = read_mesh(tmp_path / name)
        assert torch.equal(again.vertices[again.faces], shape.vertices[shape.faces]), name


def test_labels_of_a_model_are_the_same_in_every_dialect(tmp_path):
    segmenter = mvdecor.load(save_octants(tmp_path / "model"))
    labels = set()
    for number, dialect in enumerate(("obj, Kd", "coff", "off, whole numbers", "ply, wedges, binary", "ply, int")):
        (tmp_path / str(number)).mkdir()
        _, path = read(dialect, tmp_path / str(number))
        found = segmenter.segment(path)
        labels.add(tuple(found.of_file(found.labels).tolist()))
    far = (tmp_path / "0" / "inside" / "a.obj").read_text(encoding="latin-1").split("\n")
    for row, line in enumerate(far):
        if line.startswith("v "):
            far[row] = words("v", *(float(x) + y for x, y in zip(line.split()[1:], (5e5, 100, 5.4e6))))
    (tmp_path / "0" / "inside" / "far.obj").write_text("\n".join(far))
    found = segmenter.segment(tmp_path / "0" / "inside" / "far.obj")
    labels.add(tuple(found.of_file(found.labels).tolist()))
    assert len(labels) == 1


def test_only_a_model_that_looks_at_colours_needs_the_materials(tmp_path):
    path = obj(tmp_path, "Kd {1}")
    expected = mvdecor.load(save_octants(tmp_path / "model")).segment(path).labels
    (tmp_path / "my materials.mtl").unlink()
    with pytest.warns(UserWarning, match=r"a\.obj: its colours are not looked at, .*my materials\.mtl"):
        found = mvdecor.load(tmp_path / "model").segment(path)
    assert torch.equal(found.labels, expected)
    colours = mvdecor.load(save_octants(tmp_path / "colours", channels=("points", "rgb"), textured=True))
    with pytest.raises(InputError, match="material file cannot be read"):
        colours.segment(path)
