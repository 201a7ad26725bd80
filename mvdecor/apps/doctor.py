"""Does this installation work, and is this data set whole?

    python -m mvdecor.doctor                                                         # the installation
    python -m mvdecor.doctor data=partnet data.root=DIR data.category=Bottle         # and a data set
    python -m mvdecor.doctor data=folder data.root=DIR doctor.coverage=true doctor.json=FILE   # what views see; as JSON

Takes the settings of the scripts, and those of configs/doctor.yaml. Exit code 1 if something that is needed does not
work, a shape cannot be used, or a test shape's mesh is trained on.
"""

from __future__ import annotations

import importlib.util
import math
import os
import platform
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from pydantic import Field

from mvdecor.apps.doctor_data import DataReport, examine_data, shared_meshes
from mvdecor.correspondences import match_views
from mvdecor.engine.device import open_device
from mvdecor.engine.provenance import PACKAGES, revision
from mvdecor.files import write_json
from mvdecor.lifting import seen_faces
from mvdecor.lifting.fill import covered_area
from mvdecor.networks import Model, build_model
from mvdecor.results.table import format_table
from mvdecor.settings import Count, PathName, Settings
from mvdecor.shapes import Shape
from mvdecor.systems.mvdecor.held_out import held_out_data
from mvdecor.systems.mvdecor.setup import make_shape_set, place, seed_of_test_views
from mvdecor.views import make_rasterizer, sphere_cameras, surface_of

EXTRAS = {"hydra_plugins.hydra_submitit_launcher": "sweeps on a cluster: pip install -e '.[slurm]'"}
"""Modules that only some features need, and which."""

TRIANGLE = Shape(
    "triangle", torch.tensor([[-1.0, -0.6, 0.0], [1.0, -0.6, 0.0], [0.0, 1.0, 0.0]]), torch.tensor([[0, 1, 2]])
)


class DoctorSettings(Settings):
    """The group `doctor`; configs/doctor.yaml says what each setting is."""

    rows: Count = 40
    coverage: bool = False
    json_file: PathName | None = Field(default=None, alias="json")


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
        _try("matching", lambda: _match("cpu")),
        _try("network", lambda: _run_network("cpu")),
    ]
    if torch.cuda.is_available():
        name = f"{torch.cuda.get_device_name()}, {torch.cuda.get_device_properties(0).total_memory / 1e9:.0f} GB"
        findings += [
            _try("CUDA", lambda: f"{name}, {_rasterize('pytorch3d', 'cuda')}"),
            _try("matching on CUDA", lambda: _match("cuda")),
            _try("network on CUDA", lambda: _run_network("cuda")),
            _try("precision on CUDA", _train_by_default_precision),
        ]
    else:
        findings.append(Finding("CUDA", None, "PyTorch sees no device: everything runs on the processor"))
    for module, use in EXTRAS.items():
        installed = importlib.util.find_spec(module.partition(".")[0]) is not None
        name = module.rpartition(".")[2]
        if installed:
            findings.append(_try(name, lambda: _import(module)))  # noqa: B023
        else:
            findings.append(Finding(name, None, f"not installed ({use})"))
    return findings


def _try(subject: str, run: Callable[[], str]) -> Finding:
    try:
        return Finding(subject, True, run())
    except Exception as error:  # whatever a broken library raises
        return Finding(
            subject, False, f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''}"
        )


def _import(module: str) -> str:
    importlib.import_module(module)
    return "there"


def _rasterize(name: str, device: str) -> str:
    cameras = sphere_cameras(2, 32).to(device)
    views = make_rasterizer(name, device)([TRIANGLE.to(device)], [cameras])[0]
    pixels = int((views.face_ids == 0).sum())
    if not 0 < pixels < views.face_ids.numel():
        raise RuntimeError(f"a triangle covers {pixels} of {views.face_ids.numel()} pixels")
    return f"a triangle covers {pixels} pixels of two views"


def _match(device: str) -> str:
    """On the CPU this compiles the loops, if no one has."""
    views = make_rasterizer("embree")([TRIANGLE], [sphere_cameras(2, 32)])[0]
    surface = surface_of(TRIANGLE.to(device), views.to(device))
    matched, foreground = len(match_views(surface, surface)), int(surface.mask.sum())
    if matched != foreground:
        raise RuntimeError(f"a view matches itself at {matched} of {foreground} pixels")
    return f"two views match themselves at all {foreground} pixels"


def _small_network() -> Model:
    config = {
        "_target_": "mvdecor.networks.UNet",
        "encoder": "resnet10t",
        "decoder_channels": [8, 8],
        "embedding_dim": 8,
    }
    return build_model(config, ("rgb",), None)


def _run_network(device: str) -> str:
    output = _small_network().to(device).embed(torch.zeros(1, 3, 32, 32, device=device))
    if output.shape != (1, 8, 32, 32) or not bool(torch.isfinite(output).all()):
        raise RuntimeError(f"a U-Net gave {list(output.shape)}")
    return "a U-Net gives an embedding for each pixel"


