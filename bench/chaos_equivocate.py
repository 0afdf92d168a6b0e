"""`phalanx chaos equivocate`: a validator runs twice with one key, and the network finds out.

One node is stopped, its whole directory is copied, and both copies are started: the mistake of an operator
who fails over to a spare machine while the first is still there. Each copy keeps its own journal, so each is
honest by itself; together they sign twice. What follows is nobody's doing but the network's: two signatures
meet, evidence enters a block, stake is slashed, the validator loses its seat, and the consumer chain is told.

Who runs twice is the validator that dials all others (`dials_all`). Nobody knows where the copy is, so it is
connected with those alone that it dials: the copy of a validator that all others dial is connected with
nobody, and what it signs is never seen. Here both dial everybody, a newer connection replaces an older one,
and each is with some of the network nearly always: once both have caught up, what one signs in a view that it
leads, or skips, meets what the other signs.
"""

import shutil
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import trio

from bench.audit import audit
from bench.cluster import LOG_FILE, PID_FILE, STOP_TIMEOUT_S, Cluster, NodeProcess, start_cluster
from bench.directory import NodeHome, lay_out, new_plan_name
from bench.operators import Sender
from bench.plan import AGORA_CHAIN, STAKE, Plan
from bench.ports import free_ports
from consensus.agreement.evidence import Evidence
from consensus.light.slashing_proof import SlashingRefused, verify_slashing_proof
from consensus.primitives.codec import decode
from consensus.primitives.errors import LocalFault
from consensus.primitives.ids import Amount, Epoch, Hash, PublicKey
from consensus.relay.offences.records import OffenceRecord, offence_key
from consensus.relay.stake.pools import worth
from consensus.relay.stake.records import (
    PoolRecord,
    PositionRecord,
    Standing,
    ValidatorRecord,
    main_pool,
    nomination_name,
    position_key,
    validator_key,
)
from consensus.relay.stake.transactions import Delegate
from enclaves.guests import agora
from node.api import EvidenceReport
from node.cli.slashing import prove_by
from node.client import RpcClient, RpcError, RpcUnreachable
from node.config import CONFIG_FILE
from node.genesis_file import read_genesis
from node.setup import GENESIS_FILE

