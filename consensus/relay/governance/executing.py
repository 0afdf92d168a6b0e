"""Carrying out what passed: done whole, or left undone with the reason (DESIGN.md section 8).

`refusal` is asked when a measure is proposed and again when it falls due, in the state of that block: what
was sound may not be so any more. `carry_out` then does it, or says what else is missing; it never stops half
way, because everything is checked before anything is written.
"""

from dataclasses import replace

from consensus.primitives.ids import ChainId
from consensus.relay.governance.council import council_refusal, pause, pause_refusal, seat
from consensus.relay.governance.records import COMING_KEY, Pace
from consensus.relay.governance.transactions import (
    Measure,
    OnboardChain,
    PauseChain,
    ResumeChain,
    SetCouncil,
    SetParameters,
    SetTerms,
    Spend,
    StopChain,
    SwitchVersion,
    VetoSlash,
)
from consensus.relay.governance.versions import switch, switch_refusal
from consensus.relay.governance.windows import changed, pace_of_changes
from consensus.relay.ledger import PARAMETERS_KEY, Pot
from consensus.relay.offences.records import CaseState
from consensus.relay.offences.veto import find_case, veto
from consensus.relay.parameters import ChainTerms, Parameters
from consensus.relay.receipts import Code
from consensus.relay.registry import ChainStanding, asks_top
from consensus.relay.run import Run


def pace_of(measure: Measure) -> Pace:
    """How long a measure takes: the less it can do, the faster."""
    match measure:
        case SetParameters():
            return pace_of_changes(measure.changes)
        case SwitchVersion():
            return Pace.SECURITY  # it may change every rule
        case OnboardChain(terms=terms) | SetTerms(terms=terms) if asks_top(terms):
            return Pace.SECURITY  # it puts stake at risk that nobody allocated
        case PauseChain() | ResumeChain() | VetoSlash():
            return Pace.URGENT
        case _:
            return Pace.ORDINARY


