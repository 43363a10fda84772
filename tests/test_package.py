"""What importing the package costs, and what it offers."""

from __future__ import annotations

import subprocess
import sys

import autocoa_plugin


def test_importing_the_package_loads_neither_torch_nor_verl_nor_vllm_nor_ray():
    code = "import autocoa_plugin, sys; assert not {'torch','verl','vllm','ray'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_using_the_whole_core_loads_the_standard_library_only():
    code = (
        "import sys; before = {m.partition('.')[0] for m in sys.modules}\n"
        "from autocoa_plugin import *\n"
        "import autocoa_plugin.settings, autocoa_plugin.dump, autocoa_plugin.testing, autocoa_plugin.prompts\n"
        "new = {m.partition('.')[0] for m in sys.modules} - before - set(sys.stdlib_module_names)\n"
        "assert new == {'autocoa_plugin'}, new"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_public_name_can_be_imported():
    for name in autocoa_plugin.__all__:
        assert getattr(autocoa_plugin, name) is not None
