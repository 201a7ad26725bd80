"""Does this installation work, and is this data set whole?

    python -m mvdecor.doctor                                                         # the installation
    python -m mvdecor.doctor data=partnet data.root=DIR data.category=Bottle         # and a data set

Takes the settings of the scripts. Exit code 1 if something that is needed does not work or a shape cannot be used.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version

import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from mvdecor.correspondences import match_views
from mvdecor.engine.cli import main
from mvdecor.engine.provenance import PACKAGES, revision
from mvdecor.errors import InputError
from mvdecor.evaluation.table import format_table
from mvdecor.networks import build_model
from mvdecor.shapes import Shape
from mvdecor.shapes.loading import ShapeSet
from mvdecor.systems.mvdecor.check import labels_of
from mvdecor.systems.mvdecor.setup import make_shape_set
from mvdecor.views import make_rasterizer, sphere_cameras, surface_of

EXTRAS = {"hydra_plugins.hydra_submitit_launcher": "sweeps on a cluster: pip install -e '.[slurm]'"}
"""Modules that only some features need, and which."""

TRIANGLE = Shape(
    "triangle", torch.tensor([[-1.0, -0.6, 0.0], [1.0, -0.6, 0.0], [0.0, 1.0, 0.0]]), torch.tensor([[0, 1, 2]])
)


@dataclass
class Finding:
    """Something that was tried.

    Attributes:
        what: its name.
        ok: whether it works; None if it is not there and need not be.
        says: what came out.
    """

    what: str
    ok: bool | None
    says: str


def examine_installation() -> list[Finding]:
    """Versions, and each part run on a triangle."""
    findings = [Finding("python", True, f"{platform.python_version()} on {platform.system()} {platform.machine()}")]
    findings.append(Finding("mvdecor", True, f"revision {revision()}"))
    for package in (*PACKAGES, "easypytorch3d", "embreex", "numba", "hydra-core"):
        try:
            findings.append(Finding(package, True, version(package)))
        except PackageNotFoundError:
            findings.append(Finding(package, None, "no package of this name is installed; its module may be there"))
    free = shutil.disk_usage(".").free / 1e9
    findings.append(Finding("machine", True, f"{os.cpu_count()} cores, {free:.0f} GB free on this disk"))
    findings += [
        _try("Embree", lambda: _rasterize("embree", "cpu")),
        _try("PyTorch3D", lambda: _rasterize("pytorch3d", "cpu")),
        _try("matching", _match),
        _try("network", _run_network),
    ]
    if torch.cuda.is_available():
        name = f"{torch.cuda.get_device_name()}, {torch.cuda.get_device_properties(0).total_memory / 1e9:.0f} GB"
        findings.append(_try("CUDA", lambda: f"{name}, {_rasterize('pytorch3d', 'cuda')}"))
    else:
        findings.append(Finding("CUDA", None, "PyTorch sees no device: everything runs on the processor"))
    for module, use in EXTRAS.items():
        there = importlib.util.find_spec(module.partition(".")[0]) is not None
        name = module.rpartition(".")[2]
        findings.append(_try(name, lambda: _import(module)) if there else Finding(name, None, f"not installed ({use})"))  # noqa: B023
    return findings


def _try(what: str, run: Callable[[], str]) -> Finding:
    try:
        return Finding(what, True, run())
    except Exception as error:  # whatever a broken library raises
        return Finding(
            what, False, f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''}"
        )


def _import(module: str) -> str:
    importlib.import_module(module)
    return "there"


def _rasterize(name: str, device: str) -> str:
    cameras = sphere_cameras(2, 32).to(device)
    views = make_rasterizer(name, device)([TRIANGLE.to(device)], [cameras])[0]
    seen = int((views.face_ids == 0).sum())
    if not 0 < seen < views.face_ids.numel():
        raise RuntimeError(f"a triangle covers {seen} of {views.face_ids.numel()} pixels")
    return f"a triangle covers {seen} pixels of two views"


def _match() -> str:
    """Compiles the loops of the CPU, if no one has."""
    surface = surface_of(TRIANGLE, make_rasterizer("embree")([TRIANGLE], [sphere_cameras(2, 32)])[0])
    matched, seen = len(match_views(surface, surface)), int(surface.mask.sum())
    if matched != seen:
        raise RuntimeError(f"a view matches itself at {matched} of {seen} pixels")
    return f"two views match themselves at all {seen} pixels"


def _run_network() -> str:
    config = {
        "_target_": "mvdecor.networks.UNet",
        "encoder": "resnet10t",
        "decoder_channels": [8, 8],
        "embedding_dim": 8,
    }
    model = build_model(config, ("rgb",), None)
    output = model.embed(torch.zeros(1, 3, 32, 32))
    if output.shape != (1, 8, 32, 32) or not bool(torch.isfinite(output).all()):
        raise RuntimeError(f"a U-Net gave {list(output.shape)}")
    return "a U-Net gives an embedding for each pixel"


@dataclass
class DataReport:
    """What was found in a data set.

    Attributes:
        splits: number of ids of each split.
        problems: what keeps a shape or a list from being used, a line each.
        notes: what one should know.
        labels: for each label the number of training and test shapes that show it, and its share of the faces in %.
    """

    splits: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    labels: list[dict] = field(default_factory=list)


def examine_data(shape_set: ShapeSet) -> DataReport:
    """Read every shape of a data set once: missing or damaged files, labels, duplicates, lists that overlap."""
    report = DataReport()
    lists: dict[str, list[str]] = {}
    for split in ("train", "val", "test"):
        try:
            lists[split] = shape_set.ids(split)
        except InputError as error:
            lists[split] = []
            report.notes += [] if split == "val" else [str(error)]  # validation lists are not used
    report.splits = {name: len(ids) for name, ids in lists.items()} | {"all": len(shape_set.ids("all"))}
    for name, ids in lists.items():
        report.problems += [f"{id}: {n} times in the {name} list" for id, n in Counter(ids).items() if n > 1]
    for name, other in (("train", "val"), ("train", "test"), ("val", "test")):
        report.problems += [
            f"{id}: in the {name} and in the {other} list" for id in lists[name] if id in set(lists[other])
        ]
    shown = {split: Counter[int]() for split in lists}
    faces, same = Counter[int](), defaultdict(list)
    total = 0
    for id in dict.fromkeys([*shape_set.ids("all"), *(id for ids in lists.values() for id in ids)]):
        try:
            shape = shape_set.load(id)
        except InputError as error:
            report.problems.append(f"{id}: {error}")
            continue
        same[shape.fingerprint()].append(id)
        splits = [name for name, ids in lists.items() if id in ids]
        if shape.face_labels is None:
            if shape_set.label_names and splits:
                report.problems.append(f"{id}: in the {splits[0]} list, and without labels")
            continue
        values, counts = shape.face_labels.unique(return_counts=True)
        faces.update(dict(zip(values.tolist(), counts.tolist(), strict=True)))
        total += shape.num_faces
        if not labels_of(shape):
            report.notes.append(f"{id}: all its faces are undetermined")
        for split in splits:
            shown[split].update(labels_of(shape))
    report.notes += [f"the same mesh: {', '.join(ids)}" for ids in same.values() if len(ids) > 1]
    for label, name in enumerate(shape_set.label_names):
        share = 100 * faces[label] / max(1, total)
        row = {
            "label": name,
            "train shapes": shown["train"][label],
            "test shapes": shown["test"][label],
            "% of faces": share,
        }
        report.labels.append(row)
        if row["test shapes"] and not row["train shapes"]:
            report.notes.append(f"label {name}: in test shapes only, it cannot be learnt")
    if faces[-1]:
        report.notes.append(f"{100 * faces[-1] / total:.1f} % of the faces are undetermined")
    return report


def run_doctor(cfg: DictConfig, overrides: Sequence[str]) -> None:
    """Print what was found; exits with 1 if something is wrong."""
    findings = examine_installation()
    marks = {True: "ok", False: "BROKEN", None: "–"}
    print(format_table([{"part": f.what, "": marks[f.ok], "found": f.says} for f in findings]))
    broken = [f.what for f in findings if f.ok is False]
    if any(o.lstrip("+").startswith(("data", "experiment")) for o in overrides):
        report = examine_data(make_shape_set(cfg.data.labelled))
        print(f"\n{cfg.data.root} ({cfg.data.category}): " + ", ".join(f"{n} {k}" for k, n in report.splits.items()))
        print(format_table(report.labels))
        for kind, lines in (("problem", report.problems), ("note", report.notes)):
            for line in lines:
                print(f"{kind}: {line}")
        broken += [f"{len(report.problems)} problems in {cfg.data.root}"] if report.problems else []
    else:
        print("\nno data set was looked at: add data=NAME data.root=DIR and what else its configuration needs")
    print("\n" + (f"not in order: {', '.join(broken)}" if broken else "all in order"))
    if broken:
        sys.exit(1)


if __name__ == "__main__":
    main(lambda cfg: run_doctor(cfg, HydraConfig.get().overrides.task))
