"""The files of a mesh whose parts are known, predicted or labelled by a person (docs/segment.md)."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from torch import Tensor

from mvdecor.errors import InputError
from mvdecor.figures import colours_of, label_palette, write_glb, write_ply
from mvdecor.figures.labelled_gltf import face_sources, write_labelled_gltf
from mvdecor.figures.part_scene import UNLABELLED, write_part_scene
from mvdecor.lifting import one_per_polygon
from mvdecor.shapes import Shape
from mvdecor.shapes.gltf import read_gltf
from mvdecor.shapes.label_files import write_labels

GLTF_SUFFIXES = (".glb", ".gltf")

Result = TypeVar("Result")


def write_whole(folder: Path, write: Callable[[Path], Result], replaces: bool = False) -> Result:
    """Write the files of a folder beside its place, which then takes the name.

    Args:
        folder: where to.
        write: writes the files into the folder that it is called with.
        replaces: take the place of a folder that is there already.

    Raises:
        InputError: it cannot be written, or is there already; what is there stays.
    """
    part, before = (folder.with_name(f".{folder.name}.{state}") for state in ("part", "before"))
    try:
        for path in (part, before):
            shutil.rmtree(path, ignore_errors=True)  # of a process that was killed
        part.mkdir(parents=True)
        result = write(part)
        if replaces and folder.exists():
            folder.rename(before)
        try:
            part.rename(folder)
        except OSError:
            if before.exists():
                before.rename(folder)
            raise
    except OSError as error:
        raise InputError(f"cannot write {folder}: {error.strerror or error}; choose another out= or free it") from error
    finally:
        for path in (part, before):
            shutil.rmtree(path, ignore_errors=True)
    return result


def write_label_files(folder: Path, labels: Tensor, polygons: Tensor | None, label_names: tuple[str, ...]) -> bool:
    """Write labels int64 [F] in each format: one for each face of the file if the triangles of each polygon agree, which
    is returned, or else one per triangle. `polygons` as of `one_per_polygon`."""
    agree = polygons is None or bool((_spread(labels, polygons) == labels).all())
    per_face = one_per_polygon(labels, polygons if agree else None).numpy()
    for ending in ("npy", "txt", "seg", "json"):
        write_labels(folder / f"labels.{ending}", per_face, label_names)
    if polygons is not None:
        write_labels(folder / "triangle_labels.npy", labels.numpy(), label_names)
    return agree


def _spread(labels: Tensor, polygons: Tensor) -> Tensor:
    """int64 [F], the label of the first triangle of each one's polygon."""
    _, polygon = polygons.unique(return_inverse=True)
    return one_per_polygon(labels, polygons)[polygon]


def write_meshes(folder: Path, source: Path, shape: Shape, labels: Tensor, scalars: Mapping[str, Tensor]) -> None:
    """Write the mesh in the colours of its parts, and `original.glb`, the scene of the file divided into its parts.

    Args:
        folder: where to.
        source: the file that `shape` was read from.
        shape: with its label names.
        labels: int64 [F], -1 = none.
        scalars: values of faces for `mesh.ply`.

    Raises:
        InputError: the file has changed since it was read.
    """
    write_ply(folder / "mesh.ply", shape, labels, scalars=scalars)
    write_glb(folder / "mesh.glb", shape, colours_of(labels.numpy(), label_palette(len(shape.label_names))))
    if source.suffix.lower() in GLTF_SUFFIXES:
        mesh = read_gltf(source, textures=False)
        if len(mesh.faces) != len(labels):
            raise InputError(f"{source}: was changed while it was labelled: label it again")
        np.save(folder / "face_sources.npy", face_sources(mesh))
        places = write_labelled_gltf(folder / "original.glb", source, mesh, labels.numpy(), shape.label_names)
    else:
        places = write_part_scene(folder / "original.glb", shape, labels.numpy())
    np.save(folder / "face_nodes.npy", places)


def write_parts(folder: Path, shape: Shape, labels: Tensor, scalars: Mapping[str, Tensor]) -> None:
    """Write a PLY file of each part: its faces in the order of the mesh, on shared vertices."""
    for label in labels.unique().tolist():
        faces = (labels == label).nonzero()[:, 0]
        vertex_ids, corners = shape.faces[faces].unique(return_inverse=True)
        label_name = UNLABELLED if label < 0 else re.sub(r"[^\w.-]+", "_", shape.label_names[label])
        part = replace(
            shape,
            id=f"{shape.id}_{label_name}",
            vertices=shape.vertices[vertex_ids],
            faces=corners,
            texture=None,
            polygons=None,
            face_labels=None,
        )
        of_part = {key: values[faces] for key, values in scalars.items()}
        file = f"{label_name}.ply" if label < 0 else f"{label}_{label_name}.ply"
        write_ply(folder / file, part, labels[faces], scalars=of_part, vertex_colours=False)


def part_sizes(shape: Shape, labels: Tensor) -> dict[str, dict[str, float]]:
    """Of each label name: faces of the file (triangles, where those of its polygons differ), and share of the area."""
    areas = shape.face_areas.double()
    total = float(areas.sum()) or 1.0
    polygons = shape.polygons
    agree = polygons is None or bool((_spread(labels, polygons) == labels).all())
    per_face = one_per_polygon(labels, polygons if agree else None)
    return {
        name: {"faces": int((per_face == label).sum()), "area": float(areas[labels == label].sum()) / total}
        for label, name in enumerate(shape.label_names)
    }
