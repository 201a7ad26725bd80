"""Pictures of correspondences by embedding: python scripts/figures.py experiment=people_cpu data.root=DIR checkpoint=MODEL"""

from mvdecor.apps.embeddings import run_figures
from mvdecor.engine.cli import main

if __name__ == "__main__":
    main(run_figures, config="figures")
