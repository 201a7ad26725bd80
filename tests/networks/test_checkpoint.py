"""Checkpoints: round trips, atomic replacement, mismatches and damage."""

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from safetensors.torch import load_file

import mvdecor.networks.checkpoint as checkpoint
from mvdecor.errors import InputError
from mvdecor.networks import Model, build_model, load_checkpoint, load_pretrained, save_checkpoint

UNET = {"_target_": "mvdecor.networks.UNet", "encoder": "resnet10t", "decoder_channels": [16, 8], "embedding_dim": 16}
PRETRAINED = {"kind": "pretrained"}


def make(num_labels: int | None = None, channels: tuple[str, ...] = ("rgb", "depth"), seed: int = 0, **change) -> Model:
    """A model whose weights, batch norm statistics and normalisation are all unlike a new one's."""
    torch.manual_seed(seed)
    model = build_model({**UNET, **change}, channels, num_labels)
    model.mean += 0.1 + seed
    model.std *= 2.0 + seed
    model.embed(torch.rand(2, len(model.mean), 16, 16))
    return model


def outputs(model: Model) -> torch.Tensor:
    images = torch.rand(2, len(model.mean), 17, 13, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        return model.eval()(images) if model.head else model.eval().embed(images)


@pytest.mark.parametrize("num_labels", [None, 3])
def test_round_trip_is_exact(tmp_path: Path, num_labels: int | None) -> None:
    model = make(num_labels, seed=1)
    views = OmegaConf.create({"size": 96, "layers": 1})
    info = {"kind": "finetuned", "label_names": ["a", "b", "c"], "views": views, "metrics": {"part_miou": 0.25}}
    save_checkpoint(tmp_path / "deep" / "model", model, info)
    loaded, read = load_checkpoint(tmp_path / "deep" / "model")
    assert torch.equal(outputs(loaded), outputs(model))
    assert torch.equal(loaded.mean, model.mean) and torch.equal(loaded.std, model.std)
    assert not loaded.training
    assert (loaded.channels, loaded.num_labels, loaded.config) == (model.channels, num_labels, model.config)
    assert read["views"] == {"size": 96, "layers": 1}
    assert read["label_names"] == ["a", "b", "c"] and read["metrics"] == {"part_miou": 0.25}
    assert read["network"] == model.config and read["channels"] == ["rgb", "depth"]


def test_files_are_what_is_documented_and_nothing_is_left_over(tmp_path: Path) -> None:
    model = make()
    for _ in range(2):
        save_checkpoint(tmp_path / "model", model, PRETRAINED)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model"]
    assert sorted(p.name for p in (tmp_path / "model").iterdir()) == [
        "README.md",
        "checkpoint.json",
        "model.safetensors",
    ]
    stored = load_file(tmp_path / "model" / "model.safetensors")
    assert stored.keys() == model.state_dict().keys()
    assert {"mean", "std"} <= stored.keys()


def test_initial_weights_are_not_downloaded_again(tmp_path: Path) -> None:
    model = make()
    model.config["weights"] = "imagenet"  # as if it had started from them
    save_checkpoint(tmp_path / "model", model, PRETRAINED)
    loaded, _ = load_checkpoint(tmp_path / "model")
    assert loaded.config["weights"] == "imagenet"
    assert torch.equal(outputs(loaded), outputs(model))
    load_pretrained(make(seed=2), tmp_path / "model")


def test_info_must_agree_with_the_model(tmp_path: Path) -> None:
    for info, message in [
        ({}, "kind"),
        ({"kind": "best"}, "kind"),
        ({**PRETRAINED, "channels": ["rgb"]}, "channels"),
        ({"kind": "finetuned", "label_names": ["a"]}, "1 label_names for a head of 3"),
    ]:
        with pytest.raises(ValueError, match=message):
            save_checkpoint(tmp_path / "model", make(3), info)
    with pytest.raises(TypeError, match="Tensor"):
        save_checkpoint(tmp_path / "model", make(3), {**PRETRAINED, "metrics": torch.ones(2)})
    assert not list(tmp_path.iterdir())


# Interrupted saves ---------------------------------------------------------------------------------------------------


class Killed(BaseException):
    """Like a signal: no `except Exception` sees it."""


@pytest.mark.parametrize("had_old", [False, True])
@pytest.mark.parametrize("failing", ["_write_synced", "_sync_folder", "_swap"])
@pytest.mark.parametrize("error", [OSError("disk full"), Killed()])
def test_a_failed_save_keeps_the_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, had_old: bool, failing: str, error: BaseException
) -> None:
    folder, old = tmp_path / "model", make(seed=1)
    if had_old:
        save_checkpoint(folder, old, PRETRAINED)

    def fail(*args: object) -> None:
        if failing == "_write_synced":
            Path(str(args[0])).write_bytes(b"half")
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, failing, fail)
        with pytest.raises(type(error)):
            save_checkpoint(folder, make(seed=2), PRETRAINED)
    assert [p.name for p in tmp_path.iterdir()] == ["model"] * had_old
    if had_old:
        assert torch.equal(outputs(load_checkpoint(folder)[0]), outputs(old))