def _train_by_default_precision() -> str:
    """A step of training in the precision that `precision=auto` takes on the GPU."""
    fabric = open_device("cuda")
    model = _small_network().train()
    model, optimizer = fabric.setup(model, torch.optim.SGD(model.parameters(), lr=0.1))
    model.mark_forward_method("embed")
    with fabric.autocast():
        loss = model.embed(torch.rand(2, 3, 32, 32, device=fabric.device)).float().square().mean()
    fabric.backward(loss)
    optimizer.step()
    if not math.isfinite(float(loss.detach())):
        raise RuntimeError(f"the loss is {float(loss.detach())}")
    return f"a step of training by precision=auto, which is {fabric.strategy.precision.precision} here"


def run_doctor(cfg: DictConfig, overrides: Sequence[str]) -> None:
    """Print what was found, and write it to `doctor.json`; exits with 1 if something is wrong."""
    settings = DoctorSettings.of(cfg.get("doctor", {}), "doctor")
    findings = examine_installation()
    marks = {True: "ok", False: "BROKEN", None: "–"}
    print(format_table([{"part": f.what, "": marks[f.ok], "found": f.says} for f in findings]), flush=True)
    broken = [f.what for f in findings if f.ok is False]
    reports: dict[str, DataReport] = {}
    if any(o.lstrip("+").startswith(("data", "experiment")) for o in overrides):
        reports = _examine(cfg, settings.coverage)
        for root, report in reports.items():
            print_data(report, f"{root} ({cfg.data.category})", settings.rows)
            broken += [f"{len(report.problems)} problems in {root}"] if report.problems else []
    else:
        print("\nno data set was checked: add data=NAME data.root=DIR and the other settings of the data set")
    if settings.json_file is not None:
        data_sets = {root: {k: v for k, v in asdict(r).items() if k != "contents"} for root, r in reports.items()}
        write_json(
            Path(settings.json_file),
            {"installation": [asdict(f) for f in findings], "data": data_sets, "in_order": not broken},
        )
        print(f"\nfull report: {settings.json_file}")
    print("\n" + (f"not in order: {', '.join(broken)}" if broken else "all in order"))
    if broken:
        sys.exit(1)


def _examine(cfg: DictConfig, with_coverage: bool) -> dict[str, DataReport]:
    """The report of data.root, and of data.test_root if there is one, by root."""
    coverage = _coverage(cfg) if with_coverage else None
    reports = {str(cfg.data.root): examine_data(make_shape_set(cfg.data.labelled), coverage)}
    if cfg.data.get("test_root") is not None:
        tested = examine_data(make_shape_set(held_out_data(cfg)), coverage)
        tested.problems += shared_meshes(reports[str(cfg.data.root)], tested)
        reports[str(cfg.data.test_root)] = tested
    return reports


def _coverage(cfg: DictConfig) -> Callable[[Shape], float]:
    """Gives the share of a shape's area that views like those of an evaluation see."""
    rasterizer = make_rasterizer(cfg.views.rasterizer)

    def share(shape: Shape) -> float:
        views = rasterizer([shape], [place(cfg, shape, seed_of_test_views(cfg, shape.id))], layers=cfg.views.layers)[0]
        return covered_area(shape, seen_faces(shape, views))

    return share


def print_data(report: DataReport, name: str, rows: int = DoctorSettings().rows) -> None:
    """Print the report of a data set: lists, shapes, labels, paths, problems and notes.

    Args:
        report: of `examine_data`.
        name: its heading.
        rows: most shapes in the table; those with remarks come first, and each remark is printed below.
    """
    print(f"\n{name}: " + ", ".join(f"{n} {k}" for k, n in report.splits.items()))
    shapes = sorted(report.shapes, key=lambda shape: not (shape.reader_warnings or shape.suspicious))[:rows]
    table = [shape.row() for shape in shapes]
    keys = [key for key in (table[0] if table else ()) if any(row[key] is not None for row in table)]
    print(format_table([{key: row[key] for key in keys} for row in table]))
    if len(report.shapes) > len(shapes):
        print(f"and {len(report.shapes) - len(shapes)} shapes more: doctor.rows=N shows N, doctor.json=FILE writes all")
    print("\n" + format_table(report.labels))
    if report.paths:
        print(
            "\npaths of part trees that are not in the category's list as written:\n"
            + format_table(report.paths[:rows])
        )
    for shape in shapes:
        for kind, lines in (("warning", shape.reader_warnings), ("suspicious", shape.suspicious)):
            for line in lines:
                print(f"{kind}: {shape.id}: {line}")
    for kind, lines in (("problem", report.problems), ("note", report.notes)):
        for line in lines:
            print(f"{kind}: {line}")


def doctor_command(cfg: DictConfig) -> None:
    """`python -m mvdecor.doctor`, with the settings of configs/doctor.yaml."""
    run_doctor(cfg, HydraConfig.get().overrides.task)
