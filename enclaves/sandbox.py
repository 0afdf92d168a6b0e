"""The only place that touches the Wasm engine: a deterministic configuration, compiled modules, one call.

An inconsistent configuration aborts the whole process inside the engine, so `engine_config` is fixed and its
test builds an engine in a process of its own. Relaxed SIMD must go before SIMD. Reference types stay on,
because the engine's component support depends on them; admission refuses their instructions.

`memory.grow` answers -1 at the protocol's cap alone, because nothing below it can fail: address space for the
largest memory is reserved when the instance is made (a failure there is a LocalFault), and the worker's own
memory limit is many times a guest's cap. A machine without the pages kills the worker instead.
"""

import ctypes
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, Final

import wasmtime

from consensus.primitives.errors import LocalFault
from consensus.primitives.ids import Hash
from enclaves.abi import NAMESPACE, SIGNATURES
from enclaves.faults import FuelExhausted, GuestTrap
from enclaves.limits import DEFAULT_LIMITS, PAGE_BYTES
from enclaves.stack_meter import NATIVE_STACK_BYTES

_CACHED_MODULES: Final = 64
_MASK: Final = 0xFFFF_FFFF

HostFunction = Callable[..., int | None]


def engine_config() -> wasmtime.Config:
    """The one configuration, with everything off that admission refuses anyway."""
    config = wasmtime.Config()
    config.strategy = "cranelift"
    config.cranelift_opt_level = "speed"
    config.parallel_compilation = False
    config.consume_fuel = True
    config.max_wasm_stack = NATIVE_STACK_BYTES
    config.wasm_relaxed_simd = False
    config.wasm_simd = False
    config.wasm_threads = False
    config.shared_memory = False
    config.wasm_memory64 = False
    config.wasm_multi_memory = False
    config.wasm_multi_value = False
    config.wasm_tail_call = False
    config.wasm_function_references = False
    config.wasm_gc = False
    config.wasm_exceptions = False
    config.wasm_wide_arithmetic = False
    config.wasm_custom_page_sizes = False
    config.wasm_stack_switching = False
    config.wasm_component_model = False
    config.memory_may_move = False
    return config


class CompiledModule:
    """Native code of one module, tied to the engine that made it."""

    __slots__ = ("native",)

    def __init__(self, native: wasmtime.Module) -> None:
        self.native = native


class RunningGuest:
    """One guest while it runs: the `Machine` that host functions see."""

    def __init__(self, store: wasmtime.Store) -> None:
        self._store = store
        self.memory: wasmtime.Memory | None = None
        self.host: Mapping[str, HostFunction] = {}
        self.failure: BaseException | None = None  # what a host function raised

    def read(self, pointer: int, length: int) -> bytes:
        """A copy of guest memory. Raises GuestTrap when any of it lies outside."""
        return ctypes.string_at(self._address(pointer, length), length)

    def write(self, pointer: int, data: bytes) -> None:
        """Raises GuestTrap, with nothing written, when any of it would lie outside."""
        ctypes.memmove(self._address(pointer, len(data)), data, len(data))

    def charge(self, fuel: int) -> None:
        """Raises FuelExhausted, with nothing left, if the guest has less."""
        left = self._store.get_fuel()
        if fuel > left:
            self._store.set_fuel(0)
            raise FuelExhausted(f"a host function costs {fuel}, {left} is left")
        self._store.set_fuel(left - fuel)

    def fuel(self) -> int:
        """What is left."""
        return self._store.get_fuel()

    def _address(self, pointer: int, length: int) -> int:
        memory = self.memory
        if memory is None:
            raise LocalFault("a host function ran before the guest's memory existed")
        size = memory.data_len(self._store)
        if pointer + length > size:
            raise GuestTrap(f"bytes {pointer} to {pointer + length} lie outside the memory of {size}")
        return ctypes.addressof(memory.data_ptr(self._store).contents) + pointer


