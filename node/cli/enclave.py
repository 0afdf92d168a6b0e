"""`phalanx enclave`: immutable modules and their instances."""

from pathlib import Path

import click

from consensus.light.proofs import InstanceKey
from consensus.primitives.errors import UserError
from consensus.primitives.guest import MAX_INPUT_BYTES, InstanceEndpoint
from consensus.primitives.ids import Fuel
from consensus.relay.transactions import CallEnclave, DeployEnclave
from enclaves.module import InvalidModule, admit
from node.cli.connect import (
    BYTES,
    find_chain,
    find_module,
    rpc_option,
    rpc_url,
)
from node.cli.output import Output, example, json_option, pass_output, table
from node.cli.query import say_state
from node.cli.sending import Sending, sending
from node.cli.submit import submit
from node.cli.trust import TrustOptions, trust_options
from node.cli.verify import verify_state
from node.client import ask
from node.files import read_file
from node.rpc.json_form import to_json

DEFAULT_FUEL = 20_000_000


@click.group(epilog=example("phalanx enclave list"))
def enclave() -> None:
    """Deploy, call and read enclaves."""


@enclave.command("list", epilog=example("phalanx enclave list"))
@rpc_option
@json_option
@pass_output
def list_(output: Output, *, rpc: str | None) -> None:
    """List the deployed modules."""
    reports = ask(rpc_url(rpc), lambda client: client.enclaves())
    rows = [(each.module.hex(), f"{each.size_bytes} bytes, since height {each.height}") for each in reports]
    output.result(to_json(reports), table(rows) or "no enclave is deployed")


@enclave.command(epilog=example("phalanx enclave show assets"))
@click.argument("module")
@rpc_option
@json_option
@pass_output
def show(output: Output, *, module: str, rpc: str | None) -> None:
    """Show one MODULE: 64 hex digits, or a name of the devnet here."""
    name = find_module(module)
    report = ask(rpc_url(rpc), lambda client: client.enclave(name))
    rows = [
        ("module", report.module.hex()),
        ("size", f"{report.size_bytes} bytes"),
        ("deployer", report.deployer.hex()),
        ("since", f"height {report.height}"),
    ]
    output.result(to_json(report), table(rows))


@enclave.command(epilog=example("phalanx enclave deploy module.wasm --from alice --wait"))
@click.argument("file", type=click.Path(path_type=Path))
@sending()
@json_option
@pass_output
def deploy(output: Output, *, file: Path, send: Sending) -> None:
    """Admit the module in FILE for ever, under the hash of its content."""
    try:
        admitted = admit(read_wasm(file))
    except InvalidModule as error:
        raise UserError(f"{file}: {error}") from None
    submission = send.submission()
    deployed = ask(submission.url, lambda client: client.enclaves())
    if admitted.module_id in [each.module for each in deployed]:
        raise UserError(f"{file}: is deployed already, as {admitted.module_id.hex()}; nothing was sent")
    submit(
        output,
        submission,
        DeployEnclave(code=admitted.wasm),
        extra={"module": admitted.module_id.hex()},
    )


def read_wasm(file: Path) -> bytes:
    """A module's bytes, read no further than any module may be long. Raises UserError."""
    return read_file(file, 4 * MAX_INPUT_BYTES, "far more than any module may have")


@enclave.command(epilog=example("phalanx enclave call assets --from alice --input @operations.bin --wait"))
@click.argument("module")
@click.option("--chain", "chain", default="0", show_default=True, help="Whose instance; 0 is the shared one.")
@click.option("--input", "data", type=BYTES, default=b"", help="Hexadecimal, text:…, or @FILE.")
@click.option("--fuel", type=click.IntRange(1), default=DEFAULT_FUEL, show_default=True)
@sending()
@json_option
@pass_output
def call(output: Output, *, module: str, chain: str, data: bytes, fuel: int, send: Sending) -> None:
    """Call an instance of MODULE as an account."""
    instance = InstanceEndpoint(module=find_module(module), chain=find_chain(chain, send.rpc))
    submit(output, send.submission(), CallEnclave(instance=instance, input=data, fuel_limit=Fuel(fuel)))


@enclave.command(epilog=example("phalanx enclave state assets 62… --chain 1 --prove"))
@click.argument("module")
@click.argument("key", type=BYTES)
@click.option("--chain", "chain", default="0", show_default=True, help="Whose instance; 0 is the shared one.")
@click.option("--prove", is_flag=True, help="Fetch the proof and check it as a light client does.")
@trust_options
@rpc_option
@json_option
@pass_output
def state(
    output: Output, *, module: str, key: bytes, chain: str, prove: bool, trust: TrustOptions, rpc: str | None
) -> None:
    """Show the raw KEY of an instance's own tree."""
    instance = InstanceEndpoint(module=find_module(module), chain=find_chain(chain, rpc))
    url = rpc_url(rpc)
    report = ask(url, lambda client: client.enclave_state(instance.module, instance.chain, key, prove=prove))
    question = InstanceKey(module=instance.module, chain=instance.chain, key=key)
    say_state(output, report, verify_state(url, report, question, trust) if prove else None)
