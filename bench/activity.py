"""A little of everything on a running network: transfers, enclave calls, a consumer chain with exports.

Light on purpose, so that a devnet shows all of its parts at work without slowing what a person does there.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import trio

from bench.chain_load import ChainLoad
from bench.cluster import Cluster
from bench.load import Load
from bench.plan import AGORA_CHAIN
from bench.workload import (
    AgoraAccount,
    RelayAccount,
    agora_exports,
    agora_transfers,
    enclave_calls,
    relay_transfers,
)
from consensus.primitives.crypto import SigningKey
from consensus.primitives.ids import RELAY_CHAIN, Hash, PublicKey
from enclaves.guests import agora

TRANSFER_ACCOUNTS: Final = range(8)  # of the plan's bench accounts
CALL_ACCOUNT: Final = 8
CHAIN_ACCOUNTS: Final = range(9, 13)
EXPORT_ACCOUNT: Final = 13
PAUSE_S: Final = 0.1
CHAIN_PAUSE_S: Final = 0.5


@dataclass(slots=True)
class Activity:
    """The loads of one network; run them in a nursery, stop them, and read their reports."""

    transfers: Load
    calls: Load
    chain: ChainLoad | None

    @property
    def relay_loads(self) -> tuple[Load, Load]:
        """The two loads on the relay chain."""
        return self.transfers, self.calls

    def start(self, nursery: trio.Nursery) -> None:
        """Begin all loads."""
        for load in self.relay_loads:
            nursery.start_soon(load.run)
        if self.chain is not None:
            nursery.start_soon(self.chain.run)

    async def drain(self, timeout_s: float) -> None:
        """Send nothing more on the relay chain; wait until everything sent is final, or the time is over."""
        for load in self.relay_loads:
            load.stop()
        with trio.move_on_after(timeout_s):
            for load in self.relay_loads:
                await load.drained.wait()


async def prepare(cluster: Cluster, *, batch: int = 5, window: int = 20) -> Activity:
    """Loads that continue from the nonces that the accounts have now."""
    plan = cluster.directory.plan
    clients = [cluster.clients[index] for index in cluster.validators]
    genesis_hash = (await clients[0].status()).genesis_hash
    senders = [
        await _relay_account(cluster, plan.bench_key(each), genesis_hash) for each in TRANSFER_ACCOUNTS
    ]
    caller = await _relay_account(cluster, plan.bench_key(CALL_ACCOUNT), genesis_hash)
    calls = enclave_calls(caller, plan.module, RELAY_CHAIN)
    if caller.nonce > 0:
        next(calls)  # the asset was made when the network ran before
        caller.nonce -= 1
    chain = None
    if cluster.collator is not None:
        chain = ChainLoad(
            client=cluster.clients[cluster.collator],
            chain=AGORA_CHAIN,
            source=await _chain_source(cluster),
            batch=2 * batch,
            window=2 * window,
            pause_s=CHAIN_PAUSE_S,
        )
    return Activity(
        transfers=Load(clients, relay_transfers(senders), batch=batch, window=window, pause_s=PAUSE_S),
        calls=Load(clients, calls, batch=1, window=4, pause_s=PAUSE_S),
        chain=chain,
    )


async def _relay_account(cluster: Cluster, key: SigningKey, genesis_hash: Hash) -> RelayAccount:
    report = await cluster.clients[0].account(key.public)
    return RelayAccount(key, genesis_hash, report.pending_nonce)


async def _chain_source(cluster: Cluster) -> Iterator[bytes]:
    """Nine transfers, then an export into the `assets` enclave, and again."""
    plan = cluster.directory.plan
    senders = [await _agora_account(cluster, plan.bench_key(each)) for each in CHAIN_ACCOUNTS]
    exporter = await _agora_account(cluster, plan.bench_key(EXPORT_ACCOUNT))
    return _one_in_ten(agora_transfers(senders), agora_exports(exporter))


def _one_in_ten(often: Iterator[bytes], seldom: Iterator[bytes]) -> Iterator[bytes]:
    for turn in itertools.count(1):
        yield next(seldom if turn % 10 == 0 else often)


async def _agora_account(cluster: Cluster, key: SigningKey) -> AgoraAccount:
    account = await agora_account(cluster, key.public)
    return AgoraAccount(key, cluster.directory.plan.agora_domain(), account.nonce)


async def agora_account(cluster: Cluster, account: PublicKey) -> agora.Account:
    """An account of the consumer chain, as its collator has it."""
    if cluster.collator is None:
        raise RuntimeError("this network has no collator")
    client = cluster.clients[cluster.collator]
    report = await client.chain_state(AGORA_CHAIN, agora.account_key(account))
    return agora.decode_account(report.value)
