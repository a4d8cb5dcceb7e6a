"""How a model is used: the server over the embedded engine, the same model in one process, and the page for people.

Read in this order: `answer.py` (token ids to thinking, content and calls), `session.py` (a loaded model that chats),
`worker.py` (the engine in its thread), `schemas.py` (what clients may send), `job.py` (from a request to what the engine
is asked), `run.py` (the samples while they are generated), then one file for each API, which encodes what a run gives:
`completions.py` (chat), `text_completions.py`, `responses.py`, `messages.py`. Around them `wire.py` (errors, event
streams, clients that leave), `gate.py` (who may come in), `log.py`, `metrics.py`, `playground.py`, `app.py` (routes) and
`server.py` (sockets and signals).
Without a server: `offline.py` (many prompts at once) and `remote.py` (somebody else's server).
"""
