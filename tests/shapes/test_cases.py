"""Files that once went wrong, where they are at hand: each has the value that was written down for it."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from mvdecor.errors import InputError
from mvdecor.shapes import Shape, read_mesh
from mvdecor.shapes.sampling import sample_texture

CASES = Path(os.environ.get("MVDECOR_CASES", Path(__file__).resolve().parents[3] / "shared" / "cases"))
YELLOW, RED, BLUE, CYAN = (255, 255, 0), (255, 0, 0), (0, 0, 255), (0, 255, 255)

pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason=f"no case files: {CASES} (set MVDECOR_CASES)")


def case(name: str) -> Path:
    (folder,) = CASES.glob(f"mesh_{name}_*")
    return folder


def area(shape: Shape) -> float:
    return float(shape.face_areas.double().sum())


def colours(shape: Shape) -> list[tuple[int, ...]]:
    """The colour in the middle of each face."""
    assert shape.texture is not None
    faces = torch.arange(shape.num_faces)
    seen = sample_texture(shape.texture, shape.texture.image_ids[faces], shape.texture.uv[faces].mean(dim=1))
    return [tuple(colour) for colour in (255 * seen).round().int().tolist()]


def box(shape: Shape) -> list[float]:
    used = shape.vertices[shape.faces.reshape(-1)].double()
    return [*used.amin(dim=0).tolist(), *used.amax(dim=0).tolist()]


CHAIR = [-0.5, 0, -0.5, 0.5, 1.35, 0.5]


def test_face_order_is_that_of_the_file():
    for file in case("01").glob("*.glb"):
        assert len({read_mesh(file).fingerprint() for _ in range(200)}) == 1, file


def test_numbers_that_are_packed():
    for name in ("control_chair", "chair_normalized_int16", "quantize_chair"):
        shape = read_mesh(case("02") / f"{name}.glb")
        np.testing.assert_allclose(box(shape), CHAIR, atol=1e-3)
        assert area(shape) == pytest.approx(5.24, abs=2e-3)
    assert set(colours(read_mesh(case("03") / "uv_uint16.glb"))) == {YELLOW}
    for name, low, size in (("box", [-0.5, 3.5], 18), ("two_boxes_one_sparse", [-0.5, 3.5], 12)):
        shape, axis = read_mesh(case("04") / f"{name}.glb"), 1 if name == "box" else 0
        assert box(shape)[axis::3] == pytest.approx(low) and area(shape) == pytest.approx(size)


def test_compressed_files():
    np.testing.assert_allclose(box(read_mesh(case("16") / "draco_chair.glb")), CHAIR, atol=1e-3)
    floor = read_mesh(case("16") / "draco_chair_on_plain_floor.glb")
    assert floor.num_faces == 84 and area(floor) == pytest.approx(23.84, abs=0.01)
    pytest.importorskip("meshopt")
    shape = read_mesh(case("17") / "meshopt_chair.glb")
    assert shape.num_faces == 72 and area(shape) == pytest.approx(5.24, abs=2e-3)


def test_instances_and_skins():
    legs = read_mesh(case("06") / "four_legs.glb")
    assert legs.num_faces == 48
    two = read_mesh(case("07") / "two_skinned.glb")
    heights = two.vertices[two.faces].double()[..., 1]
    seat, leg = heights[heights.amin(dim=1) > 0.42], heights[heights.amin(dim=1) <= 0.42]
    assert (float(seat.min()), float(seat.max())) == pytest.approx((0.45, 0.55), abs=1e-5)
    assert (float(leg.min()), float(leg.max())) == pytest.approx((0.0, 0.4), abs=1e-5)
    scaled = box(read_mesh(case("07") / "skinned_under_scaled_node.glb"))
    assert scaled[3] - scaled[0] == pytest.approx(1)


def test_colours_of_gltf():
    for name in ("box", "control_without_material"):
        assert colours(read_mesh(case("09") / f"{name}.glb")) == [RED] * 6 + [BLUE] * 6
    for name in ("factor_half", "linear_half"):
        assert set(colours(read_mesh(case("10") / f"{name}.glb"))) == {(188, 188, 188)}
    assert set(colours(read_mesh(case("11") / "box.glb"))) == {YELLOW}
    assert read_mesh(case("14") / "buffer.gltf").num_faces == 12
    assert len(set(colours(read_mesh(case("14") / "image.gltf")))) > 1
    for name in ("damaged_png", "ktx2"):
        with pytest.raises(InputError, match="image"):
            read_mesh(case("15") / f"{name}.glb")
        assert read_mesh(case("15") / f"{name}.glb", textures=False).texture is None


def test_polygons_and_text():
    for file in sorted(path for path in case("20").iterdir() if path.name != "README"):
        assert area(read_mesh(file)) == pytest.approx(18), file
    expected = {"box": YELLOW, "kd": RED, "name": RED}
    for name, colour in expected.items():
        assert set(colours(read_mesh(case("22") / f"{name}.obj"))) == {colour}


def test_ply_and_stl():
    (file,) = case("24").glob("*.ply")
    assert colours(read_mesh(file)) == [YELLOW] * 6 + [CYAN] * 6
    for file in case("26").glob("*.ply"):
        assert read_mesh(file).num_faces == 12, file
    with pytest.warns(UserWarning, match="binary_tail"):
        assert read_mesh(case("29") / "binary_tail.stl").num_faces == 12
    for name in ("count_wrong", "count_zero"):
        with pytest.raises(InputError, match="triangle"):
            read_mesh(case("29") / f"{name}.stl")


def test_textures_beside_the_folder_and_colours_of_vertices():
    (file,) = case("35").glob("textured_objs/*.obj")
    assert set(colours(read_mesh(file))) == {YELLOW}
    assert colours(read_mesh(case("28") / "with_material.obj")) == [RED] * 6 + [BLUE] * 6


def test_far_from_the_origin_the_digits_of_the_file_are_kept():
    near, far = (
        read_mesh(case("21") / name).normalized() for name in ("control_near.obj", "chair_node_translation.glb")
    )
    np.testing.assert_allclose(box(far), box(near), atol=1e-5)
    with pytest.warns(UserWarning, match="lost their digits"):  # they are not in this file any more
        read_mesh(case("21") / "chair.obj")


def test_own_files_show_the_colours_of_the_parts():
    glb, ply = (np.array(colours(read_mesh(case("37") / f"mesh.{ending}"))) for ending in ("glb", "ply"))
    np.testing.assert_allclose(glb, ply, atol=4)  # this GLB holds linear numbers of 8 bits
