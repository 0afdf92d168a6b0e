"""The same supports from as few edges as possible: a forest of ballots and members.

Between b ballots and m members Phragmén leaves up to b * approvals edges with stake on them, and each is
written, read when an offence is judged, and paid when rewards are. Stake can be moved around any cycle of
edges without changing what a ballot gives or what a member gets, until one edge of the cycle is empty; and
without cycles there are at most b + m - 1 edges (`reduce` of Polkadot's election library does the same).

A ballot is entered edge by edge with itself as the root of its tree, so that a cycle is one walk up to it.
"""

from consensus.primitives.ids import Hash, PublicKey
from consensus.relay.elections.phragmen import Backing


def thin(backing: Backing) -> Backing:
    """`backing` without cycles and without empty edges: all sums as before, whatever the order given."""
    names = sorted(backing)
    members = sorted({each for parts in backing.values() for each in parts})
    places = {member: place for place, member in enumerate(members)}
    forest = _Forest(len(members) + len(names))
    for ballot, name in enumerate(names, start=len(members)):
        for place, amount in sorted((places[each], amount) for each, amount in backing[name].items()):
            if amount:
                forest.add(ballot, place, amount)
    thinned: dict[Hash, dict[PublicKey, int]] = {name: {} for name in names}
    for node, above in enumerate(forest.above):
        if above >= 0:
            ballot, place = max(node, above) - len(members), min(node, above)
            thinned[names[ballot]][members[place]] = forest.weights[node]
    return thinned


class _Forest:
    """Trees of nodes: `above[n]` is the node above n or -1, `weights[n]` what is on the edge between them."""

    def __init__(self, nodes: int) -> None:
        self.above = [-1] * nodes
        self.weights = [0] * nodes

    def add(self, ballot: int, member: int, weight: int) -> None:
        """Enter an edge from the root `ballot`; if it closes a cycle, at least one edge of that goes."""
        above, weights = self.above, self.weights
        path, node = [member], member
        while (node := above[node]) >= 0:
            path.append(node)
        if path.pop() != ballot:
            self._hang(path, member, ballot, weight)
            return
        # around the cycle the edges gain and lose in turn; those at `member` and at `ballot` lose what the
        # new one gains, which is negative if less has to move that way
        losing, gaining = path[0::2], path[1::2]
        least = min([weights[node] for node in losing])
        most = min([weight, *(weights[node] for node in gaining)])
        shift = least if least <= most else -most
        for node in losing:
            weights[node] -= shift
        for node in gaining:
            weights[node] += shift
        empty = [node for node in path if not weights[node]]
        for node in empty:
            above[node] = -1
        if weight + shift:  # then another edge is empty, and the part below the first such one hangs free
            self._hang(path[: path.index(empty[0])], member, ballot, weight + shift)

    def _hang(self, path: list[int], member: int, ballot: int, weight: int) -> None:
        """Make `member` the root of its tree, and hang it below `ballot`. `path` leads from it to the node
        below the root that it had."""
        above, weights = self.above, self.weights
        for node in reversed(path):
            top = above[node]
            above[top], weights[top] = node, weights[node]
        above[member], weights[member] = ballot, weight
