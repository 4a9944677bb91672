"""Imports through a gateway, into every provider that can; the proof of each is made with nothing of kmsgw."""

import os
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from kmsgw.client import (
    AccessDenied,
    AlreadyExists,
    Client,
    FailedPrecondition,
    ImportedKey,
    InvalidRequest,
    KeyState,
    KmsgwError,
    Origin,
    Reason,
    key_check_value,
    wrap_material,
)
from tests.docs.blocks import DOCS, one_block
from tests.support.canaries import files_below, find_secrets, forms
from tests.support.gateway import Gateway, make_folder
from tests.support.openbao import OpenBao
from tests.support.principals import add_principal
from tests.support.softhsm import SoftHsm
from tests.support.three_providers import CLERK, configure_hsm, configure_openbao

CONTEXT = {"patient": "P-1001"}
VALUE = b"systolic 120"
TENANT = "hospital"
IMPORTER, ROTATOR = "importer", "rotator"
POLICY = """
@id("test-importer-imports")
permit (
  principal is Kmsgw::Officer in Kmsgw::Role::"importer",
  action in [Kmsgw::Action::"importKey", Kmsgw::Action::"createKey"],
  resource
);
@id("test-rotator-rotates")
permit (
  principal is Kmsgw::Officer in Kmsgw::Role::"rotator",
  action in [Kmsgw::Action::"rotateKey", Kmsgw::Action::"createKey"],
  resource
);
"""

Reader = Callable[[bytes, str, dict[str, str], Callable[[bytes, bytes], bytes]], bytes]


@dataclass(frozen=True)
class Imports:
    """A gateway in front of all three providers, where imports want nobody else's consent."""

    gateway: Gateway
    officer: Client
    clerk: Client

    def key(self, *, provider: str = "", key: str = "", material: bytes = b"", **options: str) -> ImportedKey:
        """Import material as a new key, or into the key that is named."""
        name = key or new_id()
        known = material or os.urandom(32)
        parameters = self.officer.keys.import_parameters(name, provider=provider)
        return self.officer.keys.import_key(
            name,
            token=parameters.token,
            wrapped_material=wrap_material(known, parameters.public_key),
            provider=provider,
            **{"reason": "Key of the old system", **options},  # type: ignore[arg-type]
        )


@pytest.fixture(scope="module")
def imports(tmp_path_factory: pytest.TempPathFactory, softhsm: SoftHsm, openbao_server: OpenBao) -> Iterator[Imports]:
    # One worker, so that each test sees at once what it changed; that another can go on is the providers' contract.
    gateway = make_folder(tmp_path_factory.mktemp("imports") / "kms", workers=1)
    gateway.append("[approvals]\nimport_key = 0\n")
    configure_hsm(gateway, softhsm)
    configure_openbao(gateway, openbao_server)
    add_principal(gateway, CLERK, "writer", "reader", "rewrapper")
    add_principal(gateway, IMPORTER, "importer", kind="officer")
    add_principal(gateway, ROTATOR, "rotator", kind="officer")
    (gateway.folder / "policies" / "test.cedar").write_text(POLICY)
    # OpenBao makes its wrapping key when it is first read; as docs/import.md says, not in a call.
    openbao_server.call("GET", "transit/wrapping_key")
    gateway.start()
    yield Imports(gateway, gateway.client("key-officer", timeout=60.0), gateway.client(CLERK, purpose="care"))
    assert gateway.stop() == 0


@pytest.fixture(scope="module")
def read() -> Reader:
    """The reader of envelopes that docs/envelope.md shows: it needs no gateway."""
    names: dict[str, Reader] = {}
    exec(one_block(DOCS / "envelope.md", "python"), names)
    return names["open_envelope"]


def new_id() -> str:
    return f"k{secrets.token_hex(6)}"


def opens(read: Reader, envelope: bytes, material: bytes) -> bytes:
    """Open an envelope offline, with the material alone."""
    cipher = AESGCM(material)
    return read(envelope, TENANT, CONTEXT, lambda wrapped, aad: cipher.decrypt(wrapped[:12], wrapped[12:], aad))


def refused(call: Callable[[], object]) -> KmsgwError:
    with pytest.raises(KmsgwError) as caught:
        call()
    return caught.value


