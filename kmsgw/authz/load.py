"""Loading a policy folder: schema and policies, checked as a whole before any of it can decide anything.

The folder holds ``schema.cedarschema`` and ``*.cedar``; files whose name begins with a dot are left out, as editors
leave such beside the file that is being written.
"""

import hashlib
import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cedarpy
from cedarpy import pst

from kmsgw.authz.misspelling import undeclared_names
from kmsgw.authz.schema import Exposure, read_schema, validation_faults
from kmsgw.authz.scope import Scope, ScopeReader
from kmsgw.authz.source import PolicySource, split_policies
from kmsgw.errors import ConfigurationError, Reason
from kmsgw.model.access import Action, PolicyText, PrincipalKind

SCHEMA_FILE = "schema.cedarschema"
MAX_FILE_BYTES = 4 << 20
MAX_POLICIES = 10_000

_POLICY_ID = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*\Z")
_POLICY_ID_LIMIT = 64
_ACTION_UID = re.compile(r'\w+::Action::"[^"]*"')
_FOLLOWS = "unable to find an applicable action"
_ADVICE = "Run `kmsgw policy validate` on the folder until it finds nothing."
_FOLDER_ADVICE = "Give a folder with schema.cedarschema and *.cedar files; `kmsgw policy validate` looks for both."


@dataclass(frozen=True, slots=True)
class LoadedPolicy:
    """A policy in force, and what it can apply to. ``line`` is where it begins in its file, from 1."""

    text: PolicyText
    line: int
    scope: Scope


@dataclass(frozen=True, slots=True)
class PolicyBundle:
    """A checked schema with its policies, by id. ``digest`` is SHA-256 over all files (see `digest_of`)."""

    folder: Path
    schema_text: str
    schema: cedarpy.Schema
    exposures: Mapping[Action, Exposure]
    policies: tuple[LoadedPolicy, ...]
    digest: str

    @property
    def roles(self) -> frozenset[str]:
        """The roles that the policies name in their scopes."""
        return frozenset(policy.scope.role for policy in self.policies if policy.scope.role is not None)

    @property
    def officers_roles(self) -> frozenset[str]:
        """The roles whose permits are all for officers."""
        permits = [policy.scope for policy in self.policies if policy.text.permits and policy.scope.role is not None]
        others = {scope.role for scope in permits if scope.kind is not PrincipalKind.OFFICER}
        return frozenset(scope.role for scope in permits if scope.role is not None and scope.role not in others)

    def permitted_roles(self, action: Action) -> tuple[str, ...]:
        """Return the roles that have a permit for an action, whatever its conditions, sorted."""
        permits = (policy.scope for policy in self.policies if policy.text.permits)
        return tuple(sorted({scope.role for scope in permits if scope.role is not None and action in scope.actions}))


def digest_of(files: Mapping[str, bytes]) -> str:
    """Return the SHA-256 over files, sorted by name: u32 length and name, u64 length and bytes, big-endian."""
    digest = hashlib.sha256()
    for name, content in sorted(files.items()):
        raw = name.encode("utf-8", "surrogateescape")
        digest.update(struct.pack(">I", len(raw)) + raw + struct.pack(">Q", len(content)) + content)
    return digest.hexdigest()


def load_policies(folder: Path) -> PolicyBundle:
    """Return the policies of a folder. Raises `ConfigurationError` (POLICY_INVALID) with every fault at once."""
    faults: list[str] = []
    files = read_files(folder, faults)
    texts = _decoded(folder, files, faults)
    schema, exposures = _read_schema(folder, texts, faults)
    parsed = list(_parse(folder, texts, faults))
    if schema is not None:
        faults += _validate(folder, parsed, schema)
    if not parsed and not faults:
        faults.append(f"{folder}: no policy in any *.cedar file, so that everything would be refused")
    if faults or schema is None:
        advice = _ADVICE if SCHEMA_FILE in files else _FOLDER_ADVICE
        raise ConfigurationError(faults, reason=Reason.POLICY_INVALID, advice=advice)
    reader = ScopeReader(schema)
    policies = [LoadedPolicy(_described(each), each.source.line, reader.read(each.node)) for each in parsed]
    policies.sort(key=lambda policy: policy.text.policy_id)
    return PolicyBundle(folder, files[SCHEMA_FILE].decode(), schema, exposures, tuple(policies), digest_of(files))


@dataclass(frozen=True, slots=True)
class _Parsed:
    source: PolicySource
    node: pst.Template

    @property
    def policy_id(self) -> str:
        return self.node.annotations.get("id", "")


def read_files(folder: Path, faults: list[str]) -> dict[str, bytes]:
    """Return the files of a folder that count, by name; add a fault for each that can't be read."""
    try:
        names = sorted(path.name for path in folder.iterdir() if path.suffix == ".cedar" and path.name[0] != ".")
    except OSError as error:
        faults.append(f"{folder}: {error.strerror}")
        return {}
    files: dict[str, bytes] = {}
    for name in (SCHEMA_FILE, *names):
        try:
            with (folder / name).open("rb") as stream:
                content = stream.read(MAX_FILE_BYTES + 1)
        except OSError as error:
            faults.append(f"{folder / name}: {error.strerror}")
            continue
        if len(content) > MAX_FILE_BYTES:
            faults.append(f"{folder / name}: longer than {MAX_FILE_BYTES} bytes")
            continue
        files[name] = content
    return files


