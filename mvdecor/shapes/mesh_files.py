"""Mesh files of any common format as a `Shape`: OBJ, PLY, OFF, STL, GLB and glTF, textured or not.

All readers are our own: they keep the order of the faces and tell what they leave out. trimesh's meshes are taken too.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import torch
import trimesh
from numpy.typing import NDArray
from PIL import Image
from trimesh.visual import ColorVisuals
from trimesh.visual.material import PBRMaterial, SimpleMaterial

from mvdecor.errors import InputError
from mvdecor.shapes.gltf import read_gltf
from mvdecor.shapes.gltf_materials import srgb
from mvdecor.shapes.obj import read_obj
from mvdecor.shapes.off import read_off
from mvdecor.shapes.ply import read_ply
from mvdecor.shapes.polygons import Mesh
from mvdecor.shapes.shape import Shape, Texture, positions
from mvdecor.shapes.stl import read_stl
from mvdecor.shapes.texture import DEFAULT_COLOUR, check_materials, corner_image, image_tensor, obj_texture, plain_image

SUFFIXES = (".obj", ".ply", ".off", ".stl", ".glb", ".gltf")
COARSE = 1e-3  # steps of coordinates, in radii, that are worth a warning
PlacedMesh = tuple[trimesh.Trimesh, NDArray[np.float64]]  # a mesh and the 4 x 4 transform of its node
Joined = tuple[NDArray[np.float64], NDArray[np.int64], Texture | None]  # vertices [V, 3], faces [F, 3], texture
REMEDY = "export it again as OBJ, PLY, OFF, STL or GLB with triangles"


def read_mesh(path: str | Path, texture_size: int | None = None, textures: bool = True) -> Shape:
    """Read a mesh file as it is: not normalised, no labels, its stem as the id.

    Faces keep the file's order; polygons of more than three corners are cut into triangles in place (`cut_polygons`;
    `Shape.polygons` tells whose).
    A file of several geometries (glTF, STL of several solids) gives one shape: geometries in the order of the file's
    list, each placed by its node's transform; one that is placed several times comes once per node, in the order of the
    file's nodes (`gltf.GltfMesh` says it all). A material's image replaces its plain colour and the colours of vertices (in
    glTF they are multiplied); materials without an image become 1 x 1 images; colours of vertices or else of faces become
    an image of texels per face. Points and lines are left out.
    docs/reliability.md lists what is read of each format, what is left out, and what is refused.

    Args:
        path: file ending in .obj, .ply, .off, .stl, .glb or .gltf.
        texture_size: images with a longer side are reduced to it; None: as they are.
        textures: False: colours, materials and images are not looked at, and may be missing.

    Raises:
        InputError: missing, unreadable or unknown file, no triangles, an index out of range, a missing texture.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file; check the path")
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise InputError(f"{path}: {suffix or 'no suffix'} is not a mesh format that can be read; {REMEDY}")
    polygons = None
    if suffix == ".obj":
        vertices, faces, texture, polygons = _read_obj(path, texture_size, textures)
    elif suffix in (".ply", ".off", ".stl"):
        vertices, faces, texture, polygons = _read_checked(path, texture_size, textures)
    else:
        gltf = read_gltf(path, texture_size, textures)
        vertices, faces, texture = gltf.vertices, gltf.faces, gltf.texture
    if len(faces) == 0:
        raise InputError(f"{path}: has no faces (empty, or a point cloud?); {REMEDY}")
    _warn_of_lost_digits(path, vertices)
    try:
        return Shape(
            id=path.stem,
            vertices=positions(vertices),
            faces=torch.from_numpy(np.ascontiguousarray(faces)),
            texture=texture if textures else None,
            polygons=None if polygons is None else torch.from_numpy(polygons),
        )
    except InputError as error:
        raise InputError(f"{path}: {error}; {REMEDY}") from error


def _warn_of_lost_digits(path: Path, vertices: NDArray[np.float64]) -> None:
    """Warn where all of an axis lies on float32's steps and these are coarse for the shape: they were so when written."""
    largest = np.abs(vertices).max(axis=0)
    if not np.isfinite(largest).all():
        return
    size = float((vertices.max(axis=0) / 2 - vertices.min(axis=0) / 2).max())
    for axis, step in enumerate(np.spacing(largest.clip(max=3e38).astype(np.float32)).astype(np.float64)):
        steps = vertices[:, axis] / step
        # the first condition: no number that is too small or too large for float32
        far_from_origin = 1e-6 * largest[axis] > step > COARSE * size > 0
        coarser = np.abs(steps / 4 - (steps / 4).round()).max() < 0.01  # whole metres, say, which nothing rounded
        if far_from_origin and not coarser and np.abs(steps - steps.round()).max() < 0.01:  # 0.9062 for 0.90625
            warnings.warn(
                f"{path}: its {'xyz'[axis]} coordinates are in steps of {step:g}, {100 * step / size:.2g} % of its size: "
                "whatever wrote it so far from the origin lost their digits; move it to the origin there, and export it again",
                stacklevel=3,
            )
            return


def _read_obj(path: Path, texture_size: int | None, textures: bool) -> Mesh:
    mesh = read_obj(path)
    if textures:
        texture = obj_texture(mesh, path, texture_size)
    else:
        texture = None
        check_materials(mesh, path)
    return mesh.vertices, mesh.faces, texture, mesh.polygon_ids if mesh.has_polygons else None


