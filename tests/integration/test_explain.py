"""`PolicyService.Explain`: why a recorded request was decided as it was, and how an imagined one would be."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from kmsgw.client import (
    AccessDenied,
    Action,
    Client,
    InvalidRequest,
    KmsgwError,
    NotFound,
    PrincipalKind,
    Unauthenticated,
)
from kmsgw.v1 import crypto_service_pb2
from tests.support.calls import Caller
from tests.support.gateway import Gateway, make_folder
from tests.support.principals import add_principal, issue_certificate

CONTEXT = {"patient": "P-canary-4711"}


@dataclass(frozen=True)
class Hearing:
    """A gateway of two workers, with an auditor in each of two tenants."""

    gateway: Gateway
    auditor: Client
    reader: Client
    envelope: bytes


@pytest.fixture(scope="module")
def hearing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hearing]:
    gateway = make_folder(tmp_path_factory.mktemp("explain") / "kms")
    add_principal(gateway, "clinic-auditor", "auditor", kind="officer", tenant="clinic")
    add_principal(gateway, "clinic-writer", "writer", tenant="clinic")
    add_principal(gateway, "clinic-officer", "key-officer", kind="officer", tenant="clinic")
    issue_certificate(gateway, "stranger")
    gateway.start()
    gateway.client("key-officer").keys.create("ehr")
    sealed = gateway.client("ehr-writer").encrypt("ehr", b"systolic 120", CONTEXT)
    yield Hearing(gateway, gateway.client("auditor"), gateway.client("ehr-reader"), sealed.envelope)
    assert gateway.stop() == 0


def refused(hearing: Hearing, principal: str, key: str = "ehr") -> str:
    """Have a principal refused an encryption, and return the request's id."""
    with pytest.raises(KmsgwError) as caught:
        hearing.gateway.client(principal).encrypt(key, b"x", CONTEXT)
    assert caught.value.request_id
    return caught.value.request_id


