import numpy as np
import pytest
from PIL import Image

from mvdecor.errors import InputError
from mvdecor.shapes.obj import read_obj
from mvdecor.shapes.texture import PLAIN, obj_texture, read_image

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
    assert colours[0].tolist() == [[[round(255 * c) for c in PLAIN]]]  # before any usemtl
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


def test_a_missing_material_file_is_named(folder):
    path = folder / "m.obj"
    path.write_text("mtllib gone.mtl\nusemtl a\n" + HEAD + "f 1/1 2/2 3/3\n")
    with pytest.raises(InputError, match=r"gone\.mtl: material file cannot be read .* mtllib"):
        obj_texture(read_obj(path), path)
