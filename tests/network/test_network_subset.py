"""A `subset` chain of real processes: three of four validators opt in, and they alone attest it."""

from pathlib import Path

import pytest
import trio
from network_world import TIMEOUT_S, epoch, genesis_of, now

from bench.cluster import Cluster, start_cluster
from bench.directory import lay_out, new_plan_name
from bench.operators import Operator, Sender
from bench.plan import Plan
from consensus.primitives.codec import decode
from consensus.primitives.guest import Policy
from consensus.primitives.ids import Amount, ChainId, Nonce
from consensus.relay.ledger import RECORD_LIMIT
from consensus.relay.parameters import ChainTerms, Entry
from consensus.relay.rewards.records import ChainAttestingRecord, chain_attesting_key
from consensus.relay.security.terms import SubsetTerms
from consensus.relay.security.transactions import Allocate
from consensus.relay.transactions import RegisterChain, Transfer
from enclaves.guests import agora
from node.api import ChainStage

CHAIN = ChainId(2)
EPOCH_BLOCKS = 20
MEMBERS = (0, 1, 2)


async def final(cluster: Cluster, raw: bytes) -> None:
    """Submit to the collator's chain and wait until the candidate that carries it is final."""
    client = cluster.clients[cluster.collator]
    [answer] = await client.chain_submit(CHAIN, [raw])
    assert answer.accepted, answer.error
    while True:
        [report] = await client.chain_receipts(CHAIN, [answer.hash])
        if report.stage is ChainStage.FINAL:
            assert report.code == agora.Code.OK
            return
        await trio.sleep(0.05)


async def attested(cluster: Cluster) -> list[int]:
    """How many of the chain's candidates each validator attested in the newest epoch that had any."""
    this = await now(cluster, 0)
    for each in (this, this - 1):
        raw = (await cluster.clients[0].state(chain_attesting_key(CHAIN, each))).value
        record = None if raw is None else decode(ChainAttestingRecord, raw, limit=RECORD_LIMIT)
        if record is not None and record.epoch == each:
            size = len(record.members) // 4
            return [int.from_bytes(record.members[4 * i : 4 * i + 4], "big") for i in range(size)]
    return []


@pytest.mark.slow
def test_validators_opt_in_to_a_chain_and_it_goes_on_without_the_others(tmp_path: Path) -> None:
    plan = Plan(
        network=new_plan_name(),
        validators=4,
        idle_interval_ms=40,
        bench_accounts=1,
        epoch_blocks=EPOCH_BLOCKS,
    )
    directory = lay_out(tmp_path / "net", plan)
    config = directory.collator.directory / "config.toml"
    config.write_text(config.read_text().replace("chain = 1", "chain = 2"))

    async def main() -> None:
        with trio.fail_after(TIMEOUT_S):
            async with start_cluster(directory) as cluster:
                await scene(cluster)

    async def scene(cluster: Cluster) -> None:
        genesis_hash = genesis_of(directory).hash
        key, domain = plan.bench_key(0), agora.domain("second")
        rich = Sender(key, genesis_hash, lambda: cluster.clients[:4])
        pairs = agora.genesis_pairs(domain, {key.public: Amount(10**9)}, None)
        terms = ChainTerms(policy=int(Policy.SUBSET), subset=SubsetTerms(min_members=3))
        await rich.send(
            RegisterChain(
                name="second",
                code=agora.wasm(),
                entries=tuple(Entry(key=name, value=value) for name, value in pairs),
                terms=terms,
                balance=Amount(10**12),
            )
        )
        for index in MEMBERS:
            operator = Sender(
                Operator(directory.validators[index], genesis_hash, lambda: cluster.clients[:4]).account,
                genesis_hash,
                lambda: cluster.clients[:4],
            )
            await rich.send(Transfer(to=operator.public, amount=Amount(10**6)))
            await operator.send(Allocate(chain=CHAIN, amount=Amount(60)))
        await epoch(cluster, 0, await now(cluster, 0) + 2)
        (_, security) = (await cluster.clients[0].exposure()).chains
        assert (security.policy, security.attesters, security.at_risk) == ("subset", 3, 180)
        for nonce in range(3):
            put = agora.Put(key=b"n", value=bytes([nonce]))
            await final(cluster, agora.sign_transaction(key, domain, Nonce(nonce), put))
        counts = await attested(cluster)
        assert min(counts[index] for index in MEMBERS) >= 1
        assert counts[3] == 0

    trio.run(main)
