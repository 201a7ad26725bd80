import warnings

import numpy as np
import pytest
from PIL import Image

from mvdecor.errors import InputError
from mvdecor.shapes import read_mesh
from mvdecor.shapes.obj import read_obj
from mvdecor.shapes.sampling import sample_texture
from mvdecor.shapes.texture import DEFAULT_COLOUR, obj_texture, read_image, read_mtl

HEAD = "v 0 0 0\nv 1 0 0\nv 0 1 0\nvt 0 0\nvt 1 0\nvt 0 1\n"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "tex").mkdir()
    pixels = np.arange(2 * 4 * 3, dtype=np.uint8).reshape(2, 4, 3)
    Image.fromarray(pixels).save(tmp_path / "tex" / "a picture.png")
    return tmp_path


def read(folder, mtl, obj, **options):
    (folder / "m.mtl").write_text(mtl)
    path = folder / "m.obj"
    path.write_text("mtllib m.mtl\n" + HEAD + obj)
    return obj_texture(read_obj(path), path, **options)


def test_images_and_plain_colours_reach_their_faces(folder):
    mtl = (
        "newmtl pic\nKd 1 0 0\nmap_Kd tex/a picture.png\nnewmtl red\nKd 1 0 0\nnewmtl same\nmap_Kd tex/a picture.png\n"
    )
    obj = "f 1/1 2/2 3/3\nusemtl pic\nf 1/3 2/1 3/2\nf 1 2 3\nusemtl red\nf 1/1 2/2 3/3\nusemtl same\nf 1/1 2/2 3/3\n"
    texture = read(folder, mtl, obj)
    colours = [texture.images[i] for i in texture.image_ids.tolist()]
    assert colours[0].tolist() == [[[round(255 * c) for c in DEFAULT_COLOUR]]]  # before any usemtl
    assert np.array_equal(colours[1].numpy(), np.arange(24).reshape(2, 4, 3))
    assert colours[2].tolist() == [[[255, 0, 0]]]  # no texture coordinates: the plain colour
    assert colours[3].tolist() == [[[255, 0, 0]]]
    assert texture.image_ids[4] == texture.image_ids[1]  # a shared image is stored once
    assert len(texture.images) == 3
    assert texture.uv[1].tolist() == [[0, 1], [0, 0], [1, 0]]


@pytest.mark.parametrize("line", ["tex\\a picture.png", "-bm 1 -clamp on tex/a picture.png", "C:\\work\\a picture.png"])
def test_image_names_as_exporters_write_them(folder, line):
    texture = read(folder, f"newmtl a\nmap_Kd {line}\n", "usemtl a\nf 1/1 2/2 3/3\n")
    assert texture.images[0].shape == (2, 4, 3)


def test_images_are_reduced_on_request_only(folder):
    mtl, obj = "newmtl a\nmap_Kd tex/a picture.png\n", "usemtl a\nf 1/1 2/2 3/3\n"
    assert read(folder, mtl, obj, max_size=2).images[0].shape == (1, 2, 3)
    assert read(folder, mtl, obj, max_size=4).images[0].shape == (2, 4, 3)


def test_no_material_means_no_texture(folder):
    assert read(folder, "", "f 1/1 2/2 3/3\n") is None


def test_transparent_grey_and_palette_images_become_rgb(tmp_path):
    for mode in ("RGBA", "L", "P"):
        Image.new(mode, (3, 2)).save(tmp_path / "i.png")
        assert read_image(tmp_path / "i.png").shape == (2, 3, 3)


@pytest.mark.parametrize(
    ("mtl", "message"),
    [
        ("newmtl b\n", "material 'a' is in none of m.mtl"),
        ("newmtl a\nmap_Kd none.png\n", "none.png: texture image is missing"),
        ("newmtl a\nmap_Kd m.obj\n", "m.obj: texture image cannot be read"),
        ("newmtl a\nmap_Kd -mm 0 2 tex/a picture.png\n", "the option -mm cannot be applied"),
        ("newmtl a\nmap_Kd -t 1 1 1 tex/a picture.png\n", "the option -t cannot be applied"),
        ("newmtl a\nmap_Kd -type sphere tex/a picture.png\n", "the option -type cannot be applied"),
        ("newmtl a\nmap_Kd -imfchan r tex/a picture.png\n", "the option -imfchan cannot be applied"),
        ("newmtl a\nmap_Kd -wrap 3 tex/a picture.png\n", "the option -wrap is unknown"),
        ("newmtl a\nKd red\n", "'Kd red' is no colour"),
        ("newmtl a\nKd 1 2\n", "'Kd 1 2' is no colour"),
    ],
)
def test_bad_materials_are_named(folder, mtl, message):
    with pytest.raises(InputError) as error:
        read(folder, mtl, "usemtl a\nf 1/1 2/2 3/3\n")
    assert message in str(error.value)


