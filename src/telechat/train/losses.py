"""The objectives. Each takes a model and a batch and returns a *sum* and its figures; the trainer normalises."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

from telechat.train.batches import Batch
from telechat.train.packed import hidden_states, trunk

CHUNK = 4096  # tokens whose logits exist at the same time


def _nll(head: torch.Tensor, states: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(F.linear(states, head).float(), targets, reduction="none")


def token_nll(head: torch.Tensor, states: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """−log p(target) for each (tokens, hidden) state; never more than `CHUNK` rows of logits in memory. (tokens,)"""
    if len(states) <= CHUNK:
        return _nll(head, states, targets)
    chunks = zip(states.split(CHUNK), targets.split(CHUNK), strict=True)
    return torch.cat([checkpoint(_nll, head, s, t, use_reentrant=False) for s, t in chunks])


def _target_nll(model: Any, batch: Batch) -> torch.Tensor:
    """−log p of every learned token: (targets,). Other tokens never reach the output layer."""
    return token_nll(
        model.get_output_embeddings().weight, F.embedding(batch.source, hidden_states(model, batch)), batch.targets
    )


def next_token(model: nn.Module, batch: Batch) -> tuple[torch.Tensor, dict[str, float]]:
    """Weighted next-token loss."""
    weighted = (_target_nll(model, batch) * batch.weights).sum()
    return weighted, {"nll": float(weighted.detach())}


def policy_gradient(
    model: nn.Module, batch: Batch, clip: float = 0.2, clip_high: float = 0.28
) -> tuple[torch.Tensor, dict[str, float]]:
    """The GRPO family: `weights` are advantages, `old_logprobs` those of the sampling policy.

    Clipped importance ratio of PPO with DAPO's higher upper bound (arXiv 2503.14476 §3.1). Without `old_logprobs`
    the batch is on-policy, every ratio is 1, and the gradient is that of the weighted log-likelihood.
    """
    nll, advantages = _target_nll(model, batch), batch.weights
    if batch.old_logprobs is None:
        return (nll * advantages).sum(), {"nll": float(nll.detach().sum())}
    ratio = torch.exp(-nll - batch.old_logprobs)
    clipped = ratio.clamp(1 - clip, 1 + clip_high)
    objective = torch.minimum(ratio * advantages, clipped * advantages)
    drift = float((-nll.detach() - batch.old_logprobs).abs().sum())
    return -objective.sum(), {"nll": float(nll.detach().sum()), "drift": drift}


def answer_scores(model: Any, batch: Batch, states: torch.Tensor) -> torch.Tensor:
    """A reward model's score of each answer, from the hidden states of the batch: (samples,).

    The value head at the answer's last token, plus `config.likelihood` times the answer's log-likelihood under the
    model itself. Where a policy is unsure it is often wrong, which a value head alone would have to learn anew from few
    pairs (docs/log.md); the likelihood is trained with the head. Only a model whose input and output embeddings are one
    matrix has it: a classifier of transformers has no output layer.
    """
    values = model.score(states[batch.last])[:, 0]
    share = getattr(model.config, "likelihood", 0.0)
    if not share or batch.owner is None:
        return values
    nll = token_nll(trunk(model).embed_tokens.weight, F.embedding(batch.source, states), batch.targets)
    return values.index_add(0, batch.owner, nll, alpha=-share)


PREFIX_SHARE = 2.0  # what the verdicts on prefixes count beside the comparison of whole answers


def bradley_terry(model: Any, batch: Batch) -> tuple[torch.Tensor, dict[str, float]]:
    """Pairwise reward loss: rows 2i (right) and 2i + 1 (wrong) are one pair. −log σ(r_right − r_wrong), summed.

    `weights` are +1 on the tokens of right answers and −1 on those of wrong ones: the value head is asked at every
    prefix as well whether its answer comes out right, which keeps a verifier from learning its pairs by heart (Cobbe et
    al. 2021, arXiv 2110.14168 §4.2: token-level verifiers overfit less than solution-level ones).
    """
    states = hidden_states(model, batch)
    scores = answer_scores(model, batch, states)  # (rows,)
    margin = scores[0::2] - scores[1::2]
    prefixes = model.score(F.embedding(batch.source, states))[:, 0]  # (targets,)
    verdicts = F.softplus(-prefixes * batch.weights).mean() * len(margin)
    loss = -F.logsigmoid(margin).sum() + PREFIX_SHARE * verdicts
    return loss, {"right": float((margin.detach() > 0).sum()), "margin": float(margin.detach().sum())}
