"""The page in front of another engine's API."""

from __future__ import annotations

import sys
import types

import httpx
import pytest
from fastapi import FastAPI

from telechat.backends import sglang_server
from telechat.backends.playground import Playground


@pytest.fixture
def app() -> FastAPI:
    app = FastAPI(docs_url=None, redoc_url=None)

    @app.get("/v1/models")
    @app.post("/")
    def engine() -> dict[str, str]:
        return {"from": "the engine"}

    return app


def client_of(app: FastAPI) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://engine")


async def _check(app: FastAPI) -> None:
    async with client_of(app) as client:
        page = await client.get("/")
        assert page.status_code == 200
        assert "content-security-policy" in page.headers
        script = await client.get("/static/app.js")
        assert script.headers["content-type"].startswith("text/javascript")
        assert (await client.get("/playground/frame.html")).status_code == 200
        assert (await client.get("/static/../app.py")).status_code == 404
        assert (await client.get("/static/nothing.js")).status_code == 404
        assert (await client.get("/v1/models")).json() == {"from": "the engine"}
        assert (await client.post("/")).json() == {"from": "the engine"}


def test_the_page_is_served_and_the_rest_goes_on_to_the_engine(app):
    import asyncio

    app.add_middleware(Playground)
    asyncio.run(_check(app))


def test_sglangs_application_gets_it_before_it_is_run(app, monkeypatch, tmp_path):
    """A package that looks like SGLang from outside: an application in a module, and a module that runs it."""
    import asyncio

    ran = []
    server = types.ModuleType("sglang.srt.entrypoints.http_server")
    server.app = app
    for name in ("sglang", "sglang.srt", "sglang.srt.entrypoints"):
        package = types.ModuleType(name)
        package.__path__ = [str(tmp_path)]
        monkeypatch.setitem(sys.modules, name, package)
    sys.modules["sglang.srt.entrypoints"].http_server = server
    monkeypatch.setitem(sys.modules, server.__name__, server)
    monkeypatch.setattr("runpy.run_module", lambda name, run_name: ran.append((name, run_name)))
    sglang_server.main()
    assert ran == [("sglang.launch_server", "__main__")]
    asyncio.run(_check(app))
