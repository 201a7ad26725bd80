"""Shapes and files as another library sees them."""

import json
import re
from pathlib import Path

import torch
import trimesh
from torch import Tensor

from mvdecor.shapes import Shape


def as_trimesh(shape: Shape) -> trimesh.Trimesh:
    """The same vertices and faces, in the same order, without texture."""
    return trimesh.Trimesh(shape.vertices.numpy(), shape.faces.numpy(), process=False)


def ply_labels(path: Path) -> tuple[Tensor, tuple[str, ...]]:
    """int64 [F], the labels in a file of `write_ply` as trimesh reads them, and the names in its header."""
    mesh = trimesh.load(path, process=False, maintain_order=True)
    labels = mesh.metadata["_ply_raw"]["face"]["data"]["label"].reshape(-1)
    header = path.read_bytes().partition(b"end_header\n")[0].decode("ascii")
    names = re.findall(r"^comment label \d+ = ?(.*)$", header, re.MULTILINE)
    return torch.from_numpy(labels.astype("int64")), tuple(json.loads(f'"{name}"') for name in names)
