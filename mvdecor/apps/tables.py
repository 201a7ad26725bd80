"""Whole tables: what a configuration asks for, what of it is finished, what the rest would cost; run, gather, write.

A table is an experiment with a `table` of methods (configs/method), columns (overrides) and a number of runs. A cell is a
method in a column, composed as `experiment + command line + method=NAME + the column's overrides`; it is pretrained (once for
all cells with the same pretraining settings), then fine-tuned and evaluated for each run by the stages of
mvdecor/systems/SYSTEM/stages.py:

    OUT/pretrain/HASH/        pretrain.json, model
    OUT/COLUMN/METHOD/run_N/  finetune.json, model, metrics.json
    OUT/table.{md,tex,csv,json}
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from pydantic import Field, field_validator

from mvdecor.engine.cli import CONFIGS, compose_config
from mvdecor.engine.cost import total_cost
from mvdecor.engine.distributed import one_voice, rank
from mvdecor.engine.provenance import provenance
from mvdecor.engine.record import changed
from mvdecor.engine.stage import Stage
from mvdecor.errors import InputError
from mvdecor.files import read_json, write_atomically, write_json
from mvdecor.results.grid import Column, Grid, as_dict, columns_of, csv_text, latex, make_grid, markdown
from mvdecor.results.measures import MEASURES
from mvdecor.results.runs import Run, read_runs
from mvdecor.results.table import format_table
from mvdecor.settings import Count, Settings, Text
from mvdecor.systems.mvdecor.check import check_config, check_run, check_shares
from mvdecor.systems.mvdecor.settings import MvDeCorSettings
from mvdecor.systems.open_vocabulary.settings import OpenVocabularySettings
from mvdecor.systems.to_the_point.settings import ToThePointSettings

STAGES = {"pretraining": "run_pretrain", "fine-tuning": "run_finetune", "evaluation": "run_evaluate"}
"""Names of the stages, and what they are in the module `stages` of a system."""
READERS = {"mvdecor": "data.unlabelled", "to_the_point": "template", "open_vocabulary": "capture"}
"""Systems whose runs a table runs itself, and the setting that says what they pretrain on."""

OWN_KEYS = ("dry_run", "gather", "columns", "measures")
"""Keys of configs/table.yaml that are none of a cell's."""


class ColumnSettings(Settings):
    """A column of a table: a task, or the mean of tasks; `paper` names the column of configs/paper to show beside it."""

    name: Text
    overrides: list[str] | None = None
    mean_of: list[str] | None = None
    paper: Text | None = None


class TableSettings(Settings):
    """The group `table` of an experiment, for example of configs/experiment/table4_cpu.yaml."""

    name: Text
    methods: Annotated[list[str], Field(min_length=1, description="give a list of methods (configs/method)")]
    columns: Annotated[
        list[ColumnSettings],
        Field(
            min_length=1,
            description="give a list of columns, {name: ..., overrides: [...]} or {name: ..., mean_of: [...]}",
        ),
    ]
    runs: Count
    paper: dict[str, Any] | None = None
    measures: list[str] | None = None


class TableWords(Settings):
    """What configs/table.yaml has beside the settings of a system; it says what each is."""

    dry_run: bool
    columns: Annotated[list[str], Field(description="give a list of names of the table's columns")] | None
    gather: Annotated[list[str], Field(description="give a list of folders, as in gather=[outputs/table1]")] | None
    measures: Annotated[list[str], Field(min_length=1, description=f"give a list of some of {', '.join(MEASURES)}")]

    @field_validator("measures")
    @classmethod
    def _known(cls, names: list[str]) -> list[str]:
        if set(names) - set(MEASURES) or len(set(names)) < len(names):
            raise ValueError(f"choose among {', '.join(MEASURES)}, each once")
        return names


class TablesConfig(TableWords, MvDeCorSettings):
    """configs/table.yaml with the settings of MvDeCor."""


class ReconstructionTablesConfig(TableWords, ToThePointSettings):
    """configs/table.yaml with the settings of To The Point."""


class WordTablesConfig(TableWords, OpenVocabularySettings):
    """configs/table.yaml with the settings of the open-vocabulary system."""


CONFIGS_OF: dict[str, type[Settings]] = {
    "mvdecor": TablesConfig,
    "to_the_point": ReconstructionTablesConfig,
    "open_vocabulary": WordTablesConfig,
}
"""By system, what configs/table.yaml is checked by."""


