"""`telechat serve MODEL`: an OpenAI-compatible server."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import typer

from telechat.core.errors import UserError
from telechat.serve.log import LogFormat, configure

NATIVE_ONLY = (
    "slots",
    "preset",
    "kv_memory",
    "max_queued",
    "any_model_name",
    "metrics_prefix",
    "timeout",
    "log",
    "log_prompts",
    "cors_origin",
    "allowed_host",
)
"""Options of the embedded engine and its server; vLLM and SGLang have their own."""


def command(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="a checkpoint folder or a finished run directory")],
    host: Annotated[str, typer.Option(help="address to listen on")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 takes any free port")] = 8000,
    api_key: Annotated[
        list[str] | None,
        typer.Option(
            envvar="TELECHAT_API_KEY", help="a key that clients may send; better in the environment; repeat it for more"
        ),
    ] = None,
    without_key: Annotated[bool, typer.Option("--without-key", help="let anybody who reaches the address in")] = False,
    name: Annotated[str | None, typer.Option(help="the model's name for clients; default the folder's name")] = None,
    chat_format: Annotated[str | None, typer.Option("--format", help="chat format; default the checkpoint's own")] = None,
    slots: Annotated[int, typer.Option(help="answers that are generated together at most", min=1, max=4096)] = 32,
    max_len: Annotated[
        int | None, typer.Option("--context", help="tokens of prompt and answer at most; default the model's", min=2)
    ] = None,
    preset: Annotated[str | None, typer.Option(help="sampling by default: code, agent, math or general")] = None,
    kv_memory: Annotated[
        float | None, typer.Option(help="GB for keys and values; default: as much as the slots need", min=0.001)
    ] = None,
    max_queued: Annotated[int, typer.Option(help="answers that may wait; more are refused with 429", min=1)] = 1024,
    timeout: Annotated[float, typer.Option(help="seconds that one answer may take, waiting included", min=0.1)] = 3600.0,
    any_model_name: Annotated[
        bool, typer.Option("--any-model-name", help="answer whatever model a client asks for (for coding agents)")
    ] = False,
    metrics_prefix: Annotated[str, typer.Option(help="how names in /metrics begin; vllm: for its dashboards")] = "telechat:",
    log: Annotated[LogFormat, typer.Option(help="one line a request on stderr: text, json or off")] = "text",
    log_prompts: Annotated[bool, typer.Option("--log-prompts", help="put what people ask into the log")] = False,
    cors_origin: Annotated[
        list[str] | None, typer.Option(help="a web page's origin that may read answers, like https://chat.example; repeatable")
    ] = None,
    allowed_host: Annotated[
        list[str] | None, typer.Option(help="a name, besides localhost, that this machine is asked by; repeatable")
    ] = None,
    engine: Annotated[str, typer.Option(help="native (this package's own), vllm or sglang")] = "native",
    tensor_parallel: Annotated[
        int, typer.Option("--tensor-parallel-size", help="devices that share the model (vllm, sglang)", min=1)
    ] = 1,
    playground: Annotated[bool, typer.Option(help="the page at / (vllm, sglang; the native engine always has it)")] = True,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="print the engine's command and do nothing")] = False,
) -> None:
    """Serve a model to OpenAI and Anthropic clients: /v1/chat/completions, /v1/completions, /v1/responses, /v1/messages,
    /v1/models, /metrics, /health, and a page at /. Ctrl-C or SIGTERM ends it.

    With --engine vllm or sglang this becomes that engine, started with our plugin and every flag the checkpoint needs.
    """
    from telechat.serve.gate import loopback_hosts, need_key

    keys = tuple(key for key in api_key or () if key)
    if engine != "native" or dry_run:
        given = [n for n in NATIVE_ONLY if getattr(context.get_parameter_source(n), "name", "") == "COMMANDLINE"]
        if given:
            option = given[0].replace("_", "-")
            raise UserError(f"--{option}: only the native engine has it; give {engine} its own options with its own command")
        if len(keys) > 1:
            raise UserError(f"--api-key: {engine} takes one key")
        need_key(host, keys, without_key or dry_run)
        _launch(model, engine, name, chat_format, dry_run, host, port, max_len, tensor_parallel, keys, playground)
        return
    need_key(host, keys, without_key)
    for origin in cors_origin or ():
        if not re.fullmatch(r"https?://[^/*\s]+", origin):
            raise UserError(f"--cors-origin {origin}: give an exact origin, like https://chat.example")
    configure(log)
    _serve(
        model,
        host,
        port,
        name,
        chat_format,
        slots,
        max_len,
        kv_memory,
        timeout,
        api_keys=keys,
        hosts=loopback_hosts(host, keys, allowed_host or ()),
        cors_origins=tuple(cors_origin or ()),
        any_name=any_model_name,
        max_queued=max_queued,
        metrics_prefix=metrics_prefix,
        preset=preset,
        log_prompts=log_prompts,
    )


def _serve(
    model: str,
    host: str,
    port: int,
    name: str | None,
    chat_format: str | None,
    slots: int,
    max_len: int | None,
    kv_memory: float | None,
    timeout: float,
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
        worker = Worker(lambda: Engine(chat.model, slots, max_len, fair=True, kv_bytes=room), timeout=timeout)
        names = tuple(dict.fromkeys((name or Path(model).resolve().name, model)))
        app = create_app(chat, worker, Settings(names, **settings))
        line = f"telechat: serving {names[0]} at {url_of(listener)}/v1 (Ctrl-C ends)"
        run(app, listener, ready=lambda: typer.echo(line, err=True), answering=worker)


def _launch(
    model: str,
    engine: str,
    name: str | None,
    chat_format: str | None,
    dry_run: bool,
    host: str,
    port: int,
    max_len: int | None,
    tensor_parallel: int,
    keys: tuple[str, ...],
    playground: bool,
) -> None:
    import shlex
    from typing import cast

    from telechat.backends.launch import COMMANDS, EngineName, Launch, start
    from telechat.chat.formats import get_format
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
        context=max_len,
        tensor_parallel=tensor_parallel,
        has_template=same_template(tokenizer, fmt),
        api_key=keys[0] if keys else None,
        playground=playground,
    )
    if dry_run:
        typer.echo(shlex.join(COMMANDS[engine](launch)))
        return
    start(cast(EngineName, engine), launch)
