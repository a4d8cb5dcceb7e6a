"""The embedded engine: rollouts, evaluation and the server run on it.

Read in this order: `params.py` (what is asked and what comes back), `linear.py` (weights in the fastest layout),
`runner.py` (KV slots, one forward), `attention.py` (of one new token, on the CPU), `sampler.py` (logits to tokens),
`slots.py` (known prefixes), `rows.py` (what is being decoded), `engine.py` (who runs when), `grammar.py` (constraints).
"""

from telechat.engine.engine import Engine
from telechat.engine.params import Completion, SamplingParams

__all__ = ["Completion", "Engine", "SamplingParams"]
