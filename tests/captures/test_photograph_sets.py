"""Data sets of photographs: tiny ones in the true formats, written by code of their own, and real samples."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import savemat

from mvdecor.captures import (
    CMR,
    CUB,
    CocoPhotographs,
    Pascal3D,
    StanfordExtra,
    load_photographs,
)
from mvdecor.captures.cub import CUB_KEYPOINTS
from mvdecor.engine.cli import CONFIGS
from mvdecor.errors import InputError
from mvdecor.systems.to_the_point.photos import photographs_of
from tests.photo_files import DATA, HEIGHT, SAMPLES, WIDTH, compressed, image, mask, runs_of, save, struct_array


@pytest.fixture
def cub(tmp_path: Path) -> Path:
    return write_cub(tmp_path / "CUB_200_2011")


def write_cub(root: Path) -> Path:
    """Seven birds: three official training images, the last with 5 keypoints, and four test images of 15, 6, 7, 15."""
    seen = (15, 6, 5, 15, 6, 7, 15)
    names = [f"00{i}.Bird/Bird {i}" for i in range(1, 8)]
    lines: dict[str, list[str]] = {name: [] for name in ("images", "train_test_split", "bounding_boxes", "part_locs")}
    for i, (name, count) in enumerate(zip(names, seen, strict=True), start=1):
        save(root / "images" / f"{name}.jpg", image(i))
        save(root / "segmentations" / f"{name}.png", (np.where(mask(), 153, 51)).astype(np.uint8))
        lines["images"].append(f"{i} {name}.jpg")
        lines["train_test_split"].append(f"{i} {int(i <= 3)}")
        lines["bounding_boxes"].append(f"{i} 5.0 4.0 7.0 6.0")
        for part in range(1, 16):
            visible = int(part <= count)
            lines["part_locs"].append(f"{i} {part} {(part + 0.5) * visible} {4.0 * visible} {visible}")
    (root / "parts").mkdir()
    for name, content in lines.items():
        (root / ("parts" if name == "part_locs" else ".") / f"{name}.txt").write_text("\n".join(content) + "\n")
    parts = [f"{i} {name.replace('_', ' ')}" for i, name in enumerate(CUB_KEYPOINTS, start=1)]
    (root / "parts" / "parts.txt").write_text("\n".join(parts) + "\n")
    return root


def test_official_cub(cub: Path, tmp_path: Path) -> None:
    official = CUB(cub)
    assert [len(official.ids(split)) for split in ("train", "test", "all")] == [3, 4, 7]
    bird = official.load("002.Bird/Bird 2")
    np.testing.assert_array_equal(bird.mask, mask())
    assert bird.box == (4.0, 3.0, 11.0, 9.0)  # pixels 4 to 10 and 3 to 8, counted from 0
    np.testing.assert_allclose(bird.keypoints[:6], [[part + 0.0, 3.5, 1] for part in range(1, 7)])
    assert not bird.keypoints[6:].any()
    with pytest.raises(InputError, match="no split 'val' of its own"):
        official.ids("val")
    (tmp_path / "cmr.json").write_text(json.dumps({"val": [0, 1], "test": [1, 2]}))
    lists = {doubled: CUB(cub, tmp_path / "cmr.json", doubled) for doubled in (True, False)}
    assert lists[True].ids("train") == ["001.Bird/Bird 1", "002.Bird/Bird 2"]
    assert lists[True].ids("val") == ["004.Bird/Bird 4", "006.Bird/Bird 6"]
    assert lists[False].ids("val") == ["004.Bird/Bird 4"]
    assert lists[False].ids("test") == lists[True].ids("test") == ["006.Bird/Bird 6", "007.Bird/Bird 7"]
    (cub / "segmentations" / "002.Bird" / "Bird 2.png").unlink()
    with pytest.raises(InputError, match=r"unpack CUB's segmentations.tgz"):
        official.load("002.Bird/Bird 2")


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("images.txt", None, "cannot be read"),
        ("bounding_boxes.txt", "1 2 3\n", "should have 5 columns"),
        ("bounding_boxes.txt", "1 a b c d\n", "should be numbers"),
        ("train_test_split.txt", "1 1\n", "has no line of image"),
        ("parts/parts.txt", "1 nose\n", "other parts"),
        ("parts/part_locs.txt", "1 16 3 3 1\n", "does not exist"),
    ],
)
def test_damaged_cub(cub: Path, file: str, content: str | None, message: str) -> None:
    (cub / file).unlink() if content is None else (cub / file).write_text(content)
    with pytest.raises(InputError, match=message):
        CUB(cub)


def cmr_rows(names: list[str]) -> list[dict]:
    parts = np.tile(np.array([[5.5], [4.0], [1.0]]), (1, 15))
    parts[:, 3] = 0
    box = {"x1": 5.0, "y1": 4.0, "x2": 11.0, "y2": 9.0}
    return [{"rel_path": name, "bbox": box, "parts": parts, "mask": mask().astype(np.uint8)} for name in names]


def test_cmr_files(tmp_path: Path) -> None:
    names = {"train": ["a/1.jpg", "a/2.jpg"], "val": ["b/3.jpg", "b/4.jpg"], "test": ["b/4.jpg"]}
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    rotation *= np.linalg.det(rotation)
    files, cameras = {}, {}
    for split, some in names.items():
        for name in some:
            save(tmp_path / "images" / name, image())
        files[split], cameras[split] = tmp_path / f"{split}_cub_cleaned.mat", tmp_path / f"anno_{split}.mat"
        savemat(files[split], {"images": struct_array(cmr_rows(some))})
        pose = {"rot": rotation, "scale": 7.0, "trans": np.array([6.5, 5.5])}
        savemat(cameras[split], {"sfm_anno": struct_array([pose] * len(some))})
    source = CMR(tmp_path / "images", files, cameras)
    assert [source.ids(split) for split in ("train", "val", "test")] == [["a/1", "a/2"], ["b/3", "b/4"], ["b/4"]]
    assert CMR(tmp_path / "images", files, doubled=False).ids("val") == ["b/3"]
    bird = source.load("b/4")
    np.testing.assert_array_equal(bird.mask, mask())
    assert bird.box == (4.0, 3.0, 11.0, 9.0)
    np.testing.assert_array_equal(bird.keypoints[0], [5.0, 3.5, 1])
    assert not bird.keypoints[3].any()
    points = np.random.default_rng(1).normal(size=(1, 5, 3))
    theirs = 7.0 * points[0] @ rotation.T[:, :2] + np.array([6.5, 5.5])  # from 1
    ours = bird.cameras.project(torch.from_numpy(points).float())[0][0]
    np.testing.assert_allclose(ours.numpy(), theirs - 0.5, atol=1e-4)
    savemat(files["val"], {"images": struct_array([{"rel_path": "b/3.jpg"}])})
    with pytest.raises(InputError, match="is it CMR's file"):
        CMR(tmp_path / "images", files)
    files["val"].write_bytes(b"MATLAB 7.3 MAT-file")
    with pytest.raises(InputError, match="cannot be read as a MATLAB file"):
        CMR(tmp_path / "images", files)


def test_cmr_files_of_other_categories(tmp_path: Path) -> None:
    """PASCAL3D+ as CMR prepared it: other keypoints, NaN where they are not seen."""
    save(tmp_path / "images" / "car.jpg", image())
    row = cmr_rows(["car.jpg"])[0] | {"parts": np.array([[5.5, np.nan, 7], [4.0, np.nan, 5], [1, 0, 1]])}
    savemat(tmp_path / "car_train.mat", {"images": struct_array([row])})
    names = np.array(["lamp_left", "lamp_right", "roof"], dtype=object)
    savemat(tmp_path / "car_kps.mat", {"kp_names": names, "kp_perm_inds": np.array([2, 1, 3])})
    source = CMR(tmp_path / "images", {"train": tmp_path / "car_train.mat"}, keypoints=tmp_path / "car_kps.mat")
    assert source.keypoint_names == ("lamp_left", "lamp_right", "roof") and source.mirror == (1, 0, 2)
    np.testing.assert_array_equal(source.load("car").keypoints, [[5.0, 3.5, 1], [0, 0, 0], [6.5, 4.5, 1]])
    savemat(tmp_path / "car_kps.mat", {"kp_names": names, "kp_perm_inds": np.array([2, 3, 1])})
    with pytest.raises(InputError, match="mirror must swap"):
        CMR(tmp_path / "images", {}, keypoints=tmp_path / "car_kps.mat")


# --- PASCAL3D+ -----------------------------------------------------------------------------------------------------


def viewpoint(**change: float) -> dict:
    return {
        "azimuth": 40.0, "elevation": 20.0, "theta": 10.0, "distance": 5.0,
        "focal": 1.0, "px": 8.0, "py": 6.0, "viewport": 3000.0, **change,
    }  # fmt: skip


def slow_projection(point: np.ndarray, v: dict) -> np.ndarray:
    """PASCAL3D+'s own words: the viewport's camera at azimuth, elevation, distance; divide; turn by theta; y down."""
    a, e, t = np.radians([v["azimuth"], v["elevation"], v["theta"]])
    centre = v["distance"] * np.array([np.cos(e) * np.sin(a), -np.cos(e) * np.cos(a), np.sin(e)])

    def about(axis, angle):
        c, s = np.cos(angle), np.sin(angle)
        return {"x": np.array([[1, 0, 0], [0, c, -s], [0, s, c]]), "z": np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])}[
            axis
        ]

    x = about("x", e - np.pi / 2) @ about("z", -a) @ (point - centre)
    u = v["viewport"] * v["focal"] * x[:2] / -x[2]
    u = about("z", t)[:2, :2] @ u
    return np.array([u[0] + v["px"], -u[1] + v["py"]])


@pytest.fixture
def pascal3d(tmp_path: Path) -> Path:
    return write_pascal3d(tmp_path / "PASCAL3D+")


def write_pascal3d(root: Path) -> Path:
    anchors = {
        "left_wing": {"location": np.array([3.0, 4.0]), "status": 1},
        "tail": {"location": np.zeros((0, 0)), "status": 2},
    }
    right = {
        "class": "aeroplane", "bbox": np.array([5.0, 4.0, 11.0, 9.0]), "difficult": 0, "truncated": 0, "occluded": 0,
        "cad_index": 2, "anchors": anchors, "viewpoint": viewpoint(),
    }  # fmt: skip
    coarse = right | {"viewpoint": viewpoint(distance=0.0)}
    rows = [right, right | {"class": "car"}, right | {"truncated": 1}, coarse]
    folder = root / "Annotations" / "aeroplane_pascal"
    folder.mkdir(parents=True)
    savemat(folder / "2008_1.mat", {"record": {"filename": "2008_1.jpg", "objects": struct_array(rows)}})
    savemat(folder / "2008_2.mat", {"record": {"filename": "2008_2.jpg", "objects": struct_array([right])}})
    for name in ("2008_1", "2008_2"):
        save(root / "Images" / "aeroplane_pascal" / f"{name}.jpg", image())
    (root / "CAD").mkdir()
    models = [{"vertices": np.eye(3) * i, "faces": np.array([[1, 2, 3]])} for i in (1.0, 2.0)]
    savemat(root / "CAD" / "aeroplane.mat", {"aeroplane": struct_array(models)})
    return root


def test_pascal3d(pascal3d: Path, tmp_path: Path) -> None:
    source = Pascal3D(pascal3d, "aeroplane")
    assert source.ids("all") == ["2008_1", "2008_1.3", "2008_2"]
    assert Pascal3D(pascal3d, "aeroplane", whole=False).ids("all") == ["2008_1", "2008_1.2", "2008_1.3", "2008_2"]
    assert source.keypoint_names == ("left_wing", "tail")
    plane = source.load("2008_1")
    assert plane.box == (4.0, 3.0, 11.0, 9.0) and plane.mask is None
    np.testing.assert_allclose(plane.keypoints, [[2.5, 3.5, 1], [0, 0, 0]])
    assert source.load("2008_1.3").cameras is None
    points = np.random.default_rng(0).normal(0, 0.2, (1, 6, 3))
    ours, depth = plane.cameras.project(torch.from_numpy(points).float())
    expected = np.array([slow_projection(point, viewpoint()) for point in points[0]])
    np.testing.assert_allclose(ours[0].numpy(), expected - 0.5, atol=2e-3)
    assert bool((depth > 4).all())
    assert source.cad_index("2008_1") == 1
    np.testing.assert_allclose(source.cads()[1].vertices.numpy(), 2 * np.eye(3))
    (tmp_path / "val.txt").write_text("2008_2\n")
    assert Pascal3D(pascal3d, "aeroplane", splits={"val": tmp_path / "val.txt"}).ids("unlabelled") == [
        "2008_1",
        "2008_1.3",
    ]
    save(tmp_path / "masks" / "2008_1.png", 255 * mask().astype(np.uint8))
    masked = Pascal3D(pascal3d, "aeroplane", masks=tmp_path / "masks")
    np.testing.assert_array_equal(masked.load("2008_1").mask, mask())
    with pytest.raises(InputError, match="has no mask"):
        masked.load("2008_2")
    with pytest.raises(InputError, match="no annotation of category car"):
        Pascal3D(pascal3d, "car")


# --- COCO and StanfordExtra ----------------------------------------------------------------------------------------


def coco_content() -> dict:
    annotation = {
        "image_id": 7,
        "category_id": 2,
        "bbox": [4, 3, 7, 6],
        "iscrowd": 0,
        "keypoints": [3, 4, 2, 5, 6, 1, 0, 0, 0],
    }
    return {
        "images": [{"id": 7, "file_name": "seven.png", "width": WIDTH, "height": HEIGHT}],
        "categories": [
            {"id": 1, "name": "cat", "keypoints": []},
            {"id": 2, "name": "dog", "keypoints": ["left_eye", "right_eye", "nose"]},
        ],
        "annotations": [
            annotation | {"id": 1, "segmentation": {"size": [HEIGHT, WIDTH], "counts": compressed(runs_of(mask()))}},
            annotation | {"id": 2},
            annotation | {"id": 3, "category_id": 1},
            annotation | {"id": 4, "iscrowd": 1},
        ],
    }


def test_coco(tmp_path: Path) -> None:
    save(tmp_path / "images" / "seven.png", image())
    (tmp_path / "coco.json").write_text(json.dumps(coco_content()))
    source = CocoPhotographs(tmp_path / "coco.json", tmp_path / "images", "dog")
    assert source.ids("train") == ["1", "2"] and source.mirror == (1, 0, 2)
    dog = source.load("1")
    np.testing.assert_array_equal(dog.mask, mask())
    assert dog.box == (4.0, 3.0, 11.0, 9.0)
    np.testing.assert_array_equal(dog.keypoints, [[3.5, 4.5, 1], [0, 0, 0], [0, 0, 0]])
    hidden = CocoPhotographs(tmp_path / "coco.json", tmp_path / "images", "dog", require_masks=False, hidden=True)
    np.testing.assert_array_equal(hidden.load("2").keypoints[1], [5.5, 6.5, 1])
    assert hidden.load("2").mask is None
    with pytest.raises(InputError, match="has no segmentation"):
        source.load("2")
    with pytest.raises(InputError, match="choose one of cat, dog"):
        CocoPhotographs(tmp_path / "coco.json", tmp_path / "images")
    (tmp_path / "coco.json").write_text(json.dumps({"images": []}))
    with pytest.raises(InputError, match="not in COCO's format"):
        CocoPhotographs(tmp_path / "coco.json", tmp_path / "images")


@SAMPLES
def test_real_dogs() -> None:
    folder = DATA / "stanfordextra"
    source = StanfordExtra(folder / "StanfordExtra_sample.json", folder / "sample_imgs")
    dogs, refused = load_photographs(source, source.ids("all"))
    assert len(dogs) == 25 and not refused and len(source.keypoint_names) == 24
    for dog in dogs:
        left, top, right, bottom = (int(value) for value in dog.box)
        assert dog.mask[top:bottom, left:right].sum() > 0.97 * dog.mask.sum(), "the box holds the mask"
        visible = dog.keypoints[dog.keypoints[:, 2] > 0, :2]
        near = [dog.mask[max(0, int(y) - 6) : int(y) + 7, max(0, int(x) - 6) : int(x) + 7].any() for x, y in visible]
        assert np.mean(near) > 0.9, "the keypoints lie on the dog"


@SAMPLES
@pytest.mark.parametrize(
    ("file", "category", "masks"),
    [
        ("coco/test_coco.json", "person", True),
        ("ap10k/test_ap10k.json", "antelope", False),
        ("horse10/test_horse10.json", "horse", False),
        ("animalpose/test_animalpose.json", None, False),
    ],
)
def test_real_samples_of_cocos_format(file: str, category: str | None, masks: bool) -> None:
    path = DATA / "mmpose_samples" / "tests" / "data" / file
    names = [one["name"] for one in json.loads(path.read_text())["categories"]]
    source, count = CocoPhotographs(path, path.parent, category or names[0], require_masks=masks), 0
    for id in source.ids("all"):
        photograph = source.load(id)
        count += photograph.keypoints[:, 2].sum()
        if masks:
            left, top, right, bottom = photograph.box
            rows, columns = photograph.mask.nonzero()
            assert abs(columns.min() - left) < 2 and abs(columns.max() + 1 - right) < 2
            assert abs(rows.min() - top) < 2 and abs(rows.max() + 1 - bottom) < 2
    assert count > 5


@SAMPLES
def test_the_lists_of_cmr_have_one_image_in_both() -> None:
    lists = json.loads((DATA / "cub_testval_split_indices.json").read_text())
    assert len(lists["val"]) == len(lists["test"]) == 2874
    assert len(set(lists["val"]) & set(lists["test"])) == 1 and len(set(lists["val"]) | set(lists["test"])) == 5747


# --- configs/photographs -------------------------------------------------------------------------------------------


def folder_words(tmp_path: Path) -> list[str]:
    save(tmp_path / "images" / "a.png", image())
    save(tmp_path / "masks" / "a.png", 255 * mask().astype(np.uint8))
    return [f"photographs.root={tmp_path}"]


def cub_words(tmp_path: Path) -> list[str]:
    return [f"photographs.root={write_cub(tmp_path / 'CUB_200_2011')}"]


def cmr_words(tmp_path: Path) -> list[str]:
    save(tmp_path / "images" / "a" / "1.jpg", image())
    pose = {"rot": np.eye(3), "scale": 7.0, "trans": np.array([6.5, 5.5])}
    savemat(tmp_path / "train_cub_cleaned.mat", {"images": struct_array(cmr_rows(["a/1.jpg"]))})
    savemat(tmp_path / "anno_train.mat", {"sfm_anno": struct_array([pose])})
    return [
        f"photographs.images={tmp_path / 'images'}",
        f"photographs.files={{train:{tmp_path / 'train_cub_cleaned.mat'}}}",
        f"photographs.cameras={{train:{tmp_path / 'anno_train.mat'}}}",
    ]


def pascal3d_words(tmp_path: Path) -> list[str]:
    root = write_pascal3d(tmp_path / "PASCAL3D+")
    for name in ("2008_1", "2008_1.3", "2008_2"):
        save(tmp_path / "masks" / f"{name}.png", 255 * mask().astype(np.uint8))
    words = ["photographs.sources=[pascal]"]
    return [*words, f"photographs.root={root}", f"photographs.masks={tmp_path / 'masks'}"]


def stanford_extra_words(tmp_path: Path) -> list[str]:
    save(tmp_path / "images" / "n1-pug" / "n1_1.jpg", image())
    dog = {
        "img_path": "n1-pug/n1_1.jpg", "img_width": WIDTH, "img_height": HEIGHT, "img_bbox": [4, 3, 7, 6],
        "is_multiple_dogs": False, "joints": [[5, 4, 1]] * 24,
        "seg": {"size": [HEIGHT, WIDTH], "counts": compressed(runs_of(mask()))},
    }  # fmt: skip
    (tmp_path / "dogs.json").write_text(json.dumps([dog]))
    return [f"photographs.annotations={tmp_path / 'dogs.json'}", f"photographs.images={tmp_path / 'images'}"]


def coco_words(tmp_path: Path) -> list[str]:
    save(tmp_path / "images" / "seven.png", image())
    content = coco_content()
    content["annotations"] = content["annotations"][:1]
    (tmp_path / "coco.json").write_text(json.dumps(content))
    words = ["photographs.category=dog", f"photographs.images={tmp_path / 'images'}"]
    return [*words, f"photographs.annotations={tmp_path / 'coco.json'}"]


@pytest.mark.parametrize("name", sorted(path.stem for path in Path(CONFIGS, "photographs").glob("*.yaml")))
def test_each_configuration_reads_its_format(name, make_config, tmp_path) -> None:
    write = {"birds": folder_words}.get(name) or globals()[f"{name}_words"]
    cfg = make_config("experiment=ttp_birds_cpu", f"photographs={name}", *write(tmp_path))
    source, ids = photographs_of(cfg, "train", None)
    photographs, refused = load_photographs(source, ids)
    assert not refused and len(photographs) == len(ids) >= 1
    for photograph in photographs:
        np.testing.assert_array_equal(photograph.mask, mask())
        assert photograph.image.shape == (HEIGHT, WIDTH, 3)
    assert (photographs[0].cameras is not None) == (name in ("cmr", "pascal3d"))


@SAMPLES
def test_a_real_sample_by_its_configuration(make_config) -> None:
    folder = DATA / "mmpose_samples" / "tests" / "data" / "coco"
    words = [f"photographs.annotations={folder / 'test_coco.json'}", f"photographs.images={folder}"]
    for category, message in (("person", None), ("giraffe", "category=giraffe: choose one of person")):
        cfg = make_config("experiment=ttp_birds_cpu", "photographs=coco", *words, f"photographs.category={category}")
        if message is None:
            source, ids = photographs_of(cfg, "train", None)
            assert len(load_photographs(source, ids)[0]) > 5 and len(source.keypoint_names) == 17
        else:
            with pytest.raises(InputError, match=message):
                photographs_of(cfg, "train", None)
