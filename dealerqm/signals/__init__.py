"""Signals: the early-warning board, and all findings in the order to act on them."""

from dealerqm.signals.board import Board, board
from dealerqm.signals.rank import Signals, rank

__all__ = ["Board", "Signals", "board", "rank"]
