"""The files of one made-up shape (PartNet's annotation, or a textured delivery) and PartNet's lists of a category."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mvdecor.made_up.model import Model, Part
from mvdecor.made_up.paint import paint
from mvdecor.made_up.solids import Solid, merged, with_twins

TWINS = 0.35
"""Share of the solids whose faces are written twice, the second time turned around, as PartNet's are."""

UNDETERMINED = 255
"""Label in `*_labels.npy` of a face whose part is not known."""


def model_id(anno_id: str) -> str:
    """A made-up ShapeNet model id: 32 hexadecimal digits."""
    return hashlib.md5(anno_id.encode()).hexdigest()


def write_annotation(folder: Path, model: Model, anno_id: str) -> None:
    """`meta.json`, `result_after_merging.json` and `objs/` of one shape."""
    (folder / "objs").mkdir(parents=True)
    rng = np.random.default_rng(int(anno_id))
    files: list[list[str]] = []
    number = 0
    for part in model.parts:
        files.append([])
        for solid in part.solids:
            number += 1
            files[-1].append(f"original-{number}")
            written = with_twins(solid) if rng.uniform() < TWINS else solid
            (folder / "objs" / f"original-{number}.obj").write_text(_obj_vertices(written) + _obj_faces(written))
    meta = {
        "model_id": model_id(anno_id),
        "anno_id": anno_id,
        "user_id": "generator",
        "time_in_sec": "0",
        "version": "1",
        "model_cat": model.category,
    }
    (folder / "meta.json").write_text(json.dumps(meta))
    (folder / "result_after_merging.json").write_text(json.dumps([_tree(model.parts, files)]))


def _tree(parts: Sequence[Part], files: Sequence[list[str]]) -> dict:
    """The annotation tree: inner nodes shared by path, one leaf for every part instance, ids in order of appearance."""
    root: dict = {}
    inner: dict[str, dict] = {}
    number = 0
    for part, obj_names in zip(parts, files, strict=True):
        names = part.label.split("/")
        parent = None
        for depth in range(1, len(names) + 1):
            path = "/".join(names[:depth])
            node = inner.get(path)
            if node is None or depth == len(names):
                node = {"id": number, "ori_id": number, "text": names[depth - 1], "name": names[depth - 1], "objs": []}
                number += 1
                if parent is None:
                    root = node
                else:
                    parent.setdefault("children", []).append(node)
                if depth < len(names):
                    inner[path] = node
            node["objs"] += obj_names
            parent = node
    return root


def write_stats(
    stats: Path, category: str, labels: Sequence[str], ids: Sequence[str], splits: dict[str, list[int]]
) -> None:
    """Label ids of all nodes and of levels 1 to 3, and the split lists of a category."""
    paths: list[str] = []
    for label in labels:
        names = label.split("/")
        for depth in range(1, len(names) + 1):
            path = "/".join(names[:depth])
            if path not in paths:
                paths.append(path)
    # ids follow the tree depth first, as PartNet's do; the labels are listed in that order
    lines = [(p, f"{i} {p} {'leaf' if p in labels else 'subcomponents'}\n") for i, p in enumerate(paths, start=1)]
    folder = stats / "after_merging_label_ids"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{category}.txt").write_text("".join(line for _, line in lines))
    for level in (1, 2, 3):
        at_level = [line for p, line in lines if p.count("/") == level or (p in labels and p.count("/") < level)]
        (folder / f"{category}-level-{level}.txt").write_text("".join(at_level))
    folder = stats / "train_val_test_split"
    folder.mkdir(parents=True, exist_ok=True)
    for name, indices in splits.items():
        rows = [{"model_id": model_id(ids[i]), "anno_id": ids[i]} for i in indices]
        (folder / f"{category}.{name}.json").write_text(json.dumps(rows))


def name_at_level(path: str, level: int | None) -> str:
    """The node of a label's path at a level (root: 0), or its leaf if it is not that deep or `level` is None."""
    nodes = path.split("/")
    return nodes[-1] if level is None else nodes[min(level, len(nodes) - 1)]


def names_at_level(paths: Sequence[str], level: int | None) -> list[str]:
    """The different names of `name_at_level`, in the order of the paths."""
    return list(dict.fromkeys(name_at_level(path, level) for path in paths))


def write_textured(folder: Path, name: str, model: Model, rng: np.random.Generator, level: int | None = None) -> None:
    """One textured shape: OBJ, MTL, atlas and labels (of the parts at a level, see `name_at_level`)."""
    (folder / "tex").mkdir(parents=True)
    atlas, corners = paint(model, rng)
    Image.fromarray(atlas).save(folder / "tex" / f"{name}_dif.jpg", quality=90)
    (folder / f"{name}.mtl").write_text(f"newmtl {name}_mat\nKa 1 1 1\nKd 1 1 1\nmap_Kd tex/{name}_dif.jpg\n")
    solid = merged([s for part in model.parts for s in part.solids])
    uv, corner = np.unique(np.concatenate(corners).reshape(-1, 2).round(6), axis=0, return_inverse=True)
    text = f"mtllib {name}.mtl\nusemtl {name}_mat\n" + _obj_vertices(solid)
    text += "".join(f"vt {u:.6f} {v:.6f}\n" for u, v in uv.tolist()) + _obj_faces(solid, corner.reshape(-1, 3))
    (folder / f"{name}.obj").write_text(text)
    np.save(folder / f"{name}_labels.npy", _face_labels(model, solid, rng, level))


def _face_labels(model: Model, solid: Solid, rng: np.random.Generator, level: int | None) -> NDArray[np.uint8]:
    """uint8 [F], index into the category's labels; one shape in four has an undetermined patch."""
    order = names_at_level(list(model.paths.values()), level)
    sizes = [sum(len(s.faces) for s in part.solids) for part in model.parts]
    numbers = [order.index(name_at_level(part.label, level)) for part in model.parts]
    labels = np.repeat(numbers, sizes).astype(np.uint8)
    if rng.uniform() < 0.25:
        centers = solid.vertices[solid.faces].mean(axis=1)
        spot = centers[int(rng.integers(len(centers)))]
        labels[np.linalg.norm(centers - spot, axis=1) < 0.05] = UNDETERMINED
    return labels


def _obj_vertices(solid: Solid) -> str:
    return "".join(f"v {x:.6f} {y:.6f} {z:.6f}\n" for x, y, z in solid.vertices.tolist())


def _obj_faces(solid: Solid, corners: NDArray[np.int64] | None = None) -> str:
    """Face lines, counted from 1; with `corners` [F, 3] as v/vt."""
    faces = (solid.faces + 1).tolist()
    if corners is None:
        return "".join(f"f {a} {b} {c}\n" for a, b, c in faces)
    corner_pairs = zip(faces, (corners + 1).tolist(), strict=True)
    return "".join(f"f {a}/{i} {b}/{j} {c}/{k}\n" for (a, b, c), (i, j, k) in corner_pairs)
