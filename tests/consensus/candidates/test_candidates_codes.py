"""What a guest says of transactions counts only in exactly its form (docs/guest-abi.md section 2)."""

from hypothesis import given
from hypothesis import strategies as st

from consensus.candidates.execution import transaction_codes
from enclaves.guests import agora

codes = st.binary(max_size=40)


def output(messages: bytes, transactions: bytes) -> bytes:
    return b"".join(len(each).to_bytes(4, "little") + each for each in (messages, transactions))


@given(messages=codes, transactions=codes)
def test_codes_are_found(messages: bytes, transactions: bytes) -> None:
    said = output(messages, transactions)
    assert transaction_codes(said, len(messages), len(transactions)) == transactions


@given(messages=codes, transactions=codes, more=st.integers(-3, 3), fewer=st.integers(-3, 3))
def test_codes_of_another_block_are_not(messages: bytes, transactions: bytes, more: int, fewer: int) -> None:
    counts = len(messages) + more, len(transactions) + fewer
    if min(counts) < 0 or (more, fewer) == (0, 0):
        return
    assert transaction_codes(output(messages, transactions), *counts) is None


@given(said=st.binary(max_size=64), messages=st.integers(0, 8), transactions=st.integers(0, 8))
def test_anything_else_says_nothing(said: bytes, messages: int, transactions: int) -> None:
    found = transaction_codes(said, messages, transactions)
    assert found is None or (len(found) == transactions and said == output(said[4 : 4 + messages], found))


def test_the_example_chain_speaks_in_this_form() -> None:
    result = agora.decode_output(output(bytes([agora.Code.OK]), bytes([agora.Code.BAD_NONCE, agora.Code.OK])))
    assert result.transactions == (agora.Code.BAD_NONCE, agora.Code.OK)
