"""A round of fine-tuning is the usual fine-tuning: the same weights and metrics as by the usual way."""

import json
import time

import numpy as np
import pytest
import trimesh
from omegaconf import OmegaConf

from mvdecor.apps.viewer.background import Pace, duration
from mvdecor.apps.viewer.round_pace import START, RoundPace
from mvdecor.apps.viewer.rounds import Round, last_round, run_round
from mvdecor.engine.provenance import provenance
from mvdecor.engine.record import changed
from mvdecor.errors import InputError
from mvdecor.networks import build_model, save_checkpoint
from mvdecor.systems.mvdecor.stages import run_evaluate, run_finetune

NOT_COMPARED = ("cost", "config", "machine", "key", "trained_with")


def label_by_hand(session, id: str, truth: np.ndarray) -> None:
    """Whole parts first, as one would; then the faces that need another label."""
    todo = np.full(len(truth), len(truth) < 5000)
    while todo.any():
        tools, groups = session.tools(id), session.shape(id).twin_groups.numpy()
        face = int(groups[np.flatnonzero(todo)[0]])
        session.paint(id, face, session.shape(id).face_centers[face].numpy(), "component", int(truth[face]))
        todo &= ~tools.component(face)
    for label in np.unique(truth):
        session.label(id, truth == label, int(label))


def check_equivalence(source, unlabelled, make_session, make_config, tiny, tmp_path, steps: str) -> None:
    lists = json.loads((source / "split.json").read_text())
    train, test = lists["train"][:3], lists["test"][:1]
    (tmp_path / "split.json").write_text(json.dumps({"labels": lists["labels"], "train": train, "test": test}))
    tiny = [*tiny, "training.finetune.k=3", steps, "data.texture_size=128"]
    usual = make_config(
        *("data=renderpeople", f"data.root={source}", f"data.splits={tmp_path / 'split.json'}"),
        *(*tiny, "views.channels=[rgb]", f"out={tmp_path / 'usual'}"),
    )
    tuned = run_finetune(usual)
    expected = run_evaluate(changed(usual, checkpoint=tmp_path / "usual" / "model", out=tmp_path / "usual"))

    folder = unlabelled(source, train)
    size = "+data.labelled.texture_size=128"
    own = [x for x in tiny if not x.startswith("data.texture_size")]
    session = make_session(
        *(*folder.overrides, *own, size, "views.channels=[rgb]"), f"labels=[{','.join(folder.names)}]"
    )
    for id in train:
        label_by_hand(session, id, folder.truth[id])
        np.testing.assert_array_equal(session.labels_of(id), folder.truth[id])
    made = session.new_round().folder
    run_round(made)

    assert json.loads((made / "finetune.json").read_text())["history"] == tuned["history"]
    model = [p / "model" / "model.safetensors" for p in (made, tmp_path / "usual")]
    assert model[0].read_bytes() == model[1].read_bytes()
    found = run_evaluate(changed(usual, checkpoint=made / "model", out=tmp_path / "tool"))
    for key in expected.keys() - set(NOT_COMPARED):
        assert found[key] == expected[key], key
    check_finished_run(tmp_path / "usual", test[0], make_session)


def check_finished_run(folder, id: str, make_session) -> None:
    """What the viewer shows of a run is what was measured; the confidence is that of the very same votes."""
    session = make_session(f"run={folder}")
    assert session.ids[0] == id
    measured = np.load(folder / "labels" / f"{id}.npy")
    np.testing.assert_array_equal(session.predicted_labels(id), measured)
    assert (session.prediction(id).labels == measured).mean() > 0.999
    assert session.labels is None


def test_made_up_shapes_labelled_here_train_to_the_same_model(
    made_up_people, unlabelled, make_session, make_config, tiny, tmp_path
):
    steps = "training.finetune.steps=3"
    check_equivalence(made_up_people, unlabelled, make_session, make_config, tiny, tmp_path, steps)


def test_people_labelled_here_train_to_the_same_model(
    people_root, unlabelled, make_session, make_config, tiny, tmp_path
):
    steps = "training.finetune.steps=2"
    check_equivalence(people_root, unlabelled, make_session, make_config, tiny, tmp_path, steps)


def test_a_round_in_a_process_of_its_own(made_up_people, unlabelled, make_session, tiny):
    ids = [f"chair_{i:03d}" for i in range(5)]
    folder = unlabelled(made_up_people, ids)
    session = make_session(*folder.overrides, *tiny, f"labels=[{','.join(folder.names)}]")
    (folder.root / "split.json").write_text(json.dumps({"test": [ids[1]]}))
    for id in ids[:3]:
        session.label(id, folder.truth[id] >= 0, 1)
    started = session.new_round()
    started.start()
    assert started.progress().state == "running"
    started.wait()
    now = started.progress()
    assert (now.state, now.share) == ("finished", 1.0), (started.folder / "output.txt").read_text()
    about = json.loads((started.folder / "round.json").read_text())
    assert about["labelled"] == [ids[0], ids[2]], "nothing is trained on the test list"
    assert about["predict"] == ids[3:]
    assert json.loads((started.folder / "finetune.json").read_text())["shapes"] == [ids[0], ids[2]]
    ranking = started.ranking()
    assert {id for id, _ in ranking} == set(ids[3:])
    assert [value for _, value in ranking] == sorted((v for _, v in ranking), reverse=True)
    session.adopt_round(started)
    for id, value in ranking:
        assert session.prediction(id).expected_error(session.shape(id)) == pytest.approx(value)
    worst = ranking[0][0]
    predicted = session.prediction(worst).labels
    assert session.accept(worst)
    np.testing.assert_array_equal(session.labels_of(worst), predicted)
    assert session.new_round().folder.name == "round_2"
    assert last_round(started.folder.parent).folder == started.folder, "the second has not finished"
    assert OmegaConf.load(started.folder / "config.yaml").training.finetune.k == 2


