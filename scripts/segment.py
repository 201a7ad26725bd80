"""Label meshes with a fine-tuned model: python scripts/segment.py FILE checkpoint=outputs/demo/model out=DIR"""

from mvdecor.apps.segment import run_segment
from mvdecor.engine.cli import main

if __name__ == "__main__":
    main(run_segment, config="segment")
