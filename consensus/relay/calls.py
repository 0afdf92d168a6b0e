"""Calls into enclave instances: by users, and by the messages of lanes (DESIGN.md section 7).

A call changes nothing until everything about it is known to be in order: its status, the reach and credit of
every message it sends, the money for them. Rolling back is simply not writing.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from consensus.light.leaves import (
    InstanceRecord,
    guest_key,
)
from consensus.messaging.lanes import Delivery
from consensus.primitives.guest import (
    ChainEndpoint,
    ChainOrigin,
    GuestCall,
    GuestKind,
    GuestOutcome,
    InstanceEndpoint,
    InstanceOrigin,
    Origin,
    Outgoing,
    RelayEndpoint,
    Status,
)
from consensus.primitives.ids import RELAY_CHAIN, ChainId, Fuel, Hash
from consensus.primitives.tree import get_many
from consensus.relay.fees import message_fees
from consensus.relay.receipts import (
    Code,
    DeliveryReceipt,
    EnclaveReceipt,
    input_hash,
    outbox_root,
)
from consensus.relay.run import Run
from consensus.relay.security.rails import is_held

GUEST_CODES: Final = {
    Status.FAILED: Code.GUEST_FAILED,
    Status.TRAPPED: Code.GUEST_TRAPPED,
    Status.OUT_OF_FUEL: Code.GUEST_OUT_OF_FUEL,
    Status.OVERSIZE: Code.GUEST_OVERSIZE,
    Status.ENGINE_FAULT: Code.GUEST_ENGINE_FAULT,
}


@dataclass(frozen=True, slots=True)
class PendingCall:
    """A call that has run and not yet taken effect. `code` says whether it may, money aside."""

    instance: InstanceEndpoint
    record: InstanceRecord
    origin: Origin
    input_hash: Hash
    outcome: GuestOutcome
    code: Code
    fuel_used: Fuel  # at most the call's limit
    message_fees: int


def run_call(run: Run, record: InstanceRecord, *, origin: Origin, data: bytes, fuel: Fuel) -> PendingCall:
    """Run the module on the tree of its instance `record`; find out whether the effects may stand."""
    ledger = run.ledger
    instance = InstanceEndpoint(module=record.module, chain=ChainId(record.chain))
    module = run.registry.existing_module(instance.module)

    def read(keys: Sequence[bytes]) -> Sequence[bytes | None]:
        return get_many(ledger.nodes, record.root, [guest_key(key) for key in keys])

    outcome = run.guests.call(
        GuestCall(
            kind=GuestKind.ENCLAVE,
            code_hash=module.code_hash,
            code=run.registry.existing_code(module.code_hash),
            module=instance.module,
            chain=instance.chain,
            origin=origin,
            height=run.context.height,
            time_ms=run.context.time_ms,
            input=data,
            fuel_limit=fuel,
        ),
        read,
    )
    run.enclave_calls += 1
    return PendingCall(
        instance,
        record,
        origin,
        input_hash(data),
        outcome,
        _code_of(run, instance, outcome),
        Fuel(min(outcome.fuel_used, fuel)),
        message_fees(run.parameters, outcome.outgoing),
    )


def _code_of(run: Run, instance: InstanceEndpoint, outcome: GuestOutcome) -> Code:
    if outcome.status is not Status.OK:
        return GUEST_CODES[outcome.status]
    if not all(run.registry.reachable(instance, each.destination) for each in outcome.outgoing):
        return Code.NO_SUCH_DESTINATION
    if not run.registry.lanes.has_credit(instance, outcome.outgoing):
        return Code.LANE_FULL
    return Code.OK


def let_stand(run: Run, call: PendingCall, payer: int) -> EnclaveReceipt:
    """Write what a call with code OK did: its instance's tree, its messages."""
    root = run.ledger.update_guest(call.record.root, call.outcome.writes)
    if root != call.record.root:
        run.registry.put_instance(replace(call.record, root=root))
    run.registry.lanes.send(call.instance, call.outcome.outgoing, payer)
    run.messages += len(call.outcome.outgoing)
    return _receipt(call, root, call.outcome.outgoing)


