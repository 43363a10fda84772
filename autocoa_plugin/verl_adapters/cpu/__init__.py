"""CPU support: verl on machines without an accelerator, as far as verl 0.9 needs help; written to be offered upstream.

    enable ─┬─ environment   defaults that verl and vLLM read from environment variables
            ├─ platform      PlatformCPU                        upstream: verl/plugin/platform/platform_cpu.py
            ├─ patches       one guarded function per obstacle  upstream: the file each function names
            └─ rollout       vLLM's CPU server as a backend     upstream: verl/workers/rollout/vllm_rollout/

Nothing here runs unless VERL_PLATFORM is "cpu". It becomes "cpu" by itself only where training on anything else is
impossible: a CPU build of torch and no other platform that verl knows of. A CUDA build without a visible GPU is left
alone, because such a process is common on GPU clusters (head nodes, Ray actors that hold no GPU).
"""

from __future__ import annotations

from collections.abc import MutableMapping

DEFAULTS = {
    "VERL_PLATFORM": "cpu",
    # verl registers its FSDP engines for cuda and npu; the classes themselves follow the platform
    "VERL_ENGINE_DEVICE": "cuda",
    # several processes share few cores: threads of the tokenizer would only compete
    "TOKENIZERS_PARALLELISM": "false",
    # GB; vLLM would take half of the machine's memory
    "VLLM_CPU_KVCACHE_SPACE": "1",
    # vLLM would pin its threads to the cores that the trainer uses as well
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
}


def accelerator_possible() -> bool:
    """True when this installation could train on something else than the CPU; initialises no device."""
    import torch
    from verl.plugin.platform import PlatformRegistry

    if any(getattr(torch.version, build, None) for build in ("cuda", "hip", "xpu")):
        return True
    # with a CPU build of torch a GPU of these two vendors is out of reach, whatever nvidia-smi says
    others = set(PlatformRegistry.registered_names()) - {"cpu", "nvidia", "amd"}
    platforms = [platform for name in others if (platform := PlatformRegistry.get(name)) is not None]
    return any(platform().is_platform_available(use_smi_check=True) for platform in platforms)


def enable_if_wanted(environ: MutableMapping[str, str]) -> bool:
    """Make verl run on the CPU if VERL_PLATFORM says so, or is unset and there is nothing else; True when done."""
    wanted = environ.get("VERL_PLATFORM", "").strip().lower()
    if wanted != "cpu" and (wanted or accelerator_possible()):
        return False
    enable(environ)
    return True


def enable(environ: MutableMapping[str, str]) -> None:
    """Set the defaults (never over a value that is there), register the platform, arrange the patches.

    Child processes inherit the environment, so Ray's and vLLM's workers come to the same decision.
    """
    for name, value in DEFAULTS.items():
        environ.setdefault(name, value)
    from . import patches, platform

    platform.register()
    patches.arrange()
