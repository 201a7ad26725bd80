"""Label meshes with a fine-tuned model: python scripts/segment.py mesh=FILE checkpoint=outputs/demo/model out=DIR"""

from mvdecor.engine.cli import main
from mvdecor.segment_files import run_segment

if __name__ == "__main__":
    main(run_segment, config="segment")
