"""What pyproject.toml cannot say: configs/ is installed as part of the package, as mvdecor/configs."""

from pathlib import Path

from setuptools import find_namespace_packages, setup

CONFIGS = ("configs", *(f"configs/{path.name}" for path in sorted(Path("configs").iterdir()) if path.is_dir()))

setup(
    packages=[
        *find_namespace_packages(include=["mvdecor*"]),
        *("mvdecor." + folder.replace("/", ".") for folder in CONFIGS),
    ],
    package_dir={"mvdecor." + folder.replace("/", "."): folder for folder in CONFIGS},
    package_data={"": ["*.yaml", "*.html", "*.js", "*.css"]},
)