def vote_ms(parameters: Parameters, pace: Pace) -> int:
    """How long a vote is open. An urgent one leaves time for what it decides: a case may be vetoed for
    `veto_ms`."""
    if pace is Pace.URGENT:
        return min(parameters.gov_vote_ms, parameters.veto_ms // 2)
    return parameters.gov_vote_ms


def wait_ms(parameters: Parameters, pace: Pace) -> int:
    """How long what passed waits."""
    match pace:
        case Pace.URGENT:
            return 0
        case Pace.ORDINARY:
            return parameters.gov_timelock_ms
        case Pace.SECURITY:
            return parameters.gov_security_timelock_ms


def coming_parameters(run: Run) -> Parameters:
    """Those of the next epoch, as they are decided by now."""
    return run.ledger.record(Parameters, COMING_KEY) or run.parameters


def refusal(run: Run, measure: Measure) -> str | None:
    """Why a measure can not be carried out, as things stand; None if it can, money aside."""
    match measure:
        case SetParameters():
            try:
                changed(coming_parameters(run), measure.changes)
            except ValueError as error:
                return str(error)
            return None
        case Spend():
            return None if measure.amount else "nothing is to be spent"
        case OnboardChain():
            return _onboarding_refusal(run, measure)
        case SetTerms():
            return _open_chain_refusal(run, measure.chain) or _terms_refusal(
                run, measure.terms, measure.chain
            )
        case PauseChain():
            return pause_refusal(run, measure.chain, measure.span_ms)
        case ResumeChain():
            record = run.registry.chain(measure.chain)
            paused = record is not None and record.is_frozen(run.context.time_ms)
            return None if paused else f"chain {measure.chain} is not paused"
        case StopChain():
            return _open_chain_refusal(run, measure.chain)
        case SetCouncil():
            return council_refusal(measure)
        case SwitchVersion():
            return switch_refusal(run, measure.version)
        case VetoSlash():
            return _case_refusal(run, measure.case, run.context.time_ms)


def proposal_refusal(run: Run, measure: Measure) -> str | None:
    """Why a measure can not be put to the vote: as `refusal`, and it must still be possible afterwards."""
    if isinstance(measure, VetoSlash):
        closes_ms = run.context.time_ms + vote_ms(run.parameters, Pace.URGENT)
        return _case_refusal(run, measure.case, closes_ms)
    return refusal(run, measure)


def carry_out(run: Run, measure: Measure) -> str | None:
    """Do it; why it was not done, if it was not."""
    found = refusal(run, measure)
    if found is not None:
        return found
    match measure:
        case SetParameters():
            run.ledger.put(COMING_KEY, changed(coming_parameters(run), measure.changes))
        case Spend():
            return _spend(run, measure)
        case OnboardChain():
            return _onboard(run, measure)
        case SetTerms():
            run.registry.set_terms(run.registry.existing_chain(measure.chain), measure.terms)
        case PauseChain():
            pause(run, measure.chain, measure.span_ms)
        case ResumeChain():
            record = run.registry.existing_chain(measure.chain)
            run.registry.put_chain(replace(record, paused_until_ms=run.context.time_ms))
        case StopChain():
            record = run.registry.existing_chain(measure.chain)
            run.registry.put_chain(replace(record, stage=int(ChainStanding.STOPPED)))
        case SetCouncil():
            seat(run, measure)
        case SwitchVersion():
            switch(run, measure.version, measure.epoch)
        case VetoSlash():
            code = veto(run, measure.case)
            return None if code is Code.OK else f"case {measure.case} can not be vetoed any more"
    return None


def turn(run: Run) -> None:
    """After everything else in an epoch's last block: the parameters of the next one take effect."""
    coming = run.ledger.record(Parameters, COMING_KEY)
    if coming is not None:
        run.ledger.put(PARAMETERS_KEY, coming)
        run.ledger.write(COMING_KEY, None)


# --- inside


def _spend(run: Run, measure: Spend) -> str | None:
    held = run.ledger.pot(Pot.TREASURY)
    if measure.amount > held:
        return f"the treasury has {held} units, not {measure.amount}"
    run.ledger.take_from(Pot.TREASURY, measure.amount)
    run.ledger.credit(measure.to, measure.amount)
    return None


def _onboard(run: Run, measure: OnboardChain) -> str | None:
    held = run.ledger.pot(Pot.TREASURY)
    if measure.balance > held:
        return f"the treasury has {held} units, not {measure.balance}"
    run.ledger.take_from(Pot.TREASURY, measure.balance)
    run.registry.register_chain(
        name=measure.name,
        owner=measure.owner,
        code=measure.code,
        entries=measure.entries,
        terms=measure.terms,
        deposit=0,
        balance=measure.balance,
        height=run.context.height,
        time_ms=run.context.time_ms,
    )
    return None


def _onboarding_refusal(run: Run, measure: OnboardChain) -> str | None:
    if len(measure.code) > run.parameters.max_module_bytes:
        return f"its code has {len(measure.code)} bytes, over max_module_bytes"
    if len({entry.key for entry in measure.entries}) != len(measure.entries):
        return "two entries have one key"
    found = _terms_refusal(run, measure.terms)
    return found or run.guests.admit(measure.code)


def _terms_refusal(run: Run, terms: ChainTerms, chain: ChainId | None = None) -> str | None:
    if terms.fuel_limit > run.parameters.chain_fuel_limit:
        return "fuel_limit is over the network's chain_fuel_limit"
    if terms.max_pov_bytes > run.parameters.max_pov_bytes:
        return "max_pov_bytes is over the network's"
    if not run.registry.has_room_at_top(terms, chain):
        return "too many chains ask members to attest who did not opt in"
    return None


def _open_chain_refusal(run: Run, chain: int) -> str | None:
    record = run.registry.chain(chain)
    if record is None:
        return f"there is no chain {chain}"
    return f"chain {chain} is stopped" if record.stage == ChainStanding.STOPPED else None


def _case_refusal(run: Run, number: int, at_ms: int) -> str | None:
    """Why a case could not be vetoed at some time; None if it could."""
    case = find_case(run.ledger, number)
    if case is None or case.state != CaseState.OPEN:
        return f"there is no open case {number}"
    return None if at_ms < case.until_ms else f"case {number} can be vetoed until {case.until_ms} ms only"
