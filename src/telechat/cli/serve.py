"""`telechat serve MODEL`: an OpenAI-compatible server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

_LOOPBACK = ("127.0.0.1", "::1", "localhost")


def command(
    model: Annotated[str, typer.Argument(help="a checkpoint folder or a finished run directory")],
    host: Annotated[str, typer.Option(help="address to listen on")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 takes any free port")] = 8000,
    api_key: Annotated[
        str | None, typer.Option(envvar="TELECHAT_API_KEY", help="the key that clients must send; better in the environment")
    ] = None,
    name: Annotated[str | None, typer.Option(help="the model's name for clients; default the folder's name")] = None,
    chat_format: Annotated[str | None, typer.Option("--format", help="chat format; default the checkpoint's own")] = None,
    slots: Annotated[int, typer.Option(help="answers that are generated together at most", min=1, max=4096)] = 32,
    context: Annotated[int | None, typer.Option(help="tokens of prompt and answer at most; default the model's", min=2)] = None,
    preset: Annotated[str | None, typer.Option(help="sampling by default: code, agent, math or general")] = None,
    kv_memory: Annotated[
        float | None, typer.Option(help="GB for keys and values; default: as much as the slots need", min=0.001)
    ] = None,
    max_queued: Annotated[int, typer.Option(help="answers that may wait; more are refused with 429", min=1)] = 1024,
    any_model_name: Annotated[
        bool, typer.Option("--any-model-name", help="answer whatever model a client asks for (for coding agents)")
    ] = False,
    metrics_prefix: Annotated[str, typer.Option(help="how names in /metrics begin; vllm: for its dashboards")] = "telechat:",
    engine: Annotated[str, typer.Option(help="native (this package's own), vllm or sglang")] = "native",
    tensor_parallel: Annotated[
        int, typer.Option("--tensor-parallel-size", help="devices that share the model (vllm, sglang)", min=1)
    ] = 1,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="print the engine's command and do nothing")] = False,
) -> None:
    """Serve a model to OpenAI and Anthropic clients: /v1/chat/completions, /v1/completions, /v1/responses, /v1/messages,
    /v1/models, /metrics, /health. Ctrl-C or SIGTERM ends it.

    With --engine vllm or sglang this becomes that engine, started with our plugin and every flag the checkpoint needs.
    """
    if engine != "native" or dry_run:
        _launch(model, engine, host, port, api_key, name, chat_format, context, tensor_parallel, dry_run)
        return
    _serve(
        model,
        host,
        port,
        name,
        chat_format,
        slots,
        context,
        kv_memory,
        api_key or None,
        any_name=any_model_name,
        max_queued=max_queued,
        metrics_prefix=metrics_prefix,
        preset=preset,
    )


def _serve(
    model: str,
    host: str,
    port: int,
    name: str | None,
    chat_format: str | None,
    slots: int,
    context: int | None,
    kv_memory: float | None,
    api_key: str | None,
    **settings: Any,
) -> None:
    """Serve on the embedded engine; `settings` are further fields of `Settings`."""
    from telechat.serve.server import reserve, run, url_of

    with reserve(host, port) as listener:  # before anything heavy: a port in use is known at once
        from transformers.utils import logging

        from telechat.engine import Engine
        from telechat.serve.app import Settings, create_app
        from telechat.serve.session import ChatModel
        from telechat.serve.worker import Worker

        logging.disable_progress_bar()
        chat = ChatModel.load(model, chat_format)
        room = None if kv_memory is None else int(kv_memory * 2**30)
        worker = Worker(lambda: Engine(chat.model, slots, context, fair=True, kv_bytes=room))
        names = tuple(dict.fromkeys((name or Path(model).resolve().name, model)))
        app = create_app(chat, worker, Settings(names, api_key, **settings))
        if host not in _LOOPBACK and not api_key:
            typer.echo("telechat: warning: anybody who reaches this machine can use the model; give --api-key", err=True)
        line = f"telechat: serving {names[0]} at {url_of(listener)}/v1 (Ctrl-C ends)"
        run(app, listener, ready=lambda: typer.echo(line, err=True), give_up=worker.halt)


def _launch(
    model: str,
    engine: str,
    host: str,
    port: int,
    api_key: str | None,
    name: str | None,
    chat_format: str | None,
    context: int | None,
    tensor_parallel: int,
    dry_run: bool,
) -> None:
    import shlex
    from typing import cast

    from telechat.backends.launch import COMMANDS, EngineName, Launch, start
    from telechat.chat.formats import get_format
    from telechat.core.errors import UserError
    from telechat.models.hub import find
    from telechat.models.loading import load_tokenizer
    from telechat.serve.session import format_of, same_template

    if engine not in COMMANDS:
        known = ", ".join(("native", *COMMANDS))
        raise UserError(
            "--dry-run: only vllm and sglang are commands of their own"
            if engine == "native"
            else f"--engine {engine}: use one of {known}"
        )
    folder = find(model)
    tokenizer = load_tokenizer(folder)
    fmt = get_format(chat_format) if chat_format else format_of(tokenizer)
    launch = Launch(
        model=folder,
        format=fmt,
        name=name or Path(model).name,
        host=host,
        port=port,
        context=context,
        tensor_parallel=tensor_parallel,
        has_template=same_template(tokenizer, fmt),
        api_key=api_key,
    )
    if dry_run:
        typer.echo(shlex.join(COMMANDS[engine](launch)))
        return
    start(cast(EngineName, engine), launch)
