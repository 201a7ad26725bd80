"""`python -m mvdecor.doctor`, see `mvdecor.apps.doctor`."""

from mvdecor.apps.doctor import main_doctor

if __name__ == "__main__":
    main_doctor()
