"""The import contracts name every module that there is, so that a new one is under them from its first day,
and docs/architecture.md tells what they keep."""

import re
from configparser import ConfigParser
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROOMS = (ROOT / "docs" / "architecture.md").read_text().split("## Rooms")[1].split("\n## ")[0]
CONTRACTS = ConfigParser()
CONTRACTS.read(ROOT / ".importlinter")


def listed(contract: str, key: str) -> set[str]:
    return set(CONTRACTS[f"importlinter:contract:{contract}"][key].split())


def modules(package: str) -> set[str]:
    """What is directly in a package."""
    inside = (ROOT / package.replace(".", "/")).iterdir()
    names = {each.stem for each in inside if each.suffix == ".py" or (each / "__init__.py").exists()}
    return {f"{package}.{name}" for name in names - {"__init__", "__main__"}}


PURE = modules("consensus") - {"consensus.simulation"}


def test_every_room_has_its_row() -> None:
    rooms = {name.replace("/", ".") for name in re.findall(r"^\| `([a-z/]+)` \|", ROOMS, re.MULTILINE)}
    assert rooms == {"enclaves", "net", "node", "bench", "tests"} | modules("consensus")


def test_all_of_consensus_is_pure_but_the_simulator_on_which_nothing_depends() -> None:
    assert listed("consensus", "source_modules") == PURE
    assert listed("simulation", "source_modules") == PURE | {"enclaves", "net", "node"}
    primitives = {"consensus.primitives"}
    assert listed("enclaves", "forbidden_modules") == modules("consensus") - primitives | {"net"}


def test_the_light_client_may_import_of_agreement_what_its_row_says() -> None:
    (row,) = re.findall(r"^\| `consensus/light` .* of agreement only ([a-z, ]+) \|$", ROOMS, re.MULTILINE)
    allowed = {f"consensus.agreement.{name}" for name in row.split(", ")}
    forbidden = modules("consensus.agreement") - allowed | {"consensus.messaging"}
    assert listed("light", "forbidden_modules") == forbidden


def test_one_module_alone_may_import_the_wasm_runtime() -> None:
    assert listed("wasmtime", "source_modules") == modules("enclaves") - {"enclaves.sandbox"} | {
        "consensus",
        "net",
        "node",
        "bench",
    }
