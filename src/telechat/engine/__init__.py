"""The embedded engine: rollouts, evaluation and the server run on it.

Read in this order: `params.py` (what is asked and what comes back), `runner.py` (weights, KV slots, one forward),
`sampler.py` (logits to tokens), `engine.py` (who runs when).
"""

from telechat.engine.engine import Engine
from telechat.engine.params import Completion, SamplingParams

__all__ = ["Completion", "Engine", "SamplingParams"]