def _read_checked(path: Path, texture_size: int | None, textures: bool) -> Mesh:
    """A PLY, OFF or STL file, whatever is wrong with it as an InputError."""
    try:
        if path.suffix.lower() == ".ply":
            return read_ply(path, texture_size, textures)
        if path.suffix.lower() == ".off":
            return read_off(path, textures)
        corners = read_stl(path)
        return corners.reshape(-1, 3), np.arange(3 * len(corners)).reshape(-1, 3), None, None
    except InputError:
        raise
    except (OSError, ValueError, IndexError, OverflowError, MemoryError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{path}: cannot be read as a mesh ({reason}); {REMEDY}") from error


def mesh_of(mesh: trimesh.Trimesh | trimesh.Scene, id: str = "mesh", texture_size: int | None = None) -> Shape:
    """A mesh or scene of trimesh as a `Shape`, by the rules of `read_mesh`: its faces in their order, with its texture.

    Load files with `process=False, maintain_order=True` if their own order matters, or give `read_mesh` the file.

    Args:
        mesh: the mesh; geometries of a scene come in their order, one that is placed several times once per node, in the
            order in which the nodes were added (trimesh adds those of a glTF file in an order of its own).
        id: the shape's name.
        texture_size: images with a longer side are reduced to it; None: as they are.

    Raises:
        InputError: something else than a mesh, no triangles, vertices that are NaN.
    """
    if isinstance(mesh, trimesh.Scene):
        placed_meshes = _placed_meshes(mesh)
    elif isinstance(mesh, trimesh.Trimesh):
        placed_meshes = [(mesh, np.eye(4))]
    else:
        raise InputError(f"{id}: a {type(mesh).__name__} is no mesh; give a trimesh.Trimesh or trimesh.Scene")
    vertices, faces, texture = _join(placed_meshes, texture_size)
    return Shape(
        id=id,
        vertices=positions(vertices),
        faces=torch.from_numpy(np.ascontiguousarray(faces)),
        texture=texture,
    )


def _placed_meshes(scene: trimesh.Scene) -> list[PlacedMesh]:
    """(mesh, 4 x 4 node transform) of each placed geometry that is a mesh."""
    rank = {name: number for number, name in enumerate(scene.geometry)}
    geometries = [(name, *scene.graph[name]) for name in scene.graph.nodes_geometry]
    number = {name: place for place, name in enumerate(scene.graph.transforms.node_data)}  # in the order of adding
    geometries.sort(
        key=lambda node: (rank[node[2]], number[node[0]])
    )  # the graph lists nodes in the order of its traversal
    meshes = ((scene.geometry[name], np.asarray(transform)) for _, transform, name in geometries)
    return [(mesh, transform) for mesh, transform in meshes if isinstance(mesh, trimesh.Trimesh)]


def _join(placed_meshes: list[PlacedMesh], texture_size: int | None) -> Joined:
    """Vertices [V, 3], faces [F, 3] and texture of several placed meshes one after the other."""
    vertices, faces = [np.empty((0, 3))], [np.empty((0, 3), dtype=np.int64)]
    for mesh, transform in placed_meshes:
        offset = sum(len(part) for part in vertices)
        with np.errstate(invalid="ignore"):  # NaN and inf are refused with a message of their own
            vertices.append(np.asarray(mesh.vertices) @ transform[:3, :3].T + transform[:3, 3])
        faces.append(np.asarray(mesh.faces, dtype=np.int64) + offset)
    return np.concatenate(vertices), np.concatenate(faces), _join_textures([m for m, _ in placed_meshes], texture_size)


def _join_textures(meshes: list[trimesh.Trimesh], texture_size: int | None) -> Texture | None:
    """One `Texture` of all meshes, or None if none of them has a colour or an image."""
    surfaces = [_surface(mesh) for mesh in meshes]
    if all(surface is None for surface in surfaces):
        return None
    images: list[torch.Tensor] = []
    index: dict[object, int] = {}
    uvs, image_ids = [], []
    for mesh, surface in zip(meshes, surfaces, strict=True):
        source = DEFAULT_COLOUR if surface is None else surface
        key = source if isinstance(source, tuple) else id(source)  # primitives share the image object of a material
        uv = getattr(mesh.visual, "uv", None)
        uv = np.zeros((len(mesh.faces), 3, 2)) if uv is None else np.asarray(uv, dtype=np.float64)[mesh.faces]
        if key not in index:
            index[key] = len(images)
            if isinstance(source, np.ndarray):
                image, uv = corner_image(source)
            else:
                image = plain_image(source) if isinstance(source, tuple) else image_tensor(source, texture_size)
            images.append(image)
        image_ids.append(np.full(len(mesh.faces), index[key], dtype=np.int64))
        uvs.append(uv)
    return Texture(
        torch.from_numpy(np.concatenate(uvs)).float(), tuple(images), torch.from_numpy(np.concatenate(image_ids))
    )


def _surface(mesh: trimesh.Trimesh) -> Image.Image | tuple[float, ...] | NDArray[np.uint8] | None:
    """The image (Pillow), colours of corners (uint8 [F, 3, 3]) or plain colour (in [0, 1]) of a mesh; None without any."""
    if isinstance(mesh.visual, ColorVisuals) and len(mesh.faces):
        if mesh.visual.kind == "vertex":
            return np.asarray(mesh.visual.vertex_colors)[mesh.faces][..., :3]
        if mesh.visual.kind == "face":
            return np.asarray(mesh.visual.face_colors)[:, None, :3].repeat(3, axis=1)
    material = getattr(mesh.visual, "material", None)
    if isinstance(material, PBRMaterial):
        image, color = material.baseColorTexture, material.baseColorFactor
        color = None if color is None else srgb(np.asarray(color) / 255)  # the factor is linear, as in glTF
    elif isinstance(material, SimpleMaterial):
        image, color = material.image, None  # its colour is trimesh's default: PLY files state none
    else:
        return None
    if image is not None and getattr(mesh.visual, "uv", None) is not None:
        return image
    return None if color is None else tuple(float(value) / 255 for value in color[:3])
