"""Fit a radiance field to one capture: python scripts/fit.py capture=llff capture.root=DIR out=outputs/fit"""

from mvdecor.commands import run

if __name__ == "__main__":
    run("fit")