def rolled_back(call: PendingCall) -> EnclaveReceipt:
    """The receipt of a call whose effects do not stand."""
    return _receipt(call, call.record.root, ())


def _receipt(call: PendingCall, post_root: Hash, outgoing: Sequence[Outgoing]) -> EnclaveReceipt:
    return EnclaveReceipt(
        instance=call.instance,
        origin=call.origin,
        input_hash=call.input_hash,
        pre_root=call.record.root,
        post_root=post_root,
        fuel_used=call.fuel_used,
        outbox_root=outbox_root(outgoing),
    )


def deliver_messages(run: Run) -> None:
    """Deliver what waits for instances: a bounded number, in a bounded amount of fuel, lanes in turn."""
    lanes = run.registry.lanes
    fuel_left = run.parameters.delivery_fuel_per_block
    passed = 0  # turns in a row: once round the queue, every lane in it rests
    for _ in range(run.parameters.deliveries_per_block):
        if fuel_left < run.parameters.delivery_fuel_limit or passed == lanes.deliveries_waiting():
            return
        delivery = lanes.next_delivery(run.context.height)
        if delivery is not None and _is_frozen(run, delivery):
            lanes.postpone(delivery, run.context.height)
            delivery = None
        passed = 0 if delivery is not None else passed + 1
        if delivery is not None:
            fuel_left = Fuel(fuel_left - _deliver(run, delivery))


def _is_frozen(run: Run, delivery: Delivery) -> bool:
    """Whether a message waits because the chain that sent it is paused, or held by its circuit breaker."""
    source, now_ms = delivery.lane.source, run.context.time_ms
    return isinstance(source, ChainEndpoint) and (
        run.registry.existing_chain(source.chain).is_frozen(now_ms)
        or is_held(run.ledger, source.chain, now_ms)
    )


def _deliver(run: Run, delivery: Delivery) -> int:
    """Deliver one message; the fuel it took."""
    instance = delivery.lane.destination
    if not isinstance(instance, InstanceEndpoint):
        raise AssertionError("lanes: a delivery to a chain")
    call = run_call(
        run,
        run.registry.existing_instance(instance),
        origin=_origin_of(run, delivery),
        data=delivery.message.payload,
        fuel=run.parameters.delivery_fuel_limit,
    )
    payer = instance.chain if instance.chain != RELAY_CHAIN else delivery.message.payer
    code = _charge(run, call, payer)
    if code is Code.LANE_FULL or (code is Code.FEE_TOO_LOW and payer != RELAY_CHAIN):
        run.registry.lanes.postpone(delivery, run.context.height)
        return call.fuel_used
    run.registry.lanes.acknowledge(delivery)
    receipt = let_stand(run, call, payer) if code is Code.OK else rolled_back(call)
    run.receipts.append(
        DeliveryReceipt(
            lane=delivery.lane_id,
            sequence=delivery.sequence,
            height=run.context.height,
            code=int(code),
            output=call.outcome.output if code is Code.OK else b"",
            call=receipt,
        )
    )
    return call.fuel_used


def _charge(run: Run, call: PendingCall, payer: int) -> Code:
    """Take the fees for the messages that a delivery sends from `payer`'s relay balance, if it stands."""
    if call.code is not Code.OK or not call.message_fees:
        return call.code
    record = run.registry.chain(payer)
    if record is None or record.balance < call.message_fees:
        return Code.FEE_TOO_LOW
    run.registry.put_chain(replace(record, balance=record.balance - call.message_fees))
    run.ledger.fees += call.message_fees
    return Code.OK


def _origin_of(run: Run, delivery: Delivery) -> Origin:
    source = delivery.lane.source
    if isinstance(source, ChainEndpoint):
        policy = run.registry.existing_chain(source.chain).terms.policy
        return ChainOrigin(chain=source.chain, policy=policy)
    if isinstance(source, RelayEndpoint):
        raise AssertionError("lanes: the relay chain has messages for chains alone")
    return InstanceOrigin(module=source.module, chain=source.chain)
