"""Whatever is sent to a route of the OpenAPI document, the service never fails: it answers, or says what is wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.specs.openapi.checks import ignored_auth, positive_data_acceptance

from api.app import describe_app
from api.credentials import issue
from api.openapi import document
from api.register.admin import load_register, register_of
from api.services.access import add_user
from gateway import wire
from tests.api.county_fixtures import PASSWORD, register_files, settings_for, write_csv
from tests.api.postgres import new_database, postgres_server
from tests.county_process import CountyProcess

EXAMPLES = 25
ENDLESS = "/api/v1/live/events"
"""A stream has no end to wait for; it takes no parameters, and its own tests read it."""

LEFT_OUT = [positive_data_acceptance, ignored_auth]
"""No schema says that a batch's columns are of one length, or which password is right. And the credential sent is a
valid one, whatever the case had in its place; that none is taken without is tested where credentials are."""

described = schemathesis.openapi.from_dict(document(describe_app())).exclude(path=ENDLESS)
OPERATIONS = [
    described[path][method.upper()]
    for path, methods in document(describe_app())["paths"].items()
    for method in methods
    if path != ENDLESS
]
"""One test each under a name of its own, so that tests can be dealt out to several processes."""
thorough = settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
quick = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))


@schemathesis.serializer(wire.CONTENT_TYPE_MSGPACK)
def as_messagepack(_: schemathesis.SerializationContext, value: Any) -> bytes:
    """Bytes as they are: hardly ever a zstd frame, which the tests of the wire take further."""
    return value if isinstance(value, bytes) else str(value).encode()


@dataclass
class Service:
    """A running county, and two who may ask it: a statistician and a gateway."""

    url: str
    session: requests.Session
    credential: str

    def call(self, case: schemathesis.Case) -> schemathesis.Response:
        headers = {"authorization": f"Bearer {self.credential}"} if _is_uplink(case) else {}
        # who signs out is somebody else, so that the others stay signed in
        cookies = {} if case.method == "DELETE" else self.session.cookies.get_dict()
        with requests.Session() as session:
            session.trust_env = False
            return case.call(base_url=self.url, session=session, headers=headers, cookies=cookies)


def _is_uplink(case: schemathesis.Case) -> bool:
    return case.method == "POST" and "/session" not in case.path


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with _served(tmp_path_factory.mktemp("openapi")) as running:
        yield running


@pytest.fixture(scope="module")
def shared_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Register and journal in PostgreSQL, which refuses what SQLite takes: signs, long texts, large numbers."""
    with postgres_server() as server:
        own = {"register_url": new_database(server), "journal": "postgresql"}
        with _served(tmp_path_factory.mktemp("shared"), **own) as running:
            yield running


@contextmanager
def _served(folder: Path, **more: str) -> Iterator[Service]:
    own = settings_for(folder / "county", **more)
    load_register(own, write_csv(folder / "register", register_files()), 1)
    with register_of(own) as engine:
        credential = issue(engine, "gw-1", 1)
        add_user(engine, "reader", "statistician", PASSWORD, None, 1)
    county = CountyProcess(own.data_dir, gateway_requests_per_s="0", gateway_bytes_per_s="0", **more)
    try:
        asyncio.run(county.start())
        with requests.Session() as session:
            session.trust_env = False
            answer = session.post(f"{county.url}/api/v1/session", json={"username": "reader", "password": PASSWORD})
            assert answer.status_code == 200
            yield Service(county.url, session, credential)
    finally:
        county.stop()


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.label)
def test_no_input_makes_the_service_fail(operation: schemathesis.APIOperation, service: Service) -> None:
    _never_fails(operation, service, quick)


@pytest.mark.long
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.label)
def test_no_input_makes_a_service_over_postgresql_fail(
    operation: schemathesis.APIOperation, shared_service: Service
) -> None:
    _never_fails(operation, shared_service, thorough)


def _never_fails(operation: schemathesis.APIOperation, service: Service, effort: settings) -> None:
    @effort
    @given(case=st.one_of(operation.as_strategy(mode) for mode in schemathesis.GenerationMode))
    def answers(case: schemathesis.Case) -> None:
        answer = service.call(case)
        assert answer.status_code < 500, f"{case.as_curl_command()}\n{answer.text}"

    answers()


@pytest.mark.long
@described.parametrize()
@thorough
def test_every_answer_is_one_that_the_document_describes(case: schemathesis.Case, service: Service) -> None:
    case.validate_response(service.call(case), excluded_checks=LEFT_OUT)
