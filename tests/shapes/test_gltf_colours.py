"""Colours of glTF files. Expected values are written out by hand, or follow from the formulas of sRGB."""

import io

import numpy as np
import pytest
import torch
from PIL import Image, features

from mvdecor.errors import InputError
from mvdecor.shapes import Shape, read_mesh
from mvdecor.shapes.gltf import read_gltf
from mvdecor.shapes.sampling import sample_texture
from mvdecor.shapes.shape import CLAMP, MIRROR, REPEAT, Texture
from tests.gltf_writer import GltfWriter

TRIANGLE = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], dtype=float)
HALVES = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [255, 255, 0]]], dtype=np.uint8)  # red green / blue yellow
RED, GREEN, BLUE, YELLOW = HALVES.reshape(-1, 3).tolist()
CENTRE = np.full(3, 1 / 3)


def quarters(size=64):
    """An image of the four colours of `HALVES`, each a quarter."""
    return HALVES.repeat(size // 2, axis=0).repeat(size // 2, axis=1)


def primitive(writer, uv=None, colours=None, **fields):
    """A triangle; `uv` may be one point for all its corners."""
    attributes = {"POSITION": writer.accessor(TRIANGLE)}
    if uv is not None:
        attributes["TEXCOORD_0"] = writer.accessor(np.broadcast_to(np.asarray(uv, dtype=float), (3, 2)))
    if colours is not None:
        attributes["COLOR_0"] = writer.accessor(colours)
    return {"attributes": attributes, **fields}


def textured(writer, image=None, sampler=None, info=None, factor=None):
    """A material with an image; returns its number."""
    number = writer.image(Image.fromarray(quarters() if image is None else image))
    texture = {"source": number}
    if sampler is not None:
        texture["sampler"] = writer.add("samplers", sampler)
    base = {"baseColorTexture": {"index": writer.add("textures", texture), **(info or {})}}
    if factor is not None:
        base["baseColorFactor"] = [*factor, 1]
    return writer.add("materials", {"pbrMetallicRoughness": base})


def read(writer, folder, *primitives, name="a.glb", **options):
    writer.json |= {"meshes": [{"primitives": list(primitives)}], "nodes": [{"mesh": 0}]}
    return read_gltf(writer.write(folder / name), **options)


def colours(mesh, weights=CENTRE):
    """[F, 3], 0 to 255, at a point of each face."""
    uv = (torch.as_tensor(weights).float()[:, None] * mesh.texture.uv).sum(dim=1)
    return (255 * sample_texture(mesh.texture, mesh.texture.image_ids, uv)).round().int().tolist()


def srgb(linear):
    linear = np.asarray(linear, dtype=float)
    return 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def test_factors_and_colours_of_vertices_are_linear(tmp_path):
    writer = GltfWriter()
    writer.add("materials", {"pbrMetallicRoughness": {"baseColorFactor": [0.5, 0.25, 1, 1]}})
    half = primitive(writer, colours=np.full((3, 3), 0.5))
    both = primitive(writer, colours=np.full((3, 4), 0.5), material=0)
    mesh = read(writer, tmp_path, primitive(writer, material=0), half, both, primitive(writer))
    right = [srgb(v).round().tolist() for v in ([0.5, 0.25, 1], [0.5] * 3, [0.25, 0.125, 0.5], [1, 1, 1])]
    assert right[0] == [188, 137, 255]
    assert colours(mesh) == right


def test_colours_between_vertices_are_mixed_as_light(tmp_path):
    writer = GltfWriter()
    mesh = read(writer, tmp_path, primitive(writer, colours=[[1, 0, 0], [0, 1, 0], [0, 0, 0]]))
    assert colours(mesh, [1, 0, 0]) + colours(mesh, [0, 1, 0]) + colours(mesh, [0, 0, 1]) == [RED, GREEN, [0, 0, 0]]
    for weight in (0.5, 0.3, 0.1):
        right = srgb([weight, 1 - weight, 0])
        assert np.abs(np.array(colours(mesh, [weight, 1 - weight, 0])[0]) - right).max() < 8


def test_no_colour_anywhere_is_no_texture(tmp_path):
    writer = GltfWriter()
    writer.add("materials", {"pbrMetallicRoughness": {"metallicFactor": 0}})
    assert read(writer, tmp_path, primitive(writer), primitive(writer, material=0)).texture is None


def test_image_times_factor_times_colours_of_vertices(tmp_path):
    writer = GltfWriter()
    grey = np.full((2, 2, 3), 188, dtype=np.uint8)  # half the light
    material = textured(writer, grey, factor=(0.5, 1, 1))
    constant = primitive(writer, [0.3, 0.6], np.full((3, 3), [1, 0.5, 0.25]), material=material)
    varying = primitive(writer, [0.3, 0.6], np.diag([1.0, 0.5, 0.25]), material=material)
    mesh = read(writer, tmp_path, constant, varying)
    assert np.abs(np.array(colours(mesh)[0]) - srgb([0.25, 0.25, 0.125])).max() < 1
    for corner, light in enumerate(np.diag([0.25, 0.25, 0.125])):
        assert np.abs(np.array(colours(mesh, np.eye(3)[corner])[1]) - srgb(light)).max() < 1
    assert np.abs(np.array(colours(mesh)[1]) - srgb(np.array([0.25, 0.25, 0.125]) / 3)).max() < 8


def test_colours_that_differ_per_face_keep_the_image(tmp_path):
    """Two faces of one primitive, one white and one half as bright, over the whole image."""
    writer = GltfWriter()
    material = textured(writer)
    attributes = {
        "POSITION": writer.accessor(np.concatenate([TRIANGLE, TRIANGLE])),
        "TEXCOORD_0": writer.accessor([[0, 0], [1, 0], [0, 1]] * 2),
        "COLOR_0": writer.accessor([[255] * 4] * 3 + [[128, 128, 128, 255]] * 3, "u1", True),
    }
    mesh = read(writer, tmp_path, {"attributes": attributes, "material": material})
    for weights, colour in (([0.8, 0.1, 0.1], RED), ([0.2, 0.7, 0.1], GREEN), ([0.2, 0.1, 0.7], BLUE)):
        full, half = colours(mesh, weights)
        assert full == colour
        assert np.abs(np.array(half) - np.array(colour) / 255 * srgb(128 / 255)).max() < 1


@pytest.mark.parametrize(
    ("wrap", "right"),
    [(10497, [RED, RED, GREEN]), (33648, [GREEN, RED, RED]), (33071, [GREEN, RED, RED])],
)
def test_images_go_on_as_the_sampler_says(tmp_path, wrap, right):
    writer = GltfWriter()
    material = textured(writer, sampler={"wrapS": wrap})
    places = [[1.2, 0.1], [0.1, 0.1], [-0.2, 0.1]]
    mesh = read(writer, tmp_path, *(primitive(writer, place, material=material) for place in places))
    assert colours(mesh) == right


def test_a_face_that_crosses_the_edge_of_a_clamped_or_mirrored_image(tmp_path):
    writer = GltfWriter()
    faces = []
    for wrap in (10497, 33648, 33071):
        faces.append(primitive(writer, material=textured(writer, sampler={"wrapS": wrap, "wrapT": wrap})))
        faces[-1]["attributes"]["TEXCOORD_0"] = writer.accessor([[0.1, 0.1], [3.1, 0.1], [0.1, 3.1]])
    mesh = read(writer, tmp_path, *faces)
    for share, right in ((0.2, [GREEN] * 3), (0.4, [RED, GREEN, GREEN]), (0.55, [GREEN, RED, GREEN])):
        assert colours(mesh, [1 - share, share, 0]) == right  # u = 0.1 + 3 share


def test_edges_of_images_blend_with_what_lies_beyond():
    """At u = 0 bilinear colours are half the last texel's where the image repeats, and the first texel's elsewhere."""
    image = torch.tensor([[[0, 0, 0], [100, 100, 100], [200, 200, 200]]], dtype=torch.uint8)
    samplers = torch.tensor([[REPEAT, REPEAT, 0], [MIRROR, REPEAT, 0], [CLAMP, REPEAT, 0], [REPEAT, REPEAT, 1]])
    texture = Texture(torch.zeros(4, 3, 2), (image,) * 4, torch.arange(4), samplers)
    for u, right in (
        (0.0, [100, 0, 0, 0]),
        (1 / 3, [50, 50, 50, 100]),
        (1.0, [100, 200, 200, 0]),
        (0.3, [40, 40, 40, 0]),
    ):
        seen = 255 * sample_texture(texture, torch.arange(4), torch.tensor([[u, 0.5]]).repeat(4, 1))[:, 0]
        assert seen.tolist() == pytest.approx(right, abs=1e-3)
    assert texture.to("cpu").samplers is samplers
    shapes = [Shape("a", torch.eye(3), torch.tensor([[0, 1, 2]]), texture=one) for one in (
        Texture(torch.zeros(1, 3, 2), (image,), torch.zeros(1, dtype=torch.int64), mode) for mode in (None, samplers[1:2])
    )]  # fmt: skip
    assert shapes[0].fingerprint() != shapes[1].fingerprint()


def test_the_nearest_texel(tmp_path):
    writer = GltfWriter()
    material = textured(writer, HALVES, sampler={"magFilter": 9728})
    places = [[0.49, 0.49], [0.51, 0.49], [0.49, 0.51], [0.51, 0.51]]
    mesh = read(writer, tmp_path, *(primitive(writer, place, material=material) for place in places))
    assert colours(mesh) == [RED, GREEN, BLUE, YELLOW]


def test_texture_transforms(tmp_path):
    def moved(**transform):
        extension = {"extensions": {"KHR_texture_transform": transform}}
        return primitive(writer, [0.25, 0.75], material=textured(writer, info=extension))

    writer = GltfWriter()
    writer.use("KHR_texture_transform", required=True)
    mesh = read(
        writer,
        tmp_path,
        moved(),  # blue, at the bottom left
        moved(offset=[0.5, 0]),
        moved(offset=[0, -0.5]),
        moved(offset=[0.6, 0.6], scale=[0.25, 0.25]),
        # the example of the extension: the lower left quarter, turned clockwise by 90 degrees
        moved(offset=[0, 1], rotation=np.pi / 2, scale=[0.5, 0.5]),
        moved(offset=[0, 1], scale=[1, -1]),
        moved(rotation=np.pi / 2),  # (u, v) = (0.75, -0.25)
        moved(rotation=-np.pi / 2),  # (-0.75, 0.25)
    )
    assert colours(mesh) == [BLUE, YELLOW, RED, YELLOW, BLUE, RED, YELLOW, RED]


def test_further_sets_of_texture_coordinates(tmp_path):
    writer = GltfWriter()
    transform = {"extensions": {"KHR_texture_transform": {"texCoord": 1}}}
    faces = [
        primitive(writer, [0.1, 0.1], material=textured(writer, info=info)) for info in ({}, {"texCoord": 1}, transform)
    ]
    for face in faces:
        face["attributes"]["TEXCOORD_1"] = writer.accessor([[0.9, 0.1]] * 3)
    assert colours(read(writer, tmp_path, *faces)) == [RED, GREEN, GREEN]


def test_an_image_without_texture_coordinates_is_said(tmp_path):
    writer = GltfWriter()
    material = textured(writer, info={"texCoord": 2}, factor=(1, 0, 0))
    with pytest.warns(UserWarning, match=r"a\.glb: primitive 0 of meshes\[0\] has no TEXCOORD_2"):
        mesh = read(writer, tmp_path, primitive(writer, [0, 0], material=material))
    assert colours(mesh) == [RED]


def test_quantized_texture_coordinates(tmp_path):
    writer = GltfWriter()
    material = textured(writer)
    face = primitive(writer, material=material)
    face["attributes"]["TEXCOORD_0"] = writer.accessor([[49000, 49000]] * 3, "u2", True)
    assert colours(read(writer, tmp_path, face)) == [YELLOW]


def test_specular_glossiness_states_its_own_colour(tmp_path):
    writer = GltfWriter()
    material = textured(writer, factor=(0, 0, 0))
    number = writer.image(Image.fromarray(np.full((1, 1, 3), 255, dtype=np.uint8)))
    diffuse = {"diffuseFactor": [0.5, 0, 0, 1], "diffuseTexture": {"index": writer.add("textures", {"source": number})}}
    writer.json["materials"][material]["extensions"] = {"KHR_materials_pbrSpecularGlossiness": diffuse}
    assert colours(read(writer, tmp_path, primitive(writer, [0.1, 0.1], material=material))) == [[188, 0, 0]]


def test_images_of_many_kinds(tmp_path):
    pixels, writer = quarters(), GltfWriter()
    grey = pixels[..., 0]
    alpha = Image.fromarray(pixels)
    alpha.putalpha(3)
    images = [
        writer.image(Image.fromarray(pixels), uri="data:"),
        writer.image(Image.fromarray(pixels).convert("P", palette=Image.Palette.ADAPTIVE)),
        writer.image(alpha),
        writer.image(Image.fromarray(grey.astype(np.uint16) * 257)),
        writer.image(Image.fromarray(pixels), "JPEG", quality=100, subsampling=0),
    ]
    textures = [{"source": number} for number in images]
    for format in ("WEBP", "AVIF"):
        if features.check(format.lower()):
            number = writer.image(Image.fromarray(pixels), format, quality=100)
            broken = writer.add("images", {"bufferView": writer.view(b"the one beside it is for others")})
            textures.append({"source": broken, "extensions": {f"EXT_texture_{format.lower()}": {"source": number}}})
            writer.use(f"EXT_texture_{format.lower()}")
    faces = []
    for texture in textures:
        base = {"baseColorTexture": {"index": writer.add("textures", texture)}}
        number = writer.add("materials", {"alphaMode": "MASK", "pbrMetallicRoughness": base})
        faces.append(primitive(writer, [0.75, 0.75], material=number))
    seen = np.array(colours(read(writer, tmp_path, *faces)))
    right = np.array([YELLOW] * len(faces))
    right[3] = 255
    assert np.abs(seen - right).max() < 6, seen


def test_images_in_files_by_percent_encoded_names(tmp_path):
    Image.fromarray(quarters()).save(tmp_path / "my wood ü.png")
    writer = GltfWriter()
    material = textured(writer)
    writer.json["images"] = [{"uri": "my%20wood%20%C3%BC.png"}]
    assert colours(read(writer, tmp_path, primitive(writer, [0.1, 0.1], material=material), name="a.gltf")) == [RED]


def test_images_that_cannot_be_decoded_are_named(tmp_path):
    writer = GltfWriter()
    face = primitive(writer, [0.1, 0.1], material=textured(writer))
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(stream, "PNG")
    for data in (b"no image", stream.getvalue()[:2000]):
        writer.json["images"] = [{"bufferView": writer.view(data), "mimeType": "image/png", "name": "wood"}]
        with pytest.raises(
            InputError, match=r"a\.glb: its image images\[0\] \('wood'\) of type image/png cannot be decoded"
        ):
            read(writer, tmp_path, face)
        with pytest.warns(UserWarning, match=r"'wood'.*its colours are not needed"):
            assert read(writer, tmp_path, face, textures=False).texture is None
    writer.json["images"] = [{"uri": "gone%20away.png"}]
    with pytest.raises(InputError, match=r"a\.glb: .*gone away\.png, its images\[0\].*, is missing"):
        read(writer, tmp_path, face)


def test_basis_universal_is_refused_unless_another_image_is_beside_it(tmp_path):
    writer = GltfWriter()
    face = primitive(writer, [0.1, 0.1], material=textured(writer))
    writer.use("KHR_texture_basisu")
    number = writer.add("images", {"bufferView": writer.view(b"\xabKTX 20\xbb"), "name": "wood"})
    writer.json["textures"][0]["extensions"] = {"KHR_texture_basisu": {"source": number}}
    assert colours(read(writer, tmp_path, face)) == [RED]
    del writer.json["textures"][0]["source"]
    writer.use("KHR_texture_basisu", required=True)
    with pytest.raises(InputError, match=r"images\[1\] \('wood'\) needs KHR_texture_basisu, which is not read"):
        read(writer, tmp_path, face)


def test_images_are_shared_and_reduced(tmp_path):
    writer = GltfWriter()
    material = textured(writer)
    writer.add("materials", writer.json["materials"][material])
    faces = [primitive(writer, [0.1, 0.1], material=number) for number in (0, 1, 0)]
    writer.json |= {"meshes": [{"primitives": faces}], "nodes": [{"mesh": 0}, {"mesh": 0}]}
    shape = read_mesh(writer.write(tmp_path / "a.glb"), texture_size=16)
    assert [tuple(image.shape) for image in shape.texture.images] == [(16, 16, 3)]
    assert shape.texture.image_ids.tolist() == [0] * 6 and shape.texture.samplers is None


@pytest.mark.parametrize("where", ["COLOR_0", "TEXCOORD_0", "its colour"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_colours_that_are_no_numbers_are_refused(tmp_path, where, value):
    writer = GltfWriter()
    bad = [[0.1, 0.1, 0.1], [0.2, value, 0.1], [0.3, 0.4, 0.5]]
    material = textured(writer, factor=bad[1] if where == "its colour" else None)
    face = primitive(writer, [0, 0], material=material)
    if where != "its colour":
        face["attributes"][where] = writer.accessor(np.array(bad)[:, : 3 if where == "COLOR_0" else 2])
    with pytest.raises(InputError, match=rf"a\.glb: .*{where} has numbers that are NaN or infinite"):
        read(writer, tmp_path, face)
