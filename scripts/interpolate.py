"""A film strip from object to object: python scripts/interpolate.py checkpoint=DIR/model 'objects=[A,B]' out=DIR2"""

from mvdecor.commands import run

if __name__ == "__main__":
    run("interpolate")
