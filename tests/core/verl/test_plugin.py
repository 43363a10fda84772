"""The module that verl loads in every process: version, failure told in one sentence, nothing imported early."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points
from types import ModuleType

import pytest

from autocoa_plugin.errors import EngineError, UnsupportedVersionError

pytest.importorskip("verl", reason="needs the extra verl")
from autocoa_plugin.verl_adapters import cpu, plugin
from autocoa_plugin.verl_adapters.after_import import after_import


@pytest.mark.parametrize("version", ["0.9.1", "0.9.1.post1", "0.9.7"])
def test_supported_verl_is_accepted(version: str) -> None:
    plugin.check_version(version)


@pytest.mark.parametrize("version", ["0.8.0", "0.9.0", "0.10.0", "0.10.0.dev0", "1.2"])
def test_unsupported_verl_is_refused_in_one_sentence(version: str) -> None:
    problem = plugin.register(version).problem
    assert isinstance(problem, UnsupportedVersionError)
    assert f"verl {version} is installed: pip install 'verl>=0.9.1,<0.10'" in str(problem)
    assert "\n" not in str(problem)


def test_broken_registration_is_told_in_one_sentence_and_raised_to_launchers(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(environ: object) -> bool:
        raise RuntimeError("no such registry")

    monkeypatch.setattr(cpu, "enable_if_wanted", broken)
    status = plugin.register("0.9.1")
    assert str(status.problem) == "registering with verl 0.9.1 failed: RuntimeError: no such registry"
    monkeypatch.setattr(plugin, "STATUS", status)
    with pytest.raises(EngineError, match="no such registry"):
        plugin.require_registered()


def test_plugin_switched_off_by_the_environment_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VERL_USE_EXTERNAL_PLUGINS", "none")
    with pytest.raises(EngineError, match="VERL_USE_EXTERNAL_PLUGINS=none"):
        plugin.require_registered()


def test_entry_point_is_declared_and_importable() -> None:
    (declared,) = entry_points(group="verl.plugins", name="autocoa")
    assert declared.value == "autocoa_plugin.verl_adapters.plugin"
    assert declared.load() is plugin
    plugin.require_registered()


def test_verl_loads_the_plugin_without_loading_vllm_or_the_rollout() -> None:
    code = (
        "import sys, verl; from autocoa_plugin.verl_adapters.plugin import STATUS; assert STATUS.problem is None; "
        "early = {'vllm', 'verl.workers.rollout.base', 'autocoa_plugin.loop'} & set(sys.modules); "
        "assert not early, early"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=60)


def test_action_waits_for_the_import_and_runs_once(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "imported_late.py").write_text("value = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    seen: list[int] = []

    def note(module: ModuleType) -> None:
        seen.append(module.value)

    after_import("imported_late", note)
    assert seen == []
    import imported_late  # type: ignore[import-not-found]

    assert imported_late.value == 1 and seen == [1]
    after_import("imported_late", note)  # imported already: runs now
    assert seen == [1, 1]


def test_looking_for_a_module_without_importing_it_does_not_lose_the_action(tmp_path, monkeypatch) -> None:
    import importlib
    import importlib.util

    (tmp_path / "looked_for.py").write_text("value = 2\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    seen: list[int] = []
    after_import("looked_for", lambda module: seen.append(module.value))
    assert importlib.util.find_spec("looked_for") is not None
    assert seen == []
    importlib.import_module("looked_for")
    assert seen == [2]