def test_comments_after_values(folder):
    """They are left out; but a name that has a # in it is that name."""
    mtl = "newmtl a # wood\nKd 1 0 0 # red\nnewmtl b\nmap_Kd tex/a picture.png # of the wood\n"
    faces = "usemtl a\nf 1/1 2/2 3/3\nusemtl b # here\nf 1/1 2/2 3/3\n"
    texture = read(folder, mtl, faces)
    assert [tuple(image.shape) for image in texture.images] == [(1, 1, 3), (2, 4, 3)]
    assert texture.images[0].reshape(-1).tolist() == [255, 0, 0]
    mtl = "newmtl Material #25\nKd 0 0 1\nnewmtl Material # 26\nKd 0 1 0\n"
    texture = read(folder, mtl, "usemtl Material #25\nf 1/1 2/2 3/3\nusemtl Material # 26\nf 1/1 2/2 3/3\n")
    assert [image.reshape(-1).tolist() for image in texture.images] == [[0, 0, 255], [0, 255, 0]]


def test_a_colour_beyond_one_is_cut_off_and_said(folder):
    with pytest.warns(UserWarning, match=r"'Kd 128 128 0' is cut off"):
        texture = read(folder, "newmtl a\nKd 128 128 0\n", "usemtl a\nf 1/1 2/2 3/3\n")
    assert texture.images[0].reshape(-1).tolist() == [255, 255, 0]


def test_a_missing_material_file_is_named(folder):
    path = folder / "m.obj"
    path.write_text("mtllib gone.mtl\nusemtl a\n" + HEAD + "f 1/1 2/2 3/3\n")
    with pytest.raises(InputError, match=r"gone\.mtl: material file cannot be read .* mtllib"):
        obj_texture(read_obj(path), path)


def test_scale_and_offset_of_an_image_are_those_of_its_texture_coordinates(folder):
    """As viewers show it: (u, v) becomes scale * (u, v) + offset, for the faces of that material alone."""
    mtl = "newmtl a\nmap_Kd -s 2 3 1 -o 0.25 tex/a picture.png\nnewmtl b\nmap_Kd -s 0.5 tex/a picture.png\n"
    texture = read(folder, mtl, "usemtl a\nf 1/1 2/2 3/3\nusemtl b\nf 1/1 2/2 3/3\nusemtl b\nf 1 2 3\n")
    assert texture.uv[0].tolist() == [[0.25, 0], [2.25, 0], [0.25, 3]]
    assert texture.uv[1].tolist() == [[0, 0], [0.5, 0], [0, 1]]
    assert len(texture.images) == 2


def test_an_image_that_should_be_clamped_and_is_repeated_is_said(folder):
    mtl = "newmtl a\nmap_Kd -clamp on -s 2 2 2 tex/a picture.png\n"
    with pytest.warns(UserWarning, match=r"a picture\.png is repeated where it should be clamped"):
        read(folder, mtl, "usemtl a\nf 1/1 2/2 3/3\n")
    with pytest.warns(UserWarning, match="names no image"):
        texture = read(folder, "newmtl a\nKd 1 0 0\nmap_Kd\n", "usemtl a\nf 1/1 2/2 3/3\n")
    assert texture.images[0].tolist() == [[[255, 0, 0]]]


@pytest.mark.parametrize(
    ("line", "scale", "name"),
    [
        ("-s 2 2 1 -o .5 -clamp on file name with spaces.png", (2, 2), "file name with spaces.png"),
        ("-s 1 1 1 2 chairs.png", (1, 1), "2 chairs.png"),
        ("-bm 1 2.png", (1, 1), "2.png"),
        ("-clamp off on.png", (1, 1), "on.png"),
        ("\t-s\t3\t tex/x.png", (3, 1), "tex/x.png"),
        ("-mm 0 1 -t 0 0 0 -boost 2 -cc on -texres 512 x.png", (1, 1), "x.png"),
        ('"two words.png"', (1, 1), "two words.png"),
        ("two  spaces.png", (1, 1), "two  spaces.png"),
    ],
)
def test_options_end_where_the_name_begins(tmp_path, line, scale, name):
    (tmp_path / "m.mtl").write_text(f"newmtl a\n map_Kd {line} \n")
    material = read_mtl(tmp_path / "m.mtl")["a"]
    assert material.scale == scale and material.image == tmp_path / name


HALF = "v 0 0 0 1 0 0\nv 1 0 0 1 0 0\nv 0 1 0 1 0 0\nvt 0 0\nvt 1 0\nvt 0 1\n"


def test_colours_of_vertices_show_where_the_material_has_no_image(folder):
    (folder / "m.mtl").write_text("newmtl none\nKd 0 0 1\nnewmtl pic\nmap_Kd tex/a picture.png\n")
    faces = "usemtl none\nf 1/1 2/2 3/3\nusemtl pic\nf 1/1 2/2 3/3\nf 1 2 3\n"
    (folder / "m.obj").write_text("mtllib m.mtl\n" + HALF + faces)
    texture = obj_texture(read_obj(folder / "m.obj"), folder / "m.obj")
    sampled = 255 * sample_texture(texture, texture.image_ids, texture.uv.mean(dim=1))
    assert sampled[0].round().tolist() == sampled[2].round().tolist() == [255, 0, 0]
    assert np.array_equal(texture.images[texture.image_ids[1]].numpy(), np.arange(24).reshape(2, 4, 3))


