"""`phalanx status`: where a node stands."""

import click

from node.cli.connect import rpc_option, rpc_url
from node.cli.output import Output, example, json_option, pass_output, table
from node.client import ask
from node.rpc.json_form import to_json


@click.command(epilog=example("phalanx status --rpc http://127.0.0.1:7800"))
@rpc_option
@json_option
@pass_output
def status(output: Output, rpc: str | None) -> None:
    """Show a node's heights, view, peers and mempool."""
    url = rpc_url(rpc)
    report = ask(url, lambda client: client.status())
    state = "syncing" if report.syncing else "amnesic, not voting yet" if report.amnesic else "in step"
    connected = [each for each in report.peers if each.connected]
    rows = [
        ("node", f"{report.name} ({report.role}) {report.version} at {url}"),
        ("network", f"{report.network}  genesis {report.genesis_hash.hex()}"),
        ("state", state),
        ("final", f"height {report.final_height}  {report.final_hash.hex()}"),
        ("notarised", f"height {report.notarised_height}, view {report.view}, epoch {report.epoch}"),
        ("executed", f"height {report.executed_height}, on disk {report.persisted_height}"),
        ("peers", f"{len(connected)} of {len(report.peers)} connected, {report.validators} validators"),
        ("mempool", f"{report.mempool} transactions"),
        ("up", f"{report.uptime_s:.0f} s"),
    ]
    for peer in report.peers:
        link = "down" if not peer.connected else "up" if peer.rtt_ms is None else f"{peer.rtt_ms:.2f} ms"
        rows.append((f"  {peer.name or peer.identity.hex()[:16]}", link))
    output.result(to_json(report) | {"rpc": [url]}, table(rows))