class TestRecorded:
    def test_an_allowed_request_names_the_policies_that_permitted_it(self, hearing: Hearing) -> None:
        request_id = hearing.reader.decrypt(hearing.envelope, CONTEXT, purpose="care").request_id
        found = hearing.auditor.policy.explain_request(request_id)
        assert found.allowed
        assert [(each.policy_id, each.permits) for each in found.policies] == [("reader-decrypts", True)]
        assert (found.principal_id, found.roles, found.action, found.key_id, found.reason) == (
            "ehr-reader",
            ("reader",),
            "decrypt",
            "ehr",
            "",
        )
        assert found.time is not None
        assert abs(datetime.now(UTC) - found.time) < timedelta(seconds=30)
        assert "reader-decrypts" in found.explanation

    def test_a_forbid_is_named_with_its_advice(self, hearing: Hearing) -> None:
        with pytest.raises(AccessDenied) as caught:
            hearing.reader.decrypt(hearing.envelope, CONTEXT, purpose="curiosity")
        found = hearing.auditor.policy.explain_request(caught.value.request_id)
        assert not found.allowed
        assert found.reason == "ACCESS_DENIED"
        assert [(each.policy_id, each.permits) for each in found.policies] == [("reader-purposes", False)]
        assert found.policies[0].advice == "Declare one of the purposes care, emergency, billing."
        assert "reader-purposes" in found.explanation
        assert found.policies[0].advice in found.explanation
        assert "for the purpose curiosity" in found.explanation

    def test_what_nothing_permits_names_no_policy_and_says_so(self, hearing: Hearing) -> None:
        found = hearing.auditor.policy.explain_request(refused(hearing, "ehr-reader"))
        assert not found.allowed
        assert found.policies == ()
        assert (found.action, found.key_id, found.reason) == ("encrypt", "ehr", "ACCESS_DENIED")
        assert "nothing permits" in found.explanation.lower() or "no policy" in found.explanation.lower()

    def test_an_unknown_key_is_told_from_a_forbidden_one(self, hearing: Hearing) -> None:
        found = hearing.auditor.policy.explain_request(refused(hearing, "ehr-writer", "nothing"))
        assert not found.allowed
        assert found.policies == ()
        assert "no such key" in found.explanation

    def test_a_request_that_was_allowed_and_failed_says_both(self, hearing: Hearing) -> None:
        with pytest.raises(InvalidRequest) as caught:
            hearing.reader.decrypt(hearing.envelope, {"patient": "another"}, purpose="care")
        found = hearing.auditor.policy.explain_request(caught.value.request_id)
        assert found.allowed
        assert [each.policy_id for each in found.policies] == ["reader-decrypts"]
        assert found.reason == "DECRYPTION_FAILED"
        assert "DECRYPTION_FAILED" in found.explanation

    def test_an_unauthenticated_request_was_asked_of_no_policy(self, hearing: Hearing) -> None:
        with pytest.raises(Unauthenticated) as caught:
            hearing.gateway.client("stranger").encrypt("ehr", b"x")
        found = hearing.auditor.policy.explain_request(caught.value.request_id)
        assert (found.allowed, found.policies, found.reason) == (False, (), "PRINCIPAL_UNKNOWN")
        assert found.principal_id == ""

    def test_a_malformed_request_was_asked_of_no_policy(self, hearing: Hearing) -> None:
        with Caller(hearing.gateway, "ehr-writer") as caller:
            answer = caller.call("Encrypt", b"\xff\xff")
        found = hearing.auditor.policy.explain_request(answer.request_id)
        assert (found.allowed, found.policies, found.reason) == (False, (), "REQUEST_MALFORMED")
        assert found.principal_id == "ehr-writer"

    def test_requests_of_every_worker_are_found_by_either(self, hearing: Hearing) -> None:
        ids = []
        for _ in range(6):
            with Caller(hearing.gateway, "ehr-writer") as caller:
                ids.append(caller.call("Encrypt", crypto_service_pb2.EncryptRequest(key="ehr")).request_id)
        assert all(hearing.auditor.policy.explain_request(each).allowed for each in ids)

    def test_no_explanation_holds_a_context_value(self, hearing: Hearing) -> None:
        ids = [hearing.reader.decrypt(hearing.envelope, CONTEXT, purpose="care").request_id]
        ids.append(refused(hearing, "ehr-reader"))
        assert all("canary" not in repr(hearing.auditor.policy.explain_request(each)) for each in ids)

    def test_another_tenants_requests_are_not_found(self, hearing: Hearing) -> None:
        theirs = hearing.gateway.client("clinic-auditor")
        for request_id in (
            hearing.reader.decrypt(hearing.envelope, CONTEXT, purpose="care").request_id,
            refused(hearing, "ehr-reader"),
            refused(hearing, "ehr-writer", "nothing"),
        ):
            assert hearing.auditor.policy.explain_request(request_id).principal_id
            with pytest.raises(NotFound):
                theirs.policy.explain_request(request_id)

    def test_another_tenants_key_is_explained_like_an_unknown_one(self, hearing: Hearing) -> None:
        """Who asked belongs to the clinic, and so its auditor may know why; but not which keys the hospital has."""
        hearing.gateway.client("key-officer").keys.create_alias("alias/records", "ehr")
        theirs = hearing.gateway.client("clinic-auditor")
        found = [
            theirs.policy.explain_request(refused(hearing, "clinic-writer", name))
            for name in ("ehr", "alias/records", "nothing", "alias/nothing")
        ]
        assert len({repr(replace(each, time=None)) for each in found}) == 1
        assert "no such key" in found[0].explanation
        ours = hearing.auditor.policy.explain_request(refused(hearing, "clinic-writer"))
        assert [each.policy_id for each in ours.policies] == ["tenant-isolation"], "its own tenant is told"

    @pytest.mark.parametrize("principal", ["clinic-writer", "clinic-officer"])
    def test_a_refused_import_is_explained_alike_whoever_has_the_name(self, hearing: Hearing, principal: str) -> None:
        """A writer is refused before any name is looked up; an officer for a key or alias that is not its own."""
        hearing.gateway.client("key-officer").keys.create_alias(f"alias/of-{principal}", "ehr")
        asking, theirs = hearing.gateway.client(principal), hearing.gateway.client("clinic-auditor")
        free = ["nothing"] if principal == "clinic-writer" else []
        found = []
        for name in ("ehr", f"alias/of-{principal}", "alias/nothing", *free):
            with pytest.raises(AccessDenied) as caught:
                asking.keys.import_parameters(name)
            found.append(theirs.policy.explain_request(caught.value.request_id))
        assert len({repr(replace(each, time=None)) for each in found}) == 1
        assert (found[0].allowed, found[0].key_id) == (False, "")
        assert ("no such key" in found[0].explanation) == (principal == "clinic-officer")

    @pytest.mark.parametrize(
        "request_id",
        ["4b5f0d6e-0f38-4b6b-8a57-6f0c9c1a7f3b", "nothing", "x" * 64, ""],
        ids=["of another kind", "no id", "too long for one", "none"],
    )
    def test_what_is_no_request_id_is_refused_as_such(self, hearing: Hearing, request_id: str) -> None:
        with pytest.raises(InvalidRequest) as caught:
            hearing.auditor.policy.explain_request(request_id)
        assert caught.value.message == "request_id is malformed."

    def test_what_was_never_recorded_is_not_found(self, hearing: Hearing) -> None:
        with pytest.raises(NotFound) as caught:
            hearing.auditor.policy.explain_request("01890a5d-ac96-774b-bcce-b302099a8057")
        assert caught.value.advice

    def test_the_command_line_says_why(self, hearing: Hearing) -> None:
        request_id = refused(hearing, "ehr-reader")
        done = hearing.gateway.run("policy", "explain", request_id, profile="auditor")
        assert done.returncode == 0
        assert b"ehr-reader" in done.stdout
        assert b"canary" not in done.stdout + done.stderr

    def test_only_who_may_explain_learns_why(self, hearing: Hearing) -> None:
        request_id = refused(hearing, "ehr-reader")
        for principal in ("ehr-reader", "ehr-writer", "key-officer"):
            with pytest.raises(AccessDenied):
                hearing.gateway.client(principal).policy.explain_request(request_id)


