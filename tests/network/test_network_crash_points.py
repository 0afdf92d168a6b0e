"""Real processes killed around every write, sync and send: no two signatures that convict ever left one.

One validator dies again and again at named points; the others write down all that they receive. In all
that they hold of it in the end, over all its lives, must be no pair of E1 to E7 (CONSENSUS.md sections 13
and 17), and the chain must have gone on, the same for all.
"""

import itertools
import signal
from collections import Counter
from pathlib import Path

import pytest
import trio

from bench.audit import audit
from bench.cluster import Cluster, NodeProcess, attach_cluster
from bench.directory import NetworkDirectory, NodeHome, lay_out, new_plan_name
from bench.plan import Plan
from consensus.agreement.evidence import offence
from consensus.agreement.messages import (
    Certificate,
    Kind,
    Proposal,
    Vote,
    block_hash,
    decode_message,
)
from consensus.primitives.ids import ZERO_HASH

KILLED_NODE = Path(__file__).parent / "killed_node.py"
RECEIVED = "received.bin"  # in a node's directory
VICTIM = 3
TIMEOUT_S = 400.0
POINTS = ("before-write", "after-write", "before-sync", "after-sync", "before-send", "after-send")


def start(home: NodeHome, point: str = "never", count: int = 0) -> NodeProcess:
    node = NodeProcess(home)
    node.program = (str(KILLED_NODE), str(home.directory / RECEIVED), point, str(count))
    node.start()
    return node


def received(home: NodeHome) -> list[object]:
    """The messages that a node was sent, over all its lives."""
    data, position, messages = (home.directory / RECEIVED).read_bytes(), 0, []
    while position + 4 <= len(data):
        size = int.from_bytes(data[position : position + 4], "big")
        frame = data[position + 4 : position + 4 + size]
        position += 4 + size
        if len(frame) == size:  # the last one of a life may be cut
            messages.append(decode_message(frame))
    return messages


def signed(message: object) -> list[tuple[int, int, int, tuple[int, bytes, bytes]]]:
    """(epoch, view, signer, statement) of every signature in a message, as far as votes go."""
    found = []
    if isinstance(message, Proposal):
        header = message.header
        statement = (int(Kind.PROPOSE), block_hash(header), ZERO_HASH)
        found.append((header.epoch, header.view, header.proposer, statement))
        if message.vote is not None:
            found += signed(message.vote)
        for certificate in message.support:
            found += signed(certificate)
    elif isinstance(message, Vote):
        found.append(
            (message.epoch, message.view, message.signer, (message.kind, message.block, message.aux))
        )
    elif isinstance(message, Certificate):
        for group in message.groups:
            bits = int.from_bytes(group.bitmap, "little")
            found += [
                (message.epoch, message.view, index, (group.kind, group.block, group.aux))
                for index in range(bits.bit_length())
                if bits >> index & 1
            ]
    return found


def check_no_conflict(directory: NetworkDirectory) -> Counter[int]:
    """Fail on a pair that convicts; how many signatures were seen of each validator."""
    statements: dict[tuple[int, int, int], set[tuple[int, bytes, bytes]]] = {}
    for home in directory.validators:
        for message in received(home):
            for epoch, view, signer, statement in signed(message):
                statements.setdefault((epoch, view, signer), set()).add(statement)
    seen: Counter[int] = Counter()
    for (epoch, view, signer), each in statements.items():
        seen[signer] += len(each)
        for pair in itertools.combinations(sorted(each), 2):
            assert offence(*pair) is None, (epoch, view, signer, pair)
    return seen


async def reach(cluster: Cluster, height: int) -> None:
    for index in cluster.validators:
        await cluster.wait_for(
            index, lambda status: status.final_height >= height, timeout_s=120, what=f"height {height}"
        )


def play(root: Path, deaths: list[tuple[str, int]]) -> None:
    plan = Plan(network=new_plan_name(), validators=4, collator=False, idle_interval_ms=20)
    directory = lay_out(root / "net", plan)
    nodes = [start(home) for home in directory.validators]

    async def main() -> None:
        with trio.fail_after(TIMEOUT_S):
            async with attach_cluster(directory) as cluster:
                await reach(cluster, 2)
                for point, count in deaths:
                    nodes[VICTIM].kill()
                    victim = nodes[VICTIM] = start(directory.validators[VICTIM], point, count)
                    assert await victim.wait(TIMEOUT_S), point
                    assert victim.exit_code == -signal.SIGKILL, point
                nodes[VICTIM] = start(directory.validators[VICTIM])
                status = await cluster.clients[0].status()
                await reach(cluster, status.final_height + 5)
                found = await audit(cluster, {})
                assert found.forks == 0
                assert found.heights >= 5

    try:
        trio.run(main)
    finally:
        for node in nodes:
            node.kill()
    seen = check_no_conflict(directory)
    assert all(seen[signer] >= 5 for signer in range(4)), seen


def test_a_process_killed_around_its_journal_and_its_sockets_signs_nothing_twice(tmp_path: Path) -> None:
    play(tmp_path, [("after-sync", 2), ("before-send", 60)])


@pytest.mark.slow
@pytest.mark.parametrize("point", POINTS)
def test_a_process_killed_at_every_count_of_a_point(tmp_path: Path, point: str) -> None:
    """From the first journal write or send after a start to the fortieth."""
    counts = (20, 21, 22, 23, 24, 40, 61, 83, 110) if "send" in point else (0, 1, 2, 3, 5, 8, 13, 21, 40)
    play(tmp_path, [(point, count) for count in counts])
