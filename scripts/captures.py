"""Read posed images and show their cameras: python scripts/captures.py capture=llff capture.root=DIR out=outputs/captures"""

from mvdecor.commands import run

if __name__ == "__main__":
    run("captures")
