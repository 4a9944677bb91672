"""The revision of each key version, so that a change of a key costs its change and not its history."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the column. Versions from before count as changed with their key: somebody may read them once too often."""
    op.add_column("key_versions", sa.Column("revision", sa.BigInteger, nullable=False, server_default="0"))
    op.execute(
        "UPDATE key_versions SET revision = (SELECT keys.revision FROM keys WHERE keys.key_id = key_versions.key_id)"
    )
    op.create_index("ix_key_versions_key_id_revision", "key_versions", ["key_id", "revision"])
