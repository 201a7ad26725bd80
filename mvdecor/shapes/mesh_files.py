"""Mesh files of any common format as a `Shape`: OBJ, PLY, OFF, STL, GLB and glTF, textured or not.

OBJ, OFF and glTF have readers of our own and polygons of PLY are split here, since trimesh puts triangles before quads.
The rest is trimesh with everything that would reorder or merge turned off.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import trimesh
from numpy.typing import NDArray
from PIL import Image
from trimesh.visual import ColorVisuals
from trimesh.visual.material import PBRMaterial, SimpleMaterial

from mvdecor.errors import InputError
from mvdecor.files import named_file
from mvdecor.shapes.gltf import read_gltf
from mvdecor.shapes.gltf_materials import srgb
from mvdecor.shapes.obj import fan_triangles, read_obj
from mvdecor.shapes.shape import Shape, Texture
from mvdecor.shapes.texture import PLAIN, corner_image, image_tensor, obj_texture, plain_image

SUFFIXES = (".obj", ".ply", ".off", ".stl", ".glb", ".gltf")
POLYGONS = "mvdecor_polygons"  # where the polygon of each triangle of a PLY file waits in the mesh's metadata
Placed = tuple[trimesh.Trimesh, NDArray[np.float64]]  # a mesh and the 4 x 4 transform of its node
Joined = tuple[NDArray[np.float64], NDArray[np.int64], Texture | None]  # vertices [V, 3], faces [F, 3], texture
REMEDY = "export it again as OBJ, PLY, OFF, STL or GLB with triangles"


def read_mesh(path: str | Path, texture_size: int | None = None, textures: bool = True) -> Shape:
    """Read a mesh file as it is: not normalised, no labels, its stem as the id.

    Faces keep the file's order; polygons of more than three corners become fans in place (`Shape.polygons` tells whose).
    A file of several geometries (glTF, STL of several solids) gives one shape: geometries in the order of the file's
    list, each placed by its node's transform; one that is placed several times comes once per node, in the order of the
    file's nodes (`gltf.GltfMesh` says it all). A material's image replaces its plain colour (of glTF they are multiplied);
    materials without an image become 1 x 1 images; colours of vertices or of faces become an image of texels per face (but
    those of an OFF file, and of polygons, are not read). Points and lines are left out.

    Args:
        path: file ending in .obj, .ply, .off, .stl, .glb or .gltf.
        texture_size: images with a longer side are reduced to it; None: as they are.
        textures: False: materials and images are not looked at, and may be missing.

    Raises:
        InputError: missing, unreadable or unknown file, no triangles, an index out of range, a missing texture.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file; check the path")
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise InputError(f"{path}: {suffix or 'no suffix'} is not a mesh format that can be read; {REMEDY}")
    if suffix == ".obj":
        mesh = read_obj(path)
        vertices, faces = mesh.vertices, mesh.faces
        texture = obj_texture(mesh, path, texture_size) if textures else None
        polygons = mesh.polygon_ids if mesh.has_polygons else None
    elif suffix == ".off":
        vertices, faces, polygons = _read_off(path)
        texture = None
    elif suffix in (".glb", ".gltf"):
        gltf = read_gltf(path, texture_size, textures)
        vertices, faces, texture, polygons = gltf.vertices, gltf.faces, gltf.texture, None
    else:
        if textures:
            _check_files(path)
        placed, (vertices, faces, texture) = _read_trimesh(path, texture_size)
        polygons = placed[0][0].metadata.get(POLYGONS) if placed else None  # only PLY has any, and is one mesh
    if len(faces) == 0:
        raise InputError(f"{path}: has no faces (empty, or a point cloud?); {REMEDY}")
    try:
        return Shape(
            id=path.stem,
            vertices=torch.from_numpy(np.ascontiguousarray(vertices)).float(),
            faces=torch.from_numpy(np.ascontiguousarray(faces)),
            texture=texture if textures else None,
            polygons=None if polygons is None else torch.from_numpy(polygons),
        )
    except InputError as error:
        raise InputError(f"{path}: {error}; {REMEDY}") from error


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
        placed = _placed_meshes(mesh)
    elif isinstance(mesh, trimesh.Trimesh):
        placed = [(mesh, np.eye(4))]
    else:
        raise InputError(f"{id}: a {type(mesh).__name__} is no mesh; give a trimesh.Trimesh or trimesh.Scene")
    vertices, faces, texture = _join(placed, texture_size)
    return Shape(
        id=id,
        vertices=torch.from_numpy(np.ascontiguousarray(vertices)).float(),
        faces=torch.from_numpy(np.ascontiguousarray(faces)),
        texture=texture,
    )


