"""Transactions, one after the other: void, failed or done (DESIGN.md section 3).

Void: a wrong nonce, a fee above `max_fee` or above the balance. It leaves no trace, so the sender may mend
and resend it. Otherwise the fee is charged, the nonce moves and a receipt exists, whatever comes of the
action; an action that fails changes nothing else. Each action checks everything, then mutates.
"""

from dataclasses import dataclass, replace

from consensus.primitives.guest import InstanceEndpoint, UserOrigin, module_id
from consensus.primitives.ids import Amount, Fuel, PublicKey
from consensus.relay.calls import let_stand, rolled_back, run_call
from consensus.relay.fees import flat_fee, fuel_fee, reserve_fee
from consensus.relay.governance.ticking import apply_governance
from consensus.relay.governance.transactions import CouncilPause, Propose, VoteAsMember, VoteStake
from consensus.relay.ledger import MAX_NONCE, Account
from consensus.relay.offences.submissions import apply_offence_action
from consensus.relay.offences.transactions import ReportContradiction, ReportStatement, SubmitEvidence
from consensus.relay.receipts import Code, EnclaveReceipt, TransactionReceipt
from consensus.relay.registry import MAX_OPT_INS, asks_top, chain_deposit, module_deposit
from consensus.relay.rewards.claims import claim_commission
from consensus.relay.rewards.holding import holding_account, release_parts, transfers_input
from consensus.relay.rewards.transactions import ClaimCommission, ReleasePayment
from consensus.relay.run import Run
from consensus.relay.security.allocations import apply_security
from consensus.relay.security.caps import value_cap
from consensus.relay.security.transactions import Allocate
from consensus.relay.stake.actions import apply_staking
from consensus.relay.transactions import (
    Action,
    CallEnclave,
    CheckedTransaction,
    DeployEnclave,
    OptIn,
    RegisterChain,
    TopUpChain,
    TransactionBody,
    Transfer,
)


@dataclass(slots=True)
class Done:
    """What came of an action. `extra_fee` is due beyond the flat part of the fee."""

    code: Code
    extra_fee: int = 0
    fuel_used: int = 0
    output: bytes = b""
    call: EnclaveReceipt | None = None


def apply_transaction(run: Run, transaction: CheckedTransaction, index: int) -> None:
    """Execute one transaction, the `index`-th of its block."""
    body = transaction.body
    account = run.ledger.account(body.sender)
    action = body.action
    size = len(transaction.raw)
    flat = flat_fee(run.parameters, size)
    reserve = reserve_fee(run.parameters, action, size)
    refusal = _void_reason(body, account, reserve)
    if refusal is not None:
        run.void[transaction.hash] = refusal
        return
    account.nonce += 1
    account.balance -= reserve
    if isinstance(action, Transfer):
        done = _transfer(run, account, action)
    else:
        spendable = min(account.balance, body.max_fee - reserve)
        done = _other(run, body.sender, action, reserve - flat + spendable)
    fee = flat + done.extra_fee
    account.balance += reserve - fee
    run.ledger.fees += fee
    run.transactions += 1
    run.receipts.append(
        TransactionReceipt(
            transaction=transaction.hash,
            height=run.context.height,
            index=index,
            code=int(done.code),
            fee=Amount(fee),
            fuel_used=Fuel(done.fuel_used),
            output=done.output,
            call=done.call,
        )
    )


def _void_reason(body: TransactionBody, account: Account, reserve: int) -> str | None:
    if body.nonce != account.nonce or body.nonce == MAX_NONCE:
        return f"nonce {body.nonce}, the account's next is {account.nonce}"
    if body.max_fee < reserve:
        return f"max_fee {body.max_fee}, at least {reserve} is due"
    if account.balance < reserve:
        return f"the balance of {account.balance} does not cover the fee of {reserve}"
    return None


def _transfer(run: Run, account: Account, action: Transfer) -> Done:
    if account.balance < action.amount:
        return _INSUFFICIENT
    account.balance -= action.amount
    run.ledger.credit(action.to, action.amount)
    return _DONE


_DONE = Done(Code.OK)
_INSUFFICIENT = Done(Code.INSUFFICIENT_BALANCE)


def _other(run: Run, sender: PublicKey, action: Action, fee_left: int) -> Done:
    match action:
        case CallEnclave():
            return _call(run, sender, action.instance, action.input, action.fuel_limit, fee_left)
        case TopUpChain():
            return Done(_top_up(run, sender, action))
        case RegisterChain():
            return _register(run, sender, action)
        case DeployEnclave():
            return _deploy(run, sender, action)
        case OptIn():
            return Done(_opt_in(run, sender, action))
        case Transfer():
            raise AssertionError("a transfer is handled before")
        case ClaimCommission():
            code, output = claim_commission(run, sender)
            return Done(code, output=output)
        case ReleasePayment():
            return _release(run, action, fee_left)
        case Propose() | VoteAsMember() | VoteStake() | CouncilPause():
            code, output = apply_governance(run, sender, action)
            return Done(code, output=output)
        case Allocate():
            return Done(apply_security(run, sender, action))
        case SubmitEvidence() | ReportStatement() | ReportContradiction():
            code, output = apply_offence_action(run, sender, action)
            return Done(code, output=output)
        case _:  # mypy: a StakingAction
            code, output = apply_staking(run, sender, action)
            return Done(code, output=output)


