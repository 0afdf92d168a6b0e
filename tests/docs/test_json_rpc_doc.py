"""docs/json-rpc.md has every method with its parameters, and the fields of what it answers as a record."""

import dataclasses
import inspect
import re
from pathlib import Path
from typing import Any

import pytest

from consensus.relay.elections.concentration import Spread
from consensus.relay.governance.report import ProposalReport
from consensus.relay.offences.report import BurnReport, CaseReport, ConvictedReport
from consensus.relay.rewards.economy import Pots
from consensus.relay.rewards.records import EpochRewards
from consensus.relay.security.exposure import AtRisk, ChainSecurity, ValidatorExposure
from node.api import (
    AccountReport,
    ChainTransactionReport,
    EvidenceReport,
    StateReport,
    SubmitResult,
    TracePage,
    TransactionReport,
    ValidatorReport,
)
from node.rpc import methods

TEXT = (Path(__file__).parents[2] / "docs" / "json-rpc.md").read_text()
ROWS = re.findall(r"^\| (`[^|]+)\|([^|]*)\|(.*)\|$", TEXT, re.MULTILINE)
TOLD = {name: cells for names, *cells in ROWS for name in re.findall(r"`(\w+)`", names)}
RECORDS: dict[str, tuple[Any, ...]] = {
    "submit": (SubmitResult,),
    "receipt": (TransactionReport,),
    "account": (AccountReport,),
    "state": (StateReport,),
    "validators": (ValidatorReport,),
    "concentration": (Spread,),
    "exposure": (ValidatorExposure, AtRisk, ChainSecurity),
    "economy": (Pots, EpochRewards),
    "proposal": (ProposalReport,),
    "offences": (ConvictedReport, CaseReport, BurnReport),
    "evidence": (EvidenceReport,),
    "chain_receipts": (ChainTransactionReport,),
    "trace": (TracePage,),
}


def test_the_methods_are_the_same_in_document_and_code() -> None:
    assert sorted(TOLD) == methods.METHODS.names()


@pytest.mark.parametrize("name", methods.METHODS.names())
def test_a_method_is_told_with_its_parameters(name: str) -> None:
    signature = inspect.signature(getattr(methods, name)).parameters.values()
    taken = {each.name for each in signature if each.kind is inspect.Parameter.KEYWORD_ONLY}
    told, _ = TOLD[name]
    assert taken <= set(re.findall(r"`(\w+)`", told))


@pytest.mark.parametrize("name", RECORDS)
def test_the_fields_of_an_answer_are_told_in_their_order(name: str) -> None:
    _, told = TOLD[name]
    for kind in RECORDS[name]:
        fields = ", ".join(each.name for each in dataclasses.fields(kind))
        assert f"`{{{fields}}}`" in told, kind.__name__
