"""Upload and download of checkpoints with the Hugging Face hub; `huggingface_hub` is imported on first use."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mvdecor.errors import InputError

PREFIX = "hf:"
"""What tells a repository of the hub from a folder: hf:OWNER/NAME, or hf:OWNER/NAME@REVISION."""


def download(name: str, files: Sequence[str]) -> Path:
    """Fetch some files of a model repository into the hub's cache; what is there already is not fetched again.

    Args:
        name: hf:OWNER/NAME, with @REVISION (branch, tag or commit) to pin one.
        files: names of the files wanted; others stay on the hub.

    Returns:
        the folder that holds them.

    Raises:
        InputError: no such repository or revision, no access, or no network and nothing in the cache.
    """
    from huggingface_hub import snapshot_download

    repository, _, revision = name.removeprefix(PREFIX).partition("@")
    try:
        return Path(snapshot_download(repository, revision=revision or None, allow_patterns=list(files)))
    except Exception as error:  # its own kinds, and those of the HTTP library below it
        raise InputError(
            f"{name}: cannot be fetched from the Hugging Face hub ({_first_line(error)}): check the name and the "
            "network, or copy the checkpoint folder here and give its path"
        ) from error


def upload(folder: Path, name: str, files: Sequence[str], private: bool) -> str:
    """Send some files of a folder to a model repository, which is made if it does not exist.

    Returns:
        the address of the repository.

    Raises:
        InputError: no network, no login, or no right to write there.
    """
    from huggingface_hub import HfApi

    repository = name.removeprefix(PREFIX)
    try:
        api = HfApi()
        address = api.create_repo(repository, private=private, exist_ok=True)
        api.upload_folder(repo_id=repository, folder_path=folder, allow_patterns=list(files))
        return str(address)
    except Exception as error:  # as above
        raise InputError(
            f"{name}: cannot be sent to the Hugging Face hub ({_first_line(error)}): check the name and the network, and "
            "log in with `hf auth login`"
        ) from error


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0].rstrip(".") or type(error).__name__
