"""Small guests in WAT and calls into them, shared by the tests of this room."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import wasmtime

from consensus.primitives.guest import (
    ChainEndpoint,
    ChainOrigin,
    Endpoint,
    GuestCall,
    GuestKind,
    GuestOutcome,
    InstanceOrigin,
    Origin,
    Outgoing,
    Policy,
    RelayEndpoint,
    RelayOrigin,
    Status,
    UserOrigin,
)
from consensus.primitives.ids import ChainId, Fuel, Height, Milliseconds, ModuleId, PublicKey
from enclaves.execute import execute
from enclaves.guests import agora, assets
from enclaves.module import code_hash

FUEL = Fuel(10_000_000)

IMPORTS = """
  (import "phalanx" "context" (func $context (param i32)))
  (import "phalanx" "input" (func $input (param i32 i32 i32)))
  (import "phalanx" "output" (func $output (param i32 i32)))
  (import "phalanx" "state_get" (func $state_get (param i32 i32 i32 i32) (result i32)))
  (import "phalanx" "state_set" (func $state_set (param i32 i32)))
  (import "phalanx" "send" (func $send (param i32 i32)))
  (import "phalanx" "emit" (func $emit (param i32 i32)))
  (import "phalanx" "blake3" (func $blake3 (param i32 i32 i32)))
  (import "phalanx" "ed25519_verify" (func $verify (param i32 i32 i32)))
  (import "phalanx" "abort" (func $abort (param i32 i32)))
"""


def wat(text: str) -> bytes:
    """A module from text."""
    return bytes(wasmtime.wat2wasm(text))


def escaped(data: bytes) -> str:
    """Bytes as a WAT string literal's content."""
    return "".join(f"\\{byte:02x}" for byte in data)


def guest(body: str, data: bytes = b"", extra: str = "", pages: int = 1) -> bytes:
    """A guest that runs `body` with `data` at address 0 and all of the ABI imported."""
    return wat(
        f'(module {IMPORTS} (memory (export "memory") {pages}) (data (i32.const 0) "{escaped(data)}") {extra}'
        f'(func (export "phalanx_call") (result i32) {body}))'
    )


def call_of(
    code: bytes,
    data: bytes = b"",
    *,
    fuel: int = FUEL,
    origin: Origin | None = None,
    kind: GuestKind = GuestKind.ENCLAVE,
    module: bytes = bytes(32),
    chain: int = 7,
) -> GuestCall:
    """A call with the fields that a test does not care about filled in."""
    return GuestCall(
        kind=kind,
        code_hash=code_hash(code),
        code=code,
        module=ModuleId(module),
        chain=ChainId(chain),
        origin=origin or RelayOrigin(),
        height=Height(5),
        time_ms=Milliseconds(1_700_000_000_000),
        input=data,
        fuel_limit=Fuel(fuel),
    )


def run(call: GuestCall, state: Mapping[bytes, bytes] | None = None) -> GuestOutcome:
    """Execute in this process over a dict."""
    values = state or {}
    return execute(call, lambda keys: [values.get(key) for key in keys])


def u32(value: int) -> bytes:
    return value.to_bytes(4, "little")


def sized(data: bytes) -> bytes:
    return u32(len(data)) + data


def batch(*items: bytes) -> bytes:
    """A count and the items as they are."""
    return u32(len(items)) + b"".join(items)


@dataclass
class Instance:
    """One instance of `assets` over a dict, driven by hand."""

    chain: int
    state: dict[bytes, bytes] = field(default_factory=dict)

    def call(self, origin: Origin, data: bytes) -> GuestOutcome:
        call = call_of(
            assets.wasm(), data, fuel=10**9, origin=origin, module=assets.module_id(), chain=self.chain
        )
        outcome = run(call, self.state)
        apply(self.state, outcome)
        return outcome

    def by_user(self, user: PublicKey, *operations: assets.Operation) -> GuestOutcome:
        return self.call(UserOrigin(account=user), assets.encode_operations(*operations))

    def by_chain(self, payload: bytes) -> GuestOutcome:
        return self.call(ChainOrigin(chain=ChainId(self.chain), policy=Policy.REPLICATED), payload)

    def by_instance(self, source: int, payload: bytes) -> GuestOutcome:
        return self.call(InstanceOrigin(module=assets.module_id(), chain=ChainId(source)), payload)

    def balance(self, asset: bytes, holder: bytes) -> int:
        return assets.decode_amount(self.state.get(assets.balance_key(asset, holder)))

    def total(self, asset: bytes) -> int:
        return assets.decode_amount(self.state.get(assets.total_key(asset)))

    def supply(self, asset: bytes) -> int:
        return assets.decode_asset(self.state[assets.asset_key(asset)]).supply

    def balances_sum(self, asset: bytes) -> int:
        prefix = b"b" + asset
        return sum(assets.decode_amount(v) for k, v in self.state.items() if k.startswith(prefix))


@dataclass
class Agora:
    """An agora chain over a dict, driven by hand."""

    chain: int
    state: dict[bytes, bytes]

    def block(
        self,
        messages: list[tuple[Endpoint | RelayEndpoint, bytes]],
        transactions: list[bytes],
        time_ms: int = 1_700_000_000_000,
    ) -> tuple[agora.BlockResult, tuple[Outgoing, ...]]:
        call = call_of(
            agora.wasm(),
            agora.encode_block(messages, transactions),
            fuel=10**10,
            kind=GuestKind.CHAIN,
            chain=self.chain,
        )
        outcome = run(replace(call, time_ms=Milliseconds(time_ms)), self.state)
        assert outcome.status is Status.OK, outcome.reason
        apply(self.state, outcome)
        return agora.decode_output(outcome.output), outcome.outgoing

    def account(self, key: PublicKey) -> agora.Account:
        return agora.decode_account(self.state.get(agora.account_key(key)))

    def issuance(self) -> int:
        accounts = [agora.decode_account(v).balance for k, v in self.state.items() if k[:1] == b"a"]
        return sum(accounts) + assets.decode_amount(self.state.get(agora.locked_key()))


def apply(state: dict[bytes, bytes], outcome: GuestOutcome) -> None:
    for key, value in outcome.writes:
        if value is None:
            state.pop(key, None)
        else:
            state[key] = value


def to_chain(outgoing: tuple[Outgoing, ...], chain: int) -> list[bytes]:
    """Payloads sent to a chain."""
    return [each.payload for each in outgoing if each.destination == ChainEndpoint(chain=ChainId(chain))]
