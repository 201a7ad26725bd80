"""Provenance of a result: configuration, code, machine."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from omegaconf import DictConfig, OmegaConf

from mvdecor.engine.device import cpuinfo
from mvdecor.engine.distributed import processes

PACKAGES = ("torch", "torchvision", "lightning-fabric", "segmentation-models-pytorch", "timm", "trimesh", "numpy")
"""Those that a result may depend on."""

ROOT = Path(__file__).resolve().parents[2]
CODE = ("mvdecor", "configs", "scripts", "pyproject.toml")
"""What of the repository counts as code; data and results may lie beside it."""


def provenance(cfg: DictConfig) -> dict:
    """Configuration, code and machine as plain values. Take it before the work starts: files may change meanwhile."""
    device = "cpu"
    if torch.cuda.is_available() and cfg.device != "cpu":
        device = torch.cuda.get_device_name(cfg.device if ":" in cfg.device else None)
    return {
        "config": OmegaConf.to_container(cfg, resolve=True),
        **code_of_process()[0],
        "machine": {
            "device": device,
            "processor": _processor(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "processes": processes(),
            "python": platform.python_version(),
            "packages": {name: _version(name) for name in PACKAGES},
        },
    }


@cache
def code_of_process() -> tuple[dict[str, str], str]:
    """Revision and hash of the code that this process runs, and `code_changes`: taken once, since files may change while it
    runs, but not what it has imported."""
    return {"revision": revision(), "code_sha256": code_hash()}, code_changes()


def revision(root: Path = ROOT) -> str:
    """The code's git revision, with "-dirty" if code was changed or added since; "unknown" outside its own checkout."""
    if not _is_checkout(root):
        return "unknown"
    return _git(root, "rev-parse", "HEAD").strip() + ("-dirty" if code_changes(root) else "")


def code_changes(root: Path = ROOT) -> str:
    """What differs in the code from its revision, files that git does not track included, as a patch; empty if nothing."""
    if not _is_checkout(root):
        return ""
    patch = _git(root, "diff", "HEAD", "--", *CODE)
    for name in _git(root, "ls-files", "--others", "--exclude-standard", "-z", "--", *CODE).split("\0"):
        if name:
            patch += _git(root, "diff", "--no-index", "--", os.devnull, name, differs=True)
    return patch


def code_hash(root: Path = ROOT) -> str:
    """SHA-256 over the names and bytes of the package's Python files: the same code has the same, with or without git."""
    digest = hashlib.sha256()
    for file in sorted((root / "mvdecor").rglob("*.py")):
        digest.update(f"{file.relative_to(root).as_posix()}\0".encode() + hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def _is_checkout(root: Path) -> bool:
    """Whether git tracks this very package there. A copy inside of another repository is none of its files."""
    try:
        return bool(_git(root, "ls-files", "--", "mvdecor/__init__.py").strip())
    except (OSError, subprocess.CalledProcessError):
        return False


def _git(root: Path, *words: str, differs: bool = False) -> str:
    """What git prints; with `differs` it may end with 1, which says that files differ."""
    run = subprocess.run(["git", *words], cwd=root, capture_output=True, check=not differs)
    return run.stdout.decode(errors="surrogateescape")  # whatever bytes a changed file has


def _processor() -> str:
    names = [line.partition(":")[2].strip() for line in cpuinfo().splitlines() if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # used from a folder, not installed
        return "unknown"
