"""One scan of a module: every rule of admission that the bytecode alone decides (DESIGN.md section 7).

`scan` walks the sections in their order and every instruction of every function, and notes on the way what
`stack_meter` needs to rewrite the code: where the bodies lie and where they call.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from enclaves import bytecode as wasm
from enclaves.bytecode import Malformed, Reader
from enclaves.limits import ModuleLimits

TYPE, IMPORT, FUNCTION, TABLE, MEMORY, GLOBAL, EXPORT, START, ELEMENT, CODE, DATA, DATA_COUNT = range(1, 13)
_ORDER: Final = (TYPE, IMPORT, FUNCTION, TABLE, MEMORY, GLOBAL, EXPORT, ELEMENT, DATA_COUNT, CODE, DATA)
_MAGIC: Final = b"\x00asm\x01\x00\x00\x00"
INDIRECT: Final = -1  # the callee of a call through the table
CALL_WORK: Final = 256  # of compiling one call with its bracket, where a branch costs one for each local

Signature = tuple[tuple[int, ...], tuple[int, ...]]  # parameter and result types


@dataclass(frozen=True, slots=True)
class Body:
    """One function's code: its place in the module, its locals, its calls to other functions."""

    start: int  # first byte of the local declarations
    end: int
    locals: int  # parameters included
    calls: list[tuple[int, int, int]]  # (first byte, byte after, callee's function index or INDIRECT)


@dataclass(slots=True)
class Layout:
    """What `scan` learnt. Positions are byte offsets in the module."""

    sections: list[tuple[int, int, int]] = field(default_factory=list)  # (id, first byte of content, end)
    types: list[Signature] = field(default_factory=list)
    functions: list[int] = field(default_factory=list)  # type of each, imports first
    imported: int = 0
    globals: int = 0
    has_table: bool = False
    has_memory: bool = False
    exports: dict[str, tuple[int, int]] = field(default_factory=dict)  # name → (kind, index)
    bodies: list[Body] = field(default_factory=list)
    compile_work: int = 0  # bounds the time that compiling takes: nobody's fuel pays for it


def scan(
    module: bytes, limits: ModuleLimits, abi: Mapping[str, Signature], namespace: str, entry: str
) -> Layout:
    """The layout of a module that keeps every rule. Raises Malformed on any other bytes.

    `abi` holds the signatures of the functions that may be imported from `namespace`; `entry` is the name of
    the exported function that the host calls, of type () → i32.
    """
    if len(module) > limits.module_bytes:
        raise Malformed(f"has {len(module)} bytes, the limit is {limits.module_bytes}")
    if module[:8] != _MAGIC:
        raise Malformed("does not begin with the magic and version of WebAssembly 1.0")
    return _Scanner(module, limits, abi, namespace).run(entry)


