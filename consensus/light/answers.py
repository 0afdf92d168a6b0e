"""What an answer shows under a state root, and nothing is believed of it beyond that.

    relay key     leaf under the state root
    chain key     head leaf under the state root    → its state root → key
    instance key  instance leaf under the state root → its root      → key
    receipt       last-block leaf                   → receipts root  → receipt

The question is the asker's: an answer to another one is refused, however true.
"""

from consensus.light.leaves import (
    LAST_BLOCK_KEY,
    HeadRecord,
    InstanceRecord,
    LastBlock,
    guest_key,
    head_key,
    instance_key,
    receipt_key,
)
from consensus.light.proofs import Answer, ChainKey, InstanceKey, Question, ReceiptOf, RelayKey, TreeKey
from consensus.primitives.codec import decode
from consensus.primitives.errors import DecodeError, PeerFault
from consensus.primitives.guest import InstanceEndpoint
from consensus.primitives.ids import Hash
from consensus.primitives.tree import tree_key

MAX_LEAF_BYTES = 4_096  # of a leaf that leads to another tree


def leaf_of(question: Question) -> Hash:
    """Where in the relay tree the answer is, or the leaf that leads to it."""
    match question:
        case TreeKey():
            return question.key
        case RelayKey():
            return tree_key(question.namespace, question.key)
        case ChainKey():
            return head_key(question.chain)
        case InstanceKey():
            return instance_key(InstanceEndpoint(module=question.module, chain=question.chain))
        case ReceiptOf():
            return LAST_BLOCK_KEY


def inner_of(question: Question) -> Hash | None:
    """Where in the tree below that leaf the answer is; None if it is the leaf itself."""
    match question:
        case TreeKey() | RelayKey():
            return None
        case ChainKey() | InstanceKey():
            return guest_key(question.key)
        case ReceiptOf():
            return receipt_key(question.receipt)


def subtree_root(question: Question, leaf: bytes) -> Hash:
    """The root of the tree that `leaf`, the value of a question's leaf, leads to. Raises DecodeError."""
    match question:
        case ChainKey():
            return decode(HeadRecord, leaf, limit=MAX_LEAF_BYTES).state_root
        case InstanceKey():
            return decode(InstanceRecord, leaf, limit=MAX_LEAF_BYTES).root
        case ReceiptOf():
            return decode(LastBlock, leaf, limit=MAX_LEAF_BYTES).receipts_root
        case TreeKey() | RelayKey():
            raise DecodeError("a leaf that leads to no other tree")


def verify_answer(answer: Answer, question: Question, state_root: Hash) -> bytes | None:
    """The value that `answer` shows under `state_root` to who asks `question`; None: there is none.

    Raises PeerFault that names the step that does not hold.
    """
    if answer.question != question:
        raise PeerFault("the answer is to another question")
    leaf, inner = answer.leaf, answer.inner
    if leaf.key != leaf_of(question) or not leaf.holds_under(state_root):
        raise PeerFault("the leaf is not under the header's state root")
    name = inner_of(question)
    if name is None:
        if inner is not None:
            raise PeerFault("the answer holds more than was asked for")
        return leaf.value
    if leaf.value is None:
        raise PeerFault("there is no such chain or instance under the header's state root")
    if inner is None:
        raise PeerFault("the answer ends above the tree that was asked about")
    try:
        root = subtree_root(question, leaf.value)
    except DecodeError as error:
        raise PeerFault(f"the leaf leads to no tree: {error}") from None
    if inner.key != name or not inner.holds_under(root):
        raise PeerFault("the key is not under the root that its leaf names")
    return inner.value
