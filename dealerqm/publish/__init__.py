"""Publishing: the only way by which anything leaves the project folder."""

from dealerqm.publish.cells import escape_cell, guarded, masked, suppress, unescape_cell
from dealerqm.publish.door import publish
from dealerqm.publish.files import Sheet, json_bytes, workbook_bytes
from dealerqm.publish.pages import check_page, mask_page, policy

__all__ = [
    "Sheet",
    "check_page",
    "escape_cell",
    "guarded",
    "json_bytes",
    "mask_page",
    "masked",
    "policy",
    "publish",
    "suppress",
    "unescape_cell",
    "workbook_bytes",
]
