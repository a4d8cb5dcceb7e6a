"""Streams of server-sent events on the wire."""

from __future__ import annotations

import asyncio

from telechat.serve import wire


def test_a_silent_stream_is_kept_alive_by_comments(monkeypatch):
    monkeypatch.setattr(wire, "KEEP_ALIVE", 0.05)

    twice = asyncio.Event()

    async def events():
        yield wire.event({"a": 1})
        await twice.wait()
        yield wire.DONE

    async def serve():
        sent, gone = [], asyncio.Event()

        async def send(message):
            sent.append(message)
            if sum(message.get("body", b"").startswith(b":") for message in sent) == 2:
                twice.set()

        async def receive():
            await gone.wait()
            return {"type": "http.disconnect"}

        await wire.EventStream(events())({"type": "http"}, receive, send)
        return [message["body"] for message in sent[1:]]

    bodies = asyncio.run(serve())
    comments = [body for body in bodies if body.startswith(b":")]
    assert 2 <= len(comments) <= 7
    assert all(comment.endswith(b"\n\n") for comment in comments)
    assert [body for body in bodies if body not in comments] == [wire.event({"a": 1}), wire.DONE, b""]