@pytest.mark.parametrize("killed_at", [1, 2])
def test_a_kill_at_any_rename_leaves_old_or_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed_at: int
) -> None:
    folder, old, new = tmp_path / "model", make(seed=1), make(seed=2)
    save_checkpoint(folder, old, PRETRAINED)
    calls, rename = [], Path.rename

    def killed(self: Path, target: Path) -> Path:
        calls.append(target)
        if len(calls) >= killed_at:
            raise Killed
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", killed)
        # what a killed process cannot do either
        patch.setattr(checkpoint.shutil, "rmtree", lambda *a, **k: None)
        with pytest.raises(Killed):
            save_checkpoint(folder, new, PRETRAINED)
    assert torch.equal(outputs(load_checkpoint(folder)[0]), outputs(old))
    save_checkpoint(folder, new, PRETRAINED)
    assert torch.equal(outputs(load_checkpoint(folder)[0]), outputs(new))
    assert [p.name for p in tmp_path.iterdir()] == ["model"], "leftovers of the killed save are cleared"


def test_a_failed_rename_puts_the_old_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, old, rename = tmp_path / "model", make(seed=1), Path.rename
    save_checkpoint(folder, old, PRETRAINED)

    def fail(self: Path, target: Path) -> Path:
        if self.name.endswith(".new"):
            raise OSError("no")
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", fail)
        with pytest.raises(OSError, match="no"):
            save_checkpoint(folder, make(seed=2), PRETRAINED)
    assert [p.name for p in tmp_path.iterdir()] == ["model"]
    assert torch.equal(outputs(load_checkpoint(folder)[0]), outputs(old))


def test_other_peoples_files_are_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"notes\.txt.*choose another folder"):
        save_checkpoint(tmp_path, make(), PRETRAINED)
    with pytest.raises(InputError, match="is a file"):
        save_checkpoint(tmp_path / "notes.txt", make(), PRETRAINED)
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]


# Damage --------------------------------------------------------------------------------------------------------------


def edit_json(folder: Path, **change: object) -> None:
    path = folder / "checkpoint.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))


def test_damage_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    weights, text = folder / "model.safetensors", folder / "checkpoint.json"

    def half(path: Path) -> None:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    cases = [
        (lambda: weights.unlink(), r"model\.safetensors is missing"),
        (lambda: text.unlink(), r"checkpoint\.json is missing"),
        (lambda: half(weights), r"model\.safetensors is damaged"),
        (lambda: weights.write_bytes(b""), r"model\.safetensors is damaged"),
        (lambda: half(text), r"checkpoint\.json is damaged"),
        (lambda: text.write_bytes(b"\xff\xfe"), r"checkpoint\.json is damaged"),
        (lambda: text.write_text("[]"), r"checkpoint\.json: format None"),
        (lambda: edit_json(folder, format="other"), r"checkpoint\.json: format 'other'"),
        (lambda: edit_json(folder, network=[]), r"checkpoint\.json is damaged"),
        (lambda: edit_json(folder, network={"_target_": "os.system", "command": "true"}), "os.system is not"),
        (lambda: edit_json(folder, channels=["rgb"]), "tensors do not fit"),
    ]
    for damage, message in cases:
        save_checkpoint(folder, make(), PRETRAINED)
        damage()
        for load in (load_checkpoint, lambda f: load_pretrained(make(channels=("rgb", "depth")), f)):
            if load is not load_checkpoint and message in ("tensors do not fit", "os.system is not"):
                message = "another model"
            with pytest.raises(InputError, match=message) as caught:
                load(folder)
            assert str(folder) in str(caught.value)
        if not text.exists():
            text.touch()


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    folder = tmp_path_factory.mktemp("flip") / "model"
    save_checkpoint(folder, make(), PRETRAINED)
    return folder, (folder / "model.safetensors").read_bytes()


