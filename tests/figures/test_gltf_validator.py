"""Exported meshes by Khronos' own validator, where it is installed: npm install -g gltf-validator, NODE_PATH=$(npm root -g)."""

import json
import shutil
import subprocess

import numpy as np
import pytest
import trimesh
from PIL import Image

from mvdecor.apps.export import export_labels
from mvdecor.files import write_json

VALIDATE = """
const validator = require("gltf-validator"), fs = require("fs");
validator.validateBytes(new Uint8Array(fs.readFileSync(process.argv[1]))).then(r => console.log(JSON.stringify(r.issues)));
"""


def validator_is_there() -> bool:
    if shutil.which("node") is None:
        return False
    return subprocess.run(["node", "-e", 'require("gltf-validator")'], capture_output=True).returncode == 0


@pytest.mark.skipif(not validator_is_there(), reason="needs node and gltf-validator (npm install -g gltf-validator)")
@pytest.mark.parametrize("suffix", ["glb", "obj", "ply"])
def test_exported_files_have_no_errors(tmp_path, suffix):
    scene = trimesh.Scene()
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (8, 8, 3), dtype=np.uint8))
    for number in range(2):
        box = trimesh.creation.box()
        uv = np.random.default_rng(number).random((len(box.vertices), 2))
        box.visual = trimesh.visual.TextureVisuals(uv, image=image)
        scene.add_geometry(box, transform=trimesh.transformations.translation_matrix([2 * number, 0, 0]))
    (scene if suffix == "glb" else scene.to_mesh()).export(tmp_path / f"boxes.{suffix}")
    np.save(tmp_path / "boxes_labels.npy", np.arange(24) % 3 - 1)
    write_json(tmp_path / "labels.json", {"labels": ["a", "b"]})
    export_labels(tmp_path / f"boxes.{suffix}", tmp_path / "out")
    files = sorted((tmp_path / "out").rglob("*.glb"))
    assert len(files) >= 2
    for file in files:
        done = subprocess.run(["node", "-e", VALIDATE, str(file)], capture_output=True, text=True, check=True)
        issues = json.loads(done.stdout)
        assert issues["numErrors"] == issues["numWarnings"] == 0, (file.name, issues["messages"])
