"""What a validator does: bond, weigh, rotate keys, set its commission, stand back, come back."""

from dataclasses import replace

from consensus.primitives.crypto import is_valid_public_key
from consensus.primitives.ids import Epoch, PublicKey, Signature
from consensus.relay.parameters import BILLION
from consensus.relay.receipts import Code
from consensus.relay.run import Run
from consensus.relay.stake.addresses import is_dialable
from consensus.relay.stake.delegating import deposit_refusal, undelegate
from consensus.relay.stake.holdings import Place
from consensus.relay.stake.records import PoolKind, Standing, ValidatorRecord, possession_bytes
from consensus.relay.stake.transactions import (
    Bond,
    BondMore,
    Chill,
    RotateKey,
    SetAddress,
    SetCommission,
    SetLabels,
    Unbond,
    Unchill,
    Unjail,
    ValidatorAction,
)


def bond(run: Run, sender: PublicKey, action: Bond) -> Code:
    """Create a validator, its own nomination, and its stake in it."""
    stakes = run.stakes
    if stakes.validator(sender) is not None:
        return Code.ALREADY_EXISTS
    own = _own_place(run, sender)
    if action.amount < run.parameters.min_stake:
        return Code.BELOW_MINIMUM
    code = deposit_refusal(run, sender, own.pool, action.amount)
    if code is Code.OK:
        code = _terms_refusal(run, sender, action)
    if code is not Code.OK:
        return code
    run.ledger.debit(sender, action.amount)
    stakes.create(
        ValidatorRecord(
            name=action.name,
            account=sender,
            consensus_key=action.consensus_key,
            identity_key=action.identity_key,
            address=action.address,
            operator=action.operator,
            region=action.region,
            client=action.client,
            standing=int(Standing.ACTIVE),
            jailed_until=Epoch(0),
            joined_height=run.context.height,
            chilled=False,
            commission_ppb=action.commission_ppb,
            commission_max_ppb=action.commission_max_ppb,
            commission_step_ppb=action.commission_step_ppb,
            commission_epoch=Epoch(0),
            contested=0,
        ),
        action.amount,
    )
    return Code.OK


def change_validator(run: Run, sender: PublicKey, action: ValidatorAction) -> tuple[Code, bytes]:
    """Carry out an action of a validator; the code, and what it answers."""
    record = run.stakes.validator(sender)
    if record is None:
        return Code.NO_SUCH_VALIDATOR, b""
    if isinstance(action, Unbond):
        return undelegate(run, sender, run.stakes.own(sender), action.amount)
    return _change(run, record, action), b""


def _change(run: Run, record: ValidatorRecord, action: ValidatorAction) -> Code:
    match action:
        case BondMore():
            return _bond_more(run, record, action.amount)
        case RotateKey():
            return _rotate(run, record, action)
        case SetAddress():
            if not is_dialable(action.address):
                return Code.BAD_ADDRESS
            return _put(run, replace(record, address=action.address))
        case SetLabels():
            return _put(
                run,
                replace(record, operator=action.operator, region=action.region, client=action.client),
            )
        case SetCommission():
            return _set_commission(run, record, action.commission_ppb)
        case Unjail():
            return _unjail(run, record)
        case Chill():
            if run.stakes.is_eligible(record.account) and run.stakes.would_strand(record.account):
                return Code.LAST_VALIDATOR
            return _put(run, replace(record, chilled=True))
        case Unchill():
            return _put(run, replace(record, chilled=False))
        case Unbond():
            raise AssertionError("answered before")


def _put(run: Run, record: ValidatorRecord) -> Code:
    run.stakes.put(record)
    return Code.OK


def _own_place(run: Run, account: PublicKey) -> Place:
    return Place(kind=PoolKind.MAIN, nomination=run.stakes.own(account))


def _bond_more(run: Run, record: ValidatorRecord, amount: int) -> Code:
    """One that is jailed may: a slash may have left it below the minimum that it needs to come back. Not
    while stake may be given back: who joins a pool that was cut would have a share of that."""
    if record.standing == Standing.TOMBSTONED:
        return Code.TOMBSTONED
    if record.contested:
        return Code.NOT_YET
    own = _own_place(run, record.account)
    if run.stakes.self_stake(record.account) + amount < run.parameters.min_stake:
        return Code.BELOW_MINIMUM
    code = deposit_refusal(run, record.account, own.pool, amount)
    if code is not Code.OK:
        return code
    run.ledger.debit(record.account, amount)
    run.stakes.holdings.put_in(own, record.account, amount)
    return Code.OK


def _set_commission(run: Run, record: ValidatorRecord, commission_ppb: int) -> Code:
    epoch = run.context.epoch
    if commission_ppb > record.commission_max_ppb:
        return Code.OVER_COMMISSION
    step = min(record.commission_step_ppb, run.parameters.commission_step_ppb)
    if abs(commission_ppb - record.commission_ppb) > step:
        return Code.OVER_COMMISSION
    if record.commission_epoch == epoch:
        return Code.NOT_YET
    return _put(run, replace(record, commission_ppb=commission_ppb, commission_epoch=epoch))


def _unjail(run: Run, record: ValidatorRecord) -> Code:
    if record.standing == Standing.TOMBSTONED:
        return Code.TOMBSTONED
    if record.standing != Standing.JAILED:
        return Code.NOT_JAILED
    if run.context.epoch < record.jailed_until or record.contested:
        return Code.NOT_YET
    return _put(run, replace(record, standing=int(Standing.ACTIVE), jailed_until=Epoch(0)))


def _rotate(run: Run, record: ValidatorRecord, action: RotateKey) -> Code:
    code = _key_refusal(run, record.account, action.consensus_key, action.proof)
    if code is not Code.OK:
        return code
    run.stakes.validators.claim_key(action.consensus_key, record.account)
    return _put(run, replace(record, consensus_key=action.consensus_key))


def _terms_refusal(run: Run, sender: PublicKey, action: Bond) -> Code:
    """Why `sender` can not become this validator, its money apart; OK if it can."""
    validators = run.stakes.validators
    if not is_dialable(action.address):
        return Code.BAD_ADDRESS
    if action.commission_max_ppb > BILLION or action.commission_ppb > action.commission_max_ppb:
        return Code.OVER_COMMISSION
    if validators.name_is_taken(action.name):
        return Code.NAME_IN_USE
    if action.consensus_key == action.identity_key:
        return Code.KEY_IN_USE
    code = _key_refusal(run, sender, action.consensus_key, action.consensus_proof)
    if code is not Code.OK:
        return code
    if validators.identity_is_taken(action.identity_key):
        return Code.KEY_IN_USE
    if not _is_held(run, sender, action.identity_key, action.identity_proof):
        return Code.BAD_PROOF
    return Code.OK


def _key_refusal(run: Run, sender: PublicKey, key: PublicKey, proof: Signature) -> Code:
    """Why `sender` can not vote with `key`; OK if it can. Only a key that was nobody's ever is fresh."""
    if run.stakes.validators.key_is_taken(key):
        return Code.KEY_IN_USE
    return Code.OK if _is_held(run, sender, key, proof) else Code.BAD_PROOF


def _is_held(run: Run, sender: PublicKey, key: PublicKey, proof: Signature) -> bool:
    message = possession_bytes(run.context.chain_id_hash, sender)
    return is_valid_public_key(key) and run.context.verify(key, message, proof)
