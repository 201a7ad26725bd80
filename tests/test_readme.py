"""What the documents say can be done: each command composes, each name in them exists, each Python block runs."""

import ast
import importlib.util
import re
import shlex
import tomllib
from pathlib import Path

import pytest
import trimesh
from hydra import compose, initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.singleton import Singleton
from hydra.errors import HydraException
from octants import save_octants
from omegaconf import DictConfig, OmegaConf
from PIL import Image

from mvdecor.engine.cli import CONFIGS
from tests.small_field import save_small_field
from tests.small_reconstructor import save_small_reconstructor

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [ROOT / "README.md", ROOT / "data" / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
TEXTS = {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in DOCUMENTS}
PYTHON = ("python", ".venv/bin/python")
UNTRIED = {
    "tensorboard": "serves pages until it is stopped",
    "ssh": "needs another machine",
    "sbatch": "needs a cluster",
    "srun": "needs a cluster",
    "git": "needs the place that the code is fetched from",
}
"""Programs of others, and why no test calls them."""
WRITES = ("out", "json", "views.cache")
"""Settings that name what is written, not read."""
OWN_CONFIG = {path.stem for path in (ROOT / "configs").glob("*.yaml")} - {"config"}
"""Scripts with a configuration of their own."""


def blocks(text: str) -> list[tuple[str, str]]:
    """Language and content of each code block."""
    return re.findall(r"^ *```(\w*)\n(.*?)^ *```", text, flags=re.DOTALL | re.MULTILINE)


def spans(text: str) -> list[str]:
    """What stands between backticks outside of the code blocks, on one line."""
    prose = re.sub(r"^ *```.*?^ *```", "", text, flags=re.DOTALL | re.MULTILINE)
    return [re.sub(r"\s+", " ", span) for span in re.findall(r"`([^`]+)`", prose)]


def commands(text: str) -> list[str]:
    """Each line of a code block without language that is no drawing, and each command between backticks."""
    found = []
    for language, block in blocks(text):
        if language in ("", "bash", "sh") and not re.search("[\u2500-\u257f\u25ba\u25c4]", block):
            lines = re.sub(r"\\\n\s*", "", block).splitlines()
            found += [line.strip() for line in lines if shlex.split(line, comments=True)]
    programs = (*PYTHON, "torchrun", "make", "pip", *UNTRIED)
    for span in spans(text):
        if span.startswith(tuple(f"{program} " for program in programs)):
            found.append(span)
        elif re.match(r"scripts/\w+\.py .*=", span):
            found.append(f"python {span}")
    return found


CASES = [(name, command) for name, text in TEXTS.items() for command in commands(text)]
WRITTEN = {
    *(out for _, command in CASES for out in re.findall(r"\bout=([^\s'\"]+)", command)),
    *re.findall(r"\bout=(\S+)", (ROOT / "Makefile").read_text()),
    *(out for path in (ROOT / "configs").rglob("*.yaml") for out in re.findall(r"^out: (\S+)", path.read_text(), re.M)),
}
"""Folders that some command writes."""


def check(command: str) -> None:
    """Raises what pytest shows if the command cannot be meant as it stands."""
    words = shlex.split(command, comments=True)
    while re.match(r"[A-Z_]+=", words[0]):  # environment
        words.pop(0)
    program, *words = words
    if program in PYTHON and words[0] == "-m":
        check_module(*words[1:])
    elif program in (*PYTHON, "torchrun"):
        start = next((i for i, word in enumerate(words) if word.startswith("scripts/")), None)
        assert start is not None, f"names no script: {command}"
        check_script(*words[start:])
    elif program == "make":
        check_make(*words)
    elif program == "pip":
        extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
        named = [extra for word in words for extra in re.findall(r"\[(.*)\]", word)]
        assert words[0] in ("install", "wheel") and all(e in extras for one in named for e in one.split(","))
    else:
        raise AssertionError(f"no test knows the program {program!r}: {command}")


def check_module(module: str, *overrides: str) -> None:
    assert importlib.util.find_spec(module) is not None, f"there is no module {module}"
    if module.startswith("mvdecor."):
        composed("doctor" if module == "mvdecor.doctor" else "config", *overrides)


def check_make(*words: str) -> None:
    makefile = (ROOT / "Makefile").read_text()
    for word in words:
        name, is_setting, _ = word.partition("=")
        line = rf"^{name} \?=" if is_setting else rf"^{name}:"
        assert re.search(line, makefile, flags=re.MULTILINE), f"the Makefile has no {name}"


def check_script(script: str, *words: str) -> None:
    """The script is there, its settings compose, and what it reads of this repository or of another run is there too."""
    assert (ROOT / script).is_file(), f"{script} does not exist"
    overrides = [word for word in words if "=" in word]
    options = [word for word in words if "=" not in word and word not in ("--multirun", "-m", "--cfg", "job")]
    assert not options, f"{options} are no settings"
    for word in overrides:
        key, _, value = word.partition("=")
        for path in re.findall(r"\boutputs/[^\s,\]]+", "" if key in WRITES else value):
            assert any(f"{path}/".startswith(f"{out}/") for out in WRITTEN), f"no command writes {path}"
        for path in re.findall(r"(?<![\w/])(?:data/splits|configs|mvdecor|tests)/[^\s,\]]+", value):
            assert (ROOT / path).exists(), f"{path} does not exist"
    if "-m" in words or "--multirun" in words:
        return check_sweep(overrides)
    name = Path(script).stem
    cfg = composed(name if name in OWN_CONFIG else "config", *overrides)
    assert cfg.get("out") or name == "benchmark"


def composed(name: str, *overrides: str) -> DictConfig:
    with initialize_config_dir(CONFIGS, version_base="1.3"):
        return compose(name, overrides=list(overrides))


def check_sweep(overrides: list[str]) -> None:
    """Each job of a sweep composes and writes to a folder of its own."""
    if "cluster=slurm" in overrides:
        pytest.importorskip("hydra_plugins.hydra_submitit_launcher", reason="needs the extra `slurm`")
    (jobs,) = BasicSweeper.split_arguments(OverridesParser.create().parse_overrides(overrides), max_batch_size=None)
    assert len(jobs) > 1, "-m without anything to sweep over"
    folders, before = [], Singleton.get_state()
    with initialize_config_dir(CONFIGS, version_base="1.3"):
        for number, job in enumerate(jobs):
            cfg = compose("config", overrides=job, return_hydra_config=True)
            OmegaConf.update(cfg, "hydra.job.num", number, force_add=True)
            HydraConfig.instance().set_config(cfg)  # as in a job, so that `out` may name a choice of Hydra's
            folders.append(cfg.out)
    Singleton.set_state(before)
    assert len(set(folders)) == len(folders), f"jobs of one sweep share a folder: {folders}"


def test_commands_are_found():
    text = "```\npython scripts/a.py x=1 \\\n  y=2  # why\n# only a comment\nfoo\n```\n"
    text += "and `.venv/bin/python\nscripts/b.py z=[1]`\n```\nshapes ─► views\n```\n```python\nimport a\n```\n"
    text += "`make demo`, `scripts/c.py x=1`, `scripts/d.py`"
    expected = ["python scripts/a.py x=1 y=2  # why", "foo", ".venv/bin/python scripts/b.py z=[1]", "make demo"]
    assert commands(text) == [*expected, "python scripts/c.py x=1"]
    assert {"README.md", "data/README.md", "docs/segment.md"} <= {document for document, _ in CASES}


@pytest.mark.parametrize("document", TEXTS)
def test_commands_compose(document):
    wrong = []
    for name, command in CASES:
        if name == document and command.split()[0] not in UNTRIED:
            try:
                check(command)
            except (AssertionError, HydraException) as error:
                wrong.append(f"{command}\n  {error}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    "command",
    [
        "python scripts/nothing.py out=outputs/demo",
        "python scripts/pretrain.py views.cuont=3",
        "python scripts/pipeline.py experiment=nothing",
        "python scripts/segment.py chair.obj",
        "python scripts/evaluate.py checkpoint=outputs/no_command_writes_this/model",
        "python scripts/finetune.py training.finetune.split=data/splits/nothing.json",
        "python -m mvdecor.nothing",
        "python -m mvdecor.doctor data=nothing",
        "torchrun --nproc-per-node 2 scripts/nothing.py",
        "make nothing",
        "make faults TIMES=3",
        "pip install -e '.[nothing]'",
        "mvdecor segment chair.obj",
    ],
)
def test_command_that_cannot_be_run_is_noticed(command):
    with pytest.raises((AssertionError, HydraException)):
        check(command)


# --- names --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("document", TEXTS)
def test_files_that_are_named_exist(document):
    text, here = TEXTS[document], (ROOT / document).parent
    linked = [link.partition("#")[0] for link in re.findall(r"\]\(([^)]+)\)", text) if "://" not in link]
    missing = [link for link in linked if not (here / link).exists()]
    named = [span for span in spans(text) if re.fullmatch(r"(mvdecor|configs|scripts|tests|docs)/[a-z0-9_./]*", span)]
    missing += [path for path in named if not (ROOT / path).exists()]
    assert not missing, f"{document} names {missing}"


def keys(cfg: DictConfig, prefix: str = "") -> set[str]:
    """Dotted names of all settings and groups of settings."""
    found = set()
    for key in cfg:
        found.add(f"{prefix}{key}")
        if OmegaConf.is_dict(cfg._get_node(key)) and cfg._get_node(key)._content is not None:
            found |= keys(cfg._get_node(key), f"{prefix}{key}.")
    return found


@pytest.fixture(scope="module")
def every_key() -> set[str]:
    """Every setting that some choice of the groups has."""
    groups = ("data", "loss", "network")
    choices = [f"{group}={path.stem}" for group in groups for path in (ROOT / "configs" / group).glob("*.yaml")]
    found = {key for choice in choices for key in keys(composed("config", choice))}
    found |= keys(composed("config", "system=semantic_srn"))
    found |= keys(composed("config", "system=to_the_point"))
    found |= keys(composed("config", "system=open_vocabulary"))
    for path in (ROOT / "configs" / "capture").glob("*.yaml"):
        found |= keys(composed("captures", f"capture={path.stem}"))
    return found.union(*(keys(composed(name)) for name in OWN_CONFIG), keys(composed("table", "experiment=table4_cpu")))


def settings_named(text: str) -> set[str]:
    """Settings between the backticks of a text."""
    groups = "data|capture|field|views|network|loss|training|lifting|evaluation|table|figures"
    found = [re.fullmatch(rf"((?:{groups})(?:\.[a-z_]+)+)(?:[=:].*)?", span) for span in spans(text)]
    return {match[1] for match in found if match and not re.search(r"\.(json|md|tex|csv|png|py)$", match[1])}


def test_settings_that_are_named_exist(every_key):
    text = "`views.size`, `views.layers=3`, `views.sizes` and `data.root: DIR`; not `table.json` nor ```\nviews.a\n```"
    assert settings_named(text) == {"views.size", "views.layers", "views.sizes", "data.root"}
    named = {document: settings_named(text) for document, text in TEXTS.items()}
    assert sum(len(found) for found in named.values()) > 50
    unknown = {document: sorted(found - every_key) for document, found in named.items() if found - every_key}
    assert not unknown


def test_readme_lists_every_experiment():
    for path in (ROOT / "configs" / "experiment").glob("*.yaml"):
        assert f"`{path.stem}`" in TEXTS["README.md"], f"README.md does not mention experiment={path.stem}"


def test_figures_of_the_readme_are_those_of_the_results():
    figures = re.findall(r"[\d.]+ ± [\d.]+", TEXTS["README.md"])
    assert figures and all(figure in TEXTS["docs/results.md"] for figure in figures)


# --- Python -------------------------------------------------------------------------------------------------------------

PYTHON_BLOCKS = [
    (name, code) for name, text in TEXTS.items() for language, code in blocks(text) if language == "python"
]


@pytest.fixture
def demo_folder(tmp_path, monkeypatch) -> None:
    """A folder to work in where `make demo` has been, with a mesh."""
    monkeypatch.chdir(tmp_path)
    save_octants(Path("outputs/demo/model"))
    trimesh.creation.icosphere(2).export("chair.obj")
    save_small_field(Path("outputs/srn/tuned/model"))
    save_small_reconstructor(Path("outputs/ttp/tuned/model"))
    Image.new("RGB", (16, 16), "white").save("bird.png")
    Image.new("RGB", (16, 16), "white").save("chair.png")


@pytest.mark.parametrize(("document", "code"), PYTHON_BLOCKS)
def test_python_runs(document, code, demo_folder, capsys):
    if "push_to_hub" not in code:  # which needs an account
        exec(compile(code, document, "exec"), {})
        return
    imports = [node for node in ast.parse(code).body if isinstance(node, ast.Import | ast.ImportFrom)]
    exec(compile(ast.Module(imports, []), document, "exec"), {})
