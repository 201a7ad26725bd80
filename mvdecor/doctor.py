"""`python -m mvdecor.doctor`, see `mvdecor.apps.doctor`."""

from mvdecor.commands import run

if __name__ == "__main__":
    run("doctor")
