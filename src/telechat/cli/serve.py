"""`telechat serve MODEL`: an OpenAI-compatible server."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from telechat.chat.parser import ReasoningField
from telechat.core.errors import UserError
from telechat.serve.log import LogFormat, configure

NATIVE_ONLY = (
    "dtype",
    "slots",
    "preset",
    "kv_memory",
    "max_queued",
    "max_samples",
    "any_model_name",
    "reasoning_field",
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
    engine_options: Annotated[
        list[str] | None, typer.Argument(help="after --: options of vllm's or sglang's own, handed on as they are")
    ] = None,
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
    dtype: Annotated[str, typer.Option(help="of the weights: auto, float32, bfloat16, float16 or int8")] = "auto",
    slots: Annotated[int, typer.Option(help="answers that are generated together at most", min=1, max=4096)] = 32,
    max_len: Annotated[
        int | None, typer.Option("--context", help="tokens of prompt and answer at most; default the model's", min=2)
    ] = None,
    preset: Annotated[str | None, typer.Option(help="sampling by default: code, agent, math or general")] = None,
    kv_memory: Annotated[
        float | None, typer.Option(help="GB for keys and values; default: as much as the slots need", min=0.001)
    ] = None,
    max_queued: Annotated[int, typer.Option(help="answers that may wait; more are refused with 429", min=1)] = 1024,
    max_samples: Annotated[int, typer.Option(help="answers to one question (n) at most", min=1, max=128)] = 8,
    timeout: Annotated[float, typer.Option(help="seconds that one answer may take, waiting included", min=0.1)] = 3600.0,
    any_model_name: Annotated[
        bool, typer.Option("--any-model-name", help="answer whatever model a client asks for (for coding agents)")
    ] = False,
    reasoning_field: Annotated[
        ReasoningField, typer.Option(help="the name of thinking in chat completions: reasoning_content or reasoning")
    ] = "reasoning_content",
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

    With --engine vllm or sglang this becomes that engine, started with our plugin and every flag the checkpoint needs;
    what stands after -- is handed on to it, as in: telechat serve MODEL --engine vllm -- --gpu-memory-utilization 0.8
    """
    keys = tuple(key for key in api_key or () if key)
    options = Options(**{**context.params, "api_key": keys, "engine_options": tuple(engine_options or ())})
    if engine != "native" or dry_run:
        _check_launch(options, context)
        _launch(options)
    else:
        _serve(options)


@dataclass(frozen=True)
class Options:
    """What the command line says, under the names of `command`'s parameters."""

    model: str
    engine_options: tuple[str, ...]
    host: str
    port: int
    api_key: tuple[str, ...]
    without_key: bool
    name: str | None
    chat_format: str | None
    dtype: str
    slots: int
    max_len: int | None
    preset: str | None
    kv_memory: float | None
    max_queued: int
    max_samples: int
    timeout: float
    any_model_name: bool
    reasoning_field: ReasoningField
    metrics_prefix: str
    log: LogFormat
    log_prompts: bool
    cors_origin: list[str] | None
    allowed_host: list[str] | None
    engine: str
    tensor_parallel: int
    playground: bool
    dry_run: bool


def _settings(options: Options) -> Any:
    """The settings of the application; raises `UserError` for options that cannot be."""
    from telechat.serve.app import Settings
    from telechat.serve.gate import loopback_hosts

    for origin in options.cors_origin or ():
        if not re.fullmatch(r"https?://[^/*\s]+", origin):
            raise UserError(f"--cors-origin {origin}: give an exact origin, like https://chat.example")
    return Settings(
        names=tuple(dict.fromkeys((options.name or Path(options.model).resolve().name, options.model))),
        api_keys=options.api_key,
        hosts=loopback_hosts(options.host, options.api_key, options.allowed_host or ()),
        cors_origins=tuple(options.cors_origin or ()),
        any_name=options.any_model_name,
        max_queued=options.max_queued,
        max_samples=options.max_samples,
        reasoning_field=options.reasoning_field,
        metrics_prefix=options.metrics_prefix,
        preset=options.preset,
        log_prompts=options.log_prompts,
    )


def _serve(options: Options) -> None:
    """Serve on the embedded engine."""
    from telechat.models.hub import refuse_early
    from telechat.serve.gate import need_key
    from telechat.serve.server import reserve, run, url_of

    if options.engine_options:
        raise UserError(f"{options.engine_options[0]}: only vllm and sglang take options of their own (--engine)")
    need_key(options.host, options.api_key, options.without_key)
    refuse_early(options.model)
    configure(options.log)
    with reserve(options.host, options.port) as listener:  # before anything heavy: a port in use is known at once
        from transformers.utils import logging

        from telechat.serve.app import create_app
        from telechat.serve.session import ChatModel
        from telechat.serve.worker import Worker

        settings = _settings(options)
        logging.disable_progress_bar()
        chat = ChatModel.load(options.model, options.chat_format, options.dtype)
        room = None if options.kv_memory is None else int(options.kv_memory * 2**30)
        worker = Worker(lambda: chat.engine(options.slots, options.max_len, fair=True, kv_bytes=room), timeout=options.timeout)
        line = f"telechat: serving {settings.names[0]} at {url_of(listener)}/v1 (Ctrl-C ends)"
        run(create_app(chat, worker, settings), listener, ready=lambda: typer.echo(line, err=True), answering=worker)


def _check_launch(options: Options, context: typer.Context) -> None:
    """Raise `UserError` for what the other engine does not have, rather than leave it out silently."""
    from telechat.serve.gate import need_key

    given = [n for n in NATIVE_ONLY if getattr(context.get_parameter_source(n), "name", "") == "COMMANDLINE"]
    if given and options.engine != "native":
        option = given[0].replace("_", "-")
        raise UserError(f"--{option}: only the native engine has it; {options.engine}'s own options go after --")
    if len(options.api_key) > 1:
        raise UserError(f"--api-key: {options.engine} takes one key")
    need_key(options.host, options.api_key, options.without_key or options.dry_run)


def _launch(options: Options) -> None:
    """Become vLLM or SGLang, or print the command that does."""
    import shlex
    from typing import cast

    from telechat.backends.launch import COMMANDS, EngineName, Launch, start
    from telechat.chat.detect import renderer_of, same_template
    from telechat.chat.formats import get_format
    from telechat.chat.template_render import TemplateRenderer
    from telechat.models.hub import find
    from telechat.models.loading import load_tokenizer

    if options.engine not in COMMANDS:
        known = ", ".join(("native", *COMMANDS))
        raise UserError(
            "--dry-run: only vllm and sglang are commands of their own"
            if options.engine == "native"
            else f"--engine {options.engine}: use one of {known}"
        )
    folder = find(options.model)
    tokenizer = load_tokenizer(folder)
    renderer = renderer_of(tokenizer, get_format(options.chat_format) if options.chat_format else None)
    launch = Launch(
        model=folder,
        format=renderer.format,
        name=options.name or Path(options.model).name,
        host=options.host,
        port=options.port,
        context=options.max_len,
        tensor_parallel=options.tensor_parallel,
        has_template=isinstance(renderer, TemplateRenderer) or same_template(tokenizer, renderer.format),
        api_key=options.api_key[0] if options.api_key else None,
        playground=options.playground,
        more=options.engine_options,
    )
    if options.dry_run:
        typer.echo(shlex.join(COMMANDS[options.engine](launch)))
        return
    start(cast(EngineName, options.engine), launch)
