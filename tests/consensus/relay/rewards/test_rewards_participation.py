"""Votes in blocks: what counts, what is void, what a leader can withhold."""

from dataclasses import replace

import pytest
from relay_fakes import Network, make_genesis
from voting_world import asked, to_open, votes_of

from consensus.primitives.codec import decode, encode
from consensus.primitives.errors import DecodeError, InvalidBlock
from consensus.primitives.ids import Epoch, Hash, Height, View
from consensus.relay.blocks import check_payload, encode_payload
from consensus.relay.parameters import BILLION
from consensus.relay.rewards.participation import MAX_MISSED, interval_of, participation
from consensus.relay.rewards.votes import VoteInclusion, votes_hash

INTERVAL = 8
EPOCH = 40


def world(**parameters: object) -> Network:
    return Network(make_genesis(**({"epoch_blocks": EPOCH, "participation_interval": INTERVAL} | parameters)))


def seen(network: Network, epoch: int = 1) -> list[int]:
    found = participation(network.view, Epoch(epoch))
    assert found is not None
    return [each.seen for each in found]


def samples(network: Network) -> int:
    found = participation(network.view, Epoch(1))
    assert found is not None
    (expected,) = {each.expected for each in found}
    return expected


def test_votes_are_counted_once_each_and_whoever_brings_them_is_credited() -> None:
    network = world()
    sample = to_open(network)
    first = network.context().proposer
    assert not network.block(votes=votes_of(network, (0, 1, 2), sample)).void
    assert (seen(network), samples(network)) == ([1, 1, 1, 0], 1)
    found = participation(network.view, Epoch(1))
    assert found is not None
    assert found[first].included == 3 * BILLION // 4
    late = asked(network)
    assert late is not None
    assert late.view == sample.height
    second = network.context().proposer
    network.block(votes=votes_of(network, (3,), late))
    assert (seen(network), samples(network)) == ([1, 1, 1, 1], 1)
    found = participation(network.view, Epoch(1))
    assert found is not None
    assert found[second].included == BILLION // 4


def test_each_whole_round_but_the_last_has_a_sample_of_its_own_blocks() -> None:
    """And each sample stays open for half a round at least, wherever the seed puts its beginning."""
    network = world()
    heights: dict[int, list[int]] = {}
    while network.height < EPOCH:
        sample = asked(network)
        if sample is not None:
            heights.setdefault(sample.height, []).append(network.height + 1)
        network.block()
    assert [(height - 1) // INTERVAL for height in heights] == [0, 1, 2, 3]
    for height, carriers in heights.items():
        following = range(((height - 1) // INTERVAL + 1) * INTERVAL + 1, 10**9)
        assert height % INTERVAL != 0  # never a round's last block: its voters know the hash that draws
        assert len(carriers) >= INTERVAL // 2
        assert carriers[-1] == following[INTERVAL - 1]
        assert carriers[0] > following[0]
    assert samples(network) == 0  # nobody carried any


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda network, sample: votes_of(network, (0, 1), sample), "no more than 2/3"),
        (lambda network, sample: votes_of(network, (0, 1, 2), sample, sample.height + 1), None),
        (
            lambda network, sample: replace(votes_of(network, (0, 1, 2), sample), view=View(99)),
            "signature is bad",
        ),
        (
            lambda network, sample: replace(votes_of(network, (0, 1, 2), sample), block=Hash(bytes(32))),
            "not asked for",
        ),
        (
            lambda network, sample: replace(votes_of(network, (0, 1, 2), sample), signers=b"\x00\x0e"),
            "not in the",
        ),
    ],
)
def test_votes_without_effect_are_void_and_never_fatal(change, reason: str | None) -> None:
    """A quorum that swears to another view is not to be had: it is Byzantine, and then counts."""
    network = world()
    sample = to_open(network)
    votes = change(network, sample)
    void = network.block(votes=votes).void
    if reason is None:
        assert not void
        assert samples(network) == 1
    else:
        assert list(void) == [votes_hash(votes)]
        assert reason in void[votes_hash(votes)]
        assert (seen(network), samples(network)) == ([0, 0, 0, 0], 0)


def test_a_vote_counts_in_one_view_and_once() -> None:
    network = world()
    network.block(votes=votes_of(network, (0, 1, 2), to_open(network)))
    sample = asked(network)
    assert sample is not None
    again = votes_of(network, (2, 3), sample)
    assert "counted already" in network.block(votes=again).void[votes_hash(again)]
    other = votes_of(network, (3,), sample, view=sample.height + 1)
    assert "another view" in network.block(votes=other).void[votes_hash(other)]
    assert seen(network) == [1, 1, 1, 0]


def test_votes_come_too_early_and_too_late() -> None:
    network = world()
    sample = to_open(network)
    held = votes_of(network, (0, 1, 2, 3), sample)
    while network.height < sample.closes:
        network.block()
    (reason,) = network.block(votes=held).void.values()
    assert "not asked for" in reason
    for seed in range(64):  # a network whose sample opens later than the block after it is drawn
        early = world(candidate_fee=seed)
        while early.height < INTERVAL + 1:
            early.block()
        if asked(early) is None:
            break
    else:
        raise AssertionError("the seed never delays a sample")
    sample = replace(sample, block=to_open(world(candidate_fee=seed)).block)
    (reason,) = early.execute(votes=votes_of(early, (0, 1, 2), sample)).void.values()
    assert "too early" in reason