@settings(max_examples=20, deadline=None)
@given(where=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
def test_no_flipped_byte_goes_unseen(intact: tuple[Path, bytes], where: float, flip: int) -> None:
    folder, weights = intact
    data = bytearray(weights)
    data[int(where * len(data))] ^= flip
    (folder / "model.safetensors").write_bytes(data)
    with pytest.raises(InputError, match=r"model\.safetensors is damaged"):
        load_checkpoint(folder)


def test_files_of_two_checkpoints_do_not_mix(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "a", make(seed=1), PRETRAINED)
    save_checkpoint(tmp_path / "b", make(seed=2), PRETRAINED)
    (tmp_path / "a" / "model.safetensors").replace(tmp_path / "b" / "model.safetensors")
    with pytest.raises(InputError, match=r"not the one that checkpoint\.json belongs to"):
        load_checkpoint(tmp_path / "b")


def test_no_folder(tmp_path: Path) -> None:
    for load in (load_checkpoint, lambda f: load_pretrained(make(), f)):
        with pytest.raises(InputError, match="nowhere: no checkpoint folder"):
            load(tmp_path / "nowhere")


def test_the_folder_of_a_run_is_told_from_a_damaged_checkpoint(tmp_path: Path) -> None:
    for folder in ("model", "pretrain/model"):
        save_checkpoint(tmp_path / "run" / folder, make(), PRETRAINED)
    with pytest.raises(InputError, match=r"run: is the folder of a run.*: give \S*run/model or \S*run/pretrain/model$"):
        load_checkpoint(tmp_path / "run")


# Pretrained weights --------------------------------------------------------------------------------------------------


def test_pretrained_network_without_its_head(tmp_path: Path) -> None:
    source = make(seed=1)
    save_checkpoint(tmp_path / "model", source, PRETRAINED)
    model = make(4, seed=2)
    head = {k: v.clone() for k, v in model.head.state_dict().items()}
    info = load_pretrained(model, tmp_path / "model")
    assert info["kind"] == "pretrained"
    assert torch.equal(model.mean, source.mean) and torch.equal(model.std, source.std)
    for name, value in source.network.state_dict().items():
        assert torch.equal(model.network.state_dict()[name], value), name
    for name, value in head.items():
        assert torch.equal(model.head.state_dict()[name], value), name


def test_the_head_of_a_finetuned_checkpoint_is_left_out(tmp_path: Path) -> None:
    source = make(3, seed=1)
    save_checkpoint(tmp_path / "model", source, {"kind": "finetuned", "label_names": ["a", "b", "c"]})
    model = make(seed=2)
    load_pretrained(model, tmp_path / "model")
    assert model.head is None
    source.head = None
    assert torch.equal(outputs(model), outputs(source))


def test_another_network_is_refused_by_setting_and_left_alone(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "model", make(seed=1), PRETRAINED)
    model = make(encoder="resnet14t", channels=("rgb", "normal"), decoder_channels=[16, 4])
    before = outputs(model)
    with pytest.raises(InputError) as caught:
        load_pretrained(model, tmp_path / "model")
    message = str(caught.value)
    assert str(tmp_path / "model") in message and "pretrain again" in message
    assert "network.encoder: resnet14t here, resnet10t in the checkpoint" in message
    assert "network.decoder_channels: [16, 4] here, [16, 8] in the checkpoint" in message
    assert "channels: rgb+normal here, rgb+depth in the checkpoint" in message
    assert "embedding_dim" not in message
    assert torch.equal(outputs(model), before)


def test_defaults_left_unsaid_are_no_difference(tmp_path: Path) -> None:
    said = {"_target_": UNET["_target_"], "encoder": "resnet18", "embedding_dim": 64, "decoder_channels": [8, 8]}
    save_checkpoint(tmp_path / "model", build_model(said, ["rgb"], None), PRETRAINED)
    unsaid = {"_target_": UNET["_target_"], "decoder_channels": (8, 8)}
    load_pretrained(build_model(unsaid, ["rgb"], 2), tmp_path / "model")