@pytest.mark.parametrize("provider", ["software", "openbao"])
class TestProvider:
    def test_what_a_new_key_encrypts_opens_with_the_material_alone(
        self, imports: Imports, read: Reader, provider: str
    ) -> None:
        known = os.urandom(32)
        made = imports.key(provider=provider, material=known, description="Old system", labels={"system": "ehr"})  # type: ignore[arg-type]
        assert made.check_value == (key_check_value(known) if provider == "software" else "")
        assert (made.key.provider, made.key.primary_version, made.key.tenant) == (provider, 1, TENANT)
        assert (made.key.description, made.key.labels) == ("Old system", {"system": "ehr"})
        assert (made.version.version, made.version.origin) == (1, Origin.IMPORTED)
        assert made.version.reason == "Key of the old system"
        sealed = imports.clerk.encrypt(made.key.key_id, VALUE, CONTEXT)
        assert opens(read, sealed.envelope, known) == VALUE
        assert imports.clerk.decrypt(sealed.envelope, CONTEXT).plaintext == VALUE

    def test_a_further_version_is_imported_and_rewrapped_to(
        self, imports: Imports, read: Reader, provider: str
    ) -> None:
        first, second = os.urandom(32), os.urandom(32)
        key_id = imports.key(provider=provider, material=first).key.key_id
        old = imports.clerk.encrypt(key_id, VALUE, CONTEXT)
        made = imports.key(key=key_id, material=second)
        assert (made.key.primary_version, made.version.version) == (2, 2)
        assert imports.clerk.decrypt(old.envelope, CONTEXT).key_version == 1
        rewrapped = imports.clerk.rewrap(old.envelope, CONTEXT)
        assert rewrapped.key_version == 2
        assert opens(read, rewrapped.envelope, second) == VALUE
        origins = [each.origin for each in imports.officer.keys.versions(key_id)]
        assert origins == [Origin.IMPORTED, Origin.IMPORTED]

    def test_an_imported_key_is_rotated_as_any_other(self, imports: Imports, provider: str) -> None:
        key_id = imports.key(provider=provider).key.key_id
        old = imports.clerk.encrypt(key_id, VALUE, CONTEXT)
        assert imports.officer.keys.rotate(key_id, reason="yearly").primary_version == 2
        assert imports.clerk.decrypt(old.envelope, CONTEXT).plaintext == VALUE
        assert [each.origin for each in imports.officer.keys.versions(key_id)] == [Origin.GENERATED, Origin.IMPORTED]


class TestNextVersion:
    def test_a_key_that_the_software_provider_made_takes_one_in(self, imports: Imports, read: Reader) -> None:
        key_id, known = new_id(), os.urandom(32)
        imports.officer.keys.create(key_id)
        imports.officer.keys.create_alias(f"alias/{key_id}-too", key_id)
        made = imports.key(key=f"alias/{key_id}-too", material=known)
        assert (made.key.key_id, made.version.version) == (key_id, 2)
        envelope = imports.clerk.encrypt(key_id, VALUE, CONTEXT).envelope
        assert opens(read, envelope, known) == VALUE

    def test_a_key_that_transit_made_takes_none_in(self, imports: Imports) -> None:
        key_id = new_id()
        imports.officer.keys.create(key_id, provider="openbao")
        error = refused(lambda: imports.officer.keys.import_parameters(key_id))
        assert error.reason is Reason.IMPORT_UNSUPPORTED

    def test_the_provider_tenant_and_labels_of_a_key_stay(self, imports: Imports) -> None:
        key_id = imports.key().key.key_id
        assert isinstance(refused(lambda: imports.key(key=key_id, provider="openbao")), InvalidRequest)
        for options in ({"tenant": TENANT}, {"description": "another"}, {"labels": {"system": "lab"}}):
            assert isinstance(refused(lambda options=options: imports.key(key=key_id, **options)), InvalidRequest)  # type: ignore[misc]
        assert imports.officer.keys.get(key_id).primary_version == 1

    def test_a_disabled_key_takes_none_in(self, imports: Imports) -> None:
        key_id = imports.key().key.key_id
        imports.officer.keys.update(key_id, state=KeyState.DISABLED)
        assert refused(lambda: imports.key(key=key_id)).reason is Reason.KEY_DISABLED


