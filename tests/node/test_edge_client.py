"""Whatever a server answers, a client says one sentence about it: a light client asks nodes that may lie."""

import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import httpx
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus.primitives.errors import UserError
from node.client import RpcClient

HASH = bytes(32)
QUESTIONS: list[Callable[[RpcClient], Awaitable[Any]]] = [
    lambda client: client.status(),
    lambda client: client.submit([b"raw"]),
    lambda client: client.receipt(HASH),
    lambda client: client.receipts([HASH]),
    lambda client: client.receipt_proof(HASH),
    lambda client: client.account(HASH),
    lambda client: client.state(HASH, prove=True),
    lambda client: client.block(height=1),
    lambda client: client.validators(),
    lambda client: client.evidence(),
    lambda client: client.trace(1),
    lambda client: client.light_head(),
    lambda client: client.light_start(1),
    lambda client: client.light_hops(1),
    lambda client: client.dossier(1, 0),
    lambda client: client.chains(),
    lambda client: client.chain_submit(1, [b"raw"]),
    lambda client: client.chain_receipts(1, [HASH]),
    lambda client: client.enclaves(),
]
FIELDS = ["hash", "height", "stage", "times_ms", "proof", "balance", "code", "message", "blocks", "next"]
anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.just(10**400)
    | st.floats(allow_nan=False)
    | st.sampled_from(["", "00" * 32, "9" * 5_000, "final", "no hex"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=8),
    max_leaves=12,
)


def asked(question, answer: Callable[[Any], Any]) -> Any:
    """The client's answer to a question that a server answers like this, given the request."""

    def serve(request: httpx.Request) -> httpx.Response:
        content = answer(json.loads(request.content))
        return httpx.Response(200, content=content if isinstance(content, bytes) else json.dumps(content))

    async def run() -> Any:
        async with RpcClient("http://node") as client:
            await client._http.aclose()
            client._http = httpx.AsyncClient(transport=httpx.MockTransport(serve))  # type: ignore[misc]
            return await question(client)

    return trio.run(run)


@given(result=anything, field=st.sampled_from(["result", "error"]))
@settings(deadline=None, max_examples=25)
def test_an_answer_is_of_its_form_or_refused_with_a_sentence(result, field) -> None:
    async def all_of_them(client: RpcClient) -> None:
        for question in QUESTIONS:
            with suppress(UserError):  # and nothing else
                await question(client)

    asked(all_of_them, lambda request: {"jsonrpc": "2.0", "id": request["id"], field: result})


ACCOUNT = {"account": "00" * 32, "balance": "1", "nonce": 0, "pending_nonce": 0, "height": 1}
RECEIPT = {"hash": "00" * 32, "stage": "final"}


@pytest.mark.parametrize(
    ("question", "result"),
    [
        (lambda client: client.account(HASH), ACCOUNT | {"balance": "9" * 5_000}),
        (lambda client: client.receipt(HASH), RECEIPT | {"times_ms": {"final": 10**400}}),
        (lambda client: client.receipt_proof(HASH), {}),
        (lambda client: client.receipt_proof(HASH), {"proof": 7}),
        (lambda client: client.dossier(1, 0), {"dossier": "no hex"}),
        (lambda client: client.light_hops(1), {"hops": "00"}),
    ],
)
def test_a_lie_in_the_right_form_is_refused_too(question, result) -> None:
    with pytest.raises(UserError, match=r"unknown form|no node answers"):
        asked(question, lambda request: {"id": request["id"], "result": result})


def test_what_is_true_is_read() -> None:
    report = asked(
        lambda client: client.account(HASH), lambda request: {"id": request["id"], "result": ACCOUNT}
    )
    assert (report.balance, report.height) == (1, 1)


@pytest.mark.parametrize(
    "content", [b"", b"[", b"[" * 100_000, b"7", b"[]", b"null", b'"x"', b'{"id":[]}', b"9" * 5_000]
)
@pytest.mark.parametrize("question", [QUESTIONS[0], lambda client: client.batch([("status", {})])])
def test_who_does_not_speak_the_protocol_is_told_apart(question, content) -> None:
    with pytest.raises(UserError, match="check the address"):
        asked(question, lambda request: content)


def test_every_question_of_a_list_has_its_answer() -> None:
    for question in (QUESTIONS[1], QUESTIONS[3], QUESTIONS[16], QUESTIONS[17]):
        with pytest.raises(UserError, match="unknown form"):
            asked(question, lambda request: {"id": request["id"], "result": []})
