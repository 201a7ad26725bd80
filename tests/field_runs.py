"""A run of Semantic SRN as its scripts leave it, with a field of random weights, so that nothing has to be trained."""

import json
from pathlib import Path

import numpy as np
import trimesh
from omegaconf import DictConfig, OmegaConf
from safetensors.torch import save_file

from mvdecor.fields import load_field
from tests.small_field import save_small_field

IDS = ["ball_0", "ball_1", "ball_2"]
PARTS = ("seat", "back")


def write_balls(root: Path) -> Path:
    """A folder of labelled balls, every one in the test split."""
    root.mkdir(parents=True)
    for number, id in enumerate(IDS):
        mesh = trimesh.creation.icosphere(2)
        mesh.vertices *= 1 + 0.1 * number * np.sin(3 * mesh.vertices[:, :1])
        mesh.export(root / f"{id}.ply")
        np.save(root / f"{id}_labels.npy", (mesh.triangles_center[:, 1] > 0).astype(np.int64))
    (root / "labels.json").write_text(json.dumps({"labels": PARTS}))
    (root / "split.json").write_text(json.dumps({"labels": PARTS, "train": [], "test": IDS}))
    return root


def overrides(root: Path) -> list[str]:
    return ["system=semantic_srn", "data=folder", f"data.root={root}", "capture.size=16", "capture.count=4"]


def write_field_run(out: Path, cfg: DictConfig) -> Path:
    """`out` of a pipeline: one run whose figures are made up."""
    folder = out / "semantic_srn" / "run_0"
    save_small_field(folder / "model")
    field, record = load_field(folder / "model")
    save_file({id: field.codes.weight[i].detach().clone() for i, id in enumerate(IDS)}, folder / "codes.safetensors")
    config = OmegaConf.to_container(cfg, resolve=True)
    result = {
        "part_miou": 61.0,
        "parts": {"seat": 60.0, "back": 62.0},
        "confusion": [[8.0, 2.0], [3.0, 7.0]],
        "shapes": {id: {"miou": 50.0 + 10 * i} for i, id in enumerate(IDS)},
        "images": {
            "psnr": 17.25,
            "ssim": 0.5,
            "labels": {
                "miou": 42.0,
                "miou_with_background": 55.0,
                "iou": {"seat": 40.0, "back": 44.0, "background": 81.0},
            },
        },
    }
    metrics = result | {
        "mean_code": result | {"part_miou": 33.0},
        "given": {"kind": "images", "views": {id: [1] for id in IDS}, "counted": False},
        "category": "balls",
        "split": {"name": "test", "ids": IDS},
        "cost": {"wall_seconds": 1.0, "cpu_seconds": 1.0, "peak_memory_gb": {"host": 0.5}},
        "weights_sha256": record["weights_sha256"],
        "config": config,
        "seed": 0,
        "revision": "0123abcd",
    }
    (folder / "metrics.json").write_text(json.dumps(metrics))
    (folder / "finetune.json").write_text(json.dumps({"history": [{"step": s, "loss": 1 / s} for s in (1, 50)]}))
    table = {"config": config, "cost": metrics["cost"], "rows": [], "runs": []}
    (out / "table.json").write_text(json.dumps(table))
    return out