LIBRARIES = {
    "one after the other": "mtllib a.mtl\nmtllib b.mtl\n",
    "on one line": "mtllib a.mtl b.mtl\n",
    "with a comment": "mtllib a.mtl # the first\nmtllib\tb.mtl\n",
    "in quotes": 'mtllib "a.mtl"\nmtllib ./b.mtl\n',
}


@pytest.mark.parametrize("lines", LIBRARIES.values(), ids=LIBRARIES.keys())
def test_several_material_files(tmp_path, lines):
    (tmp_path / "a.mtl").write_text("newmtl a\nKd 1 0 0\n")
    (tmp_path / "b.mtl").write_text("newmtl b\nKd 0 0 1\n")
    (tmp_path / "m.obj").write_text(lines + HEAD + "usemtl a\nf 1 2 3\nusemtl b\nf 1 2 3\n")
    texture = obj_texture(read_obj(tmp_path / "m.obj"), tmp_path / "m.obj")
    assert [texture.images[i].tolist() for i in texture.image_ids] == [[[[255, 0, 0]]], [[[0, 0, 255]]]]


def test_a_missing_material_file_that_is_not_needed_is_a_warning(tmp_path):
    (tmp_path / "a.mtl").write_text("newmtl a\nKd 1 0 0\n")
    (tmp_path / "m.obj").write_text("mtllib a.mtl\nmtllib gone.mtl\n" + HEAD + "usemtl a\nf 1 2 3\n")
    with pytest.warns(UserWarning, match=r"m\.obj: .*gone\.mtl: material file cannot be read .*none of its materials"):
        assert obj_texture(read_obj(tmp_path / "m.obj"), tmp_path / "m.obj").images[0].tolist() == [[[255, 0, 0]]]


@pytest.mark.parametrize(
    ("mtl", "message"),
    [
        (None, "material file cannot be read"),
        ("newmtl b\n", "material 'a' is in none of m.mtl"),
        ("newmtl a\nmap_Kd -mm 0 2 x.png\n", "-mm cannot be applied"),
        ("newmtl a\nmap_Kd /etc/passwd\n", "outside of its folder"),
        ("newmtl a\nmap_Kd gone.png\n", None),
    ],
)
def test_a_mesh_whose_colours_are_not_needed_is_read_without_them(tmp_path, mtl, message):
    path = tmp_path / "m.obj"
    path.write_text("mtllib m.mtl\n" + HEAD + "usemtl a\nf 1/1 2/2 3/3\n")
    if mtl is not None:
        (tmp_path / "m.mtl").write_text(mtl)
    with pytest.raises(InputError):
        read_mesh(path)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        shape = read_mesh(path, textures=False)
    assert shape.texture is None and shape.num_faces == 1
    assert len(warned) == (message is not None)
    assert all(message in str(w.message) and str(path) in str(w.message) for w in warned)


@pytest.mark.parametrize("name", ["../images/texture_0.png", "..\\images\\texture_0.png", "../../other/texture_0.png"])
def test_images_beside_the_folder_as_collections_have_them(tmp_path, name):
    """PartNet-Mobility has textured_objs/*.obj and images/, ShapeNet models/*.obj and images/."""
    folder = tmp_path / "shapes" / "shape" / "textured_objs"
    folder.mkdir(parents=True)
    image = folder / name.replace("\\", "/")
    image.parent.mkdir()
    Image.new("RGB", (2, 2), (255, 255, 0)).save(image)
    (folder / "a.mtl").write_text(f"newmtl a\nmap_Kd {name}\n")
    (folder / "a.obj").write_text("mtllib a.mtl\n" + HEAD + "usemtl a\nf 1/1 2/2 3/3\n")
    shape = read_mesh(folder / "a.obj")
    assert shape.texture.images[0][0, 0].tolist() == [255, 255, 0]


def test_a_damaged_picture_and_a_name_that_is_none_are_refused(folder):
    picture = folder / "tex" / "a picture.png"
    content = picture.read_bytes()
    picture.write_bytes(content[:33] + b"\x00\x00\x00\x04\xac\xac\xac\xac" + content[41:])
    with pytest.raises(InputError, match=r"a picture\.png: texture image cannot be read"):
        read(folder, "newmtl a\nmap_Kd tex/a picture.png\n", "usemtl a\nf 1/1 2/2 3/3\n")
    (folder / "m.obj").write_text("mtllib m\0.mtl\nusemtl a\n" + HEAD + "f 1/1 2/2 3/3\n")
    with pytest.raises(InputError, match="material file cannot be read"):
        obj_texture(read_obj(folder / "m.obj"), folder / "m.obj")
