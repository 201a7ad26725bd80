"""Writes PartNet-Mobility models and PartNetE's labelled points in the formats of their downloads."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from mvdecor.shapes import RenderPeople, Shape
from mvdecor.shapes.sampling import sample_texture


def write_model(folder: Path, shape: Shape, category: str) -> None:
    """A textured shape with labels as a model: a part file with a material file for each label, images beside them."""
    (folder / "textured_objs").mkdir(parents=True)
    (folder / "images").mkdir()
    (folder / "meta.json").write_text(json.dumps({"model_cat": category, "anno_id": folder.name}))
    for number, image in enumerate(shape.texture.images):
        Image.fromarray(image.numpy()).save(folder / "images" / f"texture_{number}.png")
    children = []
    for label in shape.face_labels.unique().tolist():
        write_part(folder / "textured_objs" / f"original-{label + 1}.obj", shape, (shape.face_labels == label).numpy())
        name = "none" if label < 0 else shape.label_names[label]
        children.append({"id": label, "name": name, "text": name, "objs": [f"original-{label + 1}"]})
    objs = [name for child in children for name in child["objs"]]
    tree = [{"id": 0, "name": category.lower(), "text": category, "objs": objs, "children": children}]
    (folder / "result.json").write_text(json.dumps(tree))


def write_part(path: Path, shape: Shape, mask: np.ndarray) -> None:
    """The faces of a mask as an OBJ file with vertices and texture coordinates of its own, and its material file."""
    corners, uvs = shape.vertices[shape.faces][mask].numpy(), shape.texture.uv[mask].numpy()
    image_ids = shape.texture.image_ids[mask].tolist()
    lines = [f"mtllib {path.stem}.mtl"]
    lines += [f"v {x:.8f} {y:.8f} {z:.8f}" for x, y, z in corners.reshape(-1, 3)]
    lines += [f"vt {u:.8f} {v:.8f}" for u, v in uvs.reshape(-1, 2)]
    for face, image in enumerate(image_ids):
        lines.append(f"usemtl material_{image}")
        lines.append("f " + " ".join(f"{corner}/{corner}" for corner in range(3 * face + 1, 3 * face + 4)))
    path.write_text("\n".join(lines) + "\n")
    materials = [f"newmtl material_{n}\nKd 1 1 1\nmap_Kd ../images/texture_{n}.png\n" for n in sorted(set(image_ids))]
    path.with_suffix(".mtl").write_text("\n".join(materials))


def write_points(folder: Path, points: np.ndarray, labels: np.ndarray) -> None:
    """`pc.ply` (text, with colours) and `label.npy` as PartNetE has them."""
    folder.mkdir(parents=True, exist_ok=True)
    header = ["ply", "format ascii 1.0", f"element vertex {len(points)}"]
    header += [f"property double {axis}" for axis in "xyz"]
    header += [f"property uchar {channel}" for channel in ("red", "green", "blue")]
    rows = [f"{x:.8f} {y:.8f} {z:.8f} 90 80 70" for x, y, z in points]
    (folder / "pc.ply").write_text("\n".join([*header, "end_header", *rows]) + "\n")
    save_labels(folder, {"semantic_seg": labels, "instance_seg": np.where(labels < 0, -1, 0)})


def save_labels(folder: Path, content: object) -> None:
    np.save(folder / "label.npy", content, allow_pickle=True)


def sample_surface(shape: Shape, count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """float64 [count, 3], points all over the surface by area; int64 [count], the face of each."""
    rng = np.random.default_rng(seed)
    areas = shape.face_areas.numpy()
    face = rng.choice(len(areas), count, p=areas / areas.sum())
    weights = rng.dirichlet((1, 1, 1), count)
    return (weights[..., None] * shape.vertices[shape.faces].double().numpy()[face]).sum(axis=1), face


def write_partnet_e_like(people: Path, root: Path, category: str = "Chair") -> Path:
    """Labelled shapes in the layout of people as a PartNetE root, with the models in `meshes/`."""
    data = RenderPeople(people)
    for split, first in (("few_shot", 100), ("test", 200)):
        for number, id in enumerate(data.ids("train" if split == "few_shot" else "test"), start=first):
            shape = data.load(id)
            write_model(root / "meshes" / str(number), shape, category)
            points, face = sample_surface(shape, 4000)
            write_points(root / split / category / str(number), points, shape.face_labels.numpy()[face])
    (root / "PartNetE_meta.json").write_text(json.dumps({category: list(data.label_names)}))
    return root


def face_colours(shape: Shape) -> np.ndarray:
    """uint8 [F, 3], the texture's colour at the centre of each face."""
    colours = sample_texture(shape.texture, shape.texture.image_ids, shape.texture.uv.mean(dim=1))
    return (255 * colours).round().byte().numpy()
