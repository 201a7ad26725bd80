"""The wheels that docs/performance.md lists for a machine without a network are those that the project needs."""

import re
import tomllib
from collections import deque
from importlib.metadata import requires

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.calls import ROOT

INSTALLED = ("torch", "torchvision", "timm", "numpy", "scipy", "tensorboard")
OPTIONAL = {"tzdata"}
"""Of some systems and versions only."""


def with_dependencies(requirements: list[str]) -> set[str]:
    """Names of these requirements and of what they require here, extras included."""
    waiting = deque((Requirement(text), "") for text in requirements)
    extras: dict[str, set[str]] = {}
    while waiting:
        requirement, extra = waiting.popleft()
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        name = canonicalize_name(requirement.name)
        new = {"", *requirement.extras} - extras.get(name, set())
        extras.setdefault(name, set()).update(new)
        waiting.extend((Requirement(text), extra) for extra in new for text in requires(name) or ())
    return set(extras)


def test_the_list_is_complete_and_has_no_more():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    text = (ROOT / "docs" / "performance.md").read_text()
    (names,) = re.findall(r"What is left are the wheels of\n(.*?)\.\n", text, re.DOTALL)
    listed = {canonicalize_name(name.strip()) for name in names.split(",")}
    needed = with_dependencies(project["dependencies"]) - with_dependencies(list(INSTALLED))
    assert listed - OPTIONAL == needed - OPTIONAL
