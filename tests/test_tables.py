"""Whole tables: every cell composes, a tiny one is filled, killed and gone on with, and bad descriptions are refused."""

import json
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from mvdecor.apps.tables import read_table, run_table, table_stages
from mvdecor.engine import stage as engine_stage
from mvdecor.engine.cli import CONFIGS
from mvdecor.errors import InputError
from mvdecor.systems.mvdecor.check import check_config
from tests.calls import call

TABLES = sorted(
    path.stem
    for path in Path(CONFIGS, "experiment").glob("table*.yaml")
    if not path.stem.endswith(("ttp_cpu", "ovs_cpu"))
)
"""Of MvDeCor; those of other systems: tests/to_the_point, tests/open_vocabulary."""


@pytest.fixture
def compose_table(make_config):
    """The configuration of scripts/table.py, the table and its stages."""

    def make(*overrides: str):
        cfg = make_config(*overrides, name="table")
        table = read_table(cfg)
        return cfg, table, table_stages(cfg, table, overrides)

    return make


@pytest.mark.parametrize(
    ("second", "shared"),
    [
        ("training.finetune.k=4", True),
        ("data.pretrain_limit=4", False),
        ("data.pretrain_split=all", False),
        ("data.root=elsewhere", False),
        ("training.pretrain.steps=7", False),
    ],
)
def test_columns_share_a_pretraining_only_of_the_same_shapes(second, shared, compose_table):
    columns = f"table.columns=[{{name: A, overrides: []}},{{name: B, overrides: ['{second}']}}]"
    *_, plan = compose_table("experiment=table4_cpu", "table.runs=1", "table.methods=[mvdecor]", columns)
    assert sum(stage.kind == "pretraining" for stage in plan) == (1 if shared else 2)
    moved = compose_table("experiment=table4_cpu", "table.runs=1", "table.methods=[mvdecor]", "data.root=elsewhere")[2]
    assert Path(moved[0].cfg.out).name == Path(plan[0].cfg.out).name, "a table may be moved with its data"


@pytest.mark.parametrize("name", TABLES)
def test_every_cell_composes(name, compose_table):
    _, table, plan = compose_table(f"experiment={name}", "table.runs=1")
    tasks = [column for column in table["columns"] if not column.get("mean_of")]
    own = [stage for stage in plan if stage.kind == "evaluation"]
    assert len(own) == len(tasks) * len(table["methods"])
    assert len({stage.cfg.out for stage in own}) == len(own)
    assert {(s.cfg.cell.column, s.cfg.method.name) for s in own} == {
        (column["name"], method) for column in tasks for method in table["methods"]
    }
    for stage in plan[:1] + own[:1]:
        check_config(stage.cfg)
    for stage in own:
        column = next(c for c in tasks if c["name"] == stage.cfg.cell.column)
        for override in column.get("overrides") or ():
            key, _, value = override.partition("=")
            if "." in key:
                assert OmegaConf.select(stage.cfg, key) == OmegaConf.create(f"x: {value}").x
            else:  # a config of a group
                target = OmegaConf.load(Path(CONFIGS, key, f"{value}.yaml"))._target_
                assert OmegaConf.select(stage.cfg, key)._target_ == target
        assert stage.cfg.views.count >= (stage.cfg.training.finetune.v or 1)
    if table.get("paper"):
        paper = [*table["paper"]["columns"], *(c["name"] for c in table["columns"])]
        assert all(len(row) == len(table["paper"]["columns"]) for row in table["paper"]["rows"].values())
        assert all((c.get("paper") or c["name"]) in paper for c in table["columns"])
        if not name.endswith("_cpu"):
            assert [c["name"] for c in table["columns"]] == table["paper"]["columns"]


def test_cells_share_a_pretraining_where_its_settings_are_equal(compose_table):
    _, _, plan = compose_table("experiment=table4_cpu", "table.methods=[scratch,mvdecor]")
    pretrained = [stage for stage in plan if stage.kind == "pretraining"]
    assert [stage.label for stage in pretrained] == ["mvdecor: RGB; mvdecor: RGB, v=3", "mvdecor: RGB+geometry"]
    for stage in plan:
        if stage.kind == "fine-tuning":
            shared = pretrained[stage.cfg.cell.column == "RGB+geometry"]
            own = None if stage.cfg.method.name == "scratch" else f"{shared.cfg.out}/model"
            assert stage.cfg.checkpoint == own
    runs = [stage.cfg.run for stage in plan if stage.kind == "evaluation"]
    assert runs == sorted(runs), "run 0 of every cell comes before run 1 of any"


def test_place_of_the_data_does_not_start_another_pretraining(compose_table):
    folders = [
        [stage.cfg.out for stage in compose_table("experiment=table1_cpu", f"data.root={root}")[2]]
        for root in ("a", "b")
    ]
    assert folders[0] == folders[1]


def test_columns_limits_what_is_run(compose_table):
    _, _, plan = compose_table("experiment=table4_cpu", 'columns=["RGB, v=3"]')
    assert {stage.cfg.cell.column for stage in plan} == {"RGB, v=3"}


@pytest.fixture(scope="module")
def tiny_table(tiny, made_up_people) -> list[str]:
    return [
        *("experiment=table4_cpu", f"data.root={made_up_people}", *tiny, "views.close_ups=0"),
        *("table.methods=[scratch,mvdecor]", "table.runs=2", 'columns=["RGB","RGB, v=3"]'),
    ]


