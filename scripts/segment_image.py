"""From one image to views and labelled points: python scripts/segment_image.py image=FILE checkpoint=DIR/model out=DIR2"""

from mvdecor.commands import run

if __name__ == "__main__":
    run("segment_image")
