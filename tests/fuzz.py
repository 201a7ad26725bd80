"""Read thousands of damaged files: each must be read, or refused with one clear message; and of whole ones: read right.

    python -m tests.fuzz CASES [SEED [TARGET]]        # or: make fuzz CASES=20000

A case changes one file of a small data set at random and reads the set, or makes a glTF file of random features, which must
read as it was made. Faults: another error than `InputError`, a message
that is none (no file or shape named, several lines), labels that do not match the faces, more than 10 seconds, a crash of the
process, gigabytes of memory, a file written. The changed file of each fault is kept in the folder `fuzz_faults`.
"""

from __future__ import annotations

import contextlib
import io
import json
import multiprocessing
import random
import resource
import shutil
import signal
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import trimesh
from PIL import Image

from mvdecor.engine.snapshots import Snapshots
from mvdecor.errors import InputError
from mvdecor.made_up.generate import write_partnet, write_people_like
from mvdecor.networks import build_model, load_checkpoint, save_checkpoint
from mvdecor.results.runs import read_runs
from mvdecor.shapes import MeshFolder, PartNet, RenderPeople, read_mesh
from mvdecor.shapes.sampling import sample_texture
from mvdecor.shapes.shape import Shape
from mvdecor.shapes.splits import FewShotRun, FewShotSplit, read_split, write_split
from mvdecor.views import CachedViews, make_rasterizer, sphere_cameras
from tests.fuzz_gltf import mixes, write_compressed
from tests.fuzz_mutations import mutate
from tests.fuzz_polygons import fuzz_polygons

SECONDS = 10
"""Most processor time of a case: a busy machine is no fault."""
HANGS = 600
"""Seconds without a word, by the clock, after which a process hangs."""
MEMORY = 6 << 30
"""Most address space that a case may add."""
KEPT = Path("fuzz_faults")


@dataclass
class Target:
    """A small data set, the files of it that are damaged, and how it is read.

    With `make` the file is not damaged, but made anew from random numbers, and must be read as it was made: then being
    refused is a fault.
    """

    name: str
    files: list[Path]
    read: Callable[[], object]
    make: Callable[[random.Random], None] | None = None


def targets(root: Path, real: Path | None) -> list[Target]:
    """Everything that is read from files; `real` is the folder with real data, if there is one."""
    (root / "gltf").mkdir()
    mix, read_mix, make_mix = mixes(root / "gltf" / "mix.glb")
    compressed = write_compressed(root / "gltf" / "compressed.glb")
    return [
        Target("glTF feature mixes", [mix], read_mix, make_mix),
        Target("compressed.glb", [compressed], lambda: _checked(read_mesh(compressed))),
        *_meshes(root / "meshes", real),
        *_data_sets(root),
        *_own_files(root),
    ]


def _meshes(root: Path, real: Path | None) -> Iterable[Target]:
    """A real part (or a made-up one) in each format, one with a texture and one with colours in some."""
    root.mkdir()
    mesh = trimesh.creation.box((1, 2, 3))
    if real is not None:
        parts = sorted((real / "partnet" / "data_v0").glob("*/objs/*.obj"), key=lambda p: (p.stat().st_size, p.name))
        mesh = trimesh.load_mesh(next(p for p in parts if p.stat().st_size > 2000), process=False)
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (8, 8, 3), dtype=np.uint8))
    uv = np.random.default_rng(1).random((len(mesh.vertices), 2))
    textured = trimesh.Trimesh(
        mesh.vertices, mesh.faces, process=False, visual=trimesh.visual.TextureVisuals(uv=uv, image=image)
    )
    colours = np.random.default_rng(2).integers(0, 255, (len(mesh.vertices), 4), dtype=np.uint8)
    coloured = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False, vertex_colors=colours)
    two = trimesh.Scene({"a": mesh, "b": mesh.copy().apply_translation((5, 0, 0))})
    for name, source, options in (
        ("plain.obj", mesh, {}),
        ("ascii.ply", mesh, {"encoding": "ascii"}),
        ("binary.ply", mesh, {}),
        ("plain.off", mesh, {}),
        ("binary.stl", mesh, {"file_type": "stl"}),
        ("ascii.stl", mesh, {"file_type": "stl_ascii"}),
        ("two.glb", two, {}),
        ("textured.glb", textured, {}),
        ("textured.obj", textured, {}),
        ("coloured.ply", coloured, {"encoding": "ascii"}),
        ("coloured.obj", coloured, {}),
    ):
        folder = root / name.replace(".", "_")
        folder.mkdir()
        source.export(str(folder / name), **options)
        read = lambda path=folder / name: _checked(read_mesh(path))  # noqa: E731
        yield Target(name, sorted(folder.iterdir()), read)
    folder = root / "two_gltf"
    folder.mkdir()
    for name, data in two.export(file_type="gltf").items():
        (folder / name.replace("model.gltf", "two.gltf")).write_bytes(data)
    yield Target("two.gltf", sorted(folder.iterdir()), lambda: _checked(read_mesh(folder / "two.gltf")))


