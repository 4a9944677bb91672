"""Cedar policies: loading them, and deciding by them. Pure but for reading the policy folder; denies by default.

- `load_policies(folder: Path) -> PolicyBundle`: reads and checks a policy folder; raises `ConfigurationError` with
  reason POLICY_INVALID and every fault at once.
- `CedarAuthorizer(bundle)`: decides by one bundle. `CurrentPolicies(folder)`: decides by the newest bundle that was
  in order; ``reload() -> bool`` keeps the one in force where the new one is broken, and remembers its ``fault``.
- `explain(decision, request, permitted_roles=()) -> str`: a decision in words.
- `kmsgw.authz.cases.run_cases` runs the cases of a policy folder; a gateway has no use for it.
"""

from kmsgw.authz.current import CurrentPolicies
from kmsgw.authz.engine import CedarAuthorizer
from kmsgw.authz.explanation import explain
from kmsgw.authz.load import PolicyBundle, load_policies

__all__ = [
    "CedarAuthorizer",
    "CurrentPolicies",
    "PolicyBundle",
    "explain",
    "load_policies",
]