DELEGATORS: Final = 3
DELEGATED: Final = Amount(STAKE // 4)
EPOCH_BLOCKS: Final = 40
DISPUTE_MS: Final = 3_000
IDLE_INTERVAL_MS: Final = 30
POLL_S: Final = 0.05
TIMEOUT_S: Final = 120.0
NOTICE_TIMEOUT_S: Final = 60.0
RECORD_LIMIT: Final = 64 * 1024
STARTED: Final = "node.started"  # as nodes log it
DETECTED: Final = ("evidence.found", "evidence.received")  # here itself, or by whoever told first


@dataclass(slots=True)
class _Case:
    """A run in progress: who runs twice, and who is behind it."""

    cluster: Cluster
    culprit: int
    account: PublicKey
    delegators: list[Sender]

    @property
    def honest(self) -> int:
        """Index of an honest validator, which is asked for everything."""
        return 1 if self.culprit == 0 else 0

    @property
    def witness(self) -> RpcClient:
        """Its client."""
        return self.cluster.clients[self.honest]

    async def record(self, kind: type[Any], key: Hash) -> Any:
        """A leaf of the newest state, None where there is none."""
        raw = (await self.witness.state(key)).value
        return None if raw is None else decode(kind, raw, limit=RECORD_LIMIT)

    async def delegate(self) -> None:
        """The delegators put stake behind the culprit-to-be; returns when an election has counted it."""
        for each in self.delegators:
            await each.send(Delegate(validators=(self.account,), amount=DELEGATED))
        epoch = (await self.witness.status()).epoch
        await self.cluster.wait_for(
            self.honest,
            lambda status: status.epoch > epoch + 1,
            timeout_s=TIMEOUT_S,
            what=f"epoch {epoch + 2}",
        )

    async def worth(self) -> list[int]:
        """What each delegator has behind the culprit, in units."""
        pool = main_pool(nomination_name((self.account,)))
        held = await self.record(PoolRecord, pool)
        found = []
        for each in self.delegators:
            position = await self.record(PositionRecord, position_key(pool, each.public))
            stands = position is not None and position.generation == held.generation  # not cut to nothing
            found.append(worth(held, position.shares) if stands else 0)
        return found

    async def convicted(self, twin: NodeProcess) -> EvidenceReport:
        """Wait for a final block that carries evidence against the culprit. Raises LocalFault, also if one of
        the two ends by itself."""
        copies = (self.cluster.nodes[self.culprit], twin)
        with trio.move_on_after(TIMEOUT_S):
            while True:
                for each in await self.witness.evidence():
                    if each.height is not None:
                        return each
                for copy in copies:
                    if not copy.running:
                        raise LocalFault(f"{copy.home.name} ended by itself: {copy.last_words()}")
                await trio.sleep(POLL_S)
        status = await self.witness.status()
        raise LocalFault(
            f"no evidence in a final block within {TIMEOUT_S:g} s, at height {status.final_height}: "
            + "; ".join([await _whereabouts(copy) for copy in copies])
        )

    async def told(self, epoch: Epoch, *states: agora.SlashState) -> agora.SlashRecord | None:
        """The slash for an epoch, as its collator has the consumer chain's state, in one of these states;
        None if that does not come in time."""
        if self.cluster.collator is None:
            raise RuntimeError("this network has no collator")
        collator = self.cluster.clients[self.cluster.collator]
        key = agora.slash_key(self.account, epoch)
        with trio.move_on_after(NOTICE_TIMEOUT_S):
            while True:
                raw = (await collator.chain_state(AGORA_CHAIN, key)).value
                if raw is not None and (found := agora.decode_slash(raw)).state in states:
                    return found
                await trio.sleep(POLL_S)
        return None

    async def provable(self, evidence: EvidenceReport) -> bool:
        """Whether what convicted is a slashing proof under the root that headers name for its epoch."""
        piece = decode(Evidence, evidence.evidence, limit=RECORD_LIMIT)
        proof = await prove_by(self.witness, piece)
        (ended, *_) = await self.witness.light_hops(Epoch(evidence.epoch - 1))
        try:
            found = verify_slashing_proof(ended.boundary.header.next_validators_hash, proof)
        except SlashingRefused:
            return False
        return found.offence.name.lower() == evidence.offence

    async def removed(self, first: Epoch) -> Epoch:
        """The first epoch, from `first` on, that the culprit has no seat in."""
        epoch = first
        while not await self._lacks_seat(epoch):
            epoch = Epoch(epoch + 1)
        return epoch

    async def _lacks_seat(self, epoch: Epoch) -> bool:
        """Whether the culprit is not in the set of an epoch, once that has begun."""
        await self.cluster.wait_for(
            self.honest, lambda status: status.epoch >= epoch, timeout_s=TIMEOUT_S, what=f"epoch {epoch}"
        )
        return all(each.account != self.account for each in await self.witness.validators(epoch))


async def run(validators: int) -> dict[str, Any]:
    """The report. Raises LocalFault if the network does not find out, or a node ends by itself."""
    plan = Plan(
        network=new_plan_name(),
        validators=validators,
        idle_interval_ms=IDLE_INTERVAL_MS,
        epoch_blocks=EPOCH_BLOCKS,
        dispute_ms=DISPUTE_MS,
    )
    with tempfile.TemporaryDirectory(prefix="phalanx-equivocate-") as scratch:
        async with start_cluster(lay_out(Path(scratch) / "net", plan)) as cluster:
            case = _case(cluster)
            await case.delegate()
            before = await case.worth()
            async with _twice(case) as twin:
                report = await _outcome(case, twin, before)
    return report


async def _outcome(case: _Case, twin: NodeProcess, before: Sequence[int]) -> dict[str, Any]:
    evidence = await case.convicted(twin)
    told = await case.told(evidence.epoch, agora.SlashState.PENDING, agora.SlashState.IN_EFFECT)
    removed = await case.removed(Epoch(evidence.epoch + 1))
    acted = await case.told(evidence.epoch, agora.SlashState.IN_EFFECT)
    offence = await case.record(OffenceRecord, offence_key(case.account, evidence.epoch))
    standing = Standing((await case.record(ValidatorRecord, validator_key(case.account))).standing)
    after = await case.worth()
    honest = [node for node in case.cluster.nodes if node.home != case.cluster.nodes[case.culprit].home]
    began_ms = min(_logged_ms(twin, STARTED))
    detected_ms = min(each for node in honest for each in _logged_ms(node, *DETECTED))
    found = await audit(case.cluster, {})
    return {
        "validators": len(case.cluster.validators),
        "offence": evidence.offence,
        "epoch": evidence.epoch,
        "detected_after_ms": round(detected_ms - began_ms),
        "in_block": evidence.height,
        "slashed_amount": 0 if offence is None else offence.taken,
        "delegators": len(before),
        "delegators_slashed": sum(late < early for early, late in zip(before, after, strict=True)),
        "proof_verifies": await case.provable(evidence),
        "jailed": standing is not Standing.ACTIVE,
        "standing": standing.name.lower(),
        "removed_at_epoch": removed,
        "consumer_notified": told is not None and told.amount > 0,
        "consumer_acted": acted is not None,
        "consumer_amount": 0 if acted is None else acted.amount,
        "forks": found.forks,
        "heights_compared": found.heights,
    }


def broken_promises(report: dict[str, Any]) -> list[str]:
    """What a report shows that must not be; empty is success."""
    broken = []
    if report["forks"]:
        broken.append(f"the chain forked at {report['forks']} heights")
    if not report["slashed_amount"]:
        broken.append("nothing was slashed")
    if report["delegators_slashed"] != report["delegators"]:
        broken.append(f"{report['delegators_slashed']} of {report['delegators']} delegators were slashed")
    if not report["proof_verifies"]:
        broken.append("the evidence makes no slashing proof")
    if not report["consumer_notified"]:
        broken.append("the consumer chain's state shows no slash")
    if not report["consumer_acted"]:
        broken.append("the consumer chain's slash took no effect")
    if not report["jailed"]:
        broken.append("the validator was not jailed")
    return broken


def dials_all(identities: Sequence[PublicKey]) -> int:
    """Which of these dials all others: of two peers the smaller identity does (`net.transport`)."""
    return min(range(len(identities)), key=lambda index: identities[index])


def _case(cluster: Cluster) -> _Case:
    genesis = read_genesis(cluster.directory.root / GENESIS_FILE)
    members = {each.name: each for each in genesis.validators}
    validators = [members[cluster.nodes[index].home.name] for index in cluster.validators]
    culprit = dials_all([each.identity_key for each in validators])
    plan = cluster.directory.plan
    delegators = [
        Sender(plan.bench_key(index), genesis.hash, cluster.running_clients) for index in range(DELEGATORS)
    ]
    return _Case(cluster=cluster, culprit=culprit, account=validators[culprit].account, delegators=delegators)


@asynccontextmanager
async def _twice(case: _Case) -> AsyncIterator[NodeProcess]:
    """The culprit's node and a copy of it, running together."""
    node = case.cluster.nodes[case.culprit]
    node.terminate()
    await node.wait(STOP_TIMEOUT_S)
    twin = NodeProcess(_copy(node.home))
    node.start()
    twin.start()
    try:
        yield twin
    finally:
        with trio.CancelScope(shield=True):
            twin.terminate()
            await twin.wait(STOP_TIMEOUT_S)


def _copy(home: NodeHome) -> NodeHome:
    """The same node in another directory, on ports of its own."""
    peer_port, rpc_port = free_ports(2)
    name = f"{home.name}-twin"
    twin = replace(
        home,
        name=name,
        directory=home.directory.with_name(name),
        peer_port=peer_port,
        rpc_port=rpc_port,
    )
    shutil.copytree(home.directory, twin.directory, ignore=shutil.ignore_patterns(LOG_FILE, PID_FILE))
    config = twin.directory / CONFIG_FILE
    text = config.read_text()
    for old, new in ((home.peer_port, peer_port), (home.rpc_port, rpc_port)):
        text = text.replace(f":{old}", f":{new}")
    config.write_text(text)
    return twin


async def _whereabouts(node: NodeProcess) -> str:
    """How far a node is, and how many it is connected with."""
    async with RpcClient(node.home.rpc) as client:
        try:
            status = await client.status()
        except (RpcError, RpcUnreachable) as error:
            return f"{node.home.name} does not answer ({error})"
    connected = sum(peer.connected for peer in status.peers)
    return f"{node.home.name} is at height {status.final_height}, connected with {connected}"


def _logged_ms(node: NodeProcess, *events: str) -> list[float]:
    """When a node logged one of these events, in Unix milliseconds."""
    found = [each for event in events for each in node.events(event)]
    return [1e3 * datetime.fromisoformat(each["timestamp"]).timestamp() for each in found]
