"""Label meshes with a fine-tuned model: python scripts/segment.py FILE checkpoint=outputs/demo/model out=DIR"""

from mvdecor.commands import run

if __name__ == "__main__":
    run("segment")
