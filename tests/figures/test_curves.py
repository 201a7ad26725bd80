import numpy as np

from mvdecor.figures.curves import plot_transfer_curves


def summary(share: float) -> dict:
    row = {"points": 50, "within": {"2": share / 2, "5": share}, "chance": {"2": 1, "5": 4}, "same_pixel": share / 3}
    rare = {**row, "from": 45, "to": 60, "points": 0.5, "same_pixel": 0}
    return {
        "by_angle": [{"from": 0, "to": 15, **row}, {"from": 30, "to": 45, **row}, rare],
        "by_distance": [{"distance": d, "share": share, "chance": d} for d in range(3)],
    }


def test_curves_show_the_figures():
    pictures = [plot_transfer_curves(summary(share)) for share in (60, 60, 90)]
    assert pictures[0].dtype == np.uint8 and pictures[0].shape[2] == 3 and pictures[0].shape[1] >= 900
    np.testing.assert_array_equal(pictures[0], pictures[1])
    assert (pictures[0] != pictures[2]).any()
    assert 0.01 < (pictures[0] < 250).any(-1).mean() < 0.4
