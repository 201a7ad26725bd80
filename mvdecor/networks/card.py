"""The model card of a checkpoint (README.md): what the model labels and how to use it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mvdecor.percent import rounded

HEADER = """---
library_name: mvdecor
tags: [mesh-segmentation, part-segmentation, multi-view]
---
"""  # read by the Hugging Face hub

LOAD = """## Use

```python
import mvdecor

segmenter = mvdecor.load("FOLDER")  # this folder, or hf:OWNER/NAME on the Hugging Face hub
result = segmenter.segment("mesh.obj")
print(result.label_names, result.labels, result.confidence, result.coverage)
```

```
python scripts/segment.py mesh=mesh.obj checkpoint=FOLDER out=DIR
```

Labels belong to faces by their index in the file.
"""

TUNE = """## Use

It gives embeddings and has no labels yet. Fine-tune it on a few labelled shapes, and segment with the result:

```
python scripts/finetune.py checkpoint=FOLDER data.root=DIR out=DIR2
```
"""


PERCENTAGES = ("part_miou", "shape_miou", "accuracy", "coverage", "ceiling")


def model_card(record: Mapping[str, Any]) -> str:
    """The text of a checkpoint's README.md (Markdown).

    Args:
        record: what `checkpoint.json` holds. Everything that is not there is left out of the card.
    """
    tuned = record["kind"] == "finetuned"
    category = record.get("category")
    category_text = f" of {category}" if category else ""
    title = f"# MvDeCor: parts{category_text}" if tuned else "# MvDeCor: pretrained embeddings"
    lines = [title, "", _purpose(tuned, category_text), "", LOAD if tuned else TUNE]
    names = record.get("label_names") or []
    if names:
        lines += ["## Labels", "", "| label | part |", "| --- | --- |"]
        lines += [f"| {k} | {_cell(name)} |" for k, name in enumerate(names)] + [""]
    lines += ["## What it takes", "", *_inputs(record), ""]
    lines += ["## How it was made", "", *_origin(record), ""]
    if metrics := record.get("metrics"):
        lines += ["## Measured", "", "| | |", "| --- | --- |"]
        lines += [f"| {_cell(name)} | {_figure(name, value)} |" for name, value in metrics.items()] + [""]
    return HEADER + "\n" + "\n".join(lines)


def _purpose(tuned: bool, category_text: str) -> str:
    if tuned:
        return (
            f"Labels the faces of meshes{category_text} with parts: the mesh is rendered from many sides, a network labels the "
            "pixels, and the pixels vote on the faces (MvDeCor, Sharma et al., ECCV 2022)."
        )
    return (
        "A network that gives the same embedding to the same surface point in different views of a mesh, trained without "
        "labels (MvDeCor, Sharma et al., ECCV 2022)."
    )


def _inputs(record: Mapping[str, Any]) -> list[str]:
    lines = [f"- Channels: {', '.join(record['channels'])}"]
    if record.get("textured") is not None and "rgb" in record["channels"]:
        lines[0] += " (rgb is the texture)" if record["textured"] else " (rgb is shading; textures are not used)"
    views = record.get("config", {}).get("views", {})
    if {"count", "size", "layers"} <= views.keys():
        close = f", {views['close_ups']} of them close-ups" if views.get("close_ups") else ""
        lines.append(
            f"- Views: {views['count']} of {views['size']} x {views['size']} pixels{close}; {views['layers']} "
            f"{'layer' if views['layers'] == 1 else 'layers'}"
        )
    settings = {k: v for k, v in record["network"].items() if k != "_target_"}
    lines.append(f"- Network: {record['network'].get('_target_')}, {settings}")
    return lines


def _origin(record: Mapping[str, Any]) -> list[str]:
    lines = []
    if shapes := record.get("shapes"):
        lines.append(f"- Labelled shapes: {', '.join(map(str, shapes))}")
    data_set = record.get("config", {}).get("data", {}).get("name")
    if data_set:
        lines.append(f"- Data set: {data_set}. Its terms apply to what is made of it, these weights included.")
    if "revision" in record:
        lines.append(f"- Revision of the code: {record['revision']}")
    return [*lines, "- Every setting: `config` in checkpoint.json"]


def _figure(name: str, value: Any) -> str:
    if not isinstance(value, float):
        return _cell(value)
    return rounded(value) if name in PERCENTAGES else f"{value:.3g}"


def _cell(text: Any) -> str:
    return " ".join(str(text).split()).replace("|", "\\|")