class TestRefusals:
    def test_softhsm_lacks_the_mechanism_and_says_so(self, imports: Imports) -> None:
        created = new_id()
        imports.officer.keys.create(created, provider="hsm")
        for key_id, provider in ((new_id(), "hsm"), (created, "")):
            error = refused(lambda key_id=key_id, provider=provider: imports.key(key=key_id, provider=provider))  # type: ignore[misc]
            assert isinstance(error, FailedPrecondition)
            assert error.reason is Reason.IMPORT_UNSUPPORTED
            assert "RSA_AES_KEY_WRAP" in error.message
            assert "RSA_PKCS_OAEP with SHA-256" in error.message

    def test_a_request_that_was_sent_makes_nothing_when_it_is_sent_again(self, imports: Imports) -> None:
        key_id = new_id()
        parameters = imports.officer.keys.import_parameters(key_id)
        request = {
            "token": parameters.token,
            "wrapped_material": wrap_material(os.urandom(32), parameters.public_key),
            "reason": "once",
        }
        imports.officer.keys.import_key(key_id, **request)  # type: ignore[arg-type]
        again = refused(lambda: imports.officer.keys.import_key(key_id, **request))  # type: ignore[arg-type]
        assert again.reason is Reason.IMPORT_REFUSED
        assert imports.officer.keys.get(key_id).primary_version == 1

    @pytest.mark.parametrize("provider", ["software", "openbao"])
    def test_tokens_of_another_key_or_provider_and_changed_ones_are_refused(
        self, imports: Imports, provider: str
    ) -> None:
        key_id, keys = new_id(), imports.officer.keys
        parameters = keys.import_parameters(key_id, provider=provider)
        wrapped = wrap_material(os.urandom(32), parameters.public_key)
        elsewhere = {"software": "openbao", "openbao": "software"}[provider]
        token = parameters.token
        for name, into, each, material in (
            (new_id(), provider, token, wrapped),
            (key_id, elsewhere, token, wrapped),
            (key_id, provider, token[:-1] + bytes([token[-1] ^ 1]), wrapped),
            (key_id, provider, token[:-1], wrapped),
            (key_id, provider, token, wrapped[:-1] + bytes([wrapped[-1] ^ 1])),
            (key_id, provider, token, bytes([wrapped[0] ^ 1]) + wrapped[1:]),
        ):
            error = refused(
                lambda name=name, into=into, each=each, material=material: keys.import_key(  # type: ignore[misc]
                    name, token=each, wrapped_material=material, provider=into, reason="attack"
                )
            )
            assert error.reason is Reason.IMPORT_REFUSED
        assert isinstance(refused(lambda: keys.get(key_id)), AccessDenied)
        assert keys.import_key(key_id, token=token, wrapped_material=wrapped, provider=provider, reason="right")

    def test_another_check_value_leaves_no_key(self, imports: Imports) -> None:
        key_id, known = new_id(), os.urandom(32)
        wrong = f"{int(key_check_value(known), 16) ^ 0x100000:06x}"
        assert refused(lambda: imports.key(key=key_id, material=known, check_value=wrong)).reason is (
            Reason.IMPORT_REFUSED
        )
        assert isinstance(refused(lambda: imports.officer.keys.get(key_id)), AccessDenied)
        made = imports.key(key=key_id, material=known, check_value=key_check_value(known).lower())
        assert made.check_value == key_check_value(known)

    def test_transit_computes_no_check_value_and_compares_none(self, imports: Imports) -> None:
        parameters = imports.officer.keys.import_parameters(new_id(), provider="openbao")
        assert not parameters.computes_check_value
        error = refused(lambda: imports.key(provider="openbao", check_value="ABCDEF"))
        assert error.reason is Reason.IMPORT_UNSUPPORTED

    def test_a_key_made_meanwhile_is_not_given_a_version_for_it(self, imports: Imports) -> None:
        key_id, keys = new_id(), imports.officer.keys
        parameters = keys.import_parameters(key_id)
        wrapped = wrap_material(os.urandom(32), parameters.public_key)
        keys.create(key_id)
        error = refused(
            lambda: keys.import_key(key_id, token=parameters.token, wrapped_material=wrapped, reason="late")
        )
        assert error.reason is Reason.IMPORT_REFUSED
        assert keys.get(key_id).primary_version == 1

    def test_a_key_of_transit_that_kmsgw_does_not_know_is_not_taken_over(
        self, imports: Imports, openbao: OpenBao
    ) -> None:
        key_id = new_id()
        (prefix,) = [
            line.split('"')[1] for line in imports.gateway.config.read_text().splitlines() if "key_prefix" in line
        ]
        openbao.call("POST", f"transit/keys/{prefix}{key_id}", {"type": "aes256-gcm96"})
        assert isinstance(refused(lambda: imports.key(key=key_id, provider="openbao")), AlreadyExists)

    @pytest.mark.parametrize(
        "options",
        [
            {"reason": " "},
            {"check_value": "ABCDE"},
            {"check_value": "GGGGGG"},
            {"check_value": "ABCDEF0"},
            {"provider": "nowhere"},
            {"token": b""},
            {"wrapped_material": b""},
            {"token": bytes(8193)},
            {"wrapped_material": bytes(1065)},
            {"tenant": "Not A Name"},
        ],
    )
    def test_what_can_not_be_right_is_refused(self, imports: Imports, options: dict[str, object]) -> None:
        request = {"token": b"t", "wrapped_material": b"w", "reason": "test", **options}
        error = refused(lambda: imports.officer.keys.import_key(new_id(), **request))  # type: ignore[arg-type]
        assert isinstance(error, InvalidRequest)


