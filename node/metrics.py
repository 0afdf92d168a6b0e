"""Prometheus metrics, read from the node when they are asked for; never from logs.

Gauges of heights, peers, queues and memory come from `NodeApi.status` and `NodeApi.statistics` at each
scrape. The finality histogram is fed by the node's own finality feed.
"""

from collections.abc import Iterator
from typing import Final

import trio
from prometheus_client import CollectorRegistry, Counter, Histogram, Info, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from node.api import BlockTrace, NodeApi

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
PREFIX: Final = "phalanx"
FINALITY_BUCKETS_S: Final = (
    *(0.001, 0.002, 0.003, 0.004, 0.006, 0.008, 0.012, 0.016, 0.024, 0.04),
    *(0.06, 0.1, 0.16, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)
RESUBSCRIBE_S: Final = 1.0


class Metrics:
    """The registry of one node."""

    def __init__(self, api: NodeApi) -> None:
        self._api = api
        self._registry: Final = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._registry.register(_NodeCollector(api))
        self._finality = Histogram(
            f"{PREFIX}_finality_seconds",
            "From first sight of a proposal (its leader: from proposing) to its finality, at this node",
            buckets=FINALITY_BUCKETS_S,
            registry=self._registry,
        )
        self._final = Counter(f"{PREFIX}_final_blocks", "Blocks that became final", registry=self._registry)
        self._one_round = Counter(
            f"{PREFIX}_one_round_blocks", "Blocks final after one round", registry=self._registry
        )
        self._transactions = Counter(
            f"{PREFIX}_final_transactions", "Transactions in final blocks", registry=self._registry
        )
        self._candidates = Counter(
            f"{PREFIX}_final_candidates", "Candidates decided in final blocks", registry=self._registry
        )
        status = api.status()
        info = Info(f"{PREFIX}_node", "Who this node is", registry=self._registry)
        info.info({"name": status.name, "role": str(status.role), "version": status.version})

    async def run(self) -> None:
        """Feed the histogram until cancelled."""
        while True:
            async with self._api.finality() as feed:
                async for block in feed:
                    self.observe(block)
            await trio.sleep(
                RESUBSCRIBE_S
            )  # we fell behind: the node is too busy to be measured by every block

    def observe(self, block: BlockTrace) -> None:
        """Count one final block. One that came by catch-up has no latency."""
        started_ns = block.proposed_ns if block.proposed_ns is not None else block.received_ns
        if started_ns is not None:
            self._finality.observe((block.finalized_ns - started_ns) / 1e9)
        self._final.inc()
        self._one_round.inc(block.one_round)
        self._transactions.inc(block.transactions)
        self._candidates.inc(block.candidates)

    def render(self) -> bytes:
        """The text that Prometheus scrapes."""
        return generate_latest(self._registry)


class _NodeCollector(Collector):
    """Reads the node at each scrape."""

    def __init__(self, api: NodeApi) -> None:
        self._api = api

    def collect(self) -> Iterator[Metric]:
        status = self._api.status()
        gauges = {
            "view": status.view,
            "epoch": status.epoch,
            "final_height": status.final_height,
            "notarised_height": status.notarised_height,
            "executed_height": status.executed_height,
            "persisted_height": status.persisted_height,
            "validators": status.validators,
            "peers_connected": sum(peer.connected for peer in status.peers),
            "mempool_transactions": status.mempool,
            "syncing": status.syncing,
            "amnesic": status.amnesic,
            "voting": status.validator_index is not None and not status.amnesic,
            "uptime_seconds": status.uptime_s,
        }
        for name, value in gauges.items():
            yield GaugeMetricFamily(f"{PREFIX}_{name}", name.replace("_", " "), value=float(value))
        for name, value in sorted(self._api.statistics().items()):
            if name in gauges:
                continue
            text = name.replace("_", " ")
            if name.endswith("_total"):
                yield CounterMetricFamily(f"{PREFIX}_{name}", text, value=float(value))
            else:
                yield GaugeMetricFamily(f"{PREFIX}_{name}", text, value=float(value))
        round_trips = GaugeMetricFamily(
            f"{PREFIX}_peer_round_trip_seconds", "Round trip to a connected peer", labels=["peer"]
        )
        for peer in status.peers:
            if peer.connected and peer.rtt_ms is not None:
                round_trips.add_metric([peer.name or peer.identity.hex()[:16]], peer.rtt_ms / 1000)
        yield round_trips
