"""Look at shapes and label them, in a browser: python scripts/view.py data=folder data.root=DIR labels=[foot,pole,shade]"""

from mvdecor.engine.cli import main
from mvdecor.viewer.app import run_view

if __name__ == "__main__":
    main(run_view, config="view")
