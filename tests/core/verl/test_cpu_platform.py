"""CPU support: when it is chosen, what the platform answers, guarded patches, and a weight update that fails aloud."""

from __future__ import annotations

import importlib.metadata
import threading
from concurrent.futures import Future
from types import ModuleType

import pytest

pytest.importorskip("verl", reason="needs the extra verl")
import torch

from autocoa_plugin.errors import EngineError, UnsupportedVersionError
from autocoa_plugin.verl_adapters import cpu
from autocoa_plugin.verl_adapters.cpu import patches
from autocoa_plugin.verl_adapters.cpu.platform import PlatformCPU

has_vllm_cpu = patches.installed_version("vllm-cpu")[0].isdigit()
needs_vllm_cpu = pytest.mark.skipif(not has_vllm_cpu, reason="needs the extra cpu (vllm-cpu)")


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, str]]:
    """Environments for which CPU support was enabled."""
    enabled: list[dict[str, str]] = []
    monkeypatch.setattr(cpu, "enable", enabled.append)
    return enabled


def test_chosen_platform_is_left_alone(recorded) -> None:
    assert not cpu.enable_if_wanted({"VERL_PLATFORM": "nvidia"})
    assert recorded == []


def test_cuda_build_of_torch_without_a_gpu_is_left_alone(recorded, monkeypatch) -> None:
    # Ray actors that hold no GPU and head nodes of GPU clusters look like this
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    assert not cpu.enable_if_wanted({})
    assert recorded == []


def test_cpu_is_chosen_on_request_even_beside_an_accelerator(recorded, monkeypatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    assert cpu.enable_if_wanted({"VERL_PLATFORM": "CPU"})
    assert len(recorded) == 1


@pytest.mark.skipif(bool(torch.version.cuda or torch.version.hip), reason="needs a CPU build of torch")
def test_cpu_is_chosen_where_nothing_else_can_train() -> None:
    environ = {"VLLM_CPU_KVCACHE_SPACE": "4"}
    assert cpu.enable_if_wanted(environ)
    assert environ["VERL_PLATFORM"] == "cpu"
    assert environ["VLLM_CPU_KVCACHE_SPACE"] == "4"  # a value that is there stays


def test_platform_answers_for_a_device_without_memory() -> None:
    platform = PlatformCPU()
    assert (platform.device_name, platform.current_device(), platform.communication_backend_name()) == (
        "cpu",
        "cpu",
        "gloo",
    )
    assert torch.zeros(2).to(platform.current_device()).device.type == "cpu"
    module = platform.device_module
    assert module.max_memory_allocated() == 0 and module.mem_get_info() == (0, 0) and module.empty_cache() is None


def test_patching_a_name_that_is_gone_names_the_library_and_its_version() -> None:
    emptied = ModuleType("verl.utils.distributed")
    with pytest.raises(UnsupportedVersionError) as told:
        patches.spell_gloo_once(emptied)
    version = importlib.metadata.version("verl")
    assert str(told.value).endswith(
        f"changes verl.utils.distributed.get_device_name, which verl {version} does not have"
    )


def test_gloo_is_spelled_once() -> None:
    module = ModuleType("verl.utils.distributed")
    vars(module).update(get_device_name=lambda: "cpu", get_nccl_backend=lambda: "gloo")
    patches.spell_gloo_once(module)
    # torch refuses "cpu:gloo,cpu:gloo" as a duplicate device type
    assert f"cpu:gloo,{module.get_device_name()}:{module.get_nccl_backend()}" == "cpu:gloo,cuda:gloo"


def test_reference_model_is_offloaded_without_pinned_memory() -> None:
    from torch.distributed.fsdp import CPUOffloadPolicy

    module = ModuleType("verl.workers.engine.fsdp.transformer_impl")
    vars(module).update(CPUOffloadPolicy=CPUOffloadPolicy)
    patches.offload_without_pinning(module)
    policy = module.CPUOffloadPolicy(pin_memory=True)
    assert isinstance(policy, CPUOffloadPolicy) and policy.pin_memory is False


def test_linear_layer_follows_its_weight_after_loading() -> None:
    module = ModuleType("vllm.model_executor.layers.utils")
    vars(module).update(dispatch_cpu_unquantized_gemm=None)
    patches.keep_linear_weights(module)
    layer = torch.nn.Linear(2, 1, bias=False)
    module.dispatch_cpu_unquantized_gemm(layer, remove_weight=True)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[3.0, 4.0]]))
    x = torch.tensor([[1.0, 1.0]])
    assert layer.cpu_linear(x, layer.weight, None).item() == 7.0  # 3 + 4


@needs_vllm_cpu
def test_vllm_cpu_answers_to_the_name_verl_looks_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.meta_path", [*__import__("sys").meta_path, patches.VllmAliasFinder()])
    assert importlib.metadata.version("vllm") == importlib.metadata.version("vllm-cpu") + "+cpu"
    assert "vllm" not in [found.name for found in importlib.metadata.distributions()]  # listed once, by its real name


@needs_vllm_cpu
def test_rollout_name_is_known_to_both_sides_of_verl() -> None:
    from verl.workers.rollout.base import _ROLLOUT_REGISTRY
    from verl.workers.rollout.replica import RolloutReplicaRegistry

    patches.arrange()
    assert _ROLLOUT_REGISTRY[("vllm_cpu", "async")] == "autocoa_plugin.verl_adapters.cpu.rollout.CpuServerAdapter"
    assert "vllm_cpu" in RolloutReplicaRegistry._registry


@pytest.fixture
def zmq_pair(tmp_path):
    """A request socket bound as verl's sender binds it, and its address."""
    zmq = pytest.importorskip("zmq")
    context = zmq.Context()
    socket = context.socket(zmq.REQ)
    address = f"ipc://{tmp_path}/w.sock"
    socket.bind(address)
    yield socket, address, zmq
    socket.close(0)
    context.destroy(0)


def test_weight_update_raises_the_receivers_error_instead_of_waiting(zmq_pair) -> None:
    from autocoa_plugin.verl_adapters.cpu.rollout import WatchedSocket

    socket, address, zmq = zmq_pair
    receiver: Future[None] = Future()
    worker = zmq.Context.instance().socket(zmq.REP)
    worker.connect(address)
    watched = WatchedSocket(socket, receiver)
    watched.send_pyobj({"bucket_meta": {}})
    threading.Timer(0.1, receiver.set_exception, [AttributeError("no weight_loader")]).start()
    with pytest.raises(EngineError, match="no weight_loader") as told:
        watched.recv()
    assert isinstance(told.value.__cause__, AttributeError)
    worker.close(0)


def test_weight_update_gives_up_on_a_silent_worker(zmq_pair) -> None:
    from autocoa_plugin.verl_adapters.cpu.rollout import WatchedSocket

    socket, address, zmq = zmq_pair
    worker = zmq.Context.instance().socket(zmq.REP)
    worker.connect(address)
    watched = WatchedSocket(socket, None, timeout_s=0.2)
    watched.send_pyobj({"bucket_meta": {}})
    with pytest.raises(EngineError, match="took no bucket"):
        watched.recv()
    worker.close(0)


def test_two_clusters_on_one_host_name_their_sockets_differently() -> None:
    from autocoa_plugin.verl_adapters.cpu.rollout import run_id

    # each fresh Ray cluster numbers its first job 01000000; the port of its control service is its own
    assert run_id("01000000", "10.0.0.2:6379") == "01000000-6379"
    assert run_id("01000000", "[::1]:41217") == "01000000-41217"
