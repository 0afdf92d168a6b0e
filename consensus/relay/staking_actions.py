"""What accounts may do with stake (DESIGN.md section 8). Each checks everything, then mutates.

All of it counts from the next election on: the set of a running epoch never changes. A sender that is no
validator is answered NO_SUCH_VALIDATOR.
"""

from dataclasses import replace

from consensus.primitives.crypto import is_valid_public_key
from consensus.primitives.ids import Amount, Epoch, PublicKey, Signature, Stake
from consensus.relay.epochs import is_boundary
from consensus.relay.receipts import Code
from consensus.relay.run import Run
from consensus.relay.staking import (
    MAX_STAKE,
    MAX_UNBONDING,
    Standing,
    ValidatorRecord,
    is_eligible,
    possession_bytes,
)
from consensus.relay.transactions import (
    Bond,
    BondMore,
    RotateKey,
    SetAddress,
    StakingAction,
    Unbond,
    Unjail,
    WithdrawUnbonded,
)


def apply_staking(run: Run, sender: PublicKey, action: StakingAction) -> tuple[Code, bytes]:
    """Carry out one action of `sender`; the code, and what it answers."""
    record = run.staking.validator(sender)
    if isinstance(action, Bond):
        return (_bond(run, sender, action) if record is None else Code.ALREADY_EXISTS), b""
    if record is None:
        return Code.NO_SUCH_VALIDATOR, b""
    match action:
        case BondMore():
            return _bond_more(run, record, action.amount), b""
        case Unbond():
            return _unbond(run, record, action.amount), b""
        case WithdrawUnbonded():
            return _withdraw(run, record)
        case RotateKey():
            return _rotate(run, record, action), b""
        case SetAddress():
            run.staking.put(replace(record, address=action.address))
            return Code.OK, b""
        case Unjail():
            return _unjail(run, record), b""


def _bond(run: Run, sender: PublicKey, action: Bond) -> Code:
    staking = run.staking
    code = _stake_refusal(run, sender, 0, action.amount)
    if code is not Code.OK:
        return code
    if action.consensus_key == action.identity_key:
        return Code.KEY_IN_USE
    code = _key_refusal(run, sender, action.consensus_key, action.consensus_proof)
    if code is not Code.OK:
        return code
    if staking.identity_is_taken(action.identity_key):
        return Code.KEY_IN_USE
    if not _is_held(run, sender, action.identity_key, action.identity_proof):
        return Code.BAD_PROOF
    run.ledger.debit(sender, action.amount)
    staking.create(
        ValidatorRecord(
            name=action.name,
            account=sender,
            consensus_key=action.consensus_key,
            identity_key=action.identity_key,
            address=action.address,
            bonded=Stake(action.amount),
            standing=int(Standing.ACTIVE),
            jailed_until=Epoch(0),
            joined_height=run.context.height,
            unbonding=(),
        )
    )
    return Code.OK


def _bond_more(run: Run, record: ValidatorRecord, amount: Amount) -> Code:
    if record.standing == Standing.TOMBSTONED:
        return Code.TOMBSTONED
    code = _stake_refusal(run, record.account, record.bonded, amount)
    if code is not Code.OK:
        return code
    run.ledger.debit(record.account, amount)
    run.staking.put(replace(record, bonded=Stake(record.bonded + amount)))
    return Code.OK


def _stake_refusal(run: Run, sender: PublicKey, bonded: int, amount: int) -> Code:
    """Why `amount` can not be added to `bonded`; OK if it can."""
    if bonded + amount > MAX_STAKE:
        return Code.OVER_LIMIT
    if amount == 0 or bonded + amount < run.parameters.min_stake:
        return Code.BELOW_MINIMUM
    if run.ledger.account(sender).balance < amount:
        return Code.INSUFFICIENT_BALANCE
    return Code.OK


def _unbond(run: Run, record: ValidatorRecord, amount: Amount) -> Code:
    """All of it, or so much that `min_stake` is left; never what leaves nobody to elect."""
    if amount > record.bonded:
        return Code.INSUFFICIENT_BALANCE
    left = record.bonded - amount
    if amount == 0 or 0 < left < run.parameters.min_stake:
        return Code.BELOW_MINIMUM
    after = replace(record, bonded=Stake(left))
    if [each.account for each in run.staking.roster()] == [record.account] and not is_eligible(
        after, run.parameters
    ):
        return Code.LAST_VALIDATOR
    last_epoch = _last_epoch(run)
    if len(record.unbonding) == MAX_UNBONDING and record.unbonding[-1].last_epoch != last_epoch:
        return Code.OVER_LIMIT
    run.staking.begin_unbonding(record, amount, last_epoch)
    return Code.OK


def _last_epoch(run: Run) -> Epoch:
    """The last epoch in whose set stake that leaves now may stand: the next, if its set is written."""
    written = is_boundary(run.context.height, run.parameters.epoch_blocks)
    return Epoch(run.context.epoch + int(written))


def _withdraw(run: Run, record: ValidatorRecord) -> tuple[Code, bytes]:
    """Answers with the amount, 16 bytes big-endian."""
    context = run.context
    payable = [
        each for each in record.unbonding if run.staking.is_payable(each, context.epoch, context.time_ms)
    ]
    if not payable:
        return Code.NOT_YET, b""
    return Code.OK, run.staking.pay_out(record, payable).to_bytes(16, "big")


def _rotate(run: Run, record: ValidatorRecord, action: RotateKey) -> Code:
    code = _key_refusal(run, record.account, action.consensus_key, action.proof)
    if code is not Code.OK:
        return code
    run.staking.claim_key(action.consensus_key, record.account)
    run.staking.put(replace(record, consensus_key=action.consensus_key))
    return Code.OK


def _unjail(run: Run, record: ValidatorRecord) -> Code:
    if record.standing == Standing.TOMBSTONED:
        return Code.TOMBSTONED
    if record.standing != Standing.JAILED:
        return Code.NOT_JAILED
    if run.context.epoch < record.jailed_until:
        return Code.NOT_YET
    run.staking.put(replace(record, standing=int(Standing.ACTIVE), jailed_until=Epoch(0)))
    return Code.OK


def _key_refusal(run: Run, sender: PublicKey, key: PublicKey, proof: Signature) -> Code:
    """Why `sender` can not vote with `key`; OK if it can. Only a key that was nobody's ever is fresh."""
    if run.staking.key_is_taken(key):
        return Code.KEY_IN_USE
    return Code.OK if _is_held(run, sender, key, proof) else Code.BAD_PROOF


def _is_held(run: Run, sender: PublicKey, key: PublicKey, proof: Signature) -> bool:
    message = possession_bytes(run.context.chain_id_hash, sender)
    return is_valid_public_key(key) and run.context.verify(key, message, proof)
