"""Workers: same answers as in process, deaths retried and then judged, stateless equal to stateful."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from guest_tools import Agora, batch, call_of, guest, run, sized

from consensus.primitives.crypto import SigningKey
from consensus.primitives.errors import LocalFault
from consensus.primitives.guest import GuestCall, GuestExecutor, GuestKind, Status
from consensus.primitives.ids import SecretSeed
from consensus.primitives.tree import EMPTY_ROOT, MemoryStore, tree_key, update
from enclaves.guests import agora
from enclaves.pool import WorkerPool

SPIN = call_of(guest("(loop (br 0)) (i32.const 0)"), fuel=2**62)
KEYS = [SigningKey(SecretSeed(bytes([index]) + bytes(31))) for index in range(8)]
DOMAIN = agora.domain("workers")


@pytest.fixture(scope="module")
def pool() -> Iterator[WorkerPool]:
    pool = WorkerPool(2)
    yield pool
    pool.close()


def block(seed: int, size: int = 20) -> tuple[GuestCall, dict[bytes, bytes]]:
    """A block of random transactions, good and bad, over a genesis state."""
    rng = random.Random(seed)
    pairs = dict(agora.genesis_pairs(DOMAIN, {key.public: 1000 for key in KEYS}, b"\x01" * 32))
    transactions = []
    for _ in range(size):
        key = rng.choice(KEYS)
        action: agora.Action = rng.choice(
            [
                agora.Transfer(to=rng.choice(KEYS).public, amount=rng.randrange(2000)),
                agora.Put(key=rng.randbytes(8), value=rng.randbytes(rng.randrange(100))),
                agora.Export(holder=rng.randbytes(32), amount=rng.randrange(100)),
            ]
        )
        raw = bytearray(agora.sign_transaction(key, DOMAIN, rng.randrange(3), action))
        if rng.random() < 0.1:
            raw[rng.randrange(len(raw))] ^= 1
        transactions.append(bytes(raw))
    data = agora.encode_block([], transactions)
    return call_of(agora.wasm(), data, fuel=10**9, kind=GuestKind.CHAIN), pairs


def tree_of(pairs: dict[bytes, bytes]) -> tuple[bytes, MemoryStore]:
    store = MemoryStore()
    made = update(store, EMPTY_ROOT, {tree_key(b"guest", key): value for key, value in pairs.items()})
    store.apply(made.added)
    return made.root, store


def test_two_processes_and_this_one_agree_to_the_byte() -> None:
    pools = [WorkerPool(1), WorkerPool(1)]
    try:
        for seed in range(3):
            call, pairs = block(seed)
            expected = run(call, pairs)
            assert expected.status is Status.OK
            for pool in pools:
                assert pool.call(call, lambda keys, pairs=pairs: [pairs.get(key) for key in keys]) == expected
    finally:
        for pool in pools:
            pool.close()


@pytest.mark.parametrize("seed", range(4))
def test_stateless_equals_stateful(pool: WorkerPool, seed: int) -> None:
    call, pairs = block(seed, 60)
    root, store = tree_of(pairs)
    recorded = pool.execute_recording(call, root, store)
    assert recorded.outcome == run(call, pairs)
    assert recorded.update.root != root
    stateless = pool.execute_stateless(call, root, recorded.witness)
    assert stateless.outcome == recorded.outcome
    assert stateless.post_root == recorded.update.root
    chain = Agora(7, dict(pairs))
    chain.state.update({key: value for key, value in recorded.outcome.writes if value is not None})
    assert tree_of(chain.state)[0] == recorded.update.root
    assert chain.issuance() == 8000


def test_a_failed_call_keeps_the_root(pool: WorkerPool) -> None:
    call, pairs = block(1)
    root, store = tree_of(pairs)
    poor = replace(call, fuel_limit=100_000)
    recorded = pool.execute_recording(poor, root, store)
    assert (recorded.outcome.status, recorded.update.root) == (Status.OUT_OF_FUEL, root)
    assert not recorded.update.added
    stateless = pool.execute_stateless(poor, root, recorded.witness)
    assert (stateless.outcome, stateless.post_root) == (recorded.outcome, root)


def test_a_bad_witness_is_refused_with_the_reason(pool: WorkerPool) -> None:
    call, pairs = block(2)
    root, store = tree_of(pairs)
    witness = pool.execute_recording(call, root, store).witness
    small = pool.execute_recording(replace(call, input=agora.encode_block([], [])), root, store).witness
    other = tree_of({b"other": b"tree"})[0]
    for root_said, bad in [
        (root, b""),
        (root, b"\xff" * 50),
        (root, witness[:-1]),
        (root, small),
        (other, witness),
    ]:
        answer = pool.execute_stateless(call, root_said, bad)
        assert answer.outcome is None
        assert answer.post_root is None
        assert answer.refusal


def killer(pool: WorkerPool, times: int) -> threading.Thread:
    """Kills the pool's only worker so many times, each once it had time to start the call."""

    def work() -> None:
        for _ in range(times):
            (pid,) = pool.pids()
            time.sleep(0.6)
            os.kill(pid, signal.SIGKILL)
            while pid in pool.pids():
                time.sleep(0.01)

    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_three_kills_are_an_engine_fault_and_the_next_call_works() -> None:
    lines: list[str] = []
    pool = WorkerPool(1, log=lines.append)
    thread = killer(pool, 3)
    outcome = pool.call(SPIN, lambda keys: [None] * len(keys))
    thread.join()
    assert (outcome.status, outcome.fuel_used) == (Status.ENGINE_FAULT, SPIN.fuel_limit)
    assert (pool.deaths, len(lines)) == (3, 3)
    assert pool.call(call_of(guest("(i32.const 0)")), lambda _: []).status is Status.OK
    pool.close()


