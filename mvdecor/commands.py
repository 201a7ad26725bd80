"""The programs by name: `mvdecor NAME KEY=VALUE ...` is scripts/NAME.py, and needs no checkout."""

from __future__ import annotations

import sys
from importlib import import_module

from mvdecor.engine.cli import main as hydra_main

COMMANDS = {
    "benchmark": ("Speed against simple reference implementations", "mvdecor.apps.benchmark.run:run_benchmark"),
    "captures": ("Read posed images and show their cameras", "mvdecor.apps.captures:run_captures"),
    "ceiling": ("The score of a perfect network (ceiling)", "mvdecor.systems:run_ceiling"),
    "clicks": ("Clicks until shapes are labelled, tool by tool", "mvdecor.apps.clicks:run_clicks"),
    "curves": ("Semantic SRN over label maps and given views", "mvdecor.apps.curves:run_curves"),
    "doctor": ("Does this installation work, and is this data set whole?", "mvdecor.apps.doctor:doctor_command"),
    "evaluate": ("Label and measure the test data", "mvdecor.systems:run_evaluate"),
    "figures": ("Pictures of correspondences by embedding", "mvdecor.apps.embeddings:run_figures"),
    "finetune": ("Fine-tune on few labels", "mvdecor.systems:run_finetune"),
    "fit": ("Fit a radiance field to one capture", "mvdecor.apps.fit:run_fit"),
    "generate": ("Write made-up shapes to disk", "mvdecor.made_up.generate:run_generate"),
    "interpolate": ("A film strip from object to object", "mvdecor.apps.interpolate:run_interpolate"),
    "pipeline": ("All stages in a row", "mvdecor.systems:run_pipeline"),
    "pretrain": ("Pretrain without labels", "mvdecor.systems:run_pretrain"),
    "reconstruct": ("From one photograph to a posed, textured mesh", "mvdecor.apps.reconstruct:run_reconstruct"),
    "render": ("Render views into the view cache", "mvdecor.apps.cache:run_render"),
    "report": ("One HTML page of a run, to open anywhere", "mvdecor.apps.report:run_report"),
    "segment": ("Label meshes with a fine-tuned model", "mvdecor.apps.segment:run_segment"),
    "segment_image": ("From one image to views and labelled points", "mvdecor.apps.segment_image:run_segment_image"),
    "segment_scene": ("From posed photographs and words to masks", "mvdecor.apps.segment_scene:run_segment_scene"),
    "splits": ("Sample few-shot splits and write them as files", "mvdecor.apps.splits:run_splits"),
    "table": ("Run what a table lacks, or gather finished runs", "mvdecor.apps.tables:table_command"),
    "text_image": (
        "Train the small text-image model on made-up rooms",
        "mvdecor.systems.text_image.train:run_text_image",
    ),
    "view": ("Look at shapes and label them, in a browser", "mvdecor.apps.viewer.app:run_view"),
}
"""By name: what it does, and the function that does it. Its configuration is configs/NAME.yaml, that of stages config.yaml."""
STAGES = "mvdecor.systems"
"""Where the stages are."""


def run(name: str) -> None:
    """Run a program with the words of the command line."""
    module, _, function = COMMANDS[name][1].partition(":")
    hydra_main(getattr(import_module(module), function), "config" if module == STAGES else name)


def main() -> None:
    """`mvdecor`: the first word names the program."""
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name not in COMMANDS:
        wrong = f"error: {name}: there is no such command\n\n" if name not in ("", "-h", "--help") else ""
        width = max(map(len, COMMANDS))
        lines = "\n".join(f"  {other:{width}}  {what}" for other, (what, _) in COMMANDS.items())
        usage = f"{wrong}mvdecor COMMAND KEY=VALUE ...\n\n{lines}\n\nmvdecor COMMAND --help shows its settings."
        print(usage, file=sys.stderr if wrong or not name else sys.stdout)
        sys.exit(2 if wrong or not name else 0)
    sys.argv = [f"{sys.argv[0]} {name}", *sys.argv[2:]]
    run(name)
