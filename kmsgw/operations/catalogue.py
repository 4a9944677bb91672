"""All verbs of the gateway, put together from their ports."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from kmsgw.model.data_key_limits import DataKeyLimits
from kmsgw.model.key import KeyState
from kmsgw.operations.approval_ports import ApprovalStore
from kmsgw.operations.control.aliases import CreateAlias, DeleteAlias
from kmsgw.operations.control.approvals import Approve, GetApproval, ListApprovals, Reject
from kmsgw.operations.control.audit_entries import ListEntries
from kmsgw.operations.control.audit_ports import AuditLogs
from kmsgw.operations.control.audit_proofs import GetCheckpoint, GetConsistencyProof, GetInclusionProof, ListLogs
from kmsgw.operations.control.audit_watch import WatchEntries
from kmsgw.operations.control.create_key import CreateKey
from kmsgw.operations.control.get_key_usage import GetKeyUsage
from kmsgw.operations.control.get_status import GetStatus, WorkerState
from kmsgw.operations.control.import_key import CreateImportParameters, ImportKey
from kmsgw.operations.control.in_use import KeyInUse, NeverInUse
from kmsgw.operations.control.key_views import GetKey, ListKeys, ListKeyVersions
from kmsgw.operations.control.key_writer import KeyWriter
from kmsgw.operations.control.minimum_version import SetMinimumDecryptVersion
from kmsgw.operations.control.officer_views import ListOfficers, WhoAmI
from kmsgw.operations.control.officers import ConfirmOfficer, EnrollOfficer, Login, Logout, ResetOfficer
from kmsgw.operations.control.policies import Explain, ListPolicies, PrincipalDirectory, RequestFinder
from kmsgw.operations.control.rotate_key import RotateKey
from kmsgw.operations.control.schedule_destruction import CancelKeyDestruction, ScheduleKeyDestruction
from kmsgw.operations.control.update_key import SetVersionState, UpdateKey
from kmsgw.operations.data.batch_decrypt import BatchDecrypt
from kmsgw.operations.data.batch_encrypt import BatchEncrypt
from kmsgw.operations.data.batch_generate_data_key import BatchGenerateDataKey
from kmsgw.operations.data.batch_re_encrypt import BatchReEncrypt
from kmsgw.operations.data.batch_rewrap import BatchRewrap
from kmsgw.operations.data.compute_mac import ComputeMac
from kmsgw.operations.data.decrypt import Decrypt, EnvelopeOpener
from kmsgw.operations.data.decrypt_stream import DecryptStream
from kmsgw.operations.data.encrypt import Encrypt
from kmsgw.operations.data.encrypt_stream import EncryptStream
from kmsgw.operations.data.generate_data_key import GenerateDataKey
from kmsgw.operations.data.generate_random_bytes import GenerateRandomBytes
from kmsgw.operations.data.re_encrypt import ReEncrypt
from kmsgw.operations.data.renew_data_key_leases import RenewDataKeyLeases
from kmsgw.operations.data.rewrap import Rewrap
from kmsgw.operations.data.verify_mac import VerifyMac
from kmsgw.operations.data_keys import DataKeys
from kmsgw.operations.index_keys import IndexKeys
from kmsgw.operations.keyring import Keyring
from kmsgw.operations.officer_ports import OfficerDirectory, SecondFactor
from kmsgw.operations.ports import Authorizer, KeyStore
from kmsgw.operations.usage import UsageStore
from kmsgw.providers.base import KeyProvider


@dataclass(frozen=True, slots=True)
class World:
    """What the verbs need of the world around them."""

    store: KeyStore
    keyring: Keyring
    providers: Mapping[str, KeyProvider]
    default_provider: str
    data_keys: DataKeys
    data_key_limits: DataKeyLimits
    index_keys: IndexKeys
    authorizer: Authorizer
    requests: RequestFinder
    audit_logs: AuditLogs
    principals: PrincipalDirectory
    observe: Callable[[], WorkerState]
    approvals: ApprovalStore
    usage: UsageStore
    officers: OfficerDirectory
    second_factor: SecondFactor
    second_factor_required: bool
    key_in_use: KeyInUse = NeverInUse()  # noqa: RUF009  it holds nothing


class AuditOperations:
    """The verbs that read the audit log."""

    def __init__(self, logs: AuditLogs, keyring: Keyring) -> None:
        self.list_logs = ListLogs(logs)
        self.list_entries = ListEntries(logs, keyring)
        self.watch_entries = WatchEntries(logs, keyring)
        self.get_checkpoint = GetCheckpoint(logs)
        self.get_inclusion_proof = GetInclusionProof(logs, keyring)
        self.get_consistency_proof = GetConsistencyProof(logs)


class Operations:
    """One attribute a verb."""

    def __init__(self, world: World) -> None:
        opener = EnvelopeOpener(world.keyring, world.data_keys)
        writer = KeyWriter(world.store, world.keyring, world.providers)
        self.encrypt = Encrypt(world.data_keys, world.keyring)
        self.decrypt = Decrypt(opener, world.keyring, world.data_key_limits)
        self.encrypt_stream = EncryptStream(world.data_keys, world.keyring)
        self.decrypt_stream = DecryptStream(opener, world.keyring)
        self.re_encrypt = ReEncrypt(opener, world.data_keys)
        self.rewrap = Rewrap(opener, world.data_keys)
        self.generate_data_key = GenerateDataKey(
            world.data_keys, world.keyring, with_plaintext=True, limits=world.data_key_limits
        )
        self.generate_data_key_without_plaintext = GenerateDataKey(world.data_keys, world.keyring, with_plaintext=False)
        self.renew_data_key_leases = RenewDataKeyLeases(world.keyring, world.authorizer, world.data_key_limits)
        self.batch_encrypt = BatchEncrypt(world.data_keys, world.keyring, world.authorizer)
        self.batch_decrypt = BatchDecrypt(world.data_keys, world.keyring, world.authorizer)
        self.batch_re_encrypt = BatchReEncrypt(world.data_keys, world.keyring, world.authorizer)
        self.batch_rewrap = BatchRewrap(world.data_keys, world.keyring, world.authorizer)
        self.batch_generate_data_key = BatchGenerateDataKey(world.data_keys, world.keyring, world.authorizer)
        self.generate_random_bytes = GenerateRandomBytes()
        self.compute_mac = ComputeMac(world.index_keys)
        self.verify_mac = VerifyMac(world.index_keys)
        self.create_key = CreateKey(writer, world.default_provider)
        self.get_key = GetKey()
        self.list_keys = ListKeys(world.keyring, world.authorizer)
        self.update_key = UpdateKey(writer)
        self.rotate_key = RotateKey(writer)
        self.list_key_versions = ListKeyVersions()
        self.get_key_usage = GetKeyUsage(world.usage)
        self.set_version_state = {
            state: SetVersionState(writer, state) for state in (KeyState.ENABLED, KeyState.DISABLED)
        }
        self.schedule_key_destruction = ScheduleKeyDestruction(writer, world.key_in_use, world.index_keys)
        self.cancel_key_destruction = CancelKeyDestruction(writer)
        self.set_minimum_decrypt_version = SetMinimumDecryptVersion(writer, world.key_in_use)
        self.create_import_parameters = CreateImportParameters(
            writer, world.keyring, world.authorizer, world.default_provider
        )
        self.import_key = ImportKey(writer, world.keyring, world.authorizer, world.default_provider)
        self.create_alias = CreateAlias(writer)
        self.delete_alias = DeleteAlias(writer)
        self.explain = Explain(world.authorizer, world.keyring, world.requests, world.principals)
        self.list_policies = ListPolicies(world.authorizer)
        self.list_approvals = ListApprovals(world.approvals)
        self.get_approval = GetApproval(world.approvals)
        self.approve = Approve(world.approvals)
        self.reject = Reject(world.approvals, world.authorizer)
        self.enroll_officer = EnrollOfficer(world.second_factor)
        self.confirm_officer = ConfirmOfficer(world.second_factor)
        self.login = Login(world.second_factor)
        self.logout = Logout(world.second_factor)
        self.reset_officer = ResetOfficer(world.second_factor, world.officers)
        self.list_officers = ListOfficers(world.second_factor, world.officers)
        self.who_am_i = WhoAmI(world.second_factor, required=world.second_factor_required)
        self.get_status = GetStatus(world.observe)
        self.audit = AuditOperations(world.audit_logs, world.keyring)
