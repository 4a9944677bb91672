"""Generated from proto/kmsgw/v1 by `make proto`. Do not edit."""
