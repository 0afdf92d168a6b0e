"""What a guest module may be, at most: part of the protocol, the same on every node (DESIGN.md section 7)."""

from dataclasses import dataclass
from typing import Final

PAGE_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleLimits:
    """Bounds on a module's size and shape, kept by admission and, for memory, at run time."""

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
    memory_pages: int = 512  # of PAGE_BYTES
    compile_work: int = 4 * 1024 * 1024  # `layout.CALL_WORK` and the like; some 2 s of the engine's compiler


DEFAULT_LIMITS: Final = ModuleLimits()
