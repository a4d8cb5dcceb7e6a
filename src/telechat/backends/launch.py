"""The full command that serves a checkpoint with vLLM or SGLang: parsers, template, context length, parallelism."""

from __future__ import annotations

import importlib.util
import os
import shlex
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NoReturn

from telechat.chat.formats import Format
from telechat.chat.template import chat_template
from telechat.core.errors import UserError
from telechat.core.files import write_text
from telechat.models.configuration import context_of
from telechat.models.loading import load_config

EngineName = Literal["vllm", "sglang"]


@dataclass(frozen=True)
class Launch:
    """What to serve and how; None leaves a value to the checkpoint or the engine."""

    model: Path
    format: Format
    name: str
    host: str = "127.0.0.1"
    port: int = 8000
    context: int | None = None
    tensor_parallel: int = 1
    has_template: bool = True
    api_key: str | None = None
    playground: bool = True
    more: tuple[str, ...] = ()
    """Options of the engine's own; they stand last, so that they win."""

    @property
    def max_len(self) -> int | None:
        """The context to serve: what was asked for, at most what the checkpoint holds.

        Engines that multiply the YaRN factor into it once more read positions beyond the rotary table."""
        limit = context_of(load_config(self.model))
        if limit and self.context and self.context > limit:
            raise UserError(f"--context {self.context}: {self.name} holds {limit} tokens at most")
        return self.context or limit


def tool_parser(fmt: Format) -> str:
    """The name under which our plugins register the parser of this format's calls."""
    return "telechat3" if fmt.calls == "xml" else "telechat2.5"


def reasoning_parser(fmt: Format) -> str | None:
    """The same for its thinking; None for a format that does not think."""
    return "telechat3" if fmt.thinks else None


def template_file(fmt: Format) -> Path:
    """The Jinja template of a format, as a file that an engine can be pointed to."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    file = cache / "telechat" / "templates" / f"{fmt.name}.jinja"
    text = chat_template(fmt)
    if not file.is_file() or file.read_text(encoding="utf-8") != text:
        write_text(file, text)
    return file


def vllm_command(launch: Launch) -> list[str]:
    """`vllm serve …` with every flag that this checkpoint needs.

    Raises `UserError` for a declared `ntk_length`, which vLLM's TeleChat2 would pass over.
    """
    if getattr(load_config(launch.model), "ntk_length", None):
        raise UserError(f"{launch.name}: its ntk_length is nothing that vLLM knows; use --engine sglang, or the native engine")
    command = ["vllm", "serve", str(launch.model), "--served-model-name", launch.name]
    command += ["--host", launch.host, "--port", str(launch.port)]
    if launch.max_len:
        command += ["--max-model-len", str(launch.max_len)]
    if launch.tensor_parallel > 1:
        command += ["--tensor-parallel-size", str(launch.tensor_parallel)]
    command += ["--enable-auto-tool-choice", "--tool-call-parser", tool_parser(launch.format)]
    if thinks := reasoning_parser(launch.format):
        command += ["--reasoning-parser", thinks]
    if not launch.has_template:
        command += ["--chat-template", str(template_file(launch.format))]
    if launch.playground:
        command += ["--middleware", "telechat.backends.playground.Playground"]
    return [*command, *launch.more]


def sglang_command(launch: Launch) -> list[str]:
    """`python -m sglang.launch_server …`, or ours around it, with every flag that this checkpoint needs."""
    module = "telechat.backends.sglang_server" if launch.playground else "sglang.launch_server"
    command = [sys.executable, "-m", module, "--model-path", str(launch.model)]
    command += ["--served-model-name", launch.name, "--host", launch.host, "--port", str(launch.port)]
    if launch.max_len:
        command += ["--context-length", str(launch.max_len)]
    if launch.tensor_parallel > 1:
        command += ["--tp-size", str(launch.tensor_parallel)]
    command += ["--tool-call-parser", tool_parser(launch.format)]
    if thinks := reasoning_parser(launch.format):
        command += ["--reasoning-parser", thinks]
    if not launch.has_template:
        command += ["--chat-template", str(template_file(launch.format))]
    return [*command, *launch.more]


COMMANDS = {"vllm": vllm_command, "sglang": sglang_command}


def start(engine: EngineName, launch: Launch) -> NoReturn:
    """Become the engine. vLLM gets the API key through the environment; SGLang takes it on its command line only."""
    command = COMMANDS[engine](launch)
    found = shutil.which(command[0]) if engine == "vllm" else importlib.util.find_spec("sglang")
    if found is None:
        raise UserError(f"{engine} is not installed here: pip install 'telechat[{engine}]' in an environment with a GPU")
    print(f"telechat: {shlex.join(command)}", file=sys.stderr, flush=True)
    environment = dict(os.environ)
    if launch.api_key:
        if engine == "vllm":
            environment["VLLM_API_KEY"] = launch.api_key
        else:
            command += ["--api-key", launch.api_key]
    os.execvpe(command[0], command, environment)