class Sandbox:
    """An engine with its compiled modules. One call at a time: the caller serialises."""

    def __init__(self) -> None:
        self._engine = wasmtime.Engine(engine_config())
        self._linker = wasmtime.Linker(self._engine)
        self._modules: OrderedDict[Hash, CompiledModule] = OrderedDict()
        self._running: RunningGuest | None = None
        for name, (parameters, results) in SIGNATURES.items():
            kind = wasmtime.FuncType(
                [wasmtime.ValType.i32() for _ in parameters], [wasmtime.ValType.i32() for _ in results]
            )
            self._linker.define_func(NAMESPACE, name, kind, self._bridge(name))

    def compiled(self, code_hash: Hash) -> CompiledModule | None:
        """The module compiled earlier under this hash, if it is still kept."""
        module = self._modules.get(code_hash)
        if module is not None:
            self._modules.move_to_end(code_hash)
        return module

    def compile(self, code_hash: Hash, metered: bytes) -> CompiledModule:
        """Compile and keep. Raises GuestTrap if the engine can not compile what admission let through."""
        try:
            module = CompiledModule(wasmtime.Module(self._engine, metered))
        except wasmtime.WasmtimeError as error:
            raise GuestTrap(f"the module does not compile: {_first_line(error)}") from None
        self._modules[code_hash] = module
        while len(self._modules) > _CACHED_MODULES:
            self._modules.popitem(last=False)
        return module

    def run(
        self,
        module: CompiledModule,
        entry: str,
        fuel_limit: int,
        host: Callable[[RunningGuest], Mapping[str, HostFunction]],
    ) -> tuple[int, int]:
        """One call in a fresh instance: (what the entry returned as an unsigned number, fuel used).

        Raises GuestTrap, FuelExhausted, LocalFault, or whatever a host function raised.
        """
        store = wasmtime.Store(self._engine)
        store.set_limits(
            memory_size=DEFAULT_LIMITS.memory_pages * PAGE_BYTES,
            table_elements=DEFAULT_LIMITS.table_elements,
            instances=1,
            tables=1,
            memories=1,
        )
        store.set_fuel(fuel_limit)
        running = RunningGuest(store)
        running.host = host(running)
        if self._running is not None:
            raise LocalFault("the sandbox was entered twice at once")
        self._running = running
        try:
            result = self._enter(store, module, entry, running)
            return result & _MASK, fuel_limit - store.get_fuel()
        finally:
            self._running = None
            store.close()

    def _enter(self, store: wasmtime.Store, module: CompiledModule, entry: str, running: RunningGuest) -> int:
        try:
            instance = self._linker.instantiate(store, module.native)
            exports = instance.exports(store)
            memory, function = exports["memory"], exports[entry]
            if not isinstance(memory, wasmtime.Memory) or not isinstance(function, wasmtime.Func):
                raise LocalFault("an admitted module lacks its memory or entry")
            running.memory = memory
            return int(function(store))
        except wasmtime.Trap as trap:
            if running.failure is not None:
                raise running.failure from None
            if trap.trap_code == wasmtime.TrapCode.OUT_OF_FUEL:
                raise FuelExhausted("the guest's code used all its fuel") from None
            raise GuestTrap(_trap_name(trap)) from None
        except wasmtime.WasmtimeError as error:
            raise LocalFault(f"the Wasm engine could not run a guest: {_first_line(error)}") from None

    def _bridge(self, name: str) -> Callable[..., int | None]:
        def bridge(*arguments: int) -> int | None:
            running = self._running
            if running is None:
                raise LocalFault("a host function was called outside a call")
            try:
                return running.host[name](*[argument & _MASK for argument in arguments])
            except BaseException as error:
                running.failure = error
                raise

        return bridge


def _trap_name(trap: wasmtime.Trap) -> str:
    code: Any = trap.trap_code
    return "trap" if code is None else str(code.name).lower().replace("_", " ")


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]


_validator: wasmtime.Engine | None = None


def validate(module: bytes) -> str | None:
    """Why the engine refuses these bytes, or None if it accepts them."""
    global _validator  # noqa: PLW0603 - one engine a process, made when first needed
    if _validator is None:
        _validator = wasmtime.Engine(engine_config())
    try:
        wasmtime.Module.validate(_validator, module)
    except wasmtime.WasmtimeError as error:
        return _first_line(error)
    return None
