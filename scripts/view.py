"""Look at shapes and label them, in a browser: python scripts/view.py data=folder data.root=DIR labels=[foot,pole,shade]"""

from mvdecor.apps.viewer.app import run_view
from mvdecor.engine.cli import main

if __name__ == "__main__":
    main(run_view, config="view")