@pytest.fixture
def calls(monkeypatch) -> list[str]:
    """Which stages were run."""
    made: list[str] = []

    def counted(of, *rest):
        made.append(Path(of.file).stem)
        return begin(of, *rest)

    begin = engine_stage._begin
    monkeypatch.setattr(engine_stage, "_begin", counted)
    return made


def test_filled_killed_and_gone_on_with(tiny_table, make_config, tmp_path, calls, capsys):
    out = tmp_path / "table"

    def run(*more: str):
        overrides = [*tiny_table, f"out={out}", *more]
        return run_table(make_config(*overrides, name="table"), overrides)

    assert run("dry_run=true") is None
    printed = capsys.readouterr().out
    assert "| pretraining |        0 |       1 | unknown" in printed
    assert "| evaluation  |        0 |       8 | unknown" in printed
    assert not out.exists() and not calls

    first = run()
    assert [calls.count(name) for name in ("pretrain", "finetune", "metrics")] == [1, 8, 8]
    rows = [row for row in first["grid"]["rows"] if row["source"] == "ours"]
    values = [
        json.loads((out / "RGB_v_3" / "mvdecor" / f"run_{i}" / "metrics.json").read_text())["part_miou"] for i in (0, 1)
    ]
    assert [row["method"] for row in rows] == ["2D Scratch", "MvDeCor"]
    assert rows[1]["cells"]["RGB, v=3"]["mean"] == pytest.approx(sum(values) / 2)
    assert rows[1]["cells"]["RGB+geometry"] == {"mean": None, "std": None, "runs": 0, "expected": 2}
    assert {path.name for path in out.glob("table.*")} == {"table.md", "table.tex", "table.csv", "table.json"}
    assert (out / "table.md").read_text() in capsys.readouterr().out

    calls.clear()
    (out / "RGB" / "scratch" / "run_1" / "finetune.json").unlink()
    run("dry_run=true")
    printed = capsys.readouterr().out
    assert "| fine-tuning |        7 |       1 |" in printed and "unknown" not in printed
    second = run()
    assert calls == ["finetune"]
    assert second["grid"] == first["grid"]

    calls.clear()
    with pytest.raises(InputError, match="made with other settings"):
        run("training.finetune.steps=2")
    assert not calls

    other = tmp_path / "gathered"
    overrides = [f"gather=[{out}]", f"out={other}"]
    gathered = run_table(make_config(*overrides, name="table"), overrides)
    for row in gathered["grid"]["rows"]:
        same = next(r for r in rows if r["method"] == row["method"])
        assert all(same["cells"][name] == cell for name, cell in row["cells"].items())


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ([], "no table is described: give experiment=NAME (table1"),
        (["experiment=people_cpu"], "no table is described"),
        (["experiment=table4_cpu", "table.methods=[scratch,tsne]"], "unknown method 'tsne': choose among densecl"),
        (["experiment=table4_cpu", "table.methods=[]"], "table.methods=[]: give a list of methods"),
        (["experiment=table4_cpu", "~table.methods"], "table.methods is missing"),
        (["experiment=table4_cpu", "table.columns=[]"], "table.columns=[]: give a list of columns"),
        (["experiment=table4_cpu", "columns=[RGBD]"], "unknown column 'RGBD': choose among RGB; RGB, v=3"),
        (["experiment=table4_cpu", "table.columns=[{name: A},{name: B,mean_of: [C]}]"], "unknown column 'C'"),
        (["experiment=table4_cpu", "table.columns=[{name: A},{name: A}]"], "occurs twice"),
        (["experiment=table4_cpu", "table.runs=0"], "table.runs=0"),
        (["experiment=table4_cpu", "checkpoint=a"], "takes no checkpoint="),
        (["gather=[{tmp}]"], "no metrics.json below"),
        (["gather=[{tmp}/nowhere]"], "is no folder"),
    ],
)
def test_bad_descriptions_are_refused(overrides, words, make_config, tmp_path):
    overrides = [x.replace("{tmp}", str(tmp_path)) for x in [*overrides, f"out={tmp_path}/out"]]
    with pytest.raises(InputError) as error:
        run_table(make_config(*overrides, name="table"), overrides)
    assert words in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_table_of_the_pipeline_is_not_overwritten(make_config, tmp_path):
    file = tmp_path / "table.json"
    for text, words in (('{"rows": []}', "table of another script"), ("{", "not valid JSON")):
        file.write_text(text)
        with pytest.raises(InputError, match=words):
            run_table(make_config(f"gather=[{tmp_path}]", f"out={tmp_path}", name="table"), [])
        assert file.read_text() == text


def test_script(tmp_path):
    """As a user calls it: overrides reach the cells, and bad ones end it with one line."""
    for more, code in (["experiment=table4_cpu", "table.runs=1"], 0), (["experiment=table4_cpu", "columns=[x]"], 2):
        done = call("table", f"out={tmp_path}/out", "dry_run=true", *more, cwd=tmp_path)
        assert done.returncode == code, done.stderr
        assert ("| fine-tuning |        0 |       9 |" in done.stdout) == (code == 0)
        assert code == 0 or (done.stderr.startswith("error: ") and done.stderr.count("\n") == 1)
    assert list(tmp_path.iterdir()) == []
