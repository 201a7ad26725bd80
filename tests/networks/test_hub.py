"""Checkpoints on the Hugging Face hub, without a network: the hub's own library is replaced at its door."""

from pathlib import Path

import huggingface_hub
import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError

from mvdecor.errors import InputError
from mvdecor.networks import build_model, load_checkpoint, push_to_hub, save_checkpoint

UNET = {"_target_": "mvdecor.networks.UNet", "encoder": "resnet10t", "decoder_channels": [16, 8], "embedding_dim": 16}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_checkpoint(tmp_path / "model", build_model(UNET, ["rgb"], None), {"kind": "pretrained"})
    return tmp_path / "model"


def test_a_name_is_read_like_a_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def fetch(repository, revision=None, allow_patterns=None):
        calls.append((repository, revision, sorted(allow_patterns)))
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    files = ["README.md", "checkpoint.json", "model.safetensors"]
    ours, _ = load_checkpoint(folder)
    theirs, info = load_checkpoint("hf:somebody/chairs")
    assert info["kind"] == "pretrained"
    assert all(torch.equal(a, b) for a, b in zip(ours.state_dict().values(), theirs.state_dict().values()))
    load_checkpoint(Path("hf:somebody/chairs@v2"))
    assert calls == [("somebody/chairs", None, files), ("somebody/chairs", "v2", files)]


def test_no_network_is_one_clear_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fails(*_args, **_kwargs):
        raise LocalEntryNotFoundError("Cannot find the files on the disk.\nMore lines.")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fails)
    with pytest.raises(
        InputError, match=r"^hf:somebody/chairs: cannot be fetched .*on the disk\): check the name and"
    ) as error:
        load_checkpoint("hf:somebody/chairs")
    assert "\n" not in str(error.value)
    with pytest.raises(InputError, match=r"hf:no name here: cannot be fetched"):
        monkeypatch.undo()  # the library itself refuses such a name before it asks the network
        load_checkpoint("hf:no name here")


def test_push_sends_the_three_files_and_nothing_damaged(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent = []

    class Api:
        def create_repo(self, repository, private, exist_ok):
            sent.append(("create", repository, private, exist_ok))
            return f"https://huggingface.co/{repository}"

        def upload_folder(self, repo_id, folder_path, allow_patterns):
            sent.append(("upload", repo_id, Path(folder_path), sorted(allow_patterns)))

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    assert push_to_hub(folder, "me/chairs", private=True) == "https://huggingface.co/me/chairs"
    assert sent == [
        ("create", "me/chairs", True, True),
        ("upload", "me/chairs", folder, ["README.md", "checkpoint.json", "model.safetensors"]),
    ]
    (folder / "model.safetensors").write_bytes(b"")
    with pytest.raises(InputError, match="damaged"):
        push_to_hub(folder, "me/chairs")
    assert len(sent) == 2
