"""The committed guest modules are what their sources give, where the compiler is installed."""

import importlib.util
from pathlib import Path

import pytest

from enclaves.guests import build


@pytest.mark.skipif(
    importlib.util.find_spec("ziglang") is None, reason="the compiler for guests is not installed"
)
@pytest.mark.slow
@pytest.mark.parametrize("name", build.GUESTS)
def test_the_committed_module_is_what_its_source_builds_to(name: str, tmp_path: Path) -> None:
    assert build.build(name, tmp_path) == (build.HERE / f"{name}.wasm").read_bytes()
