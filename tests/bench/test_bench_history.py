"""A history made ahead of time is one that the network could have made: final, linked, the same for all."""

from contextlib import closing

from bench.directory import lay_out, new_plan_name
from bench.history import DATA, write_history
from bench.plan import Plan
from consensus.agreement.messages import FinalityProof, block_hash
from consensus.primitives.ids import Height
from consensus.relay.views import StateView
from node.genesis_file import read_genesis
from node.opening import start
from node.setup import GENESIS_FILE
from node.state_sync.arriving import STORE_DIRECTORY
from node.state_sync.messages import Snapshot
from node.state_sync.trust import trust_of
from node.store import Store

BLOCKS = 30
TRANSFERS = 3


def test_a_history_is_final_by_the_networks_own_keys_and_executed(tmp_path) -> None:
    plan = Plan(network=new_plan_name(), validators=4, collator=False, idle_accounts=50, epoch_blocks=1_000)
    network = lay_out(tmp_path / "net", plan)
    write_history(network, blocks=BLOCKS, transfers=TRANSFERS, accounts=range(4))
    genesis = read_genesis(network.root / GENESIS_FILE)
    with closing(Store(tmp_path / "fresh")) as fresh:
        trust = trust_of(genesis, fresh, None)
    tips = set()
    for home in network.validators:
        with closing(Store(home.directory / DATA / STORE_DIRECTORY)) as store:
            assert store.height() == BLOCKS
            for height in range(1, BLOCKS):
                block, above = store.block(height), store.block(height + 1)
                proof = store.proof(height + 1)
                assert block is not None
                assert above is not None
                assert proof is not None
                path = FinalityProof(path=(above.header, *proof.path), certificate=proof.certificate)
                trust.check(Snapshot(header=block.header, payload=block.payload, proof=path))
                assert above.header.state_root == block.post_root
            tip = start(genesis, genesis.hash, store)
            tips.add((tip.hash, tip.post_root))
            view = StateView(
                nodes=store,
                root=tip.post_root,
                height=Height(BLOCKS),
                block=block_hash(tip.header),
                time_ms=tip.header.time_ms,
            )
            nonces = sum(view.account(plan.bench_key(index).public).nonce for index in range(4))
            assert nonces == BLOCKS * TRANSFERS
    assert len(tips) == 1
