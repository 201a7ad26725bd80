"""How far PartNet's two kinds of labels agree: python scripts/label_agreement.py data.root=DIR data.category=Bottle"""

from omegaconf import DictConfig, OmegaConf

from mvdecor.errors import InputError
from mvdecor.evaluation import format_table
from mvdecor.shapes import PartNet, load_shapes
from mvdecor.shapes.point_labels import area_agreement
from mvdecor.training.cli import main
from mvdecor.training.setup import make_shape_set


def print_agreement(cfg: DictConfig) -> None:
    """Print the share of the area on which `data.labels=tree` and `data.labels=points` agree.

    One row a shape of `evaluation.split`, with the residual of its points' alignment, then their mean; shapes that cannot
    be read are listed under `data.on_error=skip`. Several categories: `-m data.category=Bottle,Chair`.
    """
    if OmegaConf.select(cfg, "data.labels") is None:
        raise InputError(f"data={cfg.data.name} has one kind of labels only: use data=partnet")
    tree, points = (make_shape_set(OmegaConf.merge(cfg.data.labelled, {"labels": kind})) for kind in ("tree", "points"))
    assert isinstance(points, PartNet)
    shapes, skipped = load_shapes(points, points.ids(cfg.evaluation.split)[: cfg.evaluation.limit], cfg.data.on_error)
    agree = [area_agreement(tree.load(shape.id), shape) for shape in shapes]
    rows = [
        {"category": s.category, "shape": s.id, "area_agreeing": share} for s, share in zip(shapes, agree, strict=True)
    ]
    mean = {"category": cfg.data.category, "shape": f"mean of {len(shapes)}", "area_agreeing": sum(agree) / len(agree)}
    print(format_table([*rows, mean]))
    for id, reason in skipped:
        print(f"skipped {id}: {reason}")


if __name__ == "__main__":
    main(print_agreement)
