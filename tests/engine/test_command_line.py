"""File names of any kind on the command line of every script; Hydra's own overrides keep their meaning."""

import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from mvdecor.engine.cli import CONFIGS, compose_config, main
from mvdecor.engine.overrides import PATHS_OF, command_line, override, quoted
from mvdecor.errors import InputError
from tests.calls import PATIENCE, ROOT

SCRIPTS = sorted(path.name for path in (ROOT / "scripts").glob("*.py"))
SIGNS = "ab\\'\"ü木é ,=()[]{}$#&%:~.1*?!|;<>@^`-+_\t"
NAMES = [
    *("stühle 木.obj", "my chair (1).obj", "chair,left.obj", "a=b.obj", "it's.obj", 'a"b.obj', "a#1.obj", "a&b.obj"),
    *(
        "[a].obj",
        "{a}.obj",
        "$a.obj",
        "a;b.obj",
        "100%.obj",
        "-a.obj",
        "~a.obj",
        "1",
        "1e5",
        "true",
        "null",
        "a\\b.obj",
    ),
    *("[a,b]", "'a'", "choice(a,b)", " a", "a ", "a: b", "!a", "a\udc80.obj", "a|b.obj", "name=[x].obj", "\n.obj"),
]
file_names = st.text(st.sampled_from(SIGNS), min_size=1, max_size=10).filter(lambda name: name not in (".", ".."))


def value(word: str):
    return OverridesParser.create().parse_override(word).value()


@settings(deadline=None)
@given(st.text(max_size=20).filter(lambda text: "${" not in text))
def test_quoted_text_is_read_back(text):
    assert value(f"key={quoted(text)}") == text


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(file_names)
def test_an_existing_name_is_taken_as_it_is(tmp_path, name):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        Path(name).touch()
        if "${" in name:
            with pytest.raises(InputError, match="rename it"):
                override(f"mesh={name}", "segment")
            return
        word = override(f"mesh={name}", "segment")
        assert value(word) == name
        assert value(override(word, "segment")) == name, "a second time changes nothing"
        Path(name).unlink()


@settings(deadline=None)
@given(st.text(st.sampled_from(SIGNS), max_size=10))
def test_a_name_that_is_not_there_is_read_or_refused_in_one_line(name):
    """A new folder for results, or a wrong name that the script itself will miss."""
    try:
        word = override(f"out={name}/x")
    except InputError as error:
        assert "," in name, "only a sweep can be meant"
        assert "\n" not in str(error)
    else:
        OverridesParser.create().parse_override(word)


