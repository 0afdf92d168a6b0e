"""Authenticated sessions between virtual processes: what stands, what breaks, what still arrives."""

from collections.abc import Callable, Sequence
from random import Random
from typing import Final

from consensus.agreement.messages import Message
from consensus.simulation.network import Network, NetworkPlan
from consensus.simulation.node import Node
from consensus.simulation.scheduler import Scheduler

DIAL_BOUNDS: Final = 4  # a session stands within so many bounds on delay after both ends run


class Sessions:
    """Every pair of running processes keeps one; messages go over it or nowhere."""

    def __init__(
        self,
        plan: NetworkPlan,
        nodes: Sequence[Node],
        network_random: Random,
        random: Random,
        scheduler: Scheduler,
        count: Callable[[str], None],
        arrived: Callable[[int, int, Message], None],
    ) -> None:
        self.network = Network[tuple[int, Message]](plan, network_random, scheduler, self._arrived)
        self._nodes = nodes
        self._random = random
        self._scheduler = scheduler
        self._count = count
        self._deliver = arrived
        self._standing: set[tuple[int, int]] = set()

    def carry(self, source: int, destination: int, message: Message) -> None:
        """Give a message to the network, if there is a session."""
        if (source, destination) in self._standing:
            self.network.send(source, destination, (self._nodes[destination].incarnation, message))
        else:
            self._count("without_session")

    def dial_all(self, node: Node) -> None:
        """A process started: sessions with all that run come to stand."""
        for other in self._nodes:
            if other is not node and other.engine is not None:
                self._dial(node, other)

    def break_all(self, node: Node) -> None:
        """A process died: the other ends notice sooner or later."""
        for other in self._nodes:
            if (node.index, other.index) in self._standing:
                self._standing -= {(node.index, other.index), (other.index, node.index)}
                self._hang_up(other, node.index)

    def _dial(self, a: Node, b: Node) -> None:
        """A session comes to stand some time after both processes run, unless one of them dies first."""
        incarnations = (a.incarnation, b.incarnation)

        def stands() -> None:
            if (a.incarnation, b.incarnation) == incarnations:
                self._standing |= {(a.index, b.index), (b.index, a.index)}
                rtt_us = self.network.plan.bound_us + self.network.plan.least_us
                a.peer_up(b.index, rtt_us)
                b.peer_up(a.index, rtt_us)

        most_us = DIAL_BOUNDS * self.network.plan.bound_us
        self._scheduler.after(self._random.randrange(1, most_us + 1), stands)

    def _hang_up(self, node: Node, gone: int) -> None:
        """The other end notices a dead session, unless a new one stands by then."""
        incarnation = node.incarnation

        def notice() -> None:
            if node.incarnation == incarnation and (node.index, gone) not in self._standing:
                node.peer_down(gone)

        self._scheduler.after(self._random.randrange(1, 2 * self.network.plan.bound_us + 1), notice)

    def _arrived(self, source: int, destination: int, parcel: tuple[int, Message]) -> None:
        incarnation, message = parcel
        if self._nodes[destination].incarnation != incarnation:  # it was for a process that is gone
            self._count("to_the_dead")
        else:
            self._deliver(source, destination, message)
