"""Whatever a client sends, the answer is well-formed: a result, an event stream, or an error in the API's own shape."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings

schemathesis = pytest.importorskip("schemathesis")
from schemathesis.specs.openapi.checks import (  # noqa: E402
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

CONFORMANCE = [content_type_conformance, response_schema_conformance]


@pytest.mark.timeout(280)
def test_every_operation_of_the_servers_own_document(scripted):
    url, _, worker = scripted(
        "hm</think>ok <tool_call>f<param_key>a</param_key><param_value>1</param_value></tool_call><_end>", max_len=400
    )
    document = schemathesis.openapi.from_url(f"{url}/openapi.json")
    operations = [result.ok() for result in document.get_all_operations()]
    assert len(operations) >= 11
    for operation in operations:
        _fuzz(operation)
    assert worker.idle


def _kind(answer) -> str:
    return answer.headers["content-type"][0].split(";")[0]


def _fuzz(operation) -> None:
    @given(case=operation.as_strategy())
    @settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None)
    def check(case) -> None:
        answer = case.call(timeout=30)
        assert answer.status_code < 500, (operation.path, case.body, answer.text)
        kind = _kind(answer)
        case.validate_response(answer, checks=[status_code_conformance])
        if kind == "text/event-stream":
            assert answer.status_code == 200
            return
        if operation.path == "/metrics":
            return
        assert kind == "application/json", (operation.path, kind)
        case.validate_response(answer, checks=CONFORMANCE)
        body = json.loads(answer.content)
        if answer.status_code >= 400:
            assert body["error"]["message"]
            if operation.path.startswith("/v1/messages"):
                assert body["type"] == "error"

    check()


def test_the_document_says_what_is_answered(scripted):
    url, _, _ = scripted("</think>ok<_end>")
    import httpx

    document = httpx.get(f"{url}/openapi.json").json()
    chat = document["paths"]["/v1/chat/completions"]["post"]["responses"]
    assert set(chat) == {"200", "400", "401", "403", "404", "408", "413", "429", "500", "503", "504"}
    assert "text/event-stream" in chat["200"]["content"]
    assert chat["200"]["content"]["application/json"]["schema"]["$ref"].endswith("/ChatCompletionBody")
    assert "422" not in json.dumps(document["paths"])
