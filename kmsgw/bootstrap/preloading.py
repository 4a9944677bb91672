"""What a worker and a check of the configuration need, and what may be there before a process is copied.

Importing it takes a second of CPU. `kmsgwd` imports it once, and its first workers begin as copies of it. Nothing here
may import grpc or a PKCS#11 library, or start a thread: a test says so.
"""

import kmsgw.audit.requests
import kmsgw.audit.settling
import kmsgw.audit.usage
import kmsgw.authn.authenticator
import kmsgw.authn.files
import kmsgw.authn.second_factor
import kmsgw.authz
import kmsgw.bootstrap.evidence
import kmsgw.bootstrap.key_providers
import kmsgw.bootstrap.node_figures
import kmsgw.bootstrap.protection
import kmsgw.bootstrap.retention
import kmsgw.bootstrap.worker_log
import kmsgw.operations.catalogue
import kmsgw.operations.due_rotation
import kmsgw.operations.index_key_moves
import kmsgw.operations.officer_secrets
import kmsgw.operations.upkeep
import kmsgw.server.counted_refusals
import kmsgw.server.handshakes
import kmsgw.server.http_tls
import kmsgw.server.quota
import kmsgw.server.wire_approvals
import kmsgw.server.wire_audit
import kmsgw.server.wire_crypto
import kmsgw.server.wire_import
import kmsgw.server.wire_keys
import kmsgw.server.wire_leases
import kmsgw.server.wire_officers
import kmsgw.server.wire_policy
import kmsgw.server.wire_streams
import kmsgw.server.wire_usage
import kmsgw.storage
import kmsgw.telemetry.publishing
import kmsgw.telemetry.tracing  # noqa: F401