@dataclass(frozen=True)
class CellStage:
    """A stage of a cell with its whole configuration; `kind` is a key of STAGES, `label` says which cells it is for."""

    kind: str
    label: str
    cfg: DictConfig

    @property
    def stage(self) -> Stage:
        """As the system of its configuration declares it."""
        return _stage(self.cfg.system, self.kind)

    def result(self) -> dict | None:
        """What it left when it finished; None if it has not. InputError if one of other settings or inputs is there."""
        return self.stage.result(self.cfg)

    def run(self) -> dict:
        """Run it."""
        return self.stage(self.cfg)


def table_command(cfg: DictConfig) -> dict | None:
    """scripts/table.py: `run_table` with the command line's overrides."""
    return run_table(cfg, HydraConfig.get().overrides.task)


@one_voice()
def run_table(cfg: DictConfig, overrides: Sequence[str]) -> dict | None:
    """Run what is missing of a table and write it; or only say what that would cost, or only gather (configs/table.yaml).

    Args:
        cfg: configs/table.yaml composed with an experiment that describes a table; `gather` does without one.
        overrides: the command line's, as given; every cell is composed with them.

    Returns:
        what `out/table.json` holds; None for a dry run.

    Raises:
        InputError: a table that is not described well, an unknown method or column, results that must not be mixed.
    """
    CONFIGS_OF.get(cfg.system, TablesConfig).of(cfg, complete=True)
    out = Path(cfg.out)
    _check_own(out / "table.json")
    if cfg.gather is not None:
        results = read_runs(cfg.gather)
        if not results:
            raise InputError(f"no metrics.json below {', '.join(cfg.gather)}: name folders that hold finished runs")
        if cfg.table is None:
            grid = _grid_of_results(results, cfg.measures)
        else:
            table = read_table(cfg)
            grid = _grid(table, overrides, results, cfg.measures)
        return _write(cfg, grid, results, {})
    table = read_table(cfg)
    plan = table_stages(cfg, table, overrides)
    print_plan(plan)
    if cfg.dry_run:
        return None
    _check_before(plan)
    for stage in plan:
        if stage.result() is None:
            print(f"== {stage.kind}, {stage.label} -> {stage.cfg.out}", flush=True)
            stage.run()
    stage_results = [stage.result() for stage in plan]
    cost = total_cost([result["cost"] for result in stage_results if result is not None])
    results = read_runs([out])
    return _write(cfg, _grid(table, overrides, results, cfg.measures), results, {"cost": cost})


def read_table(cfg: DictConfig) -> dict:
    """The table that a configuration describes: {"name", "methods", "columns", "runs", "paper"} as plain values.

    Raises:
        InputError: none is described, or one without methods or columns, with an unknown method, doubled columns, a mean of
            unknown columns, or no number of runs; or `columns` names one that it has not.
    """
    if cfg.table is None:
        names = ", ".join(sorted(path.stem for path in Path(CONFIGS, "experiment").glob("table*.yaml")))
        raise InputError(f"no table is described: give experiment=NAME ({names}), or gather=[FOLDER]")
    TableSettings.of(cfg.table, "table")
    table: Any = OmegaConf.to_container(cfg.table, resolve=True)
    name, methods, columns = table["name"], table["methods"], table["columns"]
    method_names = sorted(path.stem for path in Path(CONFIGS, "method").glob("*.yaml"))
    if unknown := [m for m in methods if m not in method_names]:
        raise InputError(
            f"table {name}: unknown method {unknown[0]!r}: choose among {', '.join(method_names)} (configs/method)"
        )
    headings = [column["name"] for column in columns]
    tasks = [column["name"] for column in columns if not column.get("mean_of")]
    if len({_folder(n) for n in headings}) < len(headings) or len(set(methods)) < len(methods):
        raise InputError(f"table {name}: a method or a column occurs twice, or two columns' names differ in signs only")
    averaged = [name for column in columns for name in column.get("mean_of") or ()]
    if unknown := [name for name in averaged if name not in tasks]:
        raise InputError(f"table {name}: a mean of the unknown column {unknown[0]!r}: choose among {', '.join(tasks)}")
    if unknown := [name for name in cfg.columns or () if name not in tasks]:
        raise InputError(f"table {name}: unknown column {unknown[0]!r}: choose among {'; '.join(tasks)}")
    if cfg.checkpoint is not None:
        raise InputError("a table pretrains its methods itself and takes no checkpoint=: leave it out")
    return table


