"""From one photograph to a posed, textured mesh: python scripts/reconstruct.py image=FILE checkpoint=DIR/model out=DIR2"""

from mvdecor.commands import run

if __name__ == "__main__":
    run("reconstruct")
