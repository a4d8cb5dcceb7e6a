"""Tasks and trajectories as training samples."""

from __future__ import annotations

from collections.abc import Sequence

from telechat.chat.render import Renderer
from telechat.core.types import Message, Task, Trajectory
from telechat.tasks.registry import verify
from telechat.train.batches import Sample


def path_sample(renderer: Renderer, task: Task, path: Sequence[Message], weight: float = 1.0) -> Sample:
    """A solution path as the model would have generated it; only the assistant's tokens are learned.

    The prompt ends with the generation prompt; later turns follow in the completion, tool results with weight 0.
    """
    prompt = renderer.render(task.messages, task.tools).ids
    ids = list(prompt)
    mask = [0] * len(ids)
    waiting: list[Message] = []
    for message in path:
        if message.role != "assistant":
            waiting.append(message)
            continue
        if waiting:
            ids = list(renderer.extend(ids, waiting, task.tools).ids)
            mask += [0] * (len(ids) - len(mask))
            waiting = []
        turn = renderer.completion_ids(message)
        ids += turn
        mask += [1] * len(turn)
    start = len(prompt)
    return Sample(tuple(prompt), tuple(ids[start:]), tuple(weight * m for m in mask[start:]))


def shown_trajectory(renderer: Renderer, task: Task) -> Trajectory:
    """The first path of a task as the trajectory of a model that had generated it."""
    path = task.paths[0]
    sample = path_sample(renderer, task, path)
    mask = [0] * len(sample.prompt) + [int(w) for w in sample.weights]
    return Trajectory(task.id, list(path), [*sample.prompt, *sample.completion], mask, verdict=verify(task, path))


def trajectory_sample(trajectory: Trajectory, weight: float, with_logprobs: bool = False) -> Sample:
    """A rollout as it was generated: token for token, the model's own tokens weighted by `weight`."""
    start = trajectory.mask.index(1) if 1 in trajectory.mask else len(trajectory.ids)
    ids, mask = trajectory.ids, trajectory.mask
    old = tuple(trajectory.logprobs[start:]) if with_logprobs else ()
    return Sample(tuple(ids[:start]), tuple(ids[start:]), tuple(weight * m for m in mask[start:]), old)


def sample_to_json(kind: str, samples: Sequence[Sample]) -> dict:
    """A problem with its paths as a JSON row."""
    return {
        "kind": kind,
        "prompt": list(samples[0].prompt),
        "paths": [[list(s.completion), [float(w) for w in s.weights]] for s in samples],
    }


def sample_from_json(row: dict) -> list[Sample]:
    """The samples of a row written by `sample_to_json`."""
    return [Sample(tuple(row["prompt"]), tuple(ids), tuple(weights)) for ids, weights in row["paths"]]
