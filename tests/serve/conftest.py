"""Real servers on real sockets, over a toy checkpoint or a scripted engine."""

from __future__ import annotations

import copy
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from telechat.serve.app import Settings, create_app
from telechat.serve.server import make_server, reserve, url_of
from telechat.serve.session import ChatModel
from telechat.serve.worker import Worker

from .scripted import Script, ScriptedEngine, ids_of

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-sync",
]
CONTEXT = 320


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def checkpoint(tokenizer, tmp_path_factory):
    """A folder with a random TeleChat3 of two layers, as a training stage writes it."""
    from telechat.chat.formats import get_format
    from telechat.chat.template import attach
    from telechat.core.recipe import ModelConfig
    from telechat.models.presets import new_model
    from telechat.train.state import save_model

    config = ModelConfig(hidden_size=32, layers=2, heads=4, kv_heads=2, intermediate_size=64, context=CONTEXT)
    model = new_model(config, tokenizer, seed=0)
    own = copy.deepcopy(tokenizer)
    attach(own, get_format("telechat3-coder"))
    folder = tmp_path_factory.mktemp("models") / "toy"
    save_model(model, own, folder)
    return folder


@pytest.fixture(scope="session")
def chat(checkpoint) -> ChatModel:
    return ChatModel.load(checkpoint)


@contextmanager
def serving(chat: ChatModel, worker: Worker, **settings: object) -> Iterator[str]:
    """A server in a thread; yields its URL."""
    ready = threading.Event()
    app = create_app(chat, worker, Settings(**{"names": ("toy",), **settings}))
    with reserve("127.0.0.1", 0) as listener:
        server = make_server(app, ready.set, worker, grace=0.3)
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        assert ready.wait(20)
        try:
            yield url_of(listener)
        finally:
            server.should_exit = True
            thread.join(20)
            assert not thread.is_alive()


@pytest.fixture
def scripted(chat) -> Iterator[Callable]:
    """`scripted(text or script, **settings)` serves an engine that says that; returns (URL, engine, worker)."""
    open_servers = []

    def start(
        says: str | Script, pace: float = 0.0, max_len: int = 100_000, **settings: object
    ) -> tuple[str, ScriptedEngine, Worker]:
        script = says
        if isinstance(says, str):
            ids = ids_of(chat.renderer, says)
            script = lambda prompt, sample: ids  # noqa: E731
        engine = ScriptedEngine(script, max_len=max_len, pace=pace)
        worker = Worker(lambda: engine)
        server = serving(chat, worker, **settings)
        open_servers.append(server)
        return server.__enter__(), engine, worker

    yield start
    for server in open_servers:
        server.__exit__(None, None, None)


def until(true: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait for something that happens soon."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


@pytest.fixture(scope="module")  # while it is open its event loop runs in this thread, and no other one can
def browser():
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine: apt-get install chromium")
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield chromium
        chromium.close()


@pytest.fixture
def visit(browser):
    """`visit(url, …)` opens a page in a browser that has never been there; `ready` is what it waits for."""
    contexts = []

    def open_page(url: str, ready: str = "#draft", **settings: object):
        context = browser.new_context(**{"locale": "en-US", "viewport": {"width": 1200, "height": 800}, **settings})
        contexts.append(context)
        page = context.new_page()
        page.problems = []
        page.on("pageerror", lambda error: page.problems.append(str(error)))
        page.goto(url)
        page.wait_for_selector(ready)
        return page

    yield open_page
    for context in contexts:
        for page in context.pages:
            assert page.problems == []
        context.close()


@pytest.fixture
def photograph(tmp_path):
    """`photograph(page, name)` keeps a picture of a page: in the folder `TELECHAT_SCREENSHOTS` (`make screenshots`), or
    in one that is thrown away."""
    folder = Path(os.environ.get("TELECHAT_SCREENSHOTS") or tmp_path)

    def take(page, name: str) -> None:
        file = folder / f"{name}.png"
        page.screenshot(path=file)
        assert file.stat().st_size > 5_000

    return take
