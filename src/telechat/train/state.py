"""The state of an interrupted stage: one safetensors file, replaced as a whole, so that it is always one moment's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import nn

from telechat.core.files import atomic_open


def save_state(path: Path, model: nn.Module, optimizers: list[torch.optim.Optimizer], extra: dict[str, Any]) -> None:
    """Write weights, optimiser state and `extra` (JSON) to `path` atomically."""
    tensors: dict[str, torch.Tensor] = {}
    seen: set[int] = set()
    for name, parameter in model.named_parameters():
        if parameter.data_ptr() not in seen:
            seen.add(parameter.data_ptr())
            tensors[f"model.{name}"] = parameter.detach().contiguous()
    for number, optimizer in enumerate(optimizers):
        for index, state in optimizer.state_dict()["state"].items():
            for key, value in state.items():
                tensors[f"optimizer.{number}.{index}.{key}"] = torch.as_tensor(value).detach().contiguous()
    with atomic_open(path) as file:
        file.write(save(tensors, metadata={"extra": json.dumps(extra)}))


def load_state(path: Path, model: nn.Module, optimizers: list[torch.optim.Optimizer]) -> dict[str, Any]:
    """Put the state in `path` back into `model` and `optimizers`; returns `extra`."""
    states: list[dict[int, dict[str, torch.Tensor]]] = [{} for _ in optimizers]
    parameters = dict(model.named_parameters())
    with safe_open(path, "pt") as file, torch.no_grad():
        extra: dict[str, Any] = json.loads(file.metadata()["extra"])
        for key in file.keys():  # noqa: SIM118  (safe_open is no mapping)
            value = file.get_tensor(key)
            room, _, name = key.partition(".")
            if room == "model":
                parameters[name].copy_(value)
            else:
                number, index, field = name.split(".")
                states[int(number)].setdefault(int(index), {})[field] = value
    for optimizer, state in zip(optimizers, states, strict=True):
        whole = optimizer.state_dict()
        whole["state"] = state
        optimizer.load_state_dict(whole)
    return extra


def save_model(model: Any, tokenizer: Any, folder: Path) -> None:
    """Write a normal transformers checkpoint; the folder appears only when it is whole."""
    import os
    import shutil

    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    model.save_pretrained(part)
    tokenizer.save_pretrained(part)
    for file in part.iterdir():
        with open(file, "rb") as handle:
            os.fsync(handle.fileno())
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(part, folder)
