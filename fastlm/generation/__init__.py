"""Text generation with a trained model: sampling, and decoding token by token; needs the extra `fastlm[model]`."""

from fastlm.generation.completion import Completion, Options, generate, stream
from fastlm.generation.decoding import KVCache, Step, decode_step, prefill, torch_step
from fastlm.generation.packing import KernelStep
from fastlm.generation.sampling import Sampler, Sampling

__all__ = [
    "Completion",
    "KVCache",
    "KernelStep",
    "Options",
    "Sampler",
    "Sampling",
    "Step",
    "decode_step",
    "generate",
    "prefill",
    "stream",
    "torch_step",
]