class _Scanner:
    def __init__(
        self, module: bytes, limits: ModuleLimits, abi: Mapping[str, Signature], namespace: str
    ) -> None:
        self._module = module
        self._limits = limits
        self._abi = abi
        self._namespace = namespace
        self._layout = Layout()

    def run(self, entry: str) -> Layout:
        layout = self._layout
        reader = Reader(self._module, 8)
        rank = -1
        readers = {
            TYPE: self._types,
            IMPORT: self._imports,
            FUNCTION: self._functions,
            TABLE: self._tables,
            MEMORY: self._memories,
            GLOBAL: self._globals,
            EXPORT: self._exports,
            ELEMENT: self._elements,
            DATA_COUNT: self._data_count,
            CODE: self._code,
            DATA: self._data,
        }
        while reader.position < reader.end:
            kind = reader.byte()
            size = reader.u32()
            start = reader.position
            reader.take(size)
            section = Reader(self._module, start, reader.position)
            layout.sections.append((kind, start, section.end))
            if kind == 0:
                section.name()
                continue
            if kind == START:
                raise Malformed("has a start function; all work is done by the entry")
            if kind not in readers:
                raise Malformed(f"has a section of the unknown kind {kind} at byte {start}")
            if _ORDER.index(kind) <= rank:
                raise Malformed(f"has section {kind} twice or out of order at byte {start}")
            rank = _ORDER.index(kind)
            readers[kind](section)
            if section.position != section.end:
                raise Malformed(f"has bytes after the content of section {kind} at byte {section.position}")
        self._finish(entry)
        return layout

    def _finish(self, entry: str) -> None:
        layout = self._layout
        if len(layout.bodies) != len(layout.functions) - layout.imported:
            raise Malformed("declares functions without code or code without declarations")
        if layout.exports.get("memory") != (2, 0):
            raise Malformed('does not export its memory as "memory"')
        kind, index = layout.exports.get(entry, (-1, 0))
        if kind != 0:
            raise Malformed(f'does not export the function "{entry}"')
        if self._signature(index) != ((), (wasm.I32,)):
            raise Malformed(f'exports "{entry}" with another type than () -> i32')

    def _signature(self, function: int) -> Signature:
        return self._layout.types[self._layout.functions[function]]

    def _value_type(self, reader: Reader, where: str) -> int:
        code = reader.byte()
        if code not in wasm.INTEGER_TYPES:
            raise Malformed(f"uses {wasm.type_name(code)} in {where}")
        return code

    def _types(self, reader: Reader) -> None:
        for index in range(reader.count(self._limits.types, "types")):
            form = reader.byte()
            if form != 0x60:
                raise Malformed(f"has type {index} of the form 0x{form:02x}; only functions are allowed")
            where = f"type {index}"
            parameters = reader.count(self._limits.parameters, f"parameters in {where}")
            inputs = tuple(self._value_type(reader, where) for _ in range(parameters))
            results = reader.count(1, f"results in {where}")
            self._layout.types.append(
                (inputs, tuple(self._value_type(reader, where) for _ in range(results)))
            )

    def _type_index(self, reader: Reader, where: str) -> int:
        index = reader.u32()
        if index >= len(self._layout.types):
            raise Malformed(f"names the absent type {index} in {where}")
        return index

    def _imports(self, reader: Reader) -> None:
        layout = self._layout
        for _ in range(reader.count(len(self._abi), "imports")):
            namespace, name = reader.name(), reader.name()
            if reader.byte() != 0:
                raise Malformed(f'imports "{namespace}.{name}", which is not a function')
            if namespace != self._namespace or name not in self._abi:
                raise Malformed(f'imports the unknown function "{namespace}.{name}"')
            index = self._type_index(reader, f'the import "{name}"')
            if layout.types[index] != self._abi[name]:
                raise Malformed(f'imports "{name}" with a wrong type')
            layout.functions.append(index)
        layout.imported = len(layout.functions)

    def _functions(self, reader: Reader) -> None:
        for index in range(reader.count(self._limits.functions, "functions")):
            self._layout.functions.append(self._type_index(reader, f"function {index}"))

    def _tables(self, reader: Reader) -> None:
        for _ in range(reader.count(1, "tables")):
            kind = reader.byte()
            if kind != wasm.FUNCREF:
                raise Malformed(f"has a table of the kind 0x{kind:02x}; only funcref is allowed")
            flags = reader.byte()
            if flags > 1:
                raise Malformed(f"has a table with the flags 0x{flags:02x}")
            reader.count(self._limits.table_elements, "table elements")
            if flags == 1:
                reader.count(self._limits.table_elements, "table elements at most")
            self._layout.has_table = True

    def _memories(self, reader: Reader) -> None:
        for _ in range(reader.count(1, "memories")):
            flags = reader.byte()
            if flags > 1:
                raise Malformed(f"has a shared, 64-bit or custom-page memory (flags 0x{flags:02x})")
            minimum = reader.count(self._limits.memory_pages, "memory pages at the start")
            if flags == 1 and reader.u32() < minimum:
                raise Malformed("has a memory with a maximum below its minimum")
            self._layout.has_memory = True

    def _globals(self, reader: Reader) -> None:
        for index in range(reader.count(self._limits.globals, "globals")):
            kind = self._value_type(reader, f"global {index}")
            if reader.byte() > 1:
                raise Malformed(f"has global {index} with an unknown mutability")
            self._constant(reader, kind, f"global {index}")
            self._layout.globals += 1

    def _constant(self, reader: Reader, kind: int, where: str) -> None:
        opcode = reader.byte()
        if opcode != (0x41 if kind == wasm.I32 else 0x42):
            raise Malformed(f"initialises {where} with other than a constant (opcode 0x{opcode:02x})")
        reader.skip_signed(32 if kind == wasm.I32 else 64)
        if reader.byte() != 0x0B:
            raise Malformed(f"initialises {where} with more than one constant")

    def _exports(self, reader: Reader) -> None:
        layout = self._layout
        for _ in range(reader.count(self._limits.exports, "exports")):
            name = reader.name()
            kind = reader.byte()
            index = reader.u32()
            bounds = {0: len(layout.functions), 1: layout.has_table, 2: layout.has_memory, 3: layout.globals}
            if index >= bounds.get(kind, 0):
                raise Malformed(f'exports "{name}", which does not exist')
            if name in layout.exports:
                raise Malformed(f'exports "{name}" twice')
            layout.exports[name] = (kind, index)

    def _elements(self, reader: Reader) -> None:
        layout = self._layout
        for index in range(reader.count(self._limits.segments, "element segments")):
            if reader.u32() != 0 or not layout.has_table:
                raise Malformed(f"has element segment {index} that is not active in the table")
            self._constant(reader, wasm.I32, f"element segment {index}")
            for _ in range(
                reader.count(self._limits.table_elements, f"functions in element segment {index}")
            ):
                function = reader.u32()
                if function >= len(layout.functions):
                    raise Malformed(f"names the absent function {function} in element segment {index}")

    def _data_count(self, reader: Reader) -> None:
        reader.count(self._limits.segments, "data segments")

    def _data(self, reader: Reader) -> None:
        for index in range(reader.count(self._limits.segments, "data segments")):
            if reader.u32() != 0 or not self._layout.has_memory:
                raise Malformed(f"has data segment {index} that is not active in the memory")
            self._constant(reader, wasm.I32, f"data segment {index}")
            reader.take(reader.u32())

    def _code(self, reader: Reader) -> None:
        layout = self._layout
        declared = len(layout.functions) - layout.imported
        if reader.u32() != declared:
            raise Malformed("declares functions without code or code without declarations")
        for number in range(declared):
            size = reader.u32()
            if size > self._limits.function_bytes:
                raise Malformed(
                    f"has function {layout.imported + number} of {size} bytes, "
                    f"the limit is {self._limits.function_bytes}"
                )
            start = reader.position
            reader.take(size)
            layout.bodies.append(self._body(layout.imported + number, start, reader.position))

    def _body(self, index: int, start: int, end: int) -> Body:
        reader = Reader(self._module, start, end)
        variables = len(self._signature(index)[0])
        for _ in range(reader.count(self._limits.locals, f"groups of locals in function {index}")):
            variables += reader.u32()
            self._value_type(reader, f"the locals of function {index}")
        if variables > self._limits.locals:
            raise Malformed(f"has {variables} locals in function {index}, the limit is {self._limits.locals}")
        calls = self._instructions(reader, index, variables)
        return Body(start, end, variables, calls)

    def _instructions(self, reader: Reader, index: int, variables: int) -> list[tuple[int, int, int]]:
        layout, limits = self._layout, self._limits
        data, end = self._module, reader.end
        edges = 0  # blocks and branch targets: at each, the compiler joins every local
        table = wasm.OPCODES
        calls: list[tuple[int, int, int]] = []
        depth = 1
        while depth:
            position = reader.position
            if position >= end:
                raise Malformed(f"ends function {index} without its end")
            opcode = data[position]
            reader.position = position + 1
            form = table[opcode]
            if form == wasm.PLAIN:
                continue
            if form == wasm.INDEX_LOCAL:
                if reader.u32() >= variables:
                    raise Malformed(f"names an absent local in function {index} at byte {position}")
            elif form == wasm.CONST_I32:
                reader.skip_signed(32)
            elif form == wasm.MEMORY_ACCESS:
                if reader.u32() > 3 or not layout.has_memory:
                    raise Malformed(f"has a bad memory access in function {index} at byte {position}")
                reader.u32()
            elif form == wasm.CONST_I64:
                reader.skip_signed(64)
            elif form == wasm.BLOCK:
                kind = reader.byte()
                if kind != 0x40 and kind not in wasm.INTEGER_TYPES:
                    raise Malformed(
                        f"has a block that takes parameters or yields no integer (0x{kind:02x}) "
                        f"in function {index} at byte {position}"
                    )
                depth += 1
                edges += 1
                if depth > limits.nesting:
                    raise Malformed(f"nests blocks deeper than {limits.nesting} in function {index}")
            elif form == wasm.END:
                depth -= 1
            elif form == wasm.BRANCH:
                edges += 1
                self._label(reader.u32(), depth, index, position)
            elif form == wasm.CALL:
                callee = reader.u32()
                if callee >= len(layout.functions):
                    raise Malformed(f"calls the absent function {callee} in function {index}")
                if callee >= layout.imported:
                    calls.append((position, reader.position, callee))
            elif form == wasm.INDEX_GLOBAL:
                if reader.u32() >= layout.globals:
                    raise Malformed(f"names an absent global in function {index} at byte {position}")
            elif form == wasm.CALL_INDIRECT:
                self._type_index(reader, f"function {index}")
                if reader.byte() != 0 or not layout.has_table:
                    raise Malformed(f"calls through an absent table in function {index} at byte {position}")
                calls.append((position, reader.position, INDIRECT))
            elif form == wasm.BRANCH_TABLE:
                where = f"branch targets in function {index}"
                targets = reader.count(limits.branch_targets, where) + 1
                edges += targets
                for _ in range(targets):
                    self._label(reader.u32(), depth, index, position)
            elif form == wasm.ZERO_BYTE:
                if reader.byte() != 0 or not layout.has_memory:
                    raise Malformed(f"names an absent memory in function {index} at byte {position}")
            elif form == wasm.BULK:
                self._bulk(reader, index, position)
            elif form != wasm.ELSE:
                raise Malformed(f"uses {wasm.describe(opcode)} in function {index} at byte {position}")
        if reader.position != end:
            raise Malformed(f"has bytes after the end of function {index} at byte {reader.position}")
        layout.compile_work += edges * (variables + 1) + len(calls) * CALL_WORK
        if layout.compile_work > limits.compile_work:
            raise Malformed(
                f"takes too long to compile: blocks and branches times locals, and {CALL_WORK} for each call,"
                f" come to {layout.compile_work} by function {index}, the limit is {limits.compile_work}"
            )
        return calls

    @staticmethod
    def _label(label: int, depth: int, index: int, position: int) -> None:
        if label >= depth:
            raise Malformed(f"branches to an absent block in function {index} at byte {position}")

    def _bulk(self, reader: Reader, index: int, position: int) -> None:
        opcode = reader.u32()
        if opcode not in (wasm.MEMORY_COPY, wasm.MEMORY_FILL):
            raise Malformed(f"uses {wasm.describe_bulk(opcode)} in function {index} at byte {position}")
        memories = reader.take(2 if opcode == wasm.MEMORY_COPY else 1)
        if any(memories) or not self._layout.has_memory:
            raise Malformed(f"names an absent memory in function {index} at byte {position}")