def test_a_stopped_round_goes_on_unless_labels_changed(made_up_people, unlabelled, make_session, tiny):
    folder = unlabelled(made_up_people, ["chair_000", "chair_001"])
    session = make_session(*folder.overrides, *tiny, "labels=[a,b]")
    session.label("chair_000", folder.truth["chair_000"] >= 0, 1)
    started = session.new_round()
    started.start()
    started.stop()
    assert started.progress().state == "stopped"
    assert session.new_round().folder == started.folder
    session.steps += 1
    assert session.new_round().folder.name == "round_2", "other settings"
    session.steps -= 1
    session.undo("chair_000")
    session.label("chair_000", folder.truth["chair_000"] >= 1, 0)
    assert session.new_round().folder.name == "round_3", "other labels"


def test_rounds_start_from_the_shapes_pretraining(made_up_people, unlabelled, make_session, tiny):
    folder = unlabelled(made_up_people, ["chair_000", "chair_001", "chair_002"])
    session = make_session(*folder.overrides, *tiny, "labels=[a,b]", "data.pretrain_split=all")
    with pytest.raises(InputError, match="pretrain or fine-tune"):
        session.embedder()
    session.pretraining.start()
    assert session.pretraining.progress().state == "running"
    session.pretraining.wait()
    output = (session.pretraining.folder / "output.txt").read_text()
    assert session.pretraining.progress().state == "finished", output
    assert session.embedder().on_faces(session.shape("chair_001")).ndim == 2
    session.label("chair_000", folder.truth["chair_000"] >= 0, 1)
    config = OmegaConf.load(session.new_round().folder / "config.yaml")
    assert config.checkpoint == str(session.pretraining.checkpoint)


def test_a_round_is_said_to_train_the_network_of_its_checkpoint(make_session, make_config, tiny, tmp_path):
    root = tmp_path / "balls"
    root.mkdir()
    trimesh.creation.icosphere(2).export(root / "ball.ply")
    folder = ["data=folder", f"data.root={root}", "labels=[a,b]", *tiny]
    cfg = make_config(*tiny, "network.encoder=resnet18")
    model = build_model(cfg.network, cfg.views.channels, None)
    save_checkpoint(tmp_path / "model", model, {"kind": "pretrained", "label_names": [], **provenance(cfg)})
    assert "resnet18" not in make_session(*folder).recipe
    session = make_session(*folder, f"checkpoint={tmp_path / 'model'}")
    assert "resnet18" in session.recipe
    session.label("ball", np.ones(320, dtype=bool), 1)
    assert OmegaConf.load(session.new_round().folder / "config.yaml").network.encoder == "resnet18"


def test_steps_that_fit_into_a_time(make_view):
    pace = RoundPace(make_view("views.count=10"))
    pace._rates = (0.5, 0.02)  # seconds per step, and per image
    assert pace.seconds(100, 5) == pytest.approx(START + 50 + 1)
    steps = pace.steps_within(START + 96, 5)
    assert steps == 190 and pace.seconds(steps, 5) == pytest.approx(START + 96)
    assert pace.steps_within(START, 5) <= 0


def test_time_left_follows_the_pace(monkeypatch):
    clock = iter([0.0, 10.0, 20.0, 30.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    pace = Pace()
    assert pace.left(100, 300) == ""
    assert pace.left(100, 300) == ""
    assert pace.left(140, 300) == ", about 80 s left"  # 40 in 20 s
    assert pace.left(300, 300) == ", about 1 s left"
    assert [duration(x) for x in (0.2, 89, 150, 7200)] == ["1 s", "89 s", "2 min", "2.0 h"]


def test_what_goes_wrong_is_said(made_up_people, unlabelled, make_session, tiny):
    folder = unlabelled(made_up_people, ["chair_000", "chair_001"])
    session = make_session(*folder.overrides, *tiny, "checkpoint=null", "loss.temperature=-1", "labels=[a,b]")
    session.label("chair_000", folder.truth["chair_000"] >= 0, 1)
    made = session.new_round().folder
    (folder.root / "chair_000_labels.npy").unlink()
    with pytest.raises(InputError):
        run_round(made)
    (made / "output.txt").write_text("a warning\nerror: what went wrong\n")
    now = Round(made).progress()
    assert now.state == "failed" and now.text == "round_1: error: what went wrong"
    assert Round(made.parent / "round_7").progress().state == "failed"
