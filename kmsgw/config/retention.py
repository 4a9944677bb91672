"""For how long the audit log keeps its entries, and what of persons it writes."""

from pydantic import Field

from kmsgw.config.section import Section


class RetentionSettings(Section):
    """``[audit.retention]``: when entries are pruned."""

    operations_months: int = Field(
        12, ge=0, le=1200, description="Age at which what services asked for is pruned. 0: never."
    )
    acts_months: int = Field(
        36, ge=0, le=1200, description="The same for officers' acts, changes of state and events of the log. 0: never."
    )
    wait_for_export: bool = Field(True, description="Keep what an [[audit.export]] target has not got yet.")


class PseudonymSettings(Section):
    """``[audit.pseudonyms]``: whose names entries don't hold, but pseudonyms under keys that can be destroyed."""

    end_users: bool = Field(False, description="Declared end users.")
    principals: frozenset[str] = Field(frozenset(), description="Principals that are natural persons, by their ids.")
    forget_after_months: int = Field(
        0, ge=0, le=1200, description="Age at which a month's key is destroyed. 0: only when asked."
    )