def _read_off(path: Path) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64] | None]:
    """Vertices [V, 3], faces [F, 3] and polygons of an OFF file, without the colours and normals that may follow."""
    try:
        text = re.sub("#.*", "", path.read_bytes().decode("ascii")).strip()
        header = re.match(r"(ST)?C?N?OFF", text)
        if header is None:
            raise ValueError("it does not begin with OFF")
        # some files have the counts on the line of the header, even without a space
        lines = [line.split() for line in text[header.end() :].split("\n") if line.strip()]
        if not lines:
            raise ValueError("it ends before the counts")
        num_vertices, num_faces = int(lines[0][0]), int(lines[0][1])
        if len(lines) < 1 + num_vertices + num_faces:
            raise ValueError(f"it ends before its {num_vertices} vertices and {num_faces} faces")
        vertices = np.array([line[:3] for line in lines[1 : 1 + num_vertices]], dtype=np.float64).reshape(-1, 3)
        rows = lines[1 + num_vertices : 1 + num_vertices + num_faces]
        if any(len(row) < 1 + int(row[0]) for row in rows):
            raise ValueError("a face has fewer corners than it says")
        polygons = [np.array(row[1 : 1 + int(row[0])], dtype=np.int64) for row in rows]
        return vertices, *_split_polygons(polygons)
    except (OSError, ValueError, IndexError, OverflowError) as error:
        raise InputError(f"{path}: not a valid OFF file ({error}); {REMEDY}") from error


def _split_polygons(polygons: list[NDArray[np.int64]]) -> tuple[NDArray[np.int64], NDArray[np.int64] | None]:
    """int64 [F, 3] of polygons of any size, in place, and int64 [F] the polygon of each; None if all are triangles."""
    if not polygons:
        return np.empty((0, 3), dtype=np.int64), None
    sizes = np.array([len(polygon) for polygon in polygons], dtype=np.int64)
    if (sizes < 3).any():
        raise ValueError(f"face {int(np.argmax(sizes < 3)) + 1} has fewer than three corners")
    triangles, polygon = fan_triangles(sizes)
    return np.concatenate(polygons).astype(np.int64)[triangles], polygon if (sizes > 3).any() else None


def _read_trimesh(path: Path, texture_size: int | None) -> tuple[list[Placed], Joined]:
    """The placed meshes of a file, in the order that `read_mesh` promises, and what they are together."""
    try:
        with _trimesh_log() as notes:
            meshes = _placed_meshes(trimesh.load_scene(path, process=False, maintain_order=True))
            if path.suffix.lower() == ".ply":
                for mesh, _ in meshes:
                    _restore_ply_order(mesh)
            joined = _join(meshes, texture_size)
    except Exception as error:  # trimesh's readers raise whatever their parsing stumbles over
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{path}: cannot be read as a mesh ({reason}); {REMEDY}") from error
    for note in dict.fromkeys(notes):
        warnings.warn(f"{path}: trimesh says: {note}", stacklevel=3)
    return meshes, joined


@contextlib.contextmanager
def _trimesh_log() -> Iterator[list[str]]:
    """Collect what trimesh warns of, which would go to the terminal with its traceback."""
    notes: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: notes.append(record.getMessage())  # type: ignore[method-assign]
    log = logging.getLogger("trimesh")
    propagate, log.propagate = log.propagate, False
    log.addHandler(handler)
    try:
        yield notes
    finally:
        log.removeHandler(handler)
        log.propagate = propagate


