"""`phalanx demo`: the whole of Phalanx in half a minute, on this machine, told as it happens.

A network of four validators finalises transfers, candidates of a consumer chain that the validators
re-execute in Wasm, and calls of an enclave; a message goes from the chain into the enclave and units come
back; a validator is killed and recovers. It ends by itself, with a summary, and fails if a promise broke.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import trio

from bench.activity import Activity, agora_account, prepare
from bench.audit import audit
from bench.cluster import Cluster, start_cluster
from bench.devnet import new_plan, open_directory
from bench.finality_gaps import longest_gap_ns
from bench.latency import summary_ms
from bench.plan import AGORA_CHAIN
from bench.statistics import milliseconds
from bench.watch import Watch
from bench.workload import CALL_FUEL, AgoraAccount, RelayAccount
from consensus.primitives.errors import LocalFault
from consensus.primitives.guest import InstanceEndpoint
from consensus.primitives.ids import RELAY_CHAIN, Amount, Hash
from consensus.relay.transactions import CallEnclave, Transfer, transaction_hash
from enclaves.guests import agora, assets
from node.api import ChainStage, Stage

VALIDATORS: Final = 4
IDLE_INTERVAL_MS: Final = 100
STEP_TIMEOUT_S: Final = 20.0
POLL_S: Final = 0.05
EXPORTED: Final = Amount(500)
RETURNED: Final = Amount(200)
QUIET_S: Final = 3.0  # under load before the kill, and between kill and restart
GAP_WINDOW_NS: Final = 2_500_000_000

Tell = Callable[[str], None]


@dataclass(slots=True)
class Story:
    """A demo in progress and what it found; `facts` becomes the summary."""

    cluster: Cluster
    watch: Watch
    tell: Tell
    genesis_hash: Hash
    facts: dict[str, Any] = field(default_factory=dict)

    async def transfer(self) -> None:
        """One transfer on the relay chain, through every stage."""
        self.tell("\n1. a transfer on the relay chain")
        plan = self.cluster.directory.plan
        alice, bob = plan.person("alice"), plan.person("bob")
        raw = RelayAccount(alice, self.genesis_hash).sign(Transfer(to=bob.public, amount=Amount(100)))
        client = self.cluster.clients[0]
        began = time.monotonic_ns()
        await self._accepted(raw)
        for stage in (Stage.NOTARISED, Stage.FINAL, Stage.PROVED):
            report = await client.receipt(transaction_hash(raw), wait=stage, timeout_s=STEP_TIMEOUT_S)
            if report.stage.rank < stage.rank:
                raise LocalFault(f"the transfer is {report.stage} after {STEP_TIMEOUT_S:g} s, not {stage}")
            elapsed = milliseconds(time.monotonic_ns() - began)
            self.facts[f"transfer_{stage}_ms"] = elapsed
            self.tell(f"   {stage:<9} after {elapsed:8.1f} ms")

    async def enclave_call(self) -> None:
        """A user creates an asset in the enclave's shared instance."""
        self.tell("\n2. an enclave call: carol issues 1,000 GOLD in the `assets` module")
        plan = self.cluster.directory.plan
        carol = plan.person("carol")
        asset = assets.user_asset_id(RELAY_CHAIN, carol.public, 1)
        operations = assets.encode_operations(
            assets.Create(salt=1, symbol="GOLD", decimals=0),
            assets.Mint(asset=asset, to=carol.public, amount=Amount(1_000)),
        )
        shared = InstanceEndpoint(module=plan.module, chain=RELAY_CHAIN)
        call = CallEnclave(instance=shared, input=operations, fuel_limit=CALL_FUEL)
        await self._final(RelayAccount(carol, self.genesis_hash).sign(call))
        balance = await self._asset_balance(shared, asset, carol.public)
        self.tell(f"   final; carol holds {balance} GOLD in a tree that belongs to no chain")
        self.facts["enclave_asset_balance"] = balance

    async def round_trip(self) -> None:
        """Units leave the consumer chain into its enclave instance, and part of them returns."""
        self.tell("\n3. consumer chain → enclave → consumer chain")
        plan = self.cluster.directory.plan
        bob = plan.person("bob")
        collator = self.cluster.clients[self.cluster.collator or 0]
        before = (await agora_account(self.cluster, bob.public)).balance
        export = agora.Export(holder=bob.public, amount=EXPORTED)
        account = AgoraAccount(bob, plan.agora_domain())
        [answer] = await collator.chain_submit(AGORA_CHAIN, [account.sign(export)])
        if not answer.accepted:
            raise LocalFault(f"the collator refused the export: {answer.error}")
        await self._until(lambda: self._enacted(answer.hash), "the export to be enacted")
        self.tell(
            f"   agora exported {EXPORTED} of bob's units in a candidate that every validator re-executed"
        )
        instance = InstanceEndpoint(module=plan.module, chain=AGORA_CHAIN)
        native = agora.native_asset(AGORA_CHAIN)
        await self._until(
            lambda: self._holds(instance, native, bob.public, EXPORTED), "the units to arrive in the enclave"
        )
        self.tell(f"   the enclave's instance for agora now holds {EXPORTED} for bob")
        redeem = assets.encode_operations(
            assets.Redeem(asset=native, beneficiary=bob.public, amount=RETURNED)
        )
        call = CallEnclave(instance=instance, input=redeem, fuel_limit=CALL_FUEL)
        await self._final(RelayAccount(bob, self.genesis_hash).sign(call))
        expected = before - EXPORTED + RETURNED

        async def returned() -> bool:
            return (await agora_account(self.cluster, bob.public)).balance == expected

        await self._until(returned, "the units to return to the consumer chain")
        self.tell(f"   bob redeemed {RETURNED}; agora credited them: {before} → {expected}, exactly once")
        self.facts["round_trip_balance"] = expected

    async def kill_and_recover(self, activity: Activity) -> None:
        """SIGKILL a validator under load; bring it back."""
        victim = VALIDATORS - 1
        node = self.cluster.nodes[victim]
        self.tell(f"\n4. under load, {node.home.name} is killed with SIGKILL")
        await trio.sleep(QUIET_S)
        killed_ns = time.monotonic_ns()
        node.kill()
        await trio.sleep(QUIET_S)
        await self.watch.poll()
        survivors = self.watch.finalized_ns(without=frozenset({victim}))
        pause = milliseconds(longest_gap_ns(survivors, killed_ns, killed_ns + GAP_WINDOW_NS))
        missed = sum(block.finalized_ns > killed_ns for block in self.watch.blocks.values())
        self.tell(
            f"   longest pause of finality {pause:.0f} ms; {missed} more blocks became final without it"
        )
        restarted_ns = time.monotonic_ns()
        node.start()
        target = max(self.watch.blocks)
        await self.cluster.wait_for(
            victim,
            lambda status: status.final_height >= target and not status.syncing,
            timeout_s=STEP_TIMEOUT_S,
            what=f"height {target} after its restart",
        )
        recovery = milliseconds(time.monotonic_ns() - restarted_ns)
        self.tell(f"   restarted from its journal and caught up in {recovery:.0f} ms")
        await trio.sleep(QUIET_S)
        self.facts |= {"finality_pause_ms": pause, "recovery_ms": recovery}

    async def _accepted(self, raw: bytes) -> None:
        [answer] = await self.cluster.clients[0].submit([raw])
        if not answer.accepted:
            raise LocalFault(f"a transaction of the demo was refused: {answer.error}")

    async def _final(self, raw: bytes) -> None:
        await self._accepted(raw)
        report = await self.cluster.clients[0].receipt(
            transaction_hash(raw), wait=Stage.FINAL, timeout_s=STEP_TIMEOUT_S
        )
        if report.status != "ok":
            raise LocalFault(
                f"a transaction of the demo ended {report.status or report.stage} ({report.code})"
            )

    async def _enacted(self, name: Hash) -> bool:
        client = self.cluster.clients[self.cluster.collator or 0]
        [report] = await client.chain_receipts(AGORA_CHAIN, [name])
        return report.stage in (ChainStage.ENACTED, ChainStage.FINAL)

    async def _asset_balance(self, instance: InstanceEndpoint, asset: bytes, holder: bytes) -> Amount:
        key = assets.balance_key(asset, holder)
        report = await self.cluster.clients[0].enclave_state(instance.module, instance.chain, key)
        return assets.decode_amount(report.value)

    async def _holds(self, instance: InstanceEndpoint, asset: bytes, holder: bytes, amount: Amount) -> bool:
        return await self._asset_balance(instance, asset, holder) == amount

    async def _until(self, condition: Callable[[], Any], what: str) -> None:
        with trio.move_on_after(STEP_TIMEOUT_S):
            while not await condition():  # noqa: ASYNC110 (asked over RPC: there is no event)
                await trio.sleep(POLL_S)
            return
        raise LocalFault(f"waited {STEP_TIMEOUT_S:g} s for {what}")


