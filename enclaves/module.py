"""Admission of a guest module and its identity (DESIGN.md section 7).

wasmtime has no switch for floats, so the bytecode is scanned here (`layout`): whatever is not plain integer
WebAssembly 1.0 with sign extension and `memory.copy`/`memory.fill` is refused, with the place and the
reason. What passes is then validated by the engine (operand types, the discipline of the operand stack).
"""

from dataclasses import dataclass

from consensus.primitives.errors import PhalanxError
from consensus.primitives.guest import code_hash, module_id
from consensus.primitives.ids import Hash, ModuleId
from enclaves import sandbox
from enclaves.abi import ENTRY, NAMESPACE, SIGNATURES
from enclaves.bytecode import Malformed
from enclaves.layout import Layout, scan
from enclaves.limits import DEFAULT_LIMITS, ModuleLimits

__all__ = ["DEFAULT_LIMITS", "Admitted", "InvalidModule", "ModuleLimits", "admit", "code_hash", "module_id"]


class InvalidModule(PhalanxError):
    """The bytes are not a module that may run here; the text is one sentence with what and where.

    `rule` is the part of it that is the same on every machine and so may enter a receipt: the engine's own
    words, which change with its version, are for people only.
    """

    def __init__(self, rule: str, engine: str = "") -> None:
        super().__init__(f"{rule}: {engine}" if engine else rule)
        self.rule = rule


@dataclass(frozen=True, slots=True)
class Admitted:
    """A module that passed admission; made by `admit` alone."""

    wasm: bytes
    module_id: ModuleId
    code_hash: Hash
    layout: Layout


def admit(wasm: bytes, limits: ModuleLimits = DEFAULT_LIMITS) -> Admitted:
    """The admitted module. Raises InvalidModule, and nothing else, on any bytes that are not one."""
    try:
        layout = scan(wasm, limits, SIGNATURES, NAMESPACE, ENTRY)
    except Malformed as reason:
        raise InvalidModule(f"the module {reason}") from None
    complaint = sandbox.validate(wasm)
    if complaint is not None:
        raise InvalidModule("the module does not validate", complaint)
    return Admitted(wasm, module_id(wasm), code_hash(wasm), layout)
