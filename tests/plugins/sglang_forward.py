"""`python sglang_forward.py FOLDER`: logits of SGLang's own model runner on the CPU, as JSON.

Two prompts as one batch, then one decoding step of both: {"prompts": …, "prefill": …, "next": …, "decode": …}.
"""

from __future__ import annotations

import json
import sys
from typing import Any

PROMPTS = [[7, 8, 9, 10, 11, 12, 13] * 12, [20, 21, 22, 23]]
CPU = {
    "device": "cpu",
    "attention_backend": "torch_native",
    "sampling_backend": "pytorch",
    "disable_cuda_graph": True,
    "disable_overlap_schedule": True,
    "max_total_tokens": 4096,
    "dtype": "float32",
}


def runner_of(folder: str) -> tuple[Any, Any]:
    """SGLang's model runner, as its benchmark of one batch makes it, and the module of that benchmark."""
    import sglang.benchmark.one_batch as bench
    from sglang.srt.runtime_context import SpawnRanks, publish, spawn_world_rank
    from sglang.srt.server_args import PortArgs, ServerArgs

    args = ServerArgs(model_path=folder, **CPU)
    args.resolve_once()
    bench._set_envs_and_config(args)
    ports = PortArgs.init_new(args)
    ranks = SpawnRanks(world_rank=spawn_world_rank(args, tp_rank=0, pp_rank=0), gpu_id=0)
    publish(args, role="scheduler", ranks=ranks)
    bench._init_process_global_configs()
    runner, _ = bench.load_model(args, ports, 0, 0)
    return runner, bench


def main(folder: str) -> None:
    """Print the logits."""
    from sglang.srt.plugins import load_plugins

    load_plugins()
    runner, bench = runner_of(folder)
    requests = bench.prepare_synthetic_inputs_for_latency_test(len(PROMPTS), 0, custom_inputs=[list(p) for p in PROMPTS])
    following, prefill, batch = runner.extend(requests)
    _, decode = runner.decode(following, batch)
    print(
        json.dumps(
            {
                "class": type(runner.torch_runner.model).__name__,
                "prefill": prefill.tolist(),
                "next": following.tolist(),
                "decode": decode.tolist(),
            }
        )
    )


if __name__ == "__main__":
    main(sys.argv[1])
