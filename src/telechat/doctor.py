"""What this machine can run, and what a checkpoint is."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from pathlib import Path
from typing import Any

import telechat
from telechat.core.files import read_json

REFERENCE_GFLOPS = 250.0  # the machine whose quickstart time is 600 s
QUICKSTART_SECONDS = 600.0


def examine_machine() -> dict[str, Any]:
    """Hardware, versions, the measured matrix rate, what the quickstart may take here, and what is missing."""
    from telechat.machine import describe_machine
    from telechat.sandbox.worker import Worker

    found = describe_machine()
    missing = []
    with Worker() as worker:
        answer = worker.run_program("print(6 * 7)")
        confined = worker.mechanisms
    if answer.stdout.strip() != "42":
        missing.append("the code sandbox does not answer")
    missing += [f"sandbox: {name}: {state}" for name, state in confined.items() if state.startswith("absent")]
    if found["memory_bytes"] < 4 * 2**30:
        missing.append("less than 4 GB of memory: the quickstart needs up to 4")
    budget = QUICKSTART_SECONDS * max(1.0, REFERENCE_GFLOPS / found["gemm_gflops"])
    return {
        "telechat": telechat.__version__,
        **{name: _version(name) for name in ("torch", "transformers", "tokenizers", "accelerate")},
        "machine": found,
        "sandbox": confined,
        "quickstart_budget_seconds": round(budget),
        "missing": missing,
    }


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def examine_checkpoint(folder: str) -> dict[str, Any]:
    """What the checkpoint in `folder` is; a `UserError` when it is none."""
    from safetensors import safe_open

    from telechat.models.loading import check_folder, load_tokenizer

    path: Path = check_folder(folder)
    config = read_json(path / "config.json")
    parameters, tensors = 0, 0
    for shard in sorted(path.glob("*.safetensors")):
        with safe_open(shard, "pt") as file:
            for name in file.keys():  # noqa: SIM118
                shape = file.get_slice(name).get_shape()
                size = 1
                for length in shape:
                    size *= length
                parameters, tensors = parameters + size, tensors + 1
    tokenizer = load_tokenizer(path)
    return {
        "folder": str(path),
        "architecture": (config.get("architectures") or ["?"])[0],
        "model_type": config.get("model_type"),
        "parameters": parameters,
        "tensors": tensors,
        "context": config.get("max_position_embeddings"),
        "vocabulary": len(tokenizer),
        "chat_template": bool(tokenizer.chat_template),
    }