async def run(root: Path, tell: Tell) -> dict[str, Any]:
    """Tell the story; the summary. Raises LocalFault when a step does not happen."""
    directory = open_directory(root, new_plan(VALIDATORS, IDLE_INTERVAL_MS), keep=False)
    tell(f"starting {VALIDATORS} validators and a collator …")
    async with start_cluster(directory) as cluster:
        watch = Watch(cluster)
        genesis_hash = (await cluster.clients[0].status()).genesis_hash
        story = Story(cluster, watch, tell, genesis_hash)
        tell(f"network {directory.plan.network} is up: {len(cluster.nodes)} processes, stake 100 each")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch.run)
            await story.transfer()
            await story.enclave_call()
            await story.round_trip()
            activity = await prepare(cluster)
            activity.start(nursery)
            await story.kill_and_recover(activity)
            await activity.drain(STEP_TIMEOUT_S)
            nursery.cancel_scope.cancel()
        await watch.poll()
        acknowledged = {
            name: height for load in activity.relay_loads for name, height in load.report.acknowledged.items()
        }
        result = await audit(cluster, acknowledged)
    return {
        **story.facts,
        "finalized_height": max(watch.blocks),
        "relay_transactions_final": watch.total("transactions"),
        "candidates_enacted": watch.total("candidates"),
        "consumer_transactions_enacted": activity.chain.enacted if activity.chain else 0,
        "enclave_calls": watch.total("enclave_calls"),
        **summary_ms(watch.latency.latencies_ns(), "finality_"),
        "one_round_share": watch.latency.one_round_share(),
        "forks": result.forks + watch.forks(),
        "acknowledged_transactions": len(acknowledged),
        "lost_transactions": result.lost,
        "duplicated_transactions": result.duplicated,
    }


def summary(report: dict[str, Any]) -> str:
    """The end of the story, for people."""
    return "\n".join(
        [
            "",
            "─" * 72,
            f"final      {report['finalized_height']} relay blocks,"
            f" {report['relay_transactions_final']} transactions,"
            f" {report['candidates_enacted']} candidates, {report['enclave_calls']} enclave calls",
            f"latency    p50 {report['finality_p50_ms']} ms, p99 {report['finality_p99_ms']} ms from proposal"
            f" to finality; {report['one_round_share']:.0%} in one round",
            f"killed     finality paused {report['finality_pause_ms']:.0f} ms;"
            f" back and caught up in {report['recovery_ms']:.0f} ms",
            f"promises   {report['forks']} forks; {report['lost_transactions']} lost and"
            f" {report['duplicated_transactions']} duplicated"
            f" of {report['acknowledged_transactions']} acknowledged transactions",
            "─" * 72,
        ]
    )
