"""A pipeline's folder as its scripts write it, with labels and losses made up, so that nothing has to be trained."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from omegaconf import OmegaConf

from mvdecor.apps.report.shapes import ReportedShape, worst_and_best
from mvdecor.engine.log import Log
from mvdecor.evaluation import PartMetrics, Reliability
from mvdecor.results import summarize
from mvdecor.results.pipeline import Results, read_results
from mvdecor.shapes import MeshFolder

PARTS = ("foot", "body", "head")
SHAPES, RUNS = 5, 2
WRONG = {"scratch": 0.5, "pretrained": 0.1}
"""Share of the faces that each method labels wrongly, more or less."""


@pytest.fixture(scope="session")
def labelled_meshes(tmp_path_factory) -> Path:
    """A folder of lumpy balls, labelled by height; the first one has more faces than the others."""
    root = tmp_path_factory.mktemp("meshes")
    for number in range(SHAPES):
        mesh = trimesh.creation.icosphere(4 if number == 0 else 2)
        mesh.vertices *= 1 + 0.05 * np.random.default_rng(number).standard_normal((len(mesh.vertices), 1))
        mesh.export(root / f"ball_{number}.ply")
        height = mesh.triangles_center[:, 1]
        labels = np.select([height < -0.4, height < 0.3], [0, 1], 2)
        labels[:3] = -1
        np.save(root / f"ball_{number}_labels.npy", labels)
    (root / "labels.json").write_text(json.dumps({"labels": PARTS}))
    return root


@pytest.fixture(scope="session")
def run_folder(labelled_meshes, make_config, tmp_path_factory) -> Path:
    """A finished pipeline of two methods and two runs."""
    out = tmp_path_factory.mktemp("run") / "out"
    cfg = make_config("data=folder", f"data.root={labelled_meshes}", "data.category=balls")
    config = OmegaConf.to_container(cfg, resolve=True)
    rows = []
    for run in range(RUNS):
        for method in WRONG:
            metrics = write_run(out / method / f"run_{run}", method, run, MeshFolder(labelled_meshes), config)
            rows.append({"method": method, "category": "balls", "run": run, "part_miou": metrics["part_miou"]})
    log = Log(out / "pretrain" / "log", every=1, bar=False)
    for step in range(6):
        log.scalars("pretrain", {"loss": 3.0 - 0.2 * step, "retrieval_accuracy": 0.1 * step}, step)
    log.close()
    history = [{"step": step, "loss": 3.1 - 0.2 * step, "retrieval_accuracy": 0.1 * step} for step in (3, 6)]
    write_json(out / "pretrain" / "pretrain.json", {"history": history, "shapes": ["ball_0"], "cost": COST})
    write_json(out / "table.json", summarize(rows) | {"runs": rows, "cost": COST, "config": config})
    return out


COST = {"wall_seconds": 12.5, "cpu_seconds": 11.5, "peak_memory_gb": {"host": 0.5}}
MACHINE = {"device": "cpu", "processor": "a processor", "cores": 2, "packages": {"torch": "2.12.0"}}


def write_run(folder: Path, method: str, run: int, shapes: MeshFolder, config: dict) -> dict:
    """What finetune.py and evaluate.py leave, for labels of which some are wrong."""
    generator = np.random.default_rng([run, len(method)])
    metrics, reliability = PartMetrics(shapes.label_names, points=0), Reliability()
    ids = shapes.ids("all")
    for number, id in enumerate(ids):
        shape = shapes.load(id)
        truth = shape.face_labels.clamp_min(0).numpy()
        wrong = generator.random(len(truth)) < WRONG[method] * (0.2 + number / len(ids))
        predicted = np.where(wrong, (truth + 1) % len(PARTS), truth)
        metrics.add(shape, torch.from_numpy(predicted))
        confidence = torch.from_numpy(generator.random(len(truth)))
        reliability.add(shape, torch.from_numpy(predicted), confidence, 1 - confidence)
        (folder / "labels").mkdir(parents=True, exist_ok=True)
        (folder / "confidence").mkdir(exist_ok=True)
        np.save(folder / "labels" / f"{id}.npy", predicted.astype(np.int16))
        np.save(folder / "confidence" / f"{id}.npy", confidence.numpy().astype(np.float16))
    result = metrics.result() | {
        "category": "balls",
        "split": {"name": "test", "ids": ids},
        "coverage": 91.5,
        "calibration": reliability.result() | {"temperature": 1.5, "vote_share": reliability.result() | {"ece": 77.7}},
        "ceiling": {"part_miou": 97.0, "parts": dict.fromkeys(PARTS, 97.0)},
        "cost": COST,
        "config": config | {"run": run},
        "revision": "0123abcd",
        "machine": MACHINE,
        "seed": 0,
    }
    write_json(folder / "metrics.json", result)
    history = [{"step": step, "loss": 1 / step} for step in (1, 50, 100)]
    write_json(folder / "finetune.json", {"history": history, "shapes": ids[:1], "cost": COST})
    return result


def write_json(file: Path, content: dict) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content))


@pytest.fixture(scope="session")
def results(run_folder) -> Results:
    """What the folder holds."""
    return read_results(run_folder)


@pytest.fixture(scope="session")
def shown(results) -> list[ReportedShape]:
    """The two worst and the two best shapes."""
    return worst_and_best(results, 2)


@pytest.fixture
def rename(results, shown) -> Callable[[str], tuple[Results, list[ReportedShape]]]:
    """The same results with one name for everything that has one."""

    def renamed(name: str) -> tuple[Results, list[ReportedShape]]:
        def numbered(keys) -> list[str]:
            return [f"{name}{i}" for i in range(len(list(keys)))]

        runs = []
        for run in results.runs:
            metrics = json.loads(json.dumps(run.metrics))
            parts = numbered(metrics["parts"])
            metrics["parts"] = dict(zip(parts, metrics["parts"].values(), strict=True))
            metrics["ceiling"]["parts"], metrics["occurring"] = dict.fromkeys(parts, 97.0), parts
            metrics["shapes"] = dict(zip(numbered(metrics["shapes"]), metrics["shapes"].values(), strict=True))
            metrics["config"]["data"]["category"] = metrics["revision"] = metrics["machine"]["processor"] = name
            runs.append(replace(run, method=name + run.method, metrics=metrics))
        table = {**results.table, "config": runs[0].metrics["config"]}
        shapes = []
        for one in shown:
            shape = replace(one.shape, id=name, label_names=tuple(numbered(one.shape.label_names)))
            labels = {"truth": one.labels["truth"]} | {name + m: one.labels[m] for m in results.methods}
            miou = {name + m: x for m, x in one.miou.items()}
            shapes.append(ReportedShape(one.rank, shape, labels, miou, one.confidence))
        return replace(results, folder=Path(name), runs=tuple(runs), table=table), shapes

    return renamed