def _data_sets(root: Path) -> Iterable[Target]:
    partnet = write_partnet(root / "partnet", 12, categories=("Chair",))
    first = sorted(p.name for p in (partnet / "data_v0").iterdir())[0]
    files = [p for p in partnet.rglob("*") if p.is_file() and ("data_v0" not in p.parts or first in p.parts)]

    def read_partnet() -> None:
        shapes = PartNet(partnet, "Chair", 3)
        for split in ("train", "test", "unlabelled", "all"):
            shapes.ids(split)
        _checked(shapes.load(first))

    yield Target("partnet", sorted(files), read_partnet)
    people = write_people_like(root / "people", 8)
    one = sorted(p.name for p in people.iterdir() if p.is_dir())[0]

    def read_people() -> None:
        shapes = RenderPeople(people)
        for split in ("train", "test", "unlabelled"):
            shapes.ids(split)
        _checked(shapes.load(one))

    yield Target(
        "people",
        sorted(p for p in people.rglob("*") if p.is_file() and (one in p.parts or p.parent == people)),
        read_people,
    )
    folder = root / "folder"
    folder.mkdir()
    box = trimesh.creation.box()
    box.export(str(folder / "box.ply"))
    np.save(folder / "box_labels.npy", np.arange(12) % 3 - 1)
    (folder / "labels.json").write_text(json.dumps({"labels": ["top", "bottom"]}))
    (folder / "split.json").write_text(json.dumps({"train": ["box"], "test": []}))

    def read_folder() -> None:
        shapes = MeshFolder(folder)
        shapes.ids("train")
        _checked(shapes.load("box"))

    yield Target("folder", sorted(folder.iterdir()), read_folder)


def _own_files(root: Path) -> Iterable[Target]:
    run = FewShotRun(run=0, shapes=["a", "b"], views={"a": [0, 3], "b": [1, 2]}, labels_not_covered=[])
    yield from _single(root / "split" / "split.json", lambda file: _write_split(file, run), read_split)

    network = {
        "_target_": "mvdecor.networks.UNet",
        "encoder": "resnet10t",
        "decoder_channels": [4, 4],
        "embedding_dim": 4,
    }
    model = build_model(network, ("rgb",), 2)
    folder = root / "checkpoint"
    save_checkpoint(folder, model, {"kind": "finetuned", "label_names": ["a", "b"], "config": {"views": {"count": 4}}})
    yield Target("checkpoint", sorted(folder.iterdir()), lambda: load_checkpoint(folder))

    box = Shape.from_trimesh(trimesh.creation.box(), "box")
    cameras = sphere_cameras(3, 32)
    views = CachedViews(root / "cache", "embree", box, cameras)
    views.write(make_rasterizer("embree")([box], [cameras])[0].face_ids)
    yield Target("cache", [views.path], views.read)

    state = root / "state"
    layer = torch.nn.Linear(2, 2)
    Snapshots(state, 1).save(1, {"model": layer})
    yield Target("state", sorted(state.iterdir()), lambda: Snapshots(state).restore({"model": layer}))

    figures = {
        "part_miou": 50.0,
        "shape_miou": 40.0,
        "category": "x",
        "split": {"ids": ["a"]},
        "seed": 0,
        "revision": "r",
    }
    figures["config"] = {
        "method": {"name": "m", "title": "M", "pretrain": True},
        "run": 0,
        "data": {"name": "x", "category": "x"},
    }
    content = json.dumps(figures, indent=1).encode()
    yield from _single(
        root / "runs" / "metrics.json", lambda file: file.write_bytes(content), lambda file: read_runs([file.parent])
    )


def _single(file: Path, write: Callable[[Path], object], read: Callable[[Path], object]) -> Iterable[Target]:
    file.parent.mkdir(parents=True)
    write(file)
    yield Target(file.parent.name, [file], lambda: read(file))


def _write_split(file: Path, run: FewShotRun) -> None:
    split = FewShotSplit(
        dataset="partnet",
        category="Chair",
        level="3",
        k=2,
        v=2,
        num_views=4,
        rule="uniform",
        seed=0,
        source="s",
        runs=[run],
    )
    write_split(file, split)


def _checked(shape: Shape) -> None:
    assert shape.num_faces > 0
    assert bool(torch.isfinite(shape.vertices).all())
    if shape.texture is not None:
        corners = sample_texture(shape.texture, shape.texture.image_ids[:, None].expand(-1, 3), shape.texture.uv)
        assert corners.shape == (shape.num_faces, 3, 3) and corners.min() >= 0 and corners.max() <= 1
    if shape.face_labels is not None:
        assert len(shape.face_labels) == shape.num_faces
        assert int(shape.face_labels.min()) >= -1 and int(shape.face_labels.max()) < len(shape.label_names)


