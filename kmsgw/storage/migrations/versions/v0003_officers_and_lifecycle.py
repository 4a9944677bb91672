"""Destruction, protection and rotation of keys; usage; officers, their sessions and approvals; duties."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_NAME = sa.String(64).with_variant(sa.String(64, collation="C"), "postgresql")


def upgrade() -> None:
    """Widen the tables of keys, and make those of what is new."""
    _widen_keys()
    _make_usage()
    _make_officers()
    _make_approvals()


def _widen_keys() -> None:
    # The defaults are for the rows that are there. They stay: SQLite can't take one away without making the table anew.
    for name, kind, default in (
        ("destroy_at", sa.BigInteger, None),
        ("minimum_decrypt_version", sa.Integer, "1"),
        ("minimum_encrypt_version", sa.Integer, "0"),
        ("deletion_protection", sa.Boolean, sa.false()),
        ("rotation_period_seconds", sa.BigInteger, None),
        ("rotation_max_messages", sa.BigInteger, None),
        ("rotation_max_bytes", sa.BigInteger, None),
        ("rotation_max_wraps", sa.BigInteger, None),
    ):
        op.add_column("keys", sa.Column(name, kind, nullable=default is None, server_default=default))
    op.add_column("key_versions", sa.Column("destroy_at", sa.BigInteger, nullable=True))
    op.add_column("key_versions", sa.Column("origin", sa.String(32), nullable=False, server_default="generated"))
    op.create_table(
        "index_keys",
        sa.Column("key_id", _NAME, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("wrapped", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("key_id", name="pk_index_keys"),
        sa.ForeignKeyConstraint(["key_id"], ["keys.key_id"], name="fk_index_keys_key_id"),
    )


def _make_usage() -> None:
    counts = ("envelopes", "data_keys", "decrypts", "rewraps_away", "rewraps_here", "wraps", "sealed_bytes")
    op.create_table(
        "key_usage",
        sa.Column("key_id", _NAME, nullable=False),
        sa.Column("version", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("tenant", _NAME, nullable=False),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in counts),
        sa.Column("last_used", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("key_id", "version", "tenant", name="pk_key_usage"),
        sa.ForeignKeyConstraint(["key_id"], ["keys.key_id"], name="fk_key_usage_key_id"),
    )
    op.create_table(
        "usage_cursors",
        sa.Column("origin", sa.String(255), nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("origin", name="pk_usage_cursors"),
    )
    op.create_table(
        "duties",
        sa.Column("name", _NAME, nullable=False),
        sa.Column("holder", sa.String(255), nullable=False),
        sa.Column("until", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_duties"),
    )


def _make_officers() -> None:
    op.create_table(
        "officers",
        sa.Column("officer_id", _NAME, nullable=False),
        sa.Column("state", sa.String(32), nullable=False),
        sa.Column("sealed_secret", sa.LargeBinary, nullable=True),
        sa.Column("invitation_hash", sa.LargeBinary, nullable=True),
        sa.Column("invitation_expires", sa.BigInteger, nullable=True),
        sa.Column("confirmed", sa.BigInteger, nullable=True),
        sa.Column("may_enrol_at", sa.BigInteger, nullable=True),
        sa.Column("floor_step", sa.BigInteger, nullable=False),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("locked_until", sa.BigInteger, nullable=True),
        sa.PrimaryKeyConstraint("officer_id", name="pk_officers"),
    )
    op.create_table(
        "spent_steps",
        sa.Column("officer_id", _NAME, nullable=False),
        sa.Column("step", sa.BigInteger, autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("officer_id", "step", name="pk_spent_steps"),
        sa.ForeignKeyConstraint(["officer_id"], ["officers.officer_id"], name="fk_spent_steps_officer_id"),
    )
    op.create_table(
        "recovery_codes",
        sa.Column("officer_id", _NAME, nullable=False),
        sa.Column("code_hash", sa.LargeBinary, nullable=False),
        sa.Column("used", sa.BigInteger, nullable=True),
        sa.PrimaryKeyConstraint("officer_id", "code_hash", name="pk_recovery_codes"),
        sa.ForeignKeyConstraint(["officer_id"], ["officers.officer_id"], name="fk_recovery_codes_officer_id"),
    )
    op.create_table(
        "officer_sessions",
        sa.Column("session_hash", sa.LargeBinary, nullable=False),
        sa.Column("officer_id", _NAME, nullable=False),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("last_used", sa.BigInteger, nullable=False),
        sa.Column("expires", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("session_hash", name="pk_officer_sessions"),
        sa.ForeignKeyConstraint(["officer_id"], ["officers.officer_id"], name="fk_officer_sessions_officer_id"),
    )
    op.create_index("ix_officer_sessions_officer_id", "officer_sessions", ["officer_id"])


def _make_approvals() -> None:
    op.create_table(
        "approvals",
        sa.Column("approval_id", _NAME, nullable=False),
        sa.Column("tenant", _NAME, nullable=False),
        sa.Column("requester", _NAME, nullable=False),
        sa.Column("method", sa.Text, nullable=False),
        sa.Column("key_id", _NAME, nullable=False),
        sa.Column("request_hash", sa.LargeBinary, nullable=False),
        sa.Column("request_json", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("needed", sa.Integer, nullable=False),
        sa.Column("state", sa.String(32), nullable=False),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("expires", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("approval_id", name="pk_approvals"),
    )
    op.create_index("ix_approvals_created_approval_id", "approvals", ["created", "approval_id"])
    op.create_table(
        "approval_votes",
        sa.Column("approval_id", _NAME, nullable=False),
        sa.Column("officer_id", _NAME, nullable=False),
        sa.Column("approves", sa.Boolean, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("time", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("approval_id", "officer_id", name="pk_approval_votes"),
        sa.ForeignKeyConstraint(["approval_id"], ["approvals.approval_id"], name="fk_approval_votes_approval_id"),
    )
