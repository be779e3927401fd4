"""To and from huggingface.co, through huggingface_hub (extra `loopwm-robot[hub]`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .package import FILES, MANIFEST, HubError


def upload(folder: Path, repository: str, private: bool) -> str:
    """Upload a shared model; the repository is made if need be.

    Args:
        folder: holds the model and nothing else.
        repository: OWNER/NAME.
        private: what a new repository is.

    Returns:
        address of the commit.

    Raises:
        HubError: it did not work; huggingface_hub's own reason is in the message.
    """
    hub = _hub()
    try:
        api = hub.HfApi()
        api.create_repo(repository, private=private, exist_ok=True)
        return str(api.upload_folder(folder_path=folder, repo_id=repository, commit_message="Upload with loopwm push"))
    except Exception as error:  # its own families, and those of the network below
        raise HubError(
            f"repository {repository} did not take the model ({_reason(error)}); try `hf auth login`, or a folder"
        ) from error


def download(repository: str, revision: str | None, folder: Path) -> None:
    """Fetch the files of a shared model, and no others.

    Raises:
        HubError: it did not work.
    """
    hub = _hub()
    try:
        hub.snapshot_download(repository, revision=revision, allow_patterns=[*FILES, MANIFEST], local_dir=folder)
    except Exception as error:
        raise HubError(
            f"repository {repository} cannot be fetched ({_reason(error)}); check its name, try `hf auth login`"
        ) from error


def _hub() -> Any:
    try:
        import huggingface_hub
    except ImportError as error:
        raise HubError("huggingface_hub is not installed; pip install 'loopwm-robot[hub]', or use a folder") from error
    return huggingface_hub


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