def table_stages(cfg: DictConfig, table: Mapping, overrides: Sequence[str]) -> list[CellStage]:
    """All stages of a table in the order to run them: run 0 of every cell comes before run 1 of any.

    A stage's configuration is complete: `out`, `checkpoint`, `run`, and `cell` {"table", "column"}, by which results find
    their place again.
    """
    out = Path(cfg.out)
    cells: list[tuple[str, DictConfig, Path | None, Path]] = []
    data_sets: list[Any] = []  # the data sets to pretrain on
    for column in table["columns"]:
        if not column.get("mean_of") and (cfg.columns is None or column["name"] in cfg.columns):
            for method in table["methods"]:
                cell = cell_config(table, overrides, method, column)
                if cell.system not in READERS:
                    raise InputError(
                        f"table {table['name']}: method {method} is of system {cell.system}, whose runs a table only "
                        "gathers: run scripts/pipeline.py with that method, then gather=[FOLDERS]"
                    )
                start = out / "pretrain" / _pretraining_key(cell, data_sets) if cell.method.pretrain else None
                cells.append((f"{method}: {column['name']}", cell, start, out / _folder(column["name"]) / method))
    plan: list[CellStage] = []
    pretrained: set[Path] = set()
    for run in range(table["runs"]):
        for label, cell, start, folder in cells:
            if start is not None and start not in pretrained:
                pretrained.add(start)
                users = "; ".join(cell_label for cell_label, _, start_folder, _ in cells if start_folder == start)
                plan.append(CellStage("pretraining", users, changed(cell, out=start)))
            cell_name, place = f"{label}, run {run}", folder / f"run_{run}"
            checkpoint = None if start is None else start / "model"
            plan.append(CellStage("fine-tuning", cell_name, changed(cell, out=place, run=run, checkpoint=checkpoint)))
            plan.append(
                CellStage("evaluation", cell_name, changed(cell, out=place, run=run, checkpoint=place / "model"))
            )
    return plan


def cell_config(table: Mapping, overrides: Sequence[str], method: str, column: Mapping) -> DictConfig:
    """The configuration of a method in a column, as a stage's script would compose it."""
    shared = [o for o in overrides if o.split("=")[0].lstrip("+") not in OWN_KEYS]
    cell_overrides = [f"method={method}", *(column.get("overrides") or ())]
    cfg = compose_config([*shared, *cell_overrides])
    OmegaConf.set_struct(cfg, False)
    OmegaConf.resolve(cfg)
    cfg.pop("table", None)
    cfg.cell = {"table": table["name"], "column": column["name"]}
    return cfg


def print_plan(plan: Sequence[CellStage]) -> None:
    """Print which runs of each cell are finished, how many stages of each kind are missing, and how long those would take.

    A kind's time is the mean of its finished stages times the number of missing ones; unknown where none has finished.
    """
    results = [(stage, stage.result()) for stage in plan]
    cells: dict[str, dict[str, list[bool]]] = {}
    for stage, result in results:
        if stage.kind == "evaluation":
            row = cells.setdefault(stage.cfg.method.name, {})
            row.setdefault(stage.cfg.cell.column, []).append(result is not None)
    counts = {method: {k: f"{sum(v)}/{len(v)}" for k, v in row.items()} for method, row in cells.items()}
    print(format_table([{"runs finished": method, **row} for method, row in counts.items()]))
    for stage, result in results:
        if stage.kind == "pretraining":
            print(f"pretraining {'finished' if result else 'missing'} for {stage.label}: {stage.cfg.out}")
    rows = []
    for kind in STAGES:
        seconds = [result["cost"]["wall_seconds"] for stage, result in results if stage.kind == kind and result]
        missing = sum(stage.kind == kind and result is None for stage, result in results)
        time = _time(missing * sum(seconds) / len(seconds)) if seconds else "unknown" if missing else _time(0)
        rows.append({"stage": kind, "finished": len(seconds), "missing": missing, "estimated time": time})
    print(format_table(rows) + "\n", flush=True)


