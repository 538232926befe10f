"""What people write down: an append-only, hash-chained log that Excel can edit."""

from dealerqm.registers.kinds import Kind, kinds
from dealerqm.registers.log import LOG_COLUMNS, Register

__all__ = ["LOG_COLUMNS", "Kind", "Register", "kinds"]
