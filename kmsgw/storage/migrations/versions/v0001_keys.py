"""Keys, their versions and aliases, and the state epoch.

Written out and not taken from `tables`: what a migration once did must not change with the code of today.
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_NAME = sa.String(64).with_variant(sa.String(64, collation="C"), "postgresql")


def upgrade() -> None:
    """Make the tables, and the epoch with value 0."""
    state_epoch = op.create_table(
        "state_epoch",
        sa.Column("id", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("value", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_state_epoch"),
        sa.CheckConstraint("id = 1", name="ck_state_epoch_single_row"),
    )
    op.bulk_insert(state_epoch, [{"id": 1, "value": 0}])
    op.create_table(
        "keys",
        sa.Column("key_id", _NAME, nullable=False),
        sa.Column("tenant", _NAME, nullable=False),
        sa.Column("provider", _NAME, nullable=False),
        sa.Column("state", sa.String(32), nullable=False),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("labels", sa.JSON, nullable=False),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("updated", sa.BigInteger, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("key_id", name="pk_keys"),
    )
    op.create_index("ix_keys_revision_key_id", "keys", ["revision", "key_id"])
    op.create_table(
        "key_versions",
        sa.Column("key_id", _NAME, nullable=False),
        sa.Column("version", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("material", sa.LargeBinary, nullable=False),
        sa.Column("state", sa.String(32), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("key_id", "version", name="pk_key_versions"),
        sa.ForeignKeyConstraint(["key_id"], ["keys.key_id"], name="fk_key_versions_key_id"),
        sa.CheckConstraint("version >= 1", name="ck_key_versions_version_from_one"),
    )
    op.create_table(
        "key_aliases",
        sa.Column("alias", _NAME, nullable=False),
        sa.Column("key_id", _NAME, nullable=False),
        sa.PrimaryKeyConstraint("alias", name="pk_key_aliases"),
        sa.ForeignKeyConstraint(["key_id"], ["keys.key_id"], name="fk_key_aliases_key_id"),
    )
    op.create_index("ix_key_aliases_key_id", "key_aliases", ["key_id"])
