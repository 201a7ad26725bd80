"""Which rooms of the package may use which: libraries know no engine, the engine knows no system."""

import ast
from pathlib import Path

import mvdecor

ROOT = Path(mvdecor.__file__).parent
HALL = {"channels", "compiled", "errors", "files", "imports", "percent"}
HALL |= {"processes", "progress", "recent", "rows", "seeds", "settings", "weights"}
"""Single files that any room may use."""
MAY_USE = {
    "shapes": set(),
    "made_up": {"shapes", "views", "captures"},  # it takes pictures of birds and rooms
    "losses": set(),
    "networks": set(),
    "solvers": set(),
    "results": {"shapes", "engine"},  # it reads what the engine wrote
    "views": {"shapes"},
    "captures": {"shapes", "views"},
    "correspondences": {"views"},
    "fields": {"networks", "captures", "views"},
    "lifting": {"shapes", "views"},
    "figures": {"shapes", "views", "lifting"},
    "evaluation": {"shapes", "views", "correspondences", "lifting"},
    "engine": set(),
    "systems": {
        *(
            "shapes",
            "made_up",
            "losses",
            "networks",
            "views",
            "captures",
            "correspondences",
            "fields",
            "solvers",
            "lifting",
            "figures",
        ),
        *("evaluation", "results", "engine"),
    },
}
PROGRAMS = {"apps", "commands", "segmenter", "image_segmenter", "image_reconstructor", "doctor", "__init__", "__main__"}
"""What uses all of these, and is used by none of them."""


def used_by(file: Path) -> set[str]:
    """First names below mvdecor that a file imports, at any place in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name.split(".")[1] for name in names if name.startswith("mvdecor.")}


def test_each_room_uses_those_below_it_only():
    for file in sorted(ROOT.rglob("*.py")):
        place = file.relative_to(ROOT)
        room = place.parts[0] if len(place.parts) > 1 else place.stem
        if room in PROGRAMS:
            continue
        allowed = HALL | MAY_USE.get(room, set()) | {room}
        assert used_by(file) <= allowed, f"{place} imports {used_by(file) - allowed}"


def test_every_room_is_named_here():
    rooms = {path.name for path in ROOT.iterdir() if (path / "__init__.py").exists()}
    assert rooms - PROGRAMS == MAY_USE.keys()