class TestHypothetical:
    def test_a_configured_principal_is_decided_on_as_it_is(self, hearing: Hearing) -> None:
        found = hearing.auditor.policy.explain(Action.ENCRYPT, key="ehr", principal_id="ehr-writer")
        assert found.allowed
        assert (found.principal_id, found.roles, found.key_id) == ("ehr-writer", ("writer",), "ehr")
        assert [each.policy_id for each in found.policies] == ["writer-encrypts"]
        assert (found.reason, found.time) == ("", None)

    def test_roles_that_nobody_has_are_decided_on(self, hearing: Hearing) -> None:
        found = hearing.auditor.policy.explain("rotateKey", key="ehr", roles=["key-officer"])
        assert found.allowed
        assert found.roles == ("key-officer",)

    @pytest.mark.parametrize(
        ("role", "action", "kind", "policy"),
        [
            ("reader", "decrypt", "service", "reader-decrypts"),
            ("writer", "encrypt", "service", "writer-encrypts"),
            ("rewrapper", "rewrap", "service", "rewrapper-rewraps"),
            ("key-officer", "rotateKey", "officer", "key-officer-manages-keys"),
        ],
    )
    def test_a_role_is_asked_about_as_what_it_is_for_and_not_as_the_caller(
        self, hearing: Hearing, role: str, action: str, kind: str, policy: str
    ) -> None:
        found = hearing.auditor.policy.explain(action, key="ehr", roles=[role], purpose="care")
        assert [each.policy_id for each in found.policies] == [policy]
        assert found.allowed
        assert f"Allowed: {kind} {found.principal_id} of tenant hospital (roles: {role}) asks" in found.explanation
        assert found.principal_id == ("auditor" if kind == "officer" else "somebody")

    def test_the_kind_can_be_given(self, hearing: Hearing) -> None:
        ask = partial(hearing.auditor.policy.explain, "decrypt", key="ehr", purpose="care")
        assert ask(roles=["reader"], kind=PrincipalKind.SERVICE).allowed
        officer = ask(roles=["reader"], kind=PrincipalKind.OFFICER)
        assert [each.policy_id for each in officer.policies] == ["officers-see-no-data"]
        assert ask(principal_id="ehr-reader").allowed
        assert not ask(principal_id="ehr-reader", kind=PrincipalKind.OFFICER).allowed

    def test_a_service_that_has_an_officers_role_too_is_asked_about_as_a_service(self, hearing: Hearing) -> None:
        found = hearing.auditor.policy.explain("rotateKey", key="ehr", roles=["key-officer", "reader"])
        assert [each.policy_id for each in found.policies] == ["services-change-no-keys"]

    def test_the_command_line_asks_about_roles_as_what_they_are_for(self, hearing: Hearing) -> None:
        asked = ("policy", "explain", "--action", "decrypt", "--key", "ehr", "--role", "reader", "--purpose", "care")
        done = hearing.gateway.run("-o", "json", *asked, profile="auditor")
        assert json.loads(done.stdout)["effect"] == "allow"
        done = hearing.gateway.run("-o", "json", *asked, "--kind", "officer", profile="auditor")
        assert json.loads(done.stdout)["effect"] == "deny"

    def test_the_declared_purpose_counts(self, hearing: Hearing) -> None:
        def ask(purpose: str) -> tuple[bool, set[str]]:
            found = hearing.auditor.policy.explain(
                "decrypt", key="ehr", principal_id="ehr-reader", purpose=purpose, context=CONTEXT
            )
            assert "canary" not in repr(found)
            return found.allowed, {each.policy_id for each in found.policies}

        assert ask("care") == (True, {"reader-decrypts"})
        assert ask("curiosity") == (False, {"reader-purposes"})
        assert ask("") == (False, {"decrypt-declares-purpose", "reader-purposes"})

    def test_it_is_decided_as_the_real_request_is(self, hearing: Hearing) -> None:
        imagined = hearing.auditor.policy.explain("decrypt", key="ehr", principal_id="ehr-reader", purpose="care")
        real = hearing.auditor.policy.explain_request(
            hearing.reader.decrypt(hearing.envelope, CONTEXT, purpose="care").request_id
        )
        assert (imagined.allowed, imagined.policies) == (real.allowed, real.policies)

    def test_an_unknown_key_is_refused_and_told(self, hearing: Hearing) -> None:
        found = hearing.auditor.policy.explain("encrypt", key="nothing", roles=["writer"])
        assert (found.allowed, found.policies, found.key_id) == (False, (), "")
        assert "no such key" in found.explanation

    def test_an_unknown_principal_or_action_is_refused(self, hearing: Hearing) -> None:
        answers = []
        for name in ("nobody", "clinic-auditor"):
            with pytest.raises(NotFound) as caught:
                hearing.auditor.policy.explain("encrypt", key="ehr", principal_id=name)
            answers.append((caught.value.message, caught.value.advice))
        assert answers[0] == answers[1], "who is configured for another tenant is not told"
        with pytest.raises(InvalidRequest):
            hearing.auditor.policy.explain("explode", key="ehr", roles=["writer"])
        with pytest.raises(InvalidRequest):
            hearing.auditor.policy.explain("encrypt", key="ehr")

    def test_nothing_changes_by_asking(self, hearing: Hearing) -> None:
        hearing.auditor.policy.explain("updateKey", key="ehr", roles=["key-officer"])
        assert hearing.auditor.keys.get("ehr").description == ""