@pytest.mark.parametrize("name", NAMES[::3])
def test_every_setting_that_names_files(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path(name).touch()
    keys = ["data.root", "out", "checkpoint", "views.cache", "training.finetune.split"]
    cfg = compose_config([f"{key}={name}" for key in keys])
    assert all(OmegaConf.select(cfg, key) == name for key in keys)


@pytest.mark.parametrize("config", sorted(PATHS_OF))
def test_settings_of_single_scripts(config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in NAMES[:: 1 if config == "segment" else 4]:
        Path(name).touch()
        cfg = compose_config([f"{key}={name}" for key in PATHS_OF[config]], config)
        assert all(cfg[key] == name for key in PATHS_OF[config])


def test_lists_of_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a,b.obj", "ü.obj", "c (1).obj"):
        Path(name).touch()
    assert value(override("mesh=[ü.obj,c (1).obj,plain.obj]", "segment")) == ["ü.obj", "c (1).obj", "plain.obj"]
    assert value(override("mesh=[plain.obj,a,b.obj,x]", "segment")) == ["plain.obj", "a,b.obj", "x"]
    assert value(override("mesh=['a,b.obj',\"ü.obj\", ü.obj]", "segment")) == ["a,b.obj", "ü.obj", "ü.obj"]
    assert value(override("labels=[fuß,Stuhl (alt)]", "view")) == ["fuß", "Stuhl (alt)"]


def test_home_and_numbers(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "jürgen"))
    monkeypatch.chdir(tmp_path)
    assert value(override("data.root=~/meshes")) == f"{tmp_path}/jürgen/meshes"
    assert value(override("out=2024")) == "2024"
    assert value(override("checkpoint=null")) is None
    Path("1").mkdir()
    assert value(override("seed=1")) == 1, "a folder of this name has no say in a setting that names none"


@pytest.mark.parametrize(
    "word",
    [
        *("seed=1", "training.finetune.k=[10,30]", "views.channels=[rgb,depth]", "mesh=meshes/*.glb", "out=a/b_1.5"),
        *("+new=1", "++new={a:1,b:[2,3]}", "~data.limit", "data=folder", "out=${data.name}/x", "mesh='a, b.obj'"),
        *("checkpoint=hf:owner/name@v1", "x=", 'x="a b"', "x=int(3)", "x=null", "data@other=folder", "x=a b"),
    ],
)
def test_overrides_of_hydra_keep_their_meaning(word, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert override(word, "segment") == word


def test_sweeps(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["-m", "seed=1,2", "training=choice(cpu,recipe)", "data.root=/home/jürgen/a,/b", "k=range(1,4)"]
    ready = command_line(words, "config")
    assert ready[:3] == words[:3] and ready[4] == words[4]
    assert ready[3] == "data.root='/home/jürgen/a',/b"
    assert OverridesParser.create().parse_override(ready[3]).is_sweep_override()
    with pytest.raises(
        InputError, match=r"mesh=a,b: a comma separates .* 'mesh='a,b'', or give a list, 'mesh=\[a,b\]'"
    ):
        command_line(["mesh=a,b"], "segment")


def test_interpolations_in_names():
    cfg = compose_config(["out=/home/jürgen (1)/${data.name}", "data=folder"])
    assert cfg.out == "/home/jürgen (1)/folder"


def test_a_sweep_over_names(tmp_path, monkeypatch, capsys):
    """Hydra's sweeper writes the overrides of each job again: names come out as they went in."""
    monkeypatch.chdir(tmp_path)
    names = ["stühle 木", "it's (1)", "a,b"]
    for name in names:
        Path(name).mkdir()
    words = ["-m", f"data.root={','.join(names)}", "out=ergebnisse ü/${hydra:job.num}", "hydra.sweep.dir=."]
    monkeypatch.setattr(sys, "argv", ["x.py", *words])
    main(lambda cfg: print(f"<{cfg.data.root}|{cfg.out}>"))
    printed = capsys.readouterr().out
    for number, name in enumerate(names):
        assert f"<{name}|ergebnisse ü/{number}>" in printed


def test_names_without_a_key(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a=b.obj", "c, d.obj"):
        Path(name).touch()
    words = ["a=b.obj", "--cfg", "job", "c, d.obj", "parts=true", "absent (1).obj"]
    ready = command_line(words, "segment")
    assert ready[:3] == ["--cfg", "job", "parts=true"]
    assert value(ready[3]) == ["a=b.obj", "c, d.obj", "absent (1).obj"]
    for name in ("-x.obj", "--cfg.obj", "~a.obj", "+b.obj", "007", "out=x.obj"):
        Path(name).touch()
        ready = command_line([name, "-m"], "segment")
        assert ready[0] == "-m" and value(ready[1]) == [name]
    for folder in ("a=b", "c, d (1), e=f"):
        Path(folder).mkdir()
        Path(folder, "x.stl").touch()
        for word in (folder, f"{folder}/x.stl", f"{folder}/*.stl", f"{folder}/**/*"):
            assert value(command_line([word], "segment")[0]) == [word]
            assert value(command_line([f"mesh={word}"], "segment")[0]) == word
            assert value(command_line([f"mesh=[{word},b.obj]"], "segment")[0]) == [word, "b.obj"]
    Path("-m").touch()
    assert command_line(["-m"], "segment") == ["-m"]
    with pytest.raises(InputError, match=r"a\.obj: is given beside mesh="):
        command_line(["mesh=b.obj", "a.obj"], "segment")
    for word in ("chair.obj", "größe=3", "=", ""):
        with pytest.raises(InputError, match=r"cannot be read as KEY=VALUE"):
            command_line([word], "config")


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_script_takes_them(script, tmp_path, monkeypatch, capsys):
    """`--cfg job` composes the configuration through the script's own entry point and runs nothing."""
    name = "stühle, 木 (1) = it's [x] {y} $z #&"
    (tmp_path / name).mkdir()
    key = "shapes" if script == "benchmark.py" else "out"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [script, f"{key}={name}", "--cfg", "job"])
    runpy.run_path(str(ROOT / "scripts" / script), run_name="__main__")
    assert yaml.safe_load(capsys.readouterr().out)[key] == name


@pytest.mark.parametrize(
    ("script", "word", "message"),
    [
        ("segment.py", "mesh=stühle.obj", "no such file or folder"),
        ("evaluate.py", "größe=3", "cannot be read as KEY=VALUE"),
        ("segment.py", "mesh=a${b}.obj", "Interpolation key 'b' not found"),
    ],
)
def test_errors_are_one_line_on_any_terminal(script, word, message, tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHONIOENCODING": "ascii"}
    command = [sys.executable, str(ROOT / "scripts" / script), "checkpoint=x", word]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 2
    assert message in done.stderr and done.stderr.count("\n") == 1, done.stderr


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("views.sise=3", "views.sise is unknown: did you mean views.size?"),
        ("traning.finetune.k=3", "traning.finetune.k is unknown: did you mean training.finetune.k?"),
        ("k=3", "k is unknown: did you mean training.finetune.k?"),
        ("level=2", "level is unknown: did you mean data.level?"),
        ("~views.siz", "views.siz is unknown: did you mean views.size?"),
        ("loss=infonc", "loss=infonc is unknown: did you mean loss=infonce? Choose one of circle, "),
        ("loss=a/b.obj", "loss=a/b.obj is unknown: choose one of circle, "),
        ("hydra/launcher=bsic", "hydra/launcher=bsic is unknown: did you mean hydra/launcher=basic? Choose one of "),
        ("experiment=people", "experiment=people is unknown: did you mean experiment=people_cpu? Choose one of demo, "),
        ("zzzz=3", "zzzz is unknown: choose data, views, "),
        ("+views.size=3", "+views.size=3: Could not append to config. An item is already at 'views.size'."),
        ("views.channels.foo=1", "views.channels.foo=1: "),
    ],
)
def test_misspelt_overrides(word, meant, monkeypatch, capsys):
    """One line and exit code 2 of a script; the same InputError where a program composes a configuration itself."""
    with pytest.raises(InputError) as info:
        compose_config([word])
    assert str(info.value).startswith(meant)
    monkeypatch.setattr(sys, "argv", ["x.py", "data=partnet", word])
    with pytest.raises(SystemExit) as left:
        main(lambda cfg: None)
    printed = capsys.readouterr().err
    assert (left.value.code == 2 and printed.startswith(f"error: {meant.removesuffix(word)}")) or word in printed
    assert printed.count("\n") == 1 and "HYDRA_FULL_ERROR" not in os.environ


def test_errors_of_a_stage_itself_are_shown_as_they_are(monkeypatch):
    """A fault of the program is none of the command line."""

    def broken(cfg):
        raise ValueError("a fault")

    monkeypatch.setattr(sys, "argv", ["x.py", "seed=1"])
    with pytest.raises(ValueError, match=r"^a fault$"):
        main(broken)


def test_configurations_have_the_settings():
    for config, keys in PATHS_OF.items():
        assert Path(CONFIGS, f"{config}.yaml").is_file()
        assert set(keys) <= set(compose_config([], config))
