"""A collator and the work of validators, in process, for the scripted chain of `relay_fakes`."""

from collections.abc import Sequence

from relay_fakes import Network, ScriptedGuests

from consensus.agreement.statements import Verdict
from consensus.candidates.collation import Pipeline, RelayParent, finish_candidate, plan_candidate
from consensus.candidates.execution import CandidateTask, judge, prepare
from consensus.candidates.lifecycle import Tip
from consensus.candidates.receipts import CandidateHeader
from consensus.light.leaves import (
    guest_key,
)
from consensus.primitives.errors import DecodeError, InvalidBlock
from consensus.primitives.guest import GuestCall, GuestOutcome, Status
from consensus.primitives.ids import ChainId, Hash
from consensus.primitives.tree import (
    MemoryStore,
    NodeStore,
    Recorder,
    WitnessIncomplete,
    get_many,
    load_witness,
    update,
    witness_from,
)
from consensus.relay.registry import chain_genesis_state


def run(call: GuestCall, root: Hash, nodes: NodeStore):
    """Run a chain call on a tree: its outcome and the tree's update."""

    def read(keys: Sequence[bytes]):
        return get_many(nodes, root, [guest_key(each) for each in keys])

    outcome = ScriptedGuests().call(call, read)
    changes = {guest_key(name): value for name, value in outcome.writes}
    return outcome, update(nodes, root, changes)


def validate(task: CandidateTask) -> tuple[Verdict, str]:
    """What a validator's worker does."""
    try:
        prepared = prepare(task)
    except InvalidBlock as error:
        return Verdict.INVALID, str(error)
    outcome: GuestOutcome | None = None
    root: Hash | None = None
    refusal = ""
    try:
        partial = load_witness(prepared.witness, prepared.pre_root, 1_000_000)
        outcome, changed = run(prepared.call, prepared.pre_root, partial)
        root = changed.root if outcome.status is Status.OK else prepared.pre_root
    except (DecodeError, WitnessIncomplete) as error:
        outcome, root, refusal = None, None, str(error)
    return judge(task.header, outcome, root, refusal)


class Collator:
    """Builds candidates of chain 1 on its own copy of the chain's tree."""

    def __init__(self, network: Network, depth: int = 3) -> None:
        self.network = network
        self.chain = ChainId(1)
        self.pipeline = Pipeline(self.chain, depth)
        genesis = chain_genesis_state(network.genesis.chains[0].entries)
        self.nodes = MemoryStore(dict(genesis.added))
        self.povs: dict[Hash, bytes] = {}

    def build(self, transactions: Sequence[bytes], tip: Tip | None = None) -> CandidateHeader:
        """A candidate on the pipeline's tip, or on `tip`."""
        view = self.network.view
        chain = view.chain(self.chain)
        tip = self.pipeline.tip(chain) if tip is None else tip
        parent = RelayParent(height=view.height, hash=view.block, time_ms=view.time_ms)
        plan = plan_candidate(view, chain, tip, parent, transactions)
        recorder = Recorder(self.nodes)
        outcome, changed = run(plan.call, tip.state_root, recorder)
        witness = witness_from(tip.state_root, recorder)
        header, pov = finish_candidate(plan, outcome, changed.root, witness)
        self.nodes.apply(changed.added)
        self.povs[header.hash] = pov
        return header

    def offer(self, transactions: Sequence[bytes]) -> CandidateHeader:
        """Build the next candidate of the pipeline."""
        header = self.build(transactions)
        self.pipeline.add(header)
        return header

    def advance(self):
        """Look at the relay state."""
        view = self.network.view
        window = self.network.genesis.parameters.relay_parent_window
        return self.pipeline.advance(view.chain(self.chain), view.height, window)

    def log(self) -> bytes:
        """What the enacted chain has logged."""
        root = self.network.view.head(self.chain).state_root
        return get_many(self.nodes, root, [guest_key(b"log")])[0] or b""
