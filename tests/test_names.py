"""Names say what they hold: almost none of the names that the code assigns is a vague word.

`python -m tests.test_names` prints the share of such names and the files that have most of them.
"""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "mvdecor"
LIMIT = 0.005

PRONOUNS = "it its this that these those one ones another other others mine ours theirs them they everyone"
QUESTIONS = "what which who whom whose why how where when"
PLACES = "here there nowhere now again instead away behind beside about among against around rest whole so_far"
AMOUNTS = "all any both each every everything few many more most other several some such same also only"
PARTICIPLES = """
    found own drawn done kept given made spent taken used met gone noted got known wanted needed asked stated sent caught
    shown chosen listed named placed carried covered moved opened raised tried landed
"""
FILLERS = """
    thing things stuff something item items data info tmp temp foo bar obj objs what_is was_there plain look looks says has have
    of by at per so bad odd alone old new drawable
"""
VAGUE = frozenset(" ".join((PRONOUNS, QUESTIONS, PLACES, AMOUNTS, PARTICIPLES, FILLERS)).split())


def assigned_names(code: str) -> list[str]:
    """The names that code assigns: targets of =, :=, for, with and comprehensions, fields of classes, and parameters."""
    names = []
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.append(node.id)
        elif isinstance(node, ast.arg):
            names.append(node.arg)
        elif isinstance(node, ast.ExceptHandler) and node.name is not None:
            names.append(node.name)
    return names


def vague_names() -> tuple[dict[str, list[str]], int]:
    """The vague names of each file that has any, and the number of all assigned names."""
    vague, total = {}, 0
    for file in sorted(PACKAGE.rglob("*.py")):
        names = assigned_names(file.read_text())
        total += len(names)
        if matches := [name for name in names if name.lower().removeprefix("_") in VAGUE]:
            vague[str(file.relative_to(PACKAGE))] = matches
    return vague, total


@pytest.mark.parametrize(
    ("code", "names"),
    [
        ("a, (b, *c) = 1, (2, 3)", ["a", "b", "c"]),
        ("x.y = z[0] = 1", []),
        ("d: int\ne += 1", ["d", "e"]),
        ("def f(a, /, b, *c, d=1, **e): return lambda g: g", ["a", "b", "c", "d", "e", "g"]),
        ("with open(f) as a, b as (c, d): pass", ["a", "c", "d"]),
        ("for a in [b for b in c if (d := b)]: pass", ["a", "b", "d"]),
        ("try: pass\nexcept E as a: pass", ["a"]),
    ],
)
def test_all_assigned_names_are_counted(code: str, names: list[str]) -> None:
    assert sorted(assigned_names(code)) == names


def test_names_say_what_they_hold() -> None:
    vague, total = vague_names()
    assert sum(map(len, vague.values())) < LIMIT * total, vague


def main() -> None:
    vague, total = vague_names()
    count = sum(map(len, vague.values()))
    print(f"{count} of {total} assigned names are vague ({100 * count / total:.2f} %); at most {100 * LIMIT:g} %")
    for file in sorted(vague, key=lambda name: -len(vague[name])):
        words = Counter(vague[file]).most_common()
        print(f"{len(vague[file]):4}  {file}: {', '.join(f'{word} {n}' if n > 1 else word for word, n in words)}")


if __name__ == "__main__":
    main()