def test_one_kill_in_the_middle_changes_nothing() -> None:
    pool = WorkerPool(1)
    keys = batch(sized(b"k"))
    code = guest(
        f"(drop (call $state_get (i32.const 0) (i32.const {len(keys)}) (i32.const 100) (i32.const 100)))"
        "(i32.const 0)",
        keys,
    )
    call = call_of(code)
    killed = []

    def read(wanted: Sequence[bytes]) -> Sequence[bytes | None]:
        if not killed:
            killed.extend(pool.pids())
            os.kill(killed[0], signal.SIGKILL)
        return [None] * len(wanted)

    assert pool.call(call, read) == run(call)
    assert pool.pids() != killed
    pool.close()


def test_what_read_raises_passes_through_and_the_worker_is_replaced(pool: WorkerPool) -> None:
    call, pairs = block(0)

    def broken(_: Sequence[bytes]) -> Sequence[bytes | None]:
        raise LocalFault("the store is gone")

    with pytest.raises(LocalFault, match="the store is gone"):
        pool.call(call, broken)
    assert pool.call(call, lambda keys: [pairs.get(key) for key in keys]).status is Status.OK


def test_a_silent_worker_is_a_local_fault_not_the_guests() -> None:
    pool = WorkerPool(1, watchdog_s=1.0)
    with pytest.raises(LocalFault, match="silent"):
        pool.call(SPIN, lambda keys: [None] * len(keys))
    pool.close()


def test_closing_ends_a_call_under_way() -> None:
    pool = WorkerPool(1)
    timer = threading.Timer(0.5, pool.close)
    timer.start()
    with pytest.raises(LocalFault, match="closed"):
        pool.call(SPIN, lambda keys: [None] * len(keys))
    with pytest.raises(LocalFault, match="closed"):
        pool.call(SPIN, lambda keys: [None] * len(keys))
    timer.join()


def test_many_threads_share_the_pool(pool: WorkerPool) -> None:
    expected = {seed: run(*block(seed)) for seed in range(3)}
    wrong: list[int] = []

    def work(seed: int) -> None:
        call, pairs = block(seed)
        if pool.call(call, lambda keys: [pairs.get(key) for key in keys]) != expected[seed]:
            wrong.append(seed)

    threads = [threading.Thread(target=work, args=(index % 3,)) for index in range(9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_worker_ends_with_its_node_even_inside_a_guest() -> None:
    script = (
        "import threading, time, sys; sys.path.insert(0, sys.argv[1])\n"
        "from test_enclave_workers import SPIN\nfrom enclaves.pool import WorkerPool\n"
        "pool = WorkerPool(1); print(pool.pids()[0], flush=True)\n"
        "threading.Thread(target=pool.call, args=(SPIN, None), daemon=True).start()\n"
        "time.sleep(60)"
    )
    node = subprocess.Popen(
        [sys.executable, "-c", script, str(Path(__file__).parent)], stdout=subprocess.PIPE, text=True
    )
    assert node.stdout is not None
    pid = int(node.stdout.readline())
    time.sleep(0.7)
    os.kill(pid, 0)
    node.kill()
    node.wait()
    node.stdout.close()
    for _ in range(500):
        if not _runs(pid):
            return
        time.sleep(0.01)
    raise AssertionError("the worker outlived its node")


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_admission_in_a_worker(pool: WorkerPool) -> None:
    assert pool.admit(agora.wasm()) is None
    assert "magic" in (pool.admit(b"garbage") or "")
    assert "the limit is" in (pool.admit(bytes(20 * 1024 * 1024)) or "")


@pytest.mark.parametrize(
    ("call", "status"),
    [
        (call_of(guest("(i32.const 0)"), bytes(2 * 1024 * 1024 + 1)), Status.OVERSIZE),
        (call_of(bytes(1024 * 1024 + 1)), Status.TRAPPED),
        (call_of(b"garbage"), Status.TRAPPED),
    ],
)
def test_a_call_that_can_not_begin_has_the_same_outcome_everywhere(
    pool: WorkerPool, call: GuestCall, status: Status
) -> None:
    expected = run(call)
    assert (expected.status, expected.fuel_used) == (status, call.fuel_limit)
    assert pool.call(call, lambda keys: [None] * len(keys)) == expected
    stateless = pool.execute_stateless(call, EMPTY_ROOT, b"")
    assert (stateless.outcome, stateless.post_root) == (expected, EMPTY_ROOT)


def test_the_pool_is_the_executor_that_the_relay_chain_asks_for(pool: WorkerPool) -> None:
    executor: GuestExecutor = pool
    assert executor.call(call_of(guest("(i32.const 0)"), fuel=2**64 - 1), lambda _: []).status is Status.OK
