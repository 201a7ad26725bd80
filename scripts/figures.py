"""Pictures of correspondences by embedding: python scripts/figures.py experiment=people_cpu data.root=DIR checkpoint=MODEL"""

from mvdecor.commands import run

if __name__ == "__main__":
    run("figures")