def test_a_silent_leader_delays_votes_and_loses_their_reward_to_the_next() -> None:
    """Whoever leads the first half of what is left of a round includes nothing: the next one has it all."""
    network = world()
    sample = to_open(network)
    while network.height < sample.closes - 1:
        network.block()
    last = network.context().proposer
    network.block(votes=votes_of(network, (0, 1, 2, 3), sample))
    found = participation(network.view, Epoch(1))
    assert found is not None
    assert [each.included for each in found] == [BILLION if index == last else 0 for index in range(4)]
    assert seen(network) == [1, 1, 1, 1]


@pytest.mark.parametrize("silent", [(0,), (1, 2)])
def test_leaders_that_withhold_votes_take_nothing_from_anybody_but_themselves(
    silent: tuple[int, ...],
) -> None:
    """Or that include their own alone, where others' would do: all are counted in the end, by the others."""
    network = world(epoch_blocks=200)
    while network.epoch == 1:
        sample, leader = asked(network), network.context().proposer
        if sample is None or (leader in silent and not sample.view):
            network.block()
            continue
        counted = int.from_bytes(sample.seen, "little")
        left = [index for index in range(4) if not counted >> index & 1]
        mine = [index for index in left if index in silent] if leader in silent else left
        network.block(votes=votes_of(network, mine, sample) if mine else None)
    found = participation(network.view, Epoch(1))
    assert found is not None
    assert found[0].expected == 200 // INTERVAL - 1
    assert all(each.seen == each.expected for each in found)
    assert all((each.included == 0) == (index in silent) for index, each in enumerate(found))


def test_proposals_and_the_views_between_are_counted() -> None:
    network = world()
    for _ in range(8):
        network.block()
    network.skipped = 5
    validators, first = network.validators, network.height
    network.block()
    missed = [0, 0, 0, 0]
    for view in range(first + 1, first + 6):
        missed[validators.leader(View(view))] += 1
    found = participation(network.view, Epoch(1))
    assert found is not None
    assert [each.missed_proposals for each in found] == missed
    assert sum(each.proposed for each in found) == 9
    network.skipped = 10**7  # an outage: what is held against leaders is bounded, and so is the work
    network.block()
    found = participation(network.view, Epoch(1))
    assert found is not None
    assert sum(each.missed_proposals for each in found) == 5 + MAX_MISSED


@pytest.mark.parametrize("epoch_blocks", [2, 3, 4, 5, 16, 17])
def test_short_epochs_have_short_rounds(epoch_blocks: int) -> None:
    network = world(epoch_blocks=epoch_blocks, participation_interval=16)
    assert interval_of(network.genesis.parameters) == max(2, epoch_blocks // 2)
    opened = 0
    for _ in range(2 * epoch_blocks):
        sample = asked(network)
        if sample is not None and not sample.view:
            opened += 1
            assert not network.block(votes=votes_of(network, range(4), sample)).void
        else:
            network.block()
    assert opened == (2 if epoch_blocks >= 4 else 0)


def test_malformed_votes_make_the_block_invalid() -> None:
    network = world()
    good = votes_of(network, (0, 2), to_open(network))
    raw = encode(good)
    assert decode(VoteInclusion, raw, limit=10_000) == good
    for change in (
        {"signers": b""},
        {"signers": b"\x05\x00"},
        {"signers": b"\x07"},
        {"signatures": good.signatures[:1]},
        {"view": View(0)},
    ):
        with pytest.raises(ValueError, match=r"voters|votes"):
            replace(good, **change)
    payload = encode_payload((), votes=good)
    bad = payload.replace(b"\xc4\x01\x05", b"\xc4\x01\x07")  # one bit more than signatures
    assert bad != payload
    with pytest.raises(InvalidBlock, match="voters"):
        check_payload(bad, network.limits, lambda _: None)
    with pytest.raises(DecodeError):
        decode(VoteInclusion, raw[:-1], limit=10_000)


def test_votes_weigh_and_a_block_that_is_too_heavy_is_invalid() -> None:
    network = world(max_block_weight=100 + 2 * 90)
    sample = to_open(network)
    check_payload(encode_payload((), votes=votes_of(network, (0, 1), sample)), network.limits, lambda _: None)
    with pytest.raises(InvalidBlock, match="weigh"):
        check_payload(
            encode_payload((), votes=votes_of(network, (0, 1, 2), sample)), network.limits, lambda _: None
        )


def test_a_sample_is_drawn_by_what_its_voters_could_not_know() -> None:
    """By the hash of the block that came after all of them."""
    network = world()
    while network.height < INTERVAL:
        network.block()
    context = network.context()
    assert context.height == Height(INTERVAL + 1)
    drawn = 1 + int.from_bytes(context.parent_hash, "big") % (INTERVAL - 1)
    assert to_open(network).height == drawn
