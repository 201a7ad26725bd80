"""Look at shapes and label them, in a browser: python scripts/view.py data=folder data.root=DIR labels=[foot,pole,shade]"""

from mvdecor.commands import run

if __name__ == "__main__":
    run("view")
