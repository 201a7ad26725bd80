"""What a reader makes of posed images: a table, and a picture of each capture (scripts/captures.py, docs/captures.md)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from omegaconf import DictConfig
from PIL import Image
from pydantic import Field

from mvdecor.captures import Capture, make_capture_set
from mvdecor.figures import save_png
from mvdecor.figures.cameras import plot_cameras
from mvdecor.figures.layout import legend, sheet, stack
from mvdecor.figures.palette import BACKGROUND, colours_of, label_palette
from mvdecor.settings import Count, PathName, Settings, WholeNumber
from mvdecor.views.placement import meeting_point

CELL = 104  # pixels of their longer side
PLOT = 320  # pixels of the plot's sides


class CapturesSettings(Settings):
    """configs/captures.yaml; the groups `data` and `capture` belong to the classes that they name."""

    data: Annotated[dict[str, Any], Field(description="choose one of configs/data")]
    capture: Annotated[dict[str, Any], Field(description="choose one of configs/capture")]
    out: PathName
    split: Literal["train", "val", "test", "unlabelled", "all"]
    limit: Count
    pictures: WholeNumber
    seed: WholeNumber


def run_captures(cfg: DictConfig) -> list[Path]:
    """Read the first captures of a set, print what they hold, and write `out/ID.png` of each.

    Returns:
        The pictures.

    Raises:
        InputError: a bad setting, or a bad capture.
    """
    settings = CapturesSettings.of(cfg)
    captures = make_capture_set(cfg.capture)
    ids = captures.ids(settings.split)
    print(f"{len(ids)} captures, the first {min(len(ids), settings.limit)} of them:")
    files = []
    for id in ids[: settings.limit]:
        capture = captures.load(id)
        print(f"  {id}: {describe(capture)}", flush=True)
        if looking_away(capture) > len(capture) / 2:
            print(
                f"  warning: {id}: most cameras look away from the point that is nearest to their axes: are the poses in the "
                "axes that this reader expects (docs/captures.md, Frames)?",
                flush=True,
            )
        files.append(Path(settings.out) / f"{id}.png")
        save_png(files[-1], plot_capture(capture, settings.pictures))
    print(f"pictures: {settings.out}")
    return files


def looking_away(capture: Capture) -> int:
    """How many cameras have the point nearest to all optical axes behind them, as with the axes of another convention."""
    target = torch.from_numpy(meeting_point(capture.cameras)).float()
    return int(((target - capture.cameras.centers) * capture.cameras.rotation[:, 2]).sum(dim=-1).lt(0).sum())


def describe(capture: Capture) -> str:
    """One line: views, size, focal length, bounds, alpha, label maps."""
    cameras, focal = capture.cameras, capture.cameras.intrinsics[:, 0, 0]
    parts = [f"{len(capture)} views of {cameras.width}x{cameras.height}", f"focal length {focal.mean():.1f} px"]
    if capture.near is not None and capture.far is not None:
        parts.append(f"near {float(capture.near.min()):.3g}, far {float(capture.far.max()):.3g}")
    parts += ["alpha"] if capture.has_alpha else []
    if capture.labelled:
        parts.append(f"{len(capture.labelled)} label maps of {len(capture.label_names)} labels")
    return ", ".join(parts)


def plot_capture(capture: Capture, pictures: int = 3) -> NDArray[np.uint8]:
    """The cameras as frusta beside some of the pictures and, where there are any, their label maps.

    Returns:
        uint8 [height, width, 3].
    """
    plot = plot_cameras(capture.cameras, f"{capture.id}, {len(capture)} cameras", PLOT)
    if pictures == 0:
        return plot
    views = _spread(capture.labelled or tuple(range(len(capture))), pictures)
    rows = [[_small(capture.images([view])[0].numpy(), Image.Resampling.BOX) for view in views]]
    legends = []
    if capture.labelled:
        maps, palette = capture.labels(views).numpy().astype(np.int64), label_palette(len(capture.label_names))
        maps[maps == capture.background] = BACKGROUND  # white
        rows.append([_small(colours_of(labels, palette), Image.Resampling.NEAREST) for labels in maps])
        occurring = np.array([k for k in np.unique(maps) if k != BACKGROUND])
        names = [capture.label_names[k] if k >= 0 else "undetermined" for k in occurring]
        legends = [legend(names, colours_of(occurring, palette), len(views) * CELL)] if names else []
    samples = stack([sheet(rows, columns=[f"view {view}" for view in views]), *legends])
    return sheet([[plot, samples]])


def _spread(views: tuple[int, ...], count: int) -> list[int]:
    """`count` views at most, far apart in their order."""
    positions = np.linspace(0, len(views) - 1, min(count, len(views))).round().astype(int)
    return [views[i] for i in positions]


def _small(picture: NDArray[np.uint8], resampling: Image.Resampling) -> NDArray[np.uint8]:
    image = Image.fromarray(picture)
    scale = CELL / max(image.size)
    return np.array(image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))), resampling))