class TestDryRun:
    def test_it_checks_and_changes_nothing(self, imports: Imports) -> None:
        key_id, keys = new_id(), imports.officer.keys
        parameters = keys.import_parameters(key_id)
        request = {
            "token": parameters.token,
            "wrapped_material": wrap_material(os.urandom(32), parameters.public_key),
            "reason": "rehearsal",
        }
        shown = keys.import_key(key_id, **request, dry_run=True)  # type: ignore[arg-type]
        assert (shown.key.primary_version, shown.version.version, shown.check_value) == (1, 1, "")
        assert isinstance(refused(lambda: keys.get(key_id)), AccessDenied)
        keys.import_key(key_id, **request)  # type: ignore[arg-type]
        assert refused(lambda: keys.import_key(key_id, **request, dry_run=True)).reason is Reason.IMPORT_REFUSED  # type: ignore[arg-type]

    def test_it_shows_the_version_that_a_key_would_get(self, imports: Imports) -> None:
        key_id = imports.key().key.key_id
        parameters = imports.officer.keys.import_parameters(key_id)
        shown = imports.officer.keys.import_key(
            key_id,
            token=parameters.token,
            wrapped_material=wrap_material(os.urandom(32), parameters.public_key),
            reason="rehearsal",
            dry_run=True,
        )
        assert (shown.version.version, shown.version.origin) == (2, Origin.IMPORTED)
        assert imports.officer.keys.get(key_id).primary_version == 1


class TestPermissions:
    def test_a_new_key_wants_import_and_a_further_version_rotation_too(self, imports: Imports) -> None:
        there, new = imports.key().key.key_id, new_id()
        importer, rotator = (imports.gateway.client(name).keys for name in (IMPORTER, ROTATOR))
        assert importer.import_parameters(new).token
        for call in (
            lambda: importer.import_parameters(there),
            lambda: rotator.import_parameters(there),
            lambda: rotator.import_parameters(new),
            lambda: importer.import_key(there, token=b"t", wrapped_material=b"w", reason="test"),
            lambda: rotator.import_key(new, token=b"t", wrapped_material=b"w", reason="test"),
            lambda: imports.gateway.client("auditor").keys.import_parameters(new),
            lambda: imports.clerk.keys.import_parameters(new),
        ):
            assert isinstance(refused(call), AccessDenied)

    def test_an_alias_that_nobody_has_is_refused_as_a_forbidden_key(self, imports: Imports) -> None:
        unknown = refused(lambda: imports.officer.keys.import_parameters("alias/nobody"))
        forbidden = refused(lambda: imports.gateway.client("auditor").keys.import_parameters("alias/nobody"))
        assert (unknown.message, unknown.advice) == (forbidden.message, forbidden.advice)


def test_the_material_is_nowhere_and_the_audit_says_who_imported_why(imports: Imports) -> None:
    known = os.urandom(32)
    made = imports.key(material=known, check_value=key_check_value(known), reason="Escrow ceremony 7")
    places = dict(files_below(imports.gateway.folder))
    assert find_secrets(places, forms(known)) == []
    log = b"".join(content for place, content in places.items() if "audit" in Path(place).parts)
    for told in (b"Escrow ceremony 7", b"importKey", made.key.key_id.encode(), key_check_value(known).encode()):
        assert told in log
