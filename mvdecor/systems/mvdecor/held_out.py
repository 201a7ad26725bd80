"""Test shapes: their data set, and the check whether a model was trained on them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from omegaconf import DictConfig, OmegaConf

from mvdecor.errors import InputError
from mvdecor.shapes import Shape, ShapeStore
from mvdecor.systems.mvdecor.setup import make_store

CONTENT_DIGITS = 16
"""Hexadecimal digits kept of a mesh's hash: enough to tell millions of shapes apart."""


def held_out_data(cfg: DictConfig) -> DictConfig:
    """The data set that is evaluated: `data.labelled`, with `data.test_root` in place of its root if that is set.

    Raises:
        InputError: `data.test_root` is set, and the data set has no root.
    """
    node: Any = OmegaConf.create(OmegaConf.to_container(cfg.data.labelled, resolve=True))
    root = cfg.data.get("test_root")
    if root is not None:
        if "root" not in node:
            raise InputError(f"data.test_root={root}: data {cfg.data.get('name')} has no root that it could replace")
        node.root = str(root)
    return node


def check_held_out_data(cfg: DictConfig, shape_set: ShapeStore) -> ShapeStore:
    """The data set of the test shapes, made to have the labels of `shape_set`, which is trained on.

    Raises:
        InputError: it cannot be read, or has other labels.
    """
    if cfg.data.get("test_root") is None:
        return shape_set
    test_set = make_store(cfg, held_out_data(cfg))
    if test_set.label_names != shape_set.label_names:
        raise InputError(
            f"data.test_root={cfg.data.test_root}: its labels ({', '.join(test_set.label_names)}) are not those of "
            f"data.root={cfg.data.root} ({', '.join(shape_set.label_names)}): both need the same names in the same order"
        )
    return test_set


def content_of(shape: Shape) -> str:
    """What tells a shape's mesh from others, whatever its id, labels and texture: a hash of its vertices and faces."""
    return replace(shape, texture=None).fingerprint()[:CONTENT_DIGITS]


def contents_of(shapes: Iterable[Shape]) -> dict[str, str]:
    """`content_of` each shape by id, as a checkpoint's record keeps it of the shapes that its model was trained on."""
    return {shape.id: content_of(shape) for shape in shapes}


def trained_test_shapes(record: Mapping[str, Any], contents: Mapping[str, str]) -> list[dict[str, str]]:
    """The test shapes that a model was trained on.

    Args:
        record: `trained_on` of the checkpoint: by stage ("pretrain", "finetune") `contents_of` its shapes; or of a
            checkpoint of an older revision, which has the ids of the fine-tuned shapes alone (`shapes`).
        contents: of the test shapes.

    Returns:
        {"shape" (its id), "stage", "trained_as" (the id there), "same" ("id and mesh", "mesh" or "id")} for each; "id" alone
        means that the mesh of that id is another, or is not known.
    """
    stages = record.get("trained_on") or {"finetune": dict.fromkeys(record.get("shapes") or (), "")}
    reused = []
    for stage, trained in stages.items():
        by_content = {content: id for id, content in trained.items()}
        for id, content in contents.items():
            if trained.get(id) == content:
                reused.append({"shape": id, "stage": stage, "trained_as": id, "same": "id and mesh"})
            elif content in by_content:
                reused.append({"shape": id, "stage": stage, "trained_as": by_content[content], "same": "mesh"})
            elif id in trained:
                reused.append({"shape": id, "stage": stage, "trained_as": id, "same": "id"})
    return reused


def warn_of_trained(reused: list[dict[str, str]], tested: int) -> None:
    """Print which test shapes were trained on, on standard output; nothing if none was."""
    for stage in dict.fromkeys(entry["stage"] for entry in reused):
        of_stage = [entry for entry in reused if entry["stage"] == stage]
        surely = [entry for entry in of_stage if entry["same"] != "id"]
        verb = {"pretrain": "pretrained (without labels)", "without labels": "self-trained"}.get(stage, "fine-tuned")
        if surely:
            names = ", ".join(
                entry["shape"] + ("" if entry["same"] != "mesh" else f" (there {entry['trained_as']})")
                for entry in surely[:10]
            )
            remainder = f" and {len(surely) - 10} more" if len(surely) > 10 else ""
            print(
                f"WARNING: the model was {verb} on {len(surely)} of the {tested} test shapes, so these figures do not "
                f"measure its performance on new shapes: {names}{remainder}",
                flush=True,
            )
        if len(surely) < len(of_stage):
            names = ", ".join(entry["shape"] for entry in of_stage if entry["same"] == "id")
            print(f"note: the model was {verb} on other meshes that have the ids of test shapes: {names}", flush=True)
