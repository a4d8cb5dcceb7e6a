"""`python -m telechat.backends.sglang_server …`: `sglang.launch_server` with the playground in front of its API.

SGLang has no option for a middleware, so its application gets it here before it is run.
"""

from __future__ import annotations

import runpy


def main() -> None:
    """Run SGLang's server as its own command would."""
    from sglang.srt.entrypoints import http_server

    from telechat.backends.playground import Playground

    http_server.app.add_middleware(Playground)
    runpy.run_module("sglang.launch_server", run_name="__main__")


if __name__ == "__main__":
    main()