def _call(
    run: Run, caller: PublicKey, instance: InstanceEndpoint, data: bytes, fuel_limit: Fuel, fee_left: int
) -> Done:
    """Call an instance as `caller`; `fee_left` units may be spent on fuel and messages."""
    if fuel_limit > run.parameters.call_fuel_limit:
        return Done(Code.OVER_LIMIT)
    record = run.registry.instance(instance)
    if record is None:
        return Done(Code.NO_SUCH_INSTANCE)
    call = run_call(run, record, origin=UserOrigin(account=caller), data=data, fuel=fuel_limit)
    fuel = call.fuel_used
    fee = fuel_fee(run.parameters, fuel)
    code = call.code
    if code is Code.OK and fee + call.message_fees > fee_left:
        code = Code.FEE_TOO_LOW
    if code is not Code.OK:
        return Done(code, fee, fuel, b"", rolled_back(call))
    receipt = let_stand(run, call, instance.chain)
    return Done(code, fee + call.message_fees, fuel, call.outcome.output, receipt)


def _release(run: Run, action: ReleasePayment, fee_left: int) -> Done:
    """Call an instance as a chain's holding account, which nobody has the key of."""
    if run.registry.chain(action.chain) is None:
        return Done(Code.NO_SUCH_CHAIN)
    if action.epoch >= run.context.epoch:
        return Done(Code.NOT_YET)
    parts = release_parts(run, action)
    if not parts:
        return Done(Code.NOTHING_TO_RELEASE)
    caller = holding_account(action.chain, action.epoch)
    data = transfers_input(action.asset, parts)
    return _call(run, caller, action.instance, data, action.fuel_limit, fee_left)


def _top_up(run: Run, sender: PublicKey, action: TopUpChain) -> Code:
    record = run.registry.chain(action.chain)
    if record is None:
        return Code.NO_SUCH_CHAIN
    if run.ledger.account(sender).balance < action.amount:
        return Code.INSUFFICIENT_BALANCE
    if record.balance + action.amount > value_cap(run.parameters, record, run.context.time_ms):
        return Code.OVER_LIMIT
    run.ledger.debit(sender, action.amount)
    run.registry.put_chain(replace(record, balance=record.balance + action.amount))
    return Code.OK


def _register(run: Run, sender: PublicKey, action: RegisterChain) -> Done:
    """Answers with the chain's id, 4 bytes big-endian, or with why its code is refused."""
    parameters = run.parameters
    terms = action.terms
    if terms.fuel_limit > parameters.chain_fuel_limit or terms.max_pov_bytes > parameters.max_pov_bytes:
        return Done(Code.OVER_LIMIT)
    if len(action.code) > parameters.max_module_bytes or action.balance > parameters.chain_value_start:
        return Done(Code.OVER_LIMIT)
    if asks_top(terms):
        return Done(Code.NEEDS_VOTE)
    if len({entry.key for entry in action.entries}) != len(action.entries):
        return Done(Code.ALREADY_EXISTS)
    deposit = chain_deposit(parameters, action.code, action.entries)
    if run.ledger.account(sender).balance < deposit + action.balance:
        return Done(Code.INSUFFICIENT_BALANCE)
    refusal = run.guests.admit(action.code)
    if refusal is not None:
        return Done(Code.NOT_ADMITTED, output=_reason_bytes(refusal))
    run.ledger.debit(sender, deposit + action.balance)
    chain = run.registry.register_chain(
        name=action.name,
        owner=sender,
        code=action.code,
        entries=action.entries,
        terms=terms,
        deposit=deposit,
        balance=action.balance,
        height=run.context.height,
        time_ms=run.context.time_ms,
    )
    return Done(Code.OK, output=chain.to_bytes(4, "big"))


def _deploy(run: Run, sender: PublicKey, action: DeployEnclave) -> Done:
    """Answers with the module's id, or with why it is refused."""
    if len(action.code) > run.parameters.max_module_bytes:
        return Done(Code.OVER_LIMIT)
    module = module_id(action.code)
    if run.registry.module(module) is not None:
        return Done(Code.ALREADY_EXISTS, output=module)
    deposit = module_deposit(run.parameters, action.code)
    if run.ledger.account(sender).balance < deposit:
        return Done(Code.INSUFFICIENT_BALANCE)
    refusal = run.guests.admit(action.code)
    if refusal is not None:
        return Done(Code.NOT_ADMITTED, output=_reason_bytes(refusal))
    run.ledger.debit(sender, deposit)
    run.registry.deploy(wasm=action.code, deployer=sender, deposit=deposit, height=run.context.height)
    return Done(Code.OK, output=module)


def _opt_in(run: Run, sender: PublicKey, action: OptIn) -> Code:
    record = run.registry.chain(action.chain)
    if record is None:
        return Code.NO_SUCH_CHAIN
    if record.owner != sender:
        return Code.NOT_OWNER
    if run.registry.module(action.module) is None:
        return Code.NO_SUCH_MODULE
    if action.module in record.opt_in:
        return Code.ALREADY_EXISTS
    if len(record.opt_in) >= MAX_OPT_INS:
        return Code.OVER_LIMIT
    deposit = run.parameters.instance_deposit
    if run.ledger.account(sender).balance < deposit:
        return Code.INSUFFICIENT_BALANCE
    run.ledger.debit(sender, deposit)
    run.registry.opt_in(record, action.module, deposit)
    return Code.OK


def _reason_bytes(reason: str) -> bytes:
    return reason.encode()[:1024]
