"""`python -m mvdecor NAME KEY=VALUE ...`, see `mvdecor.commands`."""

from mvdecor.commands import main

if __name__ == "__main__":
    main()
