"""How a model is used: the OpenAI-compatible server over the embedded engine, and the same model in one process.

Read in this order: `answer.py` (token ids to thinking, content and calls), `session.py` (a loaded model that chats),
`worker.py` (the engine in its thread), `schemas.py` (what clients may send), `completions.py` (one request, from body
to chunks), `wire.py` (errors, the gate, event streams, clients that leave), `app.py` (routes), `server.py` (sockets
and signals). Another API is another file beside `completions.py`: the deltas of `Answer` are what it encodes.
"""
