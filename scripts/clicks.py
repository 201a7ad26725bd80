"""Clicks until shapes are labelled, tool by tool: python scripts/clicks.py data=renderpeople data.root=DIR limit=6"""

from mvdecor.commands import run

if __name__ == "__main__":
    run("clicks")
