"""How far PartNet's two kinds of labels agree: python scripts/label_agreement.py data.root=DIR data.category=Bottle"""

from omegaconf import DictConfig, OmegaConf

from mvdecor.engine.cli import main
from mvdecor.errors import InputError
from mvdecor.evaluation import format_table
from mvdecor.shapes import PartNet
from mvdecor.shapes.point_labels import area_agreement
from mvdecor.systems.mvdecor.setup import make_shape_set


def print_agreement(cfg: DictConfig) -> None:
    """Print the share of the area, in percent, on which `data.labels=tree` and `data.labels=points` agree.

    One row a shape of `evaluation.split`, with the residual of its points' alignment in percent of the shape's radius, and
    the mean of the category. Shapes that cannot be read are listed under `data.on_error=skip`. Several categories:
    `-m data.category=Bottle,Chair`.
    """
    if OmegaConf.select(cfg, "data.labels") is None:
        raise InputError(f"data={cfg.data.name} has one kind of labels only: use data=partnet")
    settings = OmegaConf.to_container(cfg.data.labelled, resolve=True)
    tree, points = (make_shape_set(OmegaConf.create({**settings, "labels": kind})) for kind in ("tree", "points"))
    assert isinstance(points, PartNet)
    rows, skipped = [], []
    for id in points.ids(cfg.evaluation.split)[: cfg.evaluation.limit]:
        try:
            shape, alignment = points.load_aligned(id)
            share = area_agreement(tree.load(id), shape)
        except InputError as error:
            if cfg.data.on_error != "skip":
                raise
            skipped.append((id, error))
            continue
        rows.append({"category": shape.category, "shape": id, "area": share, "residual": 100 * alignment.residual})
    if not rows:
        raise InputError(f"no shape of split {cfg.evaluation.split} could be compared; {len(skipped)} were skipped")
    mean = {key: sum(row[key] for row in rows) / len(rows) for key in ("area", "residual")}
    print(format_table([*rows, {"category": cfg.data.category, "shape": f"mean of {len(rows)}", **mean}]))
    for id, reason in skipped:
        print(f"skipped {id}: {reason}")


if __name__ == "__main__":
    main(print_agreement)