def _decoded(folder: Path, files: Mapping[str, bytes], faults: list[str]) -> dict[str, str]:
    texts: dict[str, str] = {}
    for name, content in files.items():
        try:
            texts[name] = content.decode()
        except UnicodeDecodeError:
            faults.append(f"{folder / name}: not UTF-8 text")
    return texts


def _read_schema(
    folder: Path, texts: dict[str, str], faults: list[str]
) -> tuple[cedarpy.Schema | None, Mapping[Action, Exposure]]:
    text = texts.pop(SCHEMA_FILE, None)
    if text is None:
        return None, {}
    try:
        schema, exposures, found = read_schema(text)
    except ValueError as error:
        faults.append(f"{folder / SCHEMA_FILE}: {error}")
        return None, {}
    faults += [f"{folder / SCHEMA_FILE}: {fault}" for fault in found]
    return schema, exposures


def _parse(folder: Path, texts: Mapping[str, str], faults: list[str]) -> Iterator[_Parsed]:
    """Yield the policies that parse and have an id of their own; add a fault for each that does not."""
    sources = [source for name, text in texts.items() for source in split_policies(text, name)]
    if len(sources) > MAX_POLICIES:
        faults.append(f"{folder}: more than {MAX_POLICIES} policies")
        return
    at_once = _parse_at_once(sources)
    places: dict[str, str] = {}
    for number, source in enumerate(sources):
        place = f"{folder / source.file}:{source.line}"
        if at_once is not None:
            node = at_once[number]
        else:
            try:
                parsed = cedarpy.policies_to_pst(source.text)
            except ValueError as error:
                faults.append(f"{place}: {error}")
                continue
            if len(parsed.static_policies) != 1:
                faults.append(f"{place}: a template can't decide; write the policy without ?principal and ?resource")
                continue
            node = next(iter(parsed.static_policies.values()))
        policy = _Parsed(source, node)
        fault = _id_fault(policy.policy_id, places)
        if fault:
            faults.append(f"{place}: {fault}")
        else:
            places[policy.policy_id] = place
        yield policy


def _parse_at_once(sources: Sequence[PolicySource]) -> Sequence[pst.Template] | None:
    """Return the policies of all pieces, parsed in half the time that each of them takes alone.

    None where that is not surely the policy of each piece: then parsing them one by one tells what is wrong, and where.
    """
    try:
        parsed = cedarpy.policies_to_pst("\n".join(source.text for source in sources))
    except ValueError:
        return None
    found = [parsed.static_policies.get(f"policy{number}") for number in range(len(sources))]
    nodes = [node for node in found if node is not None]
    if not len(nodes) == len(sources) == len(parsed.static_policies) or parsed.templates:
        return None
    # A piece with two policies, and one with none, would make the numbers wrong: each piece must name its id.
    named = (
        f'@id("{node.annotations.get("id", "")}")' in source.text for node, source in zip(nodes, sources, strict=True)
    )
    return nodes if all(named) else None


def _id_fault(policy_id: str, places: Mapping[str, str]) -> str:
    if not policy_id:
        return 'the policy has no id; put @id("a-name-of-its-own") before it'
    if len(policy_id) > _POLICY_ID_LIMIT or not _POLICY_ID.match(policy_id):
        return f"@id is not of 1 to {_POLICY_ID_LIMIT} of a-z, 0-9 and single inner hyphens, beginning with a letter"
    if policy_id in places:
        return f'@id("{policy_id}") is taken by the policy at {places[policy_id]}'
    return ""


def _validate(folder: Path, parsed: Sequence[_Parsed], schema: cedarpy.Schema) -> Iterator[str]:
    """Yield what the validator finds, placed. One by one only where the whole has faults: that takes longer."""
    whole = validation_faults("\n".join(each.source.text for each in parsed), schema)
    sound: list[_Parsed] = []
    for each in parsed:
        found = validation_faults(each.source.text, schema) if whole else {}
        yield from (f"{_place(folder, each)}: {fault}" for faults in found.values() for fault in _shortened(faults))
        if not found:
            sound.append(each)
    if whole and len(sound) == len(parsed):
        yield from (f"{folder}: {fault}" for faults in whole.values() for fault in faults)
    for each, names in zip(sound, undeclared_names([each.node for each in sound], schema), strict=True):
        yield from (
            f"{_place(folder, each)}: the schema declares no attribute {name}, so the test never holds"
            for name in names
        )


def _shortened(faults: Sequence[str]) -> list[str]:
    """Return faults without those that Cedar repeats for every action, or that only follow from another."""
    first = {_ACTION_UID.sub("", fault): fault for fault in reversed(faults)}
    unique = list(reversed(first.values()))
    return [fault for fault in unique if _FOLLOWS not in fault] or unique


def _place(folder: Path, parsed: _Parsed) -> str:
    return f"{folder / parsed.source.file}:{parsed.source.line}"


def _described(parsed: _Parsed) -> PolicyText:
    return PolicyText(
        policy_id=parsed.policy_id,
        permits=parsed.node.effect == "permit",
        advice=parsed.node.annotations.get("advice", ""),
        source=parsed.source.text,
        file=parsed.source.file,
    )
