"""Meshes with the labels that lie beside them, corrected by a person, in every format (scripts/segment.py labels=mine)."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from mvdecor.apps.part_files import part_sizes, write_label_files, write_meshes, write_parts, write_whole
from mvdecor.apps.viewer.labels import NAMES_FILE, SPLIT_FILE
from mvdecor.engine.content import Files
from mvdecor.errors import InputError
from mvdecor.files import write_json
from mvdecor.percent import percent
from mvdecor.shapes import read_mesh
from mvdecor.shapes.annotations import SplitFile
from mvdecor.shapes.label_files import find_labels, read_face_labels
from mvdecor.shapes.named_files import files_of_mesh

RECORD = "export.json"


def export_labels(mesh: Path, folder: Path, parts: bool = True) -> dict[str, Any]:
    """Write a mesh file divided by the labels beside it; an earlier export of it is replaced, if anything has changed.

    Args:
        mesh: the file; in its folder are its labels and their names, as `MeshFolder` reads them.
        folder: where to; it appears whole or not at all.
        parts: also one mesh per part.

    Returns:
        What `export.json` says.

    Raises:
        InputError: there are no labels or names, the mesh or its labels cannot be read, or `folder` holds something else.
    """
    root, name = mesh.parent, mesh.stem
    label_file = find_labels(root, name)
    if label_file is None:
        raise InputError(f"{mesh}: there are no labels of it in {root}: label it with scripts/view.py")
    label_names = SplitFile(root / NAMES_FILE).label_names or SplitFile(root / SPLIT_FILE).label_names
    if not label_names:
        raise InputError(f'{root}: the labels have no names: write {NAMES_FILE} with {{"labels": [part names]}}')
    files = {"mesh": Files.of(files_of_mesh(mesh)), "labels": Files.of([label_file])}
    source: dict[str, Any] = {"file": str(mesh), "label_names": list(label_names), "parts": parts}
    source |= {f"{key}_sha256": value.identity()["sha256"] for key, value in files.items()}
    if (existing := _existing(folder)) is not None and existing["source"] == source:
        return existing
    shape = replace(read_mesh(mesh), label_names=label_names)
    labels = read_face_labels(label_file, shape.num_faces, label_names, shape.polygons)
    if (labels < 0).all():
        raise InputError(f"{mesh}: no face of it has a label in {label_file}: label it with scripts/view.py")

    def write(into: Path) -> dict[str, Any]:
        """Write all files into a folder; returns what its record holds."""
        per_face = write_label_files(into, labels, shape.polygons, label_names)
        write_meshes(into, mesh, shape, labels, {})
        if parts:
            write_parts(into / "parts", shape, labels, {})
        result = {
            "source": source,
            "triangles": shape.num_faces,
            "labels_per": "face" if per_face else "triangle",
            "parts": part_sizes(shape, labels),
            "unlabelled": float((labels < 0).float().mean()),
        }
        write_json(into / RECORD, result)
        return result

    return write_whole(folder, write, replaces=True)


def summary(result: dict[str, Any], folder: Path) -> str:
    """What was exported, and where to, on one line."""
    there = sum(part["faces"] > 0 for part in result["parts"].values())
    parts = "1 part" if there == 1 else f"{there} parts"
    text = f"{parts} of {result['triangles']} triangles with your labels: {folder}"
    if result["unlabelled"]:
        text += f" ({percent(result['unlabelled'], 1)} of the triangles have no label: the part unlabelled)"
    if result["labels_per"] == "triangle":
        text += " (triangles of one face have different labels, so labels.npy has one per triangle)"
    return text


def _existing(folder: Path) -> dict[str, Any] | None:
    """The record of an earlier export in a folder; None if there is no folder."""
    if not folder.exists():
        return None
    try:
        record = json.loads((folder / RECORD).read_bytes())
        if isinstance(record, dict) and "source" in record:
            return record
    except (OSError, ValueError):
        pass
    raise InputError(f"{folder} is there already and holds no export of labels ({RECORD}): choose another out=")
