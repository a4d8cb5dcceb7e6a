"""Checkpoints from disk, with messages that say what is wrong with a folder. No remote code, safetensors only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from telechat.core.errors import UserError, one_line
from telechat.core.files import read_json
from telechat.models import telechat2, telechat3, tokenization  # noqa: F401  (they register what Auto classes load)
from telechat.models.first_generation import REFUSAL, is_telechat1
from telechat.models.hub import check_folder

BROKEN = (
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    RuntimeError,
    ArithmeticError,
    ImportError,
    StrictDataclassError,
)
"""What transformers raises for files of a checkpoint that are not what they should be."""


def why(error: BaseException) -> str:
    """What is wrong with a checkpoint, from what transformers raised for it."""
    text = one_line(error)[:300]
    if "trust_remote_code" in text:
        return "it needs code of its own, and no code of others is run; telechat loads the family's models without it"
    if isinstance(error, KeyError):
        return f"{text}: missing, or not known"
    return text if isinstance(error, (OSError, ValueError)) else f"{type(error).__name__}: {text}"


def load_tokenizer(folder: str | Path) -> PreTrainedTokenizerFast:
    """The tokenizer in `folder`; the family's own where the settings name none."""
    path = Path(folder)
    config, settings = (
        read_object(path / name) if (path / name).is_file() else {} for name in ("config.json", "tokenizer_config.json")
    )
    if is_telechat1(config):
        raise UserError(f"{folder}: {REFUSAL}")
    made = tokenization.OF_MODEL.get(str(config.get("model_type")))
    unnamed = not settings.get("tokenizer_class") and (path / "tokenizer.model").is_file()
    if not any((path / name).is_file() for name in ("tokenizer.model", "tokenizer.json")):
        raise UserError(f"{folder}: has no tokenizer.model (or tokenizer.json); put the published one beside the weights")
    try:
        loader = made if made is not None and unnamed else AutoTokenizer
        return loader.from_pretrained(path, local_files_only=True, trust_remote_code=False)
    except BROKEN as error:
        raise UserError(f"{folder}: its tokenizer cannot be read: {why(error)}") from None


def load_config(folder: str | Path) -> Any:
    """The configuration in `folder`; raises `UserError` for TeleChat1 and for what cannot be used."""
    if is_telechat1(read_object(Path(folder) / "config.json")):
        raise UserError(f"{folder}: {REFUSAL}")
    try:
        return AutoConfig.from_pretrained(Path(folder), local_files_only=True, trust_remote_code=False)
    except BROKEN as error:
        raise UserError(f"{folder}: its config.json cannot be used: {why(error)}") from None


def read_object(file: Path) -> dict[str, Any]:
    """The JSON object in `file`; raises `UserError` when it holds something else."""
    found = read_json(file)
    if not isinstance(found, dict):
        raise UserError(f"{file}: is no JSON object")
    return found


def load_model(folder: str | Path, dtype: torch.dtype | str = "auto", device: str | None = None) -> Any:
    """The causal language model in `folder`, in evaluation mode, on the best device there is."""
    path = check_folder(folder)
    try:
        model = AutoModelForCausalLM.from_pretrained(
            path, dtype=dtype, use_safetensors=True, local_files_only=True, trust_remote_code=False
        )
    except BROKEN as error:
        raise UserError(f"{folder}: the model cannot be read: {why(error)}") from None
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
