"""Checkpoints from disk, with messages that say what is wrong with a folder. No remote code, safetensors only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from telechat.core.errors import UserError, one_line
from telechat.core.files import read_json
from telechat.models import telechat2, telechat3, tokenization  # noqa: F401  (they register what Auto classes load)


def check_folder(folder: str | Path) -> Path:
    """`folder` when it looks like a transformers checkpoint; a `UserError` otherwise."""
    path = Path(folder)
    if not path.exists():
        raise UserError(f"{folder}: no such folder; give a checkpoint folder or a finished run directory")
    if not path.is_dir():
        raise UserError(f"{folder}: is a file; give the folder that holds config.json")
    if (path / "report.json").exists() and not (path / "config.json").exists():
        return run_model(path)
    if not (path / "config.json").is_file():
        raise UserError(f"{folder}: is no checkpoint: it has no config.json")
    if not any(path.glob("*.safetensors")):
        raise UserError(f"{folder}: has no *.safetensors weights; weights in other formats are not read")
    return path


def run_model(out: Path) -> Path:
    """The last model of a finished run directory."""
    report = read_json(out / "report.json")
    models = [
        s["model"] for s in report.get("stages", []) if s.get("model") and s.get("kind") not in ("reward_model", "tokenizer")
    ]
    if not models:
        raise UserError(f"{out}: this run has no finished model")
    return check_folder(out / models[-1])


def load_tokenizer(folder: str | Path) -> PreTrainedTokenizerFast:
    """The tokenizer in `folder`."""
    try:
        return AutoTokenizer.from_pretrained(Path(folder), local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{folder}: its tokenizer cannot be read: {one_line(error)[:300]}") from None


def load_model(folder: str | Path, dtype: torch.dtype | str = "auto", device: str | None = None) -> Any:
    """The causal language model in `folder`, in evaluation mode, on the best device there is."""
    path = check_folder(folder)
    try:
        model = AutoModelForCausalLM.from_pretrained(path, dtype=dtype, use_safetensors=True, local_files_only=True)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise UserError(f"{folder}: the model cannot be read: {one_line(error)[:300]}") from None
    return model.to(device or best_device()).eval()


def training_device() -> str:
    """cuda where there is a device, else cpu: a recipe is trained, sampled and judged there."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def best_device() -> str:
    """cuda, npu, mps or cpu: the first that this machine has."""
    for name in ("cuda", "npu", "mps"):
        module = getattr(torch, name, None)
        if module is not None and module.is_available():
            return name
    return "cpu"