def _placed_meshes(scene: trimesh.Scene) -> list[Placed]:
    """(mesh, 4 x 4 node transform) of each placed geometry that is a mesh."""
    rank = {name: number for number, name in enumerate(scene.geometry)}
    placed = [(name, *scene.graph[name]) for name in scene.graph.nodes_geometry]
    number = {name: place for place, name in enumerate(scene.graph.transforms.node_data)}  # in the order of adding
    placed.sort(
        key=lambda node: (rank[node[2]], number[node[0]])
    )  # the graph lists nodes in the order of its traversal
    meshes = ((scene.geometry[name], np.asarray(transform)) for _, transform, name in placed)
    return [(mesh, transform) for mesh, transform in meshes if isinstance(mesh, trimesh.Trimesh)]


def _restore_ply_order(mesh: trimesh.Trimesh) -> None:
    """Put the triangles of a PLY file's polygons where the polygons stood."""
    raw = mesh.metadata["_ply_raw"]["face"]["data"]
    names = list(raw) if isinstance(raw, dict) else list(raw.dtype.names)
    name = next(name for name in names if name in ("vertex_index", "vertex_indices") or len(names) == 1)
    column = raw[name]
    if not isinstance(raw, dict):
        if (column["f0"] != column["f1"].shape[1]).any():
            raise ValueError("a binary PLY file whose faces differ in their number of corners")
        column = column["f1"]
    polygons = [np.asarray(polygon, dtype=np.int64) for polygon in column]
    if all(len(polygon) == 3 for polygon in polygons):
        return
    if getattr(mesh.visual, "uv", None) is not None:
        raise ValueError("a PLY file with both polygons and texture")
    mesh.faces, mesh.metadata[POLYGONS] = _split_polygons(polygons)


def _check_files(path: Path) -> None:
    """Raise InputError for a file that a PLY file names and that is missing (trimesh only logs that) or elsewhere."""
    if path.suffix.lower() != ".ply":
        return
    try:
        header = path.read_bytes().partition(b"end_header")[0].decode("ascii", errors="replace")
    except OSError as error:
        raise InputError(f"{path}: cannot be read as a mesh ({error}); {REMEDY}") from error
    for name in re.findall(r"^comment\s+texturefile\s+(.+)$", header, re.I | re.M):
        file = named_file(name.strip(), path, ())
        if not os.path.isfile(file):
            raise InputError(f"{path}: {file}, which it names, is missing; put it there")


def _join(placed: list[Placed], texture_size: int | None) -> Joined:
    """Vertices [V, 3], faces [F, 3] and texture of several placed meshes one after the other."""
    vertices, faces = [np.empty((0, 3))], [np.empty((0, 3), dtype=np.int64)]
    for mesh, transform in placed:
        offset = sum(len(part) for part in vertices)
        with np.errstate(invalid="ignore"):  # NaN and inf are refused with a message of their own
            vertices.append(np.asarray(mesh.vertices) @ transform[:3, :3].T + transform[:3, 3])
        faces.append(np.asarray(mesh.faces, dtype=np.int64) + offset)
    return np.concatenate(vertices), np.concatenate(faces), _join_textures([m for m, _ in placed], texture_size)


def _join_textures(meshes: list[trimesh.Trimesh], texture_size: int | None) -> Texture | None:
    """One `Texture` of all meshes, or None if none of them has a colour or an image."""
    surfaces = [_surface(mesh) for mesh in meshes]
    if all(surface is None for surface in surfaces):
        return None
    images: list[torch.Tensor] = []
    index: dict[object, int] = {}
    uvs, image_ids = [], []
    for mesh, surface in zip(meshes, surfaces, strict=True):
        source = PLAIN if surface is None else surface
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
        if mesh.visual.kind == "face" and POLYGONS not in mesh.metadata:
            return np.asarray(mesh.visual.face_colors)[:, None, :3].repeat(3, axis=1)
        if mesh.visual.kind is not None:
            warnings.warn("colours of polygons are left out: split them into triangles, or use an image", stacklevel=5)
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
