"""Semantic SRN over label maps and given views: python scripts/curves.py experiment=srn_chairs_cpu checkpoint=DIR/model"""

from mvdecor.commands import run

if __name__ == "__main__":
    run("curves")