def _time(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds >= 5400 else f"{seconds / 60:.1f} min"


def _check_before(plan: Sequence[CellStage]) -> None:
    """What would end a run of hours: batches that the processes cannot share, the configuration of every missing fine-tuning,
    and the data of every new column."""
    columns = set()
    for stage in plan:
        if stage.cfg.system != "mvdecor":
            stage.stage.check(stage.cfg)
            continue
        check_shares(stage.cfg, {"pretraining": "pretrain", "fine-tuning": "finetune"}.get(stage.kind, ""))
        if stage.kind != "fine-tuning":
            continue
        if stage.result() is None:
            check_config(stage.cfg)
            if stage.cfg.cell.column not in columns:
                check_run(changed(stage.cfg, checkpoint=None), Path(stage.cfg.out))
        columns.add(stage.cfg.cell.column)


def _stage(system: str, kind: str) -> Stage:
    """A stage of a system; `kind` is a key of STAGES."""
    return getattr(import_module(f"mvdecor.systems.{system}.stages"), STAGES[kind])


def _pretraining_key(cfg: DictConfig, data_sets: list[Any]) -> str:
    """A short name of a pretraining: its settings, which shapes of the data set, and its number among the table's data sets.

    Where the first data set lies is no part of it: a table may be moved with its data, and the stage looks at the content.

    Args:
        cfg: of the cell.
        data_sets: those of the cells before; this one is added if it is another.
    """
    settings = _stage(cfg.system, "pretraining").settings(cfg)
    if cfg.system == "mvdecor":
        settings |= {key: cfg.data[key] for key in ("pretrain_split", "pretrain_limit")}
    reader = OmegaConf.to_container(OmegaConf.select(cfg, READERS[cfg.system]), resolve=True)
    if reader not in data_sets:
        data_sets.append(reader)
    settings["number of the data set"] = data_sets.index(reader)
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:12]


def _grid(table: Mapping, overrides: Sequence[str], results: Sequence[Run], measures: Sequence[str]) -> Grid:
    columns = [Column(c["name"], tuple(c.get("mean_of") or ()), c.get("paper")) for c in table["columns"]]
    first = next(c for c in table["columns"] if not c.get("mean_of"))
    titles = {result.method: result.title for result in results if result.untrained}
    titles |= {m: cell_config(table, overrides, m, first).method.title for m in table["methods"]}
    names = {column.name for column in columns}
    for result in results:
        if result.method not in titles or result.column not in names:
            print(f"note: not in table {table['name']}: {result.file} ({result.method}, column {result.column!r})")
    return make_grid(results, columns_of(columns, measures), titles, table["runs"], table.get("paper"))


def _grid_of_results(results: Sequence[Run], measures: Sequence[str]) -> Grid:
    """All methods and columns that there are results of, in the order of their paths."""
    columns = [Column(name) for name in dict.fromkeys(r.column for r in results)]
    return make_grid(results, columns_of(columns, measures), {r.method: r.title for r in results})


def _write(cfg: DictConfig, grid: Grid, results: Sequence[Run], extra: dict) -> dict:
    out = Path(cfg.out)
    runs = [
        {"method": r.method, "column": r.column, "seed": r.seed, "run": r.number}
        | {"part_miou": r.part_miou, "shape_miou": r.shape_miou, "revision": r.revision, "file": str(r.file)}
        for r in results
    ]
    if len(revisions := sorted({r.revision for r in results})) > 1:
        print(f"note: the results are of {len(revisions)} revisions of the code: {', '.join(revisions)}")
    table = {"grid": as_dict(grid), "runs": runs, **extra, **provenance(cfg), "seed": cfg.seed}
    if rank() > 0:
        return table
    write_json(out / "table.json", table)
    for name, text in (("table.md", markdown(grid)), ("table.tex", latex(grid)), ("table.csv", csv_text(grid))):
        write_atomically(out / name, text.encode())
    print(f"\n{markdown(grid)}\n{out}/table.md, table.tex, table.csv, table.json")
    return table


def _check_own(file: Path) -> None:
    """A pipeline's table.json is not to be lost."""
    if file.exists() and "grid" not in read_json(file, "choose another out="):
        raise InputError(f"{file} is the table of another script (scripts/pipeline.py): choose another out=")


def _folder(name: str) -> str:
    return re.sub(r"\W+", "_", name).strip("_")
