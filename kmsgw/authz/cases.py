"""Policy cases: requests beside the policies, each with the decision it must get. ``docs/policies.md`` has the format.

``[[case]]`` asks for one or several actions; ``[[matrix]]`` names the actions that are allowed and asserts that every
other one is refused. ``[defaults]`` holds fields that all cases of the file begin with.
"""

import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from kmsgw.authz.engine import CedarAuthorizer
from kmsgw.authz.entities import KEYLESS_ACTIONS
from kmsgw.authz.load import PolicyBundle
from kmsgw.errors import ConfigurationError, InvalidRequest, Reason
from kmsgw.model.access import AccessRequest, Action, Principal, PrincipalKind
from kmsgw.model.context import AccessDeclaration, EncryptionContext
from kmsgw.model.key import Key

CASES_FOLDER: Final = "cases"
_ALLOW: Final = "allow"
_DENY: Final = "deny"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class CaseResult:
    """What became of one case for one action.

    ``expected`` and ``actual`` read ``allow by ID, ID``, ``deny by ID`` or ``deny by no policy``; ``expected`` is the
    first word alone where the case names no policies. ``policies`` are the ids that decided. ``file`` is relative to
    the policy folder.
    """

    name: str
    file: str
    passed: bool
    expected: str
    actual: str
    policies: tuple[str, ...]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _PrincipalPart(_Part):
    id: str = "somebody"
    kind: PrincipalKind = PrincipalKind.SERVICE
    tenant: str = "hospital"
    roles: frozenset[str] = frozenset()


class _KeyPart(_Part):
    id: str
    tenant: str | None = None
    provider: str = "software"
    labels: dict[str, str] = Field(default_factory=dict)


class _Situation(_Part):
    name: str = Field(min_length=1)
    principal: _PrincipalPart = _PrincipalPart()
    key: str | _KeyPart | None = None
    tenant: str | None = None
    purpose: str = ""
    end_user: str = ""
    context: dict[str, str] = Field(default_factory=dict)

    def request(self, action: Action) -> AccessRequest:
        """Return the situation as a request; raise `InvalidRequest` where the gateway would refuse it."""
        asking = self.principal
        principal = Principal(asking.id, asking.kind, asking.tenant, asking.roles)
        return AccessRequest(
            principal=principal,
            action=action,
            tenant=self.tenant or asking.tenant,
            key=None if action in KEYLESS_ACTIONS else self._key(),
            context=EncryptionContext.of(self.context),
            declaration=AccessDeclaration(self.purpose, self.end_user),
        )

    def _key(self) -> Key | None:
        part = _KeyPart(id=self.key) if isinstance(self.key, str) else self.key
        if part is None:
            return None
        tenant = part.tenant or self.tenant or self.principal.tenant
        return Key(part.id, tenant, part.provider, (), _EPOCH, _EPOCH, labels=part.labels)


class _Case(_Situation):
    action: Action | Annotated[tuple[Action, ...], Field(min_length=1)]
    expect: Literal["allow", "deny"]
    policies: tuple[str, ...] | None = None

    def run(self, authorizer: CedarAuthorizer, file: str) -> Iterator[CaseResult]:
        actions = self.action if isinstance(self.action, tuple) else (self.action,)
        for action in actions:
            name = f"{self.name}: {action}" if len(actions) > 1 else self.name
            yield _result(authorizer, name, file, self.request(action), self.expect == _ALLOW, self.policies)


class _Matrix(_Situation):
    allow: frozenset[Action]

    def run(self, authorizer: CedarAuthorizer, file: str) -> Iterator[CaseResult]:
        for action in Action:
            name = f"{self.name}: {action}"
            yield _result(authorizer, name, file, self.request(action), action in self.allow, None)


class _File(_Part):
    defaults: dict[str, object] = Field(default_factory=dict)
    case: tuple[dict[str, object], ...] = ()
    matrix: tuple[dict[str, object], ...] = ()


def run_cases(bundle: PolicyBundle, folder: Path) -> Sequence[CaseResult]:
    """Run the cases of a policy folder, ``folder/cases/*.toml``, in the order of files and of cases in them.

    Raises `ConfigurationError` (POLICY_INVALID) with every fault at once where a case is malformed or there is none.
    """
    faults: list[str] = []
    results: list[CaseResult] = []
    authorizer = CedarAuthorizer(bundle)
    for path in sorted((folder / CASES_FOLDER).glob("*.toml")):
        file = f"{CASES_FOLDER}/{path.name}"
        for place, situation in _situations(path, faults):
            try:
                results += situation.run(authorizer, file)
            except InvalidRequest as error:
                faults.append(f"{place}: {error}")
    if not results and not faults:
        faults.append(f"{folder / CASES_FOLDER}: no case in any *.toml file")
    if faults:
        raise ConfigurationError(
            faults, reason=Reason.POLICY_INVALID, advice="docs/policies.md has the format of cases."
        )
    return results


def _situations(path: Path, faults: list[str]) -> Iterator[tuple[str, _Case | _Matrix]]:
    try:
        file = _File.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        faults.append(f"{path}: {error.strerror}")
        return
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        faults.append(f"{path}: not TOML: {error}")
        return
    except ValidationError as error:
        faults += _named(str(path), error)
        return
    kinds: tuple[tuple[str, type[_Case | _Matrix], tuple[dict[str, object], ...]], ...] = (
        ("case", _Case, file.case),
        ("matrix", _Matrix, file.matrix),
    )
    for kind, model, tables in kinds:
        for number, table in enumerate(tables, start=1):
            place = f"{path}: {kind} {number}"
            try:
                yield place, model.model_validate({**file.defaults, **table})
            except ValidationError as error:
                faults += _named(place, error)


def _named(place: str, error: ValidationError) -> list[str]:
    return [
        f"{place}: {'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}"
        for fault in error.errors(include_input=False, include_url=False)
    ]


def _result(
    authorizer: CedarAuthorizer,
    name: str,
    file: str,
    request: AccessRequest,
    allowed: bool,
    policies: Sequence[str] | None,
) -> CaseResult:
    decision = authorizer.decide(request)
    named = None if policies is None else tuple(sorted(policies))
    passed = decision.allowed == allowed and (named is None or named == decision.policy_ids)
    return CaseResult(
        name=name,
        file=file,
        passed=passed,
        expected=_word(allowed) if named is None else _verdict(allowed, named),
        actual=_verdict(decision.allowed, decision.policy_ids),
        policies=decision.policy_ids,
    )


def _word(allowed: bool) -> str:
    return _ALLOW if allowed else _DENY


def _verdict(allowed: bool, policies: Sequence[str]) -> str:
    return f"{_word(allowed)} by {', '.join(policies) or 'no policy'}"
