"""How much it takes: a pretrained field fine-tuned on more or fewer label maps, and codes inferred from more or fewer views."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from omegaconf import DictConfig
from pydantic import Field

from mvdecor.engine.distributed import rank
from mvdecor.engine.provenance import provenance
from mvdecor.engine.record import changed
from mvdecor.errors import InputError
from mvdecor.figures.layout import save_png
from mvdecor.figures.measured_curves import plot_measured_curves
from mvdecor.files import write_json
from mvdecor.results import format_table
from mvdecor.settings import Count, Settings
from mvdecor.systems.made_up import write_made_up
from mvdecor.systems.semantic_srn.settings import SemanticSRNSettings
from mvdecor.systems.semantic_srn.stages import run_evaluate, run_finetune


class CurvesSettings(Settings):
    """The group `curves` of configs/curves.yaml."""

    maps: Annotated[
        list[tuple[Count, Count]], Field(description="give pairs [k, v]: v label maps of each of k captures")
    ]
    views: list[Count]


class CurvesConfig(SemanticSRNSettings):
    """configs/curves.yaml, which says what each setting is."""

    curves: CurvesSettings


def run_curves(cfg: DictConfig) -> dict[str, Any]:
    """Measure `cfg.checkpoint`, a pretrained field; writes `out/curves.json` and `out/curves.png`.

    Each number of label maps has a fine-tuning and an evaluation of its own, in `out/maps_N`; each number of given views an
    evaluation of the head of the experiment's own label maps, in `out/views_N`. What is finished is not run again.

    Raises:
        InputError: a bad setting, or no checkpoint.
    """
    settings = CurvesConfig.of(cfg, complete=True).curves
    if cfg.checkpoint is None:
        raise InputError("give checkpoint=FOLDER: out/model of scripts/pretrain.py")
    stage_cfg = cfg.copy()
    del stage_cfg["curves"]
    write_made_up(stage_cfg)
    out, rows = Path(cfg.out), []
    finetune = stage_cfg.training.finetune
    maps = [(k, v) for k, v in settings.maps]
    for k, v in maps:
        metrics = _measured(stage_cfg, out / f"maps_{k * v}", k, v)
        rows.append(_row("label maps", k * v, metrics))
    own = _tuned(stage_cfg, out / "tuned", finetune.k, finetune.v)
    for v in settings.views:
        given = changed(stage_cfg, out=out / f"views_{v}", checkpoint=own / "model", evaluation={"v": v, "views": None})
        rows.append(_row("given views", v, run_evaluate(given)))
    result = {"rows": rows} | provenance(cfg) | {"seed": cfg.seed}
    if rank() == 0:
        write_json(out / "curves.json", result)
        save_png(out / "curves.png", plot_measured_curves(panels_of(rows)))
    print("\n" + format_table(rows) + f"\n{out}/curves.json, curves.png")
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


def _tuned(cfg: DictConfig, out: Path, k: int, v: int) -> Path:
    run_finetune(changed(cfg, out=out, training={"finetune": {"k": k, "v": v}}))
    return out


def _measured(cfg: DictConfig, out: Path, k: int, v: int) -> Mapping[str, Any]:
    _tuned(cfg, out, k, v)
    return run_evaluate(changed(cfg, out=out, checkpoint=out / "model"))


def _row(given: str, number: int, metrics: Mapping[str, Any]) -> dict[str, Any]:
    images, labels = metrics["images"], metrics["images"]["labels"]
    return {
        "given": given,
        "number": number,
        "psnr": images["psnr"],
        "label_miou": None if labels is None else labels["miou"],
        "part_miou": metrics["part_miou"],
    }
