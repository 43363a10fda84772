"""CPU platform for verl. Upstream: verl/plugin/platform/platform_cpu.py.

verl asks the platform for everything that depends on the device; this one answers "cpu", "gloo", and does nothing where
CUDA would synchronise, count memory or mark a profile. For Ray it names the resource "GPU" on purpose: verl counts that
one only, so a CPU run declares logical ones (`ray_kwargs.ray_init.num_gpus`, set by recipes/hardware/cpu.yaml).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from verl.plugin.platform import PlatformBase, PlatformRegistry, platform_manager, set_platform


class CpuDeviceModule:
    """`torch.cpu` and the names that only `torch.cuda` has, answered for a device without memory of its own."""

    def __getattr__(self, name: str) -> Any:
        return getattr(torch.cpu, name)

    def is_available(self) -> bool:
        return False  # verl asks this before it empties caches

    def _nothing(self, *_args: Any, **_kwargs: Any) -> None:
        return None

    def _zero(self, *_args: Any, **_kwargs: Any) -> int:
        return 0

    empty_cache = ipc_collect = synchronize = set_device = _nothing
    reset_peak_memory_stats = manual_seed = manual_seed_all = _nothing
    memory_allocated = memory_reserved = max_memory_allocated = max_memory_reserved = _zero

    def mem_get_info(self, *_args: Any) -> tuple[int, int]:
        """Free and total bytes of device memory."""
        return (0, 0)

    def get_device_name(self, *_args: Any) -> str:
        return "CPU"


class PlatformCPU(PlatformBase):
    """verl's platform interface for machines without an accelerator."""

    _device_module = CpuDeviceModule()

    @property
    def device_name(self) -> str:
        return "cpu"

    @property
    def vendor_name(self) -> str:
        return "generic"

    @property
    def device_module(self) -> Any:
        return self._device_module

    def is_available(self) -> bool:
        return True

    def is_platform_available(self, use_smi_check: bool = False) -> bool:
        return False  # chosen by VERL_PLATFORM, never by verl's search: each machine has a CPU

    def current_device(self) -> Any:
        return "cpu"  # used as Tensor.to(...); an index would mean an accelerator

    def device_count(self) -> int:
        return 1

    def set_device(self, device_index: int) -> None: ...

    def synchronize(self, device_index: int | None = None) -> None: ...

    def manual_seed(self, seed: int) -> None: ...  # torch.manual_seed, which verl calls too, seeds the CPU

    def manual_seed_all(self, seed: int) -> None: ...

    def set_allocator_settings(self, settings: str) -> None: ...

    def empty_cache(self) -> None: ...

    def get_device_capability(self, device_index: int = 0) -> tuple[int | None, int | None]:
        return (None, None)

    def communication_backend_name(self) -> str:
        return "gloo"

    def visible_devices_envvar(self) -> str:
        return "CUDA_VISIBLE_DEVICES"

    def ray_resource_name(self) -> str:
        return "GPU"

    def ray_noset_envvars(self) -> list[str]:
        return ["RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES"]

    def is_ipc_supported(self) -> bool:
        return False  # weights travel through shared memory

    def rollout_env_vars(self) -> dict[str, str]:
        return {name: value for name, value in os.environ.items() if name.startswith("VLLM_CPU_")}

    @contextmanager
    def nvtx_range(self, msg: str) -> Iterator[None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        yield

    def profiler_start(self) -> None: ...

    def profiler_stop(self) -> None: ...

    def cudart(self) -> None:
        return None


def register() -> None:
    """Add the platform under the name "cpu"; replace a platform that verl chose before it knew of this one."""
    PlatformRegistry.register(platform="cpu")(PlatformCPU)
    chosen = platform_manager._current_platform
    if chosen is not None and chosen.device_name != "cpu":
        set_platform(PlatformCPU())
