"""Kill each stage at random moments, start it again, and compare with a run that nothing happened to.

    python -m tests.faults KILLS [SEED]        # or: make faults KILLS=20

Each stage runs in a process of its own, started by a server that has imported everything, and dies by SIGKILL.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from hydra import compose, initialize_config_dir

from mvdecor.apps.cache import run_render
from mvdecor.apps.tables import run_table
from mvdecor.engine.cli import CONFIGS
from mvdecor.made_up.generate import write_people_like
from mvdecor.processes import worker_context
from mvdecor.systems.mvdecor.stages import run_evaluate, run_finetune, run_pipeline, run_pretrain

SMALL = (
    *("experiment=people_cpu", "views.count=4", "views.close_ups=0", "views.size=32", "network=unet_small"),
    *("network.decoder_channels=[16,16,16]", "training.pretrain.pairs=1", "training.pretrain.points=16"),
    *("training.pretrain.steps=16", "training.pretrain.validate_every=6", "training.pretrain.validation_batches=1"),
    *(
        "training.finetune.steps=16",
        "training.finetune.batch_size=2",
        "training.finetune.k=2",
        "training.finetune.runs=1",
    ),
    # a contrastive term, and pairs of views that do not all overlap enough
    *("training.finetune.lambda_ssl=0.1", "training.finetune.pairs=2", "training.matching.min_overlap=0.08"),
    *("training.log_every=5", "evaluation.points=500", "save_every=4"),
    *("precision=32-true", "device=cpu", "progress=false"),
)
VARYING = {"cost", "machine", "config", "checkpoint", "file", "revision", "code_sha256"}
"""Keys of results that may differ: times, where things lie, and code that is edited meanwhile."""


@dataclass
class Outcome:
    """What was done to a stage."""

    stage: str
    kills: int = 0
    runs: int = 0
    faults: int = 0

    def __str__(self) -> str:
        return f"{self.stage}: {self.kills} kills in {self.runs} runs, {self.faults} faults"


def config(*overrides: str, name: str = "config"):
    """The configuration of a script, as its command line would compose it."""
    with initialize_config_dir(CONFIGS, version_base="1.3"):
        return compose(name, overrides=list(overrides))


def stages(root: Path, prepared: Path) -> dict[str, Callable[[Path], object]]:
    """Each stage as a function of the folder that it writes to; `prepared` holds what the later ones start from."""
    pretrained, tuned = prepared / "pretrain" / "model", prepared / "pretrained" / "run_0" / "model"
    return {
        "pretrain": partial(run_stage, run_pretrain, root),
        "finetune": partial(run_stage, run_finetune, root, f"checkpoint={pretrained}"),
        "evaluate": partial(run_stage, run_evaluate, root, f"checkpoint={tuned}"),
        "table": partial(fill_table, root),
        "render": partial(render_views, root),
    }


def run_stage(stage: Callable, root: Path, *words) -> None:
    """A stage with overrides, of which the last is its folder."""
    *overrides, out = words
    stage(config(*SMALL, f"data.root={root}", *overrides, f"out={out}"))


def fill_table(root: Path, out: Path) -> None:
    """A table of two methods."""
    overrides = [
        *("experiment=table4_cpu", f"data.root={root}", *SMALL[1:], "network=unet_small", "table.runs=1"),
        *("table.methods=[scratch,mvdecor]", "table.columns=[{name: RGB}]", "evaluation.limit=1", f"out={out}"),
    ]
    run_table(config(*overrides, name="table"), overrides)


def render_views(root: Path, out: Path) -> None:
    """A view cache."""
    run_render(config(*SMALL, f"data.root={root}", f"views.cache={out}", f"out={out}", name="render"))


def torture(name: str, stage: Callable[[Path], object], folder: Path, kills: int, rng: random.Random) -> Outcome:
    """Run `stage` until `kills` processes of it were killed; every finished run must equal the undisturbed one."""
    outcome = Outcome(name)
    start = time.perf_counter()
    if not _run(stage, folder / "whole", None):
        raise RuntimeError(f"{name} fails undisturbed: see {folder / 'whole.log'}")
    seconds = time.perf_counter() - start
    expected = contents(folder / "whole")
    while outcome.kills < kills:
        out = folder / f"run_{outcome.runs}"
        while not _run(stage, out, rng.uniform(0, seconds) if outcome.kills < kills else None):
            outcome.kills += 1
        outcome.runs += 1
        found = contents(out)
        if differing := sorted(k for k in {*expected, *found} if expected.get(k) != found.get(k)):
            outcome.faults += 1
            print(f"fault: {name}, {out}: {', '.join(differing)}", flush=True)
        else:
            shutil.rmtree(out)
    return outcome


def _run(stage: Callable[[Path], object], out: Path, seconds: float | None) -> bool:
    """Run `stage` in a process of its own, and kill that after some seconds; whether it came to its end."""
    process = worker_context().Process(target=_child, args=(stage, out))
    process.start()
    process.join(seconds)
    if process.exitcode is None:
        process.kill()
    process.join()
    if process.exitcode not in (0, -9):
        raise RuntimeError(f"exit code {process.exitcode}: see {_log(out)}\n{_log(out).read_text()[-2000:]}")
    return process.exitcode == 0


def _child(stage: Callable[[Path], object], out: Path) -> None:
    with _log(out).open("a") as stream:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
    stage(out)


def _log(out: Path) -> Path:
    return out.with_name(f"{out.name}.log")


def varies(file: Path) -> bool:
    """Whether a file differs between runs: TensorBoard's tell the time, and code.diff what is edited meanwhile."""
    return "tfevents" in file.name or file.name == "code.diff"


def contents(out: Path) -> dict[str, str]:
    """What a finished run must have in common with another: its files, by hash or, of results, by what does not vary.

    Anything left over (hidden files, states) is in no undisturbed run.
    """
    found = {}
    for file in sorted(p for p in out.rglob("*") if p.is_file() and not varies(p)):
        data = file.read_bytes()
        if file.suffix == ".json":
            data = json.dumps(_lasting(json.loads(data)), sort_keys=True).encode()
        found[str(file.relative_to(out))] = hashlib.sha256(data).hexdigest()
    return found


def _lasting(value):
    if isinstance(value, dict):
        return {k: _lasting(v) for k, v in value.items() if k not in VARYING}
    return [_lasting(v) for v in value] if isinstance(value, list) else value


def run(kills: int, seed: int, folder: Path, only: Sequence[str] | None = None) -> list[Outcome]:
    """Torture the stages; gives what was done to each."""
    root = write_people_like(folder / "people", 8)
    prepared = folder / "prepared"
    _run(partial(run_stage, run_pipeline, root), prepared, None)
    outcomes = []
    for number, (name, stage) in enumerate(stages(root, prepared).items()):
        if only is None or name in only:
            (folder / name).mkdir()
            outcomes.append(torture(name, stage, folder / name, kills, random.Random(seed + number)))
            print(outcomes[-1], flush=True)
    return outcomes


def main() -> None:
    """Command line: KILLS a stage, and the seed of their moments."""
    kills, seed = int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0
    with tempfile.TemporaryDirectory() as folder:
        outcomes = run(kills, seed, Path(folder))
    faults = sum(o.faults for o in outcomes)
    print(f"faults: {sum(o.kills for o in outcomes)} kills in {len(outcomes)} stages, seed {seed}: {faults} faults")
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
