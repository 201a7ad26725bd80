"""Posed images written in the formats of others, from the axes of each camera, by code that shares nothing with the readers."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy.spatial.transform import Rotation

from mvdecor.views.cameras import Cameras
from mvdecor.views.placement import look_at

HEIGHT, WIDTH = 24, 32


def some_cameras(count: int = 4) -> Cameras:
    """Cameras of HEIGHT x WIDTH pixels around the origin."""
    turn = torch.arange(count) * 1.1 + 0.3
    centers = torch.stack([2 * turn.sin(), 0.7 * (turn * 2).cos(), 2 * turn.cos()], dim=1)
    rotation, translation = look_at(centers, 0.1 * centers.flip(0))
    matrix = torch.tensor([[30.0, 0, 15], [0, 30, 13], [0, 0, 1]])
    return Cameras(rotation, translation, matrix.expand(count, 3, 3).clone(), HEIGHT, WIDTH)


def centred(cameras: Cameras) -> Cameras:
    """The same with the principal point in the middle."""
    matrix = cameras.intrinsics.clone()
    matrix[:, 0, 2], matrix[:, 1, 2] = cameras.width / 2, cameras.height / 2
    return Cameras(cameras.rotation, cameras.translation, matrix, cameras.height, cameras.width)


def some_images(count: int = 4, channels: int = 3) -> np.ndarray:
    """uint8 [count, HEIGHT, WIDTH, channels], random."""
    return np.random.default_rng(count).integers(0, 255, (count, HEIGHT, WIDTH, channels), dtype=np.uint8)


def directions(cameras: Cameras) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """float64 [N, 3] each: right, down and forward of each camera in the world, and its position."""
    rotation = cameras.rotation.double().numpy()
    return rotation[:, 0], rotation[:, 1], rotation[:, 2], cameras.centers.double().numpy()


def matrices(x: np.ndarray, y: np.ndarray, z: np.ndarray, center: np.ndarray) -> np.ndarray:
    """float64 [N, 4, 4], camera to world, of the three axes and the position."""
    poses = np.tile(np.eye(4), (len(x), 1, 1))
    poses[:, :3] = np.stack([x, y, z, center], axis=2)
    return poses


def save_images(folder: Path, images: np.ndarray, names: list[str]) -> None:
    for image, name in zip(images, names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / name)


def write_srn(folder: Path, cameras: Cameras, images: np.ndarray, first: str = "") -> None:
    """SRN's layout; pictures are named 000000.png, ..., with `first` before them."""
    names = [f"{first}{i:06d}" for i in range(len(cameras))]
    save_images(folder / "rgb", images, [f"{name}.png" for name in names])
    right, down, forward, center = directions(cameras)
    (folder / "pose").mkdir(parents=True)
    for name, pose in zip(names, matrices(right, down, forward, center)):
        (folder / "pose" / f"{name}.txt").write_text(" ".join(repr(float(x)) for x in pose.reshape(-1)))
    k = cameras.intrinsics[0].tolist()
    lines = [f"{k[0][0]} {k[0][2]} {k[1][2]} 0.", "0. 0. 0.", "1.", f"{cameras.height} {cameras.width}"]
    (folder / "intrinsics.txt").write_text("\n".join(lines) + "\n")


def write_transforms(folder: Path, cameras: Cameras, images: np.ndarray, **values: float) -> Path:
    """instant-ngp's layout, with more values of the lens."""
    names = [f"images/{i:04d}.png" for i in range(len(cameras))]
    save_images(folder, images, names)
    right, down, forward, center = directions(cameras)
    poses = matrices(right, -down, -forward, center)
    k = cameras.intrinsics[0].tolist()
    lens = {"fl_x": k[0][0], "fl_y": k[1][1], "cx": k[0][2], "cy": k[1][2], "w": cameras.width, "h": cameras.height}
    frames = [{"file_path": name, "transform_matrix": pose.tolist()} for name, pose in zip(names, poses)]
    path = folder / "transforms.json"
    path.write_text(json.dumps({**lens, **values, "frames": frames}))
    return path


def write_llff(folder: Path, cameras: Cameras, images: np.ndarray, scale: float = 1.0) -> None:
    """LLFF's layout; the original pictures were `scale` times as large."""
    save_images(folder / "images", images, [f"{i:03d}.png" for i in range(len(cameras))])
    right, down, forward, center = directions(cameras)
    size = scale * np.array([cameras.height, cameras.width, float(cameras.intrinsics[0, 0, 0])])
    poses = np.stack([down, right, -forward, center, np.tile(size, (len(cameras), 1))], axis=2)
    bounds = np.array([[1.0 + 0.1 * i, 5.0] for i in range(len(cameras))])
    np.save(folder / "poses_bounds.npy", np.concatenate([poses.reshape(-1, 15), bounds], axis=1))


def write_colmap(folder: Path, cameras: Cameras, images: np.ndarray, names: list[str]) -> None:
    """COLMAP's text model with one camera, without points."""
    save_images(folder / "images", images, names)
    model = folder / "sparse" / "0"
    model.mkdir(parents=True)
    k = cameras.intrinsics[0].tolist()
    lens = f"PINHOLE {cameras.width} {cameras.height} {k[0][0]} {k[1][1]} {k[0][2]} {k[1][2]}"
    (model / "cameras.txt").write_text(f"# Camera list\n7 {lens}\n")
    lines = ["# Image list"]
    for i, (rotation, translation) in enumerate(zip(cameras.rotation.double().numpy(), cameras.translation.tolist())):
        x, y, z, w = Rotation.from_matrix(rotation).as_quat()
        lines += [" ".join(map(str, [i + 1, w, x, y, z, *translation, 7, names[i]])), ""]
    (model / "images.txt").write_text("\n".join(lines) + "\n")
    (model / "points3D.txt").write_text("# 3D point list\n")


NAMES = [f"street {i}/photo_{i}.png" for i in range(4)]  # with a space and a folder, as COLMAP allows
WRITERS: dict[str, Callable[[Path, Cameras, np.ndarray], object]] = {
    "srn": write_srn,
    "nsvf": lambda folder, cameras, images: write_srn(folder, cameras, images, first="0_"),
    "transforms": write_transforms,
    "llff": write_llff,
    "colmap": lambda folder, cameras, images: write_colmap(folder, cameras, images, NAMES),
}


def written(format: str, folder: Path) -> Cameras:
    """Four views in a format; gives their cameras."""
    cameras = centred(some_cameras()) if format == "llff" else some_cameras()
    WRITERS[format](folder, cameras, some_images())
    return cameras
