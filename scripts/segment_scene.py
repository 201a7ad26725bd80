"""From posed photographs and words to masks: python scripts/segment_scene.py capture.root=DIR 'words=[banana,cup]' out=DIR2"""

from mvdecor.commands import run

if __name__ == "__main__":
    run("segment_scene")
