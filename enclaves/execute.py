"""One call into a guest, in this process (DESIGN.md section 7).

A node calls guests through `pool`, in disposable processes; this is what such a process runs.
"""

import threading

from consensus.primitives.guest import MAX_INPUT_BYTES, GuestCall, GuestOutcome, ReadState, Status
from consensus.primitives.ids import Fuel
from enclaves.abi import ENTRY, HostCalls
from enclaves.faults import FuelExhausted, GuestFailed, GuestOversize, GuestTrap
from enclaves.limits import DEFAULT_LIMITS
from enclaves.module import InvalidModule, admit
from enclaves.overlay import Overlay
from enclaves.sandbox import CompiledModule, HostFunction, RunningGuest, Sandbox
from enclaves.stack_meter import meter_stack

_lock = threading.Lock()
_sandboxes: list[Sandbox] = []  # one engine a process, made when first needed


def execute(call: GuestCall, read: ReadState) -> GuestOutcome:
    """Run `call` to its end and say what it did; the same on every machine.

    OK and FAILED charge what was used; every other end charges the whole limit, because the engine's count
    is exact only where a function returns. Raises what `read` raises, and LocalFault if this machine can not
    run it; never for what a guest does.
    """
    if (refusal := outcome_without_running(call)) is not None:
        return refusal
    with _lock:
        return _execute(_sandbox(), call, read)


def outcome_without_running(call: GuestCall) -> GuestOutcome | None:
    """The outcome of a call that is too large to begin; None: it may begin."""
    if len(call.input) > MAX_INPUT_BYTES:
        reason = f"an input of {len(call.input)} bytes, the limit is {MAX_INPUT_BYTES}"
        return _rolled_back(Status.OVERSIZE, call.fuel_limit, reason)
    if len(call.code) > DEFAULT_LIMITS.module_bytes:
        reason = f"a module of {len(call.code)} bytes, the limit is {DEFAULT_LIMITS.module_bytes}"
        return _rolled_back(Status.TRAPPED, call.fuel_limit, reason)
    return None


def start_engine() -> None:
    """Build the engine ahead of the first call."""
    with _lock:
        _sandbox()


def prepare(call: GuestCall) -> None:
    """Compile the code of `call` ahead of its first run; an inadmissible module is met again when it runs."""
    with _lock:
        try:
            _module(_sandbox(), call)
        except GuestTrap:
            return


def is_compiled(call: GuestCall) -> bool:
    """Whether `call` can run without its code's bytes."""
    with _lock:
        return _sandbox().compiled(call.code_hash) is not None


def _sandbox() -> Sandbox:
    if not _sandboxes:
        _sandboxes.append(Sandbox())
    return _sandboxes[0]


def _module(sandbox: Sandbox, call: GuestCall) -> CompiledModule:
    module = sandbox.compiled(call.code_hash)
    if module is not None:
        return module
    try:
        admitted = admit(call.code)
    except InvalidModule as reason:
        raise GuestTrap(str(reason)) from None
    return sandbox.compile(call.code_hash, meter_stack(admitted.wasm, admitted.layout))


def _execute(sandbox: Sandbox, call: GuestCall, read: ReadState) -> GuestOutcome:
    overlay = Overlay(read)
    hosts: list[HostCalls] = []

    def bind(guest: RunningGuest) -> dict[str, HostFunction]:
        hosts.append(HostCalls(call, overlay, guest))
        return hosts[0].table()

    try:
        module = _module(sandbox, call)
        code, used = sandbox.run(module, ENTRY, call.fuel_limit, bind)
    except GuestTrap as reason:
        return _rolled_back(Status.TRAPPED, call.fuel_limit, str(reason))
    except GuestOversize as reason:
        return _rolled_back(Status.OVERSIZE, call.fuel_limit, str(reason))
    except FuelExhausted as reason:
        return _rolled_back(Status.OUT_OF_FUEL, call.fuel_limit, str(reason))
    except GuestFailed as reason:
        return _rolled_back(Status.FAILED, Fuel(call.fuel_limit - reason.fuel_left), f"aborted: {reason}")
    if code != 0:
        return _rolled_back(Status.FAILED, Fuel(used), f"returned {code}")
    host = hosts[0]
    return GuestOutcome(
        status=Status.OK,
        fuel_used=Fuel(used),
        output=host.output,
        writes=overlay.writes(),
        outgoing=tuple(host.outgoing),
        events=tuple(host.events),
    )


def _rolled_back(status: Status, fuel_used: Fuel, reason: str) -> GuestOutcome:
    return GuestOutcome(status=status, fuel_used=fuel_used, reason=reason)
