"""How much it takes: a pretrained field fine-tuned on more or fewer label maps, and codes inferred from more or fewer views."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from omegaconf import DictConfig, OmegaConf
from pydantic import Field

from mvdecor.captures import make_capture_set, measured_views
from mvdecor.engine.distributed import rank
from mvdecor.engine.provenance import provenance
from mvdecor.engine.record import changed
from mvdecor.errors import InputError
from mvdecor.evaluation import ViewMetrics
from mvdecor.fields import load_field, render_views
from mvdecor.figures.layout import save_png
from mvdecor.figures.measured_curves import plot_measured_curves
from mvdecor.files import write_json
from mvdecor.results import format_table
from mvdecor.settings import Count, Settings
from mvdecor.systems.made_up import write_made_up
from mvdecor.systems.semantic_srn.settings import SemanticSRNSettings
from mvdecor.systems.semantic_srn.stages import run_evaluate, run_finetune

Pair = Annotated[list[Count], Field(min_length=2, max_length=2)]


class CurvesSettings(Settings):
    """The group `curves` of configs/curves.yaml."""

    maps: Annotated[list[Pair], Field(description="give pairs [k, v]: v label maps of each of k captures")]
    views: list[Count]


class CurvesConfig(SemanticSRNSettings):
    """configs/curves.yaml, which says what each setting is."""

    curves: CurvesSettings


def run_curves(cfg: DictConfig) -> dict[str, Any]:
    """Measure `cfg.checkpoint`, a pretrained field; writes `out/curves.json` and `out/curves.png`.

    `head` is the label mIoU of the experiment's own head on the captures whose label maps it saw (their other views) and on
    as many other training captures, each with the code of the pretraining: what labels lose from one object to another.

    Each number of label maps has a fine-tuning and an evaluation of its own, in `out/maps_N`; each number of given views an
    evaluation of the head of the experiment's own label maps, in `out/views_N`. What is finished is not run again. Without any
    of both, the head alone is measured, and nothing is plotted.

    Raises:
        InputError: a bad setting, or no checkpoint.
    """
    settings = CurvesConfig.of(cfg, complete=True).curves
    if cfg.checkpoint is None:
        raise InputError("give checkpoint=FOLDER: out/model of scripts/pretrain.py")
    stage_cfg = changed(cfg, evaluation={"mean_code": False})
    OmegaConf.set_struct(stage_cfg, False)
    del stage_cfg["curves"]
    write_made_up(stage_cfg)
    out, rows, finetune = Path(cfg.out), [], cfg.training.finetune
    for k, v in settings.maps:
        metrics = _measured(stage_cfg, out / f"maps_{k * v}", k, v)
        rows.append(_row("label maps", k * v, metrics))
    folder = out / "tuned"
    tuned = _tuned(stage_cfg, folder, finetune.k, finetune.v)
    for v in settings.views:
        view_cfg = changed(
            stage_cfg, out=out / f"views_{v}", checkpoint=folder / "model", evaluation={"v": v, "views": None}
        )
        rows.append(_row("given views", v, run_evaluate(view_cfg)))
    head = _head(stage_cfg, folder / "model", tuned)
    result = {"rows": rows, "head": head} | provenance(cfg) | {"seed": cfg.seed}
    if rank() == 0:
        write_json(out / "curves.json", result)
        if rows:
            save_png(out / "curves.png", plot_measured_curves(panels_of(rows)))
    print("\n" + format_table(rows))
    print(f"label mIoU of the head on training captures: {head['seen']} labelled, {head['others']} others")
    print(f"{out}/curves.json" + (", curves.png" if rows else ""))
    return result


def panels_of(rows: list[dict[str, Any]]) -> dict[str, dict[str, list[tuple[float, float]]]]:
    """The curves of `plot_measured_curves`: label mIoU of the views and, where it was measured, part mIoU of the meshes."""
    panels: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for row in rows:
        for name in ("label_miou", "part_miou"):
            if row[name] is not None:
                curve = panels.setdefault(row["given"], {}).setdefault(name.replace("_miou", " mIoU"), [])
                curve.append((row["number"], row[name]))
    return panels


def _tuned(cfg: DictConfig, out: Path, k: int, v: int) -> Mapping[str, Any]:
    return run_finetune(changed(cfg, out=out, training={"finetune": {"k": k, "v": v}}))


def _measured(cfg: DictConfig, out: Path, k: int, v: int) -> Mapping[str, Any]:
    _tuned(cfg, out, k, v)
    return run_evaluate(changed(cfg, out=out, checkpoint=out / "model"))


def _head(cfg: DictConfig, checkpoint: Path, tuned: Mapping[str, Any]) -> dict[str, float | None]:
    """Label mIoU on the captures of a fine-tuning and on others, see `run_curves`."""
    field, record = load_field(checkpoint)
    captures, labelled = make_capture_set(cfg.capture), list(tuned["captures"])
    unlabelled = [id for id in record["ids"] if id not in labelled and id in captures.ids("train")]
    background = captures.load(labelled[0]).background
    mious = {}
    for name, ids in (
        ("seen", labelled),
        ("others", unlabelled[:: max(1, len(unlabelled) // len(labelled))][: len(labelled)]),
    ):
        metrics = ViewMetrics(captures.label_names, background, tuned["views"])
        for id in ids:
            capture, code = captures.load(id), field.codes.weight[record["ids"].index(id)].detach()
            views = [v for v in measured_views(len(capture), cfg.evaluation.measured) if v in capture.labelled]
            views_of_code = render_views(field, code, capture, views, background)
            metrics.add_labels(id, views, views_of_code.labels, capture.labels(views).long())
        labels = metrics.result()["labels"]
        mious[name] = None if labels is None else labels["miou"]
    return mious


def _row(axis: str, number: int, metrics: Mapping[str, Any]) -> dict[str, Any]:
    images, labels = metrics["images"], metrics["images"]["labels"]
    return {
        "given": axis,
        "number": number,
        "psnr": images["psnr"],
        "label_miou": None if labels is None else labels["miou"],
        "part_miou": metrics["part_miou"],
    }
