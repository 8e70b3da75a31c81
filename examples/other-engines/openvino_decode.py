"""Times plain greedy decoding of a model in OpenVINO's format with OpenVINO GenAI, one sequence, bf16 arithmetic and cache.

    optimum-cli export openvino -m MODEL_DIRECTORY --task text-generation-with-past --weight-format fp16 OUT
    python3 openvino_decode.py OUT [CONTEXT …]             needs the package openvino-genai
"""

import os
import statistics
import sys

import numpy as np
import openvino as ov
import openvino_genai as genai

NEW = 24


def main(model, contexts):
    scheduler = genai.SchedulerConfig()
    scheduler.max_num_batched_tokens = 2048
    scheduler.num_kv_blocks = (max(contexts) + 4096) // 32
    scheduler.enable_prefix_caching = False
    pipe = genai.LLMPipeline(
        model,
        "CPU",
        scheduler_config=scheduler,
        INFERENCE_NUM_THREADS=int(os.environ.get("THREADS", os.cpu_count())),
        KV_CACHE_PRECISION="bf16",
        INFERENCE_PRECISION_HINT="bf16",
    )
    config = genai.GenerationConfig()
    config.max_new_tokens = config.min_new_tokens = NEW
    config.ignore_eos = True
    config.apply_chat_template = False
    random = np.random.default_rng(1)
    for context in contexts:
        ids = ov.Tensor(random.integers(0, 4000, (1, context), dtype=np.int64))
        metrics = pipe.generate(ids, config).perf_metrics
        # The first durations are of the prompt's parts.
        steps = [1e-3 * step for step in metrics.raw_metrics.m_durations][-(NEW - 1) :]
        print(
            f"openvino-genai {genai.__version__}  context {context}  {1e3 / statistics.median(steps):.1f} tokens/s"
            f"  prefill {context / metrics.get_ttft().mean * 1e3:.0f} tokens/s",
            flush=True,
        )


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(sys.argv[1], [int(context) for context in sys.argv[2:]] or [32768])
