"""Admission of a guest module and its identity (DESIGN.md section 7).

wasmtime has no switch for floats, so the bytecode is scanned here: whatever is not plain integer
WebAssembly 1.0 with sign extension and `memory.copy`/`memory.fill` is refused, with the place and the
reason. What passes is then validated by the engine (types, stack discipline).
"""

from dataclasses import dataclass
from typing import Final

from consensus.primitives.crypto import hash_tagged
from consensus.primitives.errors import PhalanxError
from consensus.primitives.guest import FUEL_SCHEDULE
from consensus.primitives.ids import Hash, ModuleId

ABI_VERSION: Final = 1


class InvalidModule(PhalanxError):
    """The bytes are not a module that may run here; the text is one sentence with what and where."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleLimits:
    """What a module may be, at most. Part of the protocol: every node must use the same."""

    module_bytes: int = 1024 * 1024
    types: int = 1024
    functions: int = 4096
    function_bytes: int = 128 * 1024
    locals: int = 1024  # of one function, its parameters included
    parameters: int = 32
    nesting: int = 256  # control blocks open at once
    branch_targets: int = 4096  # of one br_table
    globals: int = 1024
    exports: int = 1024
    segments: int = 4096  # data or element segments
    table_elements: int = 4096
    memory_pages: int = 512  # of 64 KiB


DEFAULT_LIMITS: Final = ModuleLimits()


@dataclass(frozen=True, slots=True)
class Admitted:
    """A module that passed admission; made by `admit` alone."""

    wasm: bytes
    module_id: ModuleId
    code_hash: Hash


def module_id(wasm: bytes) -> ModuleId:
    """What names an enclave for ever: H(tag ‖ abi version ‖ fuel schedule ‖ wasm)."""
    return ModuleId(hash_tagged(b"PHALANX/module/1", bytes([ABI_VERSION, FUEL_SCHEDULE]), wasm))


def code_hash(wasm: bytes) -> Hash:
    """What names code in caches and in a chain's record."""
    return Hash(hash_tagged(b"PHALANX/code/1", bytes([ABI_VERSION, FUEL_SCHEDULE]), wasm))


def admit(wasm: bytes, limits: ModuleLimits = DEFAULT_LIMITS) -> Admitted:
    """The admitted module. Raises InvalidModule, and nothing else, on any bytes that are not one."""
    raise InvalidModule("admission is being built")
