"""What this machine can run, and what a checkpoint is."""

from __future__ import annotations

from typing import Any

import telechat
from telechat.core.errors import UserError


def examine_machine() -> dict[str, Any]:
    """Hardware, versions, the measured matrix rate, what the quickstart may take here, and what is missing."""
    from telechat.machine import describe_machine, quickstart_seconds, version_of
    from telechat.sandbox.worker import Worker
    from telechat.web.browser import HOW_TO_INSTALL, available, find_browser

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
    return {
        "telechat": telechat.__version__,
        **{name: version_of(name) for name in ("torch", "transformers", "tokenizers", "accelerate", "numba")},
        "machine": found,
        "sandbox": confined,
        "page evaluator": find_browser() if available() else f"absent: {HOW_TO_INSTALL}",
        "quickstart_budget_seconds": round(quickstart_seconds(found["gemm_gflops"])),
        "missing": missing,
    }


def examine_checkpoint(folder: str) -> dict[str, Any]:
    """What the checkpoint in `folder` is, whether it will load, with which template and parsers, and what is odd.

    Raises `UserError` when there is no checkpoint.
    """
    from telechat.backends.launch import reasoning_parser, tool_parser
    from telechat.chat.detect import renderer_of, same_template
    from telechat.chat.template_render import TemplateRenderer
    from telechat.models.examine import examine
    from telechat.models.loading import load_tokenizer

    found = examine(folder)
    told = found.to_dict()
    try:
        tokenizer = load_tokenizer(found.folder)
    except UserError as error:
        return {**told, "loads": False, "problems": [*found.problems, str(error)], "tokenizer": None}
    try:
        renderer = renderer_of(tokenizer)
    except UserError as error:
        return {**told, "problems": [*found.problems, str(error)], "tokenizer": type(tokenizer).__name__}
    chat_format = renderer.format
    foreign = isinstance(renderer, TemplateRenderer)
    if foreign:
        told["odd"].append("its tokenizer is of another family: its own chat template is used, calls are read as JSON")
    elif tokenizer.chat_template and not same_template(tokenizer, chat_format):
        told["odd"].append(f"its chat template differs from {chat_format.name}'s; that format is used, `--format` changes it")
    if found.vocabulary and len(tokenizer) > found.vocabulary:
        told["odd"].append(
            f"its tokenizer has {len(tokenizer)} tokens and the model {found.vocabulary}: ids beyond those cannot be read"
        )
    return {
        **told,
        "tokenizer": type(tokenizer).__name__,
        "vocabulary": len(tokenizer),
        "chat_template": bool(tokenizer.chat_template),
        "format": chat_format.name,
        "reasoning": chat_format.thinking,
        "tool_calls": chat_format.calls,
        "reasoning_parser": reasoning_parser(chat_format),
        "tool_call_parser": tool_parser(chat_format),
    }
