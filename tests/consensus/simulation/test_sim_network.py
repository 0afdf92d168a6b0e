"""The virtual network: what it may do before GST, and what it promises after."""

from random import Random

from consensus.simulation.network import Network, NetworkPlan, Partition
from consensus.simulation.scheduler import Scheduler

BOUND_US = 1_000


def play(
    plan: NetworkPlan, sends: list[tuple[int, int, int]], seed: int = 1
) -> list[tuple[int, int, int, int]]:
    """Send message k at (time, source, destination) k; the (time, source, destination, k) of deliveries."""
    scheduler = Scheduler()
    arrived: list[tuple[int, int, int, int]] = []
    network = Network[int](
        plan, Random(seed), scheduler, lambda a, b, message: arrived.append((scheduler.now_us, a, b, message))
    )
    for number, (time_us, source, destination) in enumerate(sends):
        scheduler.at(time_us, lambda n=number, a=source, b=destination: network.send(a, b, n))
    while scheduler.step():
        pass
    return arrived


def plan(**changes: object) -> NetworkPlan:
    values: dict[str, object] = {
        "gst_us": 100_000,
        "bound_us": BOUND_US,
        "least_us": 10,
        "wild_us": 50_000,
        "loss": 0,
        "delayed": 0,
        "duplicated": 0,
    }
    return NetworkPlan(**(values | changes))  # type: ignore[arg-type]


def test_after_gst_every_message_arrives_within_the_bound() -> None:
    sends = [(100_000 + n, 0, 1) for n in range(500)]
    arrived = play(plan(loss=900, delayed=900, bad_links=frozenset({(0, 1)})), sends)
    assert sorted(message for *_, message in arrived) == list(range(500))
    assert all(10 <= time_us - sends[n][0] <= BOUND_US for time_us, _, _, n in arrived)
    assert [n for *_, n in arrived] != list(range(500)), "independent delays reorder"


def test_before_gst_messages_are_lost_delayed_and_duplicated() -> None:
    sends = [(n, 0, 1) for n in range(1_000)]
    arrived = play(plan(loss=300, delayed=300, duplicated=200), sends)
    distinct = {n for *_, n in arrived}
    assert 600 < len(distinct) < 800
    assert len(arrived) > len(distinct) + 50
    assert max(time_us - sends[n][0] for time_us, _, _, n in arrived) > BOUND_US


def test_a_partition_separates_its_groups_while_it_lasts() -> None:
    cut = Partition(start_us=1_000, end_us=2_000, groups=(frozenset({0, 1}), frozenset({2})))
    sends = [(1_500, 0, 1), (1_500, 0, 2), (1_500, 2, 1), (2_500, 0, 2), (500, 0, 2)]
    assert sorted(n for *_, n in play(plan(partitions=(cut,)), sends)) == [0, 3, 4]


def test_a_bad_link_fails_in_its_direction_alone() -> None:
    bad = plan(bad_links=frozenset({(0, 1)}))
    assert [n for *_, n in play(bad, [(1, 0, 1), (1, 1, 0)])] == [1]


def test_the_same_seed_gives_the_same_deliveries() -> None:
    sends = [(n, n % 3, (n + 1) % 3) for n in range(300)]
    wild = plan(loss=200, delayed=500, duplicated=100)
    assert play(wild, sends, seed=5) == play(wild, sends, seed=5)
    assert play(wild, sends, seed=5) != play(wild, sends, seed=6)


def test_equal_times_run_in_the_order_of_scheduling() -> None:
    scheduler, ran = Scheduler(), []
    for number in range(20):
        scheduler.at(7, lambda n=number: ran.append(n))
    scheduler.at(3, lambda: ran.append(-1))
    while scheduler.step():
        pass
    assert ran == [-1, *range(20)]
