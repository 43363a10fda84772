"""Patches of verl 0.9 and vLLM 0.28 for CPUs: every change to foreign code, where it offers no hook.

Each function changes one thing in one module, right after that module is imported, and first checks that the thing
is still there. `arrange` is called in every process of a CPU run; a module that is never imported costs nothing.
"""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Iterator
from importlib.metadata import Distribution, DistributionFinder, PackageNotFoundError
from pathlib import Path
from types import ModuleType
from typing import Any

from ...errors import UnsupportedVersionError
from ..after_import import after_import

ROLLOUT_NAME = "vllm_cpu"
_ROLLOUT_MODULE = f"{__package__}.rollout"


def require(module: ModuleType, *names: str) -> None:
    """Check that the names about to be patched still exist.

    Raises:
        UnsupportedVersionError: one is gone; the sentence names the library and its version.
    """
    library = module.__name__.partition(".")[0]
    missing = [name for name in names if not hasattr(module, name)]
    if missing:
        raise UnsupportedVersionError(
            f"CPU support was written for verl 0.9.1 and vLLM 0.28.0 and changes {module.__name__}.{missing[0]}, "
            f"which {library} {installed_version(library)} does not have"
        )


def installed_version(library: str) -> str:
    """Return the installed version of a library, "(unknown version)" when there is no such distribution."""
    try:
        return importlib.metadata.version(library)
    except PackageNotFoundError:
        return "(unknown version)"


def spell_gloo_once(distributed: ModuleType) -> None:
    """Make the process group's backend "cpu:gloo,cuda:gloo" instead of "cpu:gloo,cpu:gloo", which torch refuses.

    Upstream: verl/utils/distributed.py, two f-strings; the two functions are used there for nothing else.
    """
    require(distributed, "get_device_name", "get_nccl_backend")
    vars(distributed).update(get_device_name=lambda: "cuda", get_nccl_backend=lambda: "gloo")


def offload_without_pinning(transformer_impl: ModuleType) -> None:
    """Build the offload policy of a forward-only model (the KL reference) without pinned memory, which needs a GPU.

    Upstream: verl/workers/engine/fsdp/transformer_impl.py, `pin_memory=` where the policy is built.
    """
    require(transformer_impl, "CPUOffloadPolicy")
    policy = transformer_impl.CPUOffloadPolicy
    vars(transformer_impl).update(CPUOffloadPolicy=lambda pin_memory=True: policy(pin_memory=False))


def keep_linear_weights(layers_utils: ModuleType) -> None:
    """Let vLLM's linear layers multiply with their own weight instead of a packed copy that replaces it.

    vLLM packs the weights after loading and drops the originals, so the next weight update finds nothing to load into.
    Upstream: vllm/model_executor/layers/linear.py, `remove_weight=` where the packing is asked for.
    """
    require(layers_utils, "dispatch_cpu_unquantized_gemm")

    def dispatch_cpu_unquantized_gemm(layer: Any, remove_weight: bool) -> None:
        from torch.nn.functional import linear

        layer.cpu_linear = linear

    vars(layers_utils).update(dispatch_cpu_unquantized_gemm=dispatch_cpu_unquantized_gemm)


def log_probs_in_one_go(torch_functional: ModuleType) -> None:
    """Compute log-probabilities of all tokens at once instead of token by token.

    The loop over rows spares GPU memory; on a packed batch its rows are tokens, and their thousands of tiny operations
    take a third of a training step on a CPU (benchmarks/results/sft.md). The replacement is verl's own.
    Upstream: verl/utils/torch_functional.py, `logprobs_from_logits`.
    """
    require(torch_functional, "logprobs_from_logits_v2", "logprobs_from_logits_naive")
    vars(torch_functional).update(logprobs_from_logits_v2=torch_functional.logprobs_from_logits_naive)


def add_replica(replica: ModuleType) -> None:
    """Register the server side of rollout.name=vllm_cpu. Upstream: verl/workers/rollout/replica.py."""
    require(replica, "RolloutReplicaRegistry")

    def load() -> type:
        return importlib.import_module(_ROLLOUT_MODULE).CpuReplica

    replica.RolloutReplicaRegistry.register(ROLLOUT_NAME, load)


def add_adapter(base: ModuleType) -> None:
    """Register the trainer side of rollout.name=vllm_cpu. Upstream: verl/workers/rollout/base.py."""
    require(base, "_ROLLOUT_REGISTRY")
    base._ROLLOUT_REGISTRY[(ROLLOUT_NAME, "async")] = f"{_ROLLOUT_MODULE}.CpuServerAdapter"


class _VllmAlias(Distribution):
    """The distribution vllm-cpu under the name verl looks for."""

    def read_text(self, filename: str) -> str | None:
        if filename != "METADATA":
            return None
        # vLLM recognises its CPU build by "cpu" in the version
        return f"Metadata-Version: 2.1\nName: vllm\nVersion: {importlib.metadata.version('vllm-cpu')}+cpu\n"

    def locate_file(self, path: Any) -> Path:
        return Path(path)


class VllmAliasFinder(DistributionFinder):
    """Answers `importlib.metadata.version("vllm")` where only vllm-cpu is installed.

    Asked after all real distributions, so an installed vllm wins. Upstream: verl/third_party/vllm/__init__.py and
    verl/workers/rollout/vllm_rollout/__init__.py, which know the name vllm only.
    """

    def find_spec(self, *_args: Any) -> None:
        return None  # finds metadata, no modules

    def find_distributions(self, context: Any = None) -> Iterator[Distribution]:
        if getattr(context, "name", None) == "vllm" and installed_version("vllm-cpu")[0].isdigit():
            yield _VllmAlias()


def arrange() -> None:
    """Have each patch made when, and only if, its module is imported; the second call does nothing."""
    if any(isinstance(finder, VllmAliasFinder) for finder in sys.meta_path):
        return
    sys.meta_path.append(VllmAliasFinder())
    after_import("verl.utils.distributed", spell_gloo_once)
    after_import("verl.workers.engine.fsdp.transformer_impl", offload_without_pinning)
    after_import("verl.utils.torch_functional", log_probs_in_one_go)
    after_import("vllm.model_executor.layers.utils", keep_linear_weights)
    after_import("verl.workers.rollout.replica", add_replica)
    after_import("verl.workers.rollout.base", add_adapter)