def try_case(target: Target, number: int, seed: int) -> tuple[str, Path | None]:
    """Damage a file, read, and put it back: ("read" | "refused" | what is wrong, the file)."""
    rng = random.Random(f"{seed} {target.name} {number}")
    file = rng.choice(target.files)
    whole = file.read_bytes()
    if target.make is None:
        file.write_bytes(mutate(whole, rng))
    else:
        target.make(rng)
    changed = file.read_bytes()
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            target.read()
        return "read", None
    except InputError as error:
        message = str(error)
        names = {
            *(f.name for f in target.files),
            *(f.stem for f in target.files),
            file.parent.name,
            file.parent.parent.name,
        }
        if not message or "\n" in message or len(message) > 2000 or not any(name in message for name in names):
            return f"unclear message {message!r}", _keep(file, changed, target, number)
        if target.make is not None:
            return f"refused: {message}", _keep(file, changed, target, number)
        return "refused", None
    except BaseException as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        text = str(error).splitlines()[0][:200] if str(error) else ""
        kept = _keep(file, changed, target, number)
        return f"{type(error).__name__}: {text} ({Path(where.filename).name}:{where.lineno})", kept
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        file.write_bytes(whole)


def _keep(file: Path, changed: bytes, target: Target, number: int) -> Path:
    KEPT.mkdir(exist_ok=True)
    kept = KEPT / f"{target.name.replace('.', '_')}_{number}_{file.name}"
    kept.write_bytes(changed)
    return kept


def _timed_out(*_: object) -> None:
    raise TimeoutError(f"more than {SECONDS} s of processor time")


def _work(target: Target, numbers: Sequence[int], seed: int, pipe) -> None:
    """Try cases in a process of its own, which may crash."""
    signal.signal(signal.SIGPROF, _timed_out)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, resource.RLIM_INFINITY))
    for number in numbers:
        pipe.send((number, None, None))
        pipe.send((number, *try_case(target, number, seed)))


def fuzz(target: Target, cases: int, seed: int) -> Counter[str]:
    """Try `cases` damaged files; prints each fault and counts "read", "refused" and "faults"."""
    target.read()  # undamaged, it can be read
    counts, number = Counter[str](), 0
    whole = {file: file.read_bytes() for file in target.files}
    while number < cases:
        ours, theirs = multiprocessing.Pipe(duplex=False)
        process = multiprocessing.get_context("fork").Process(
            target=_work, args=(target, range(number, cases), seed, theirs)
        )
        process.start()
        theirs.close()
        done = False
        try:
            while ours.poll(HANGS):
                number, result, kept = ours.recv()
                done = result is not None
                if result in ("read", "refused"):
                    counts[result] += 1
                elif done:
                    counts["faults"] += 1
                    print(f"fault: {target.name} {number}: {result} [{kept}]", flush=True)
        except EOFError:
            pass
        process.kill()
        process.join()
        if not done:  # it died, or hung where no signal reaches it
            counts["faults"] += 1
            print(
                f"fault: {target.name} {number}: the process crashed or hung (exit code {process.exitcode})", flush=True
            )
            for file, data in whole.items():
                file.write_bytes(data)
        number += 1
    return counts


def run(cases: int, seed: int, real: Path | None, only: str | None = None) -> Counter[str]:
    """Share the cases among the targets."""
    total = Counter[str]()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "inside"
        root.mkdir()
        chosen = [t for t in targets(root, real) if only in (None, t.name)]
        before = _listing(Path(folder))
        for target in chosen:
            counts = fuzz(target, -(-cases // len(chosen)), seed)
            print(
                f"{target.name}: {counts['read']} read, {counts['refused']} refused, {counts['faults']} faults",
                flush=True,
            )
            total += counts
        if only in (None, "polygons"):
            total += fuzz_polygons(Path(folder) / "polygons", -(-cases // 20), seed)
        if extra := _listing(Path(folder)) ^ before:
            total["faults"] += 1
            print(f"fault: files written or removed: {', '.join(sorted(extra)[:5])}")
    return total


def _listing(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*")}


def main() -> None:
    """Command line: CASES in all, the seed, and one target."""
    cases, seed = int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0
    real = Path(__file__).resolve().parents[2] / "shared" / "data"
    shutil.rmtree(KEPT, ignore_errors=True)
    total = run(cases, seed, real if real.is_dir() else None, sys.argv[3] if len(sys.argv) > 3 else None)
    tried = total["read"] + total["refused"] + total["faults"]
    print(
        f"fuzz: {tried} cases, seed {seed}: {total['read']} read, {total['refused']} refused, {total['faults']} faults"
    )
    sys.exit(1 if total["faults"] else 0)


if __name__ == "__main__":
    main()
