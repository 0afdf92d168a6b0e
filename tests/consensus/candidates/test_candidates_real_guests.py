"""The same life with the committed Wasm guests: an export from `agora` into `assets`, and its answer."""

from dataclasses import replace

import pytest
from relay_fakes import USERS, Network, make_genesis

from consensus.agreement.statements import Verdict
from consensus.candidates.collation import Pipeline, RelayParent, finish_candidate, plan_candidate
from consensus.candidates.execution import CandidateTask, InboxMessage, frame_input, judge, prepare
from consensus.light.leaves import (
    guest_key,
)
from consensus.primitives.guest import InstanceEndpoint
from consensus.primitives.ids import Nonce
from consensus.primitives.tree import MemoryStore, get
from consensus.relay.genesis import GenesisChain
from consensus.relay.parameters import Entry
from consensus.relay.receipts import Code
from consensus.relay.registry import chain_genesis_state
from consensus.relay.transactions import CallEnclave, DeployEnclave
from enclaves.guests import agora, assets
from enclaves.pool import WorkerPool

DOMAIN = agora.domain("market")
OWN = InstanceEndpoint(module=assets.module_id(), chain=1)


@pytest.fixture(scope="module")
def pool():
    pool = WorkerPool(1)
    yield pool
    pool.close()


@pytest.fixture
def network(pool: WorkerPool) -> Network:
    pairs = agora.genesis_pairs(DOMAIN, {user.public: 1_000 for user in USERS}, assets.module_id())
    chain = GenesisChain(
        name="market",
        owner=USERS[0].public,
        code=agora.wasm(),
        entries=tuple(Entry(key=name, value=value) for name, value in pairs),
        balance=10**9,
        opt_in=(assets.module_id(),),
    )
    network = Network(replace(make_genesis(), enclaves=(assets.wasm(),), chains=(chain,)))
    network.guests = pool
    network.block()
    return network


class RealCollator:
    def __init__(self, network: Network, pool: WorkerPool) -> None:
        self.network, self.pool = network, pool
        self.pipeline = Pipeline(1)
        self.nodes = MemoryStore(dict(chain_genesis_state(network.genesis.chains[0].entries).added))

    def offer(self, transactions) -> tuple:
        view = self.network.view
        chain = view.chain(1)
        parent = RelayParent(height=view.height, hash=view.block, time_ms=view.time_ms)
        plan = plan_candidate(view, chain, self.pipeline.tip(chain), parent, transactions)
        ran = self.pool.execute_recording(plan.call, plan.tip.state_root, self.nodes)
        header, pov = finish_candidate(plan, ran.outcome, ran.update.root, ran.witness)
        self.nodes.apply(ran.update.added)
        self.pipeline.add(header)
        return header, pov

    def validate(self, header, pov: bytes) -> tuple[Verdict, str]:
        view = self.network.view
        chain = view.chain(1)
        messages = tuple(
            InboxMessage(source=cursor.source, payload=payload)
            for cursor in header.inbox
            for payload in view.messages(1, cursor.source, cursor.first, cursor.next)
        )
        prepared = prepare(
            CandidateTask(
                header=header,
                pov=pov,
                code=view.code(chain.code_hash),
                fuel_limit=chain.fuel_limit,
                max_pov_bytes=chain.max_pov_bytes,
                messages=messages,
            )
        )
        ran = self.pool.execute_stateless(prepared.call, prepared.pre_root, prepared.witness)
        return judge(header, ran.outcome, ran.post_root, ran.refusal)

    def enact(self, transactions) -> None:
        header, pov = self.offer(transactions)
        assert self.validate(header, pov) == (Verdict.VALID, "")
        lie = replace(header, post_root=bytes(32))
        assert self.validate(lie, pov)[0] is Verdict.INVALID
        assert self.network.block(inclusions=[self.network.attest(header)]).enacted == (header.hash,)
        view = self.network.view
        assert self.pipeline.advance(view.chain(1), view.height, 1_024).enacted == (header.hash,)

    def read(self, key: bytes) -> bytes | None:
        return get(self.nodes, self.network.view.head(1).state_root, guest_key(key))


def test_the_framing_is_the_one_that_guests_expect() -> None:
    messages = [InboxMessage(source=OWN, payload=b"one"), InboxMessage(source=OWN, payload=b"")]
    mine = frame_input(messages, [b"tx", b""])
    assert mine == agora.encode_block([(each.source, each.payload) for each in messages], [b"tx", b""])


def test_an_export_reaches_the_enclave_and_its_answer_the_chain(network: Network, pool: WorkerPool) -> None:
    collator = RealCollator(network, pool)
    sender = USERS[1]
    pay = agora.Transfer(to=USERS[2].public, amount=5)
    export = agora.Export(holder=sender.public, amount=70)
    collator.enact(
        [
            agora.sign_transaction(sender, DOMAIN, Nonce(0), pay),
            agora.sign_transaction(sender, DOMAIN, Nonce(1), export),
        ]
    )
    account = agora.decode_account(collator.read(agora.account_key(sender.public)))
    assert (account.balance, account.nonce) == (1_000 - 75, 2)
    (delivery,) = network.block().receipts
    assert delivery.code == Code.OK
    held = network.view.instance_state(
        OWN, assets.balance_key(assets.chain_asset_id(1, agora.NATIVE_SALT), sender.public)
    )
    assert assets.decode_amount(held) == 70
    collator.enact([])
    assert agora.decode_export(collator.read(agora.export_key(0))).state == agora.ExportState.DONE
    assert network.view.chain(1).lanes == {OWN: (1, 1)}


def test_users_call_the_enclave_and_bad_modules_are_refused(network: Network) -> None:
    user = USERS[3]
    create = assets.Create(salt=1, symbol="COIN", decimals=2)
    asset = assets.user_asset_id(1, user.public, 1)
    mint = assets.Mint(asset=asset, to=USERS[4].public, amount=33)
    data = assets.encode_operations(create, mint)
    call = CallEnclave(instance=OWN, input=data, fuel_limit=5_000_000)
    deploy = DeployEnclave(code=b"\0asm junk")
    result = network.block([network.raw(user, call), network.raw(user, deploy)])
    called, deployed = result.receipts
    assert called.code == Code.OK
    balance = network.view.instance_state(OWN, assets.balance_key(asset, USERS[4].public))
    assert assets.decode_amount(balance) == 33
    assert deployed.code == Code.NOT_ADMITTED
    assert deployed.output
