"""Personal data: the project's key, pseudonyms made with it, and the masking of free text."""

from dealerqm.privacy.keys import (
    Key,
    demo_document,
    demo_key,
    load_key,
    new_key,
    pseudonyms,
)
from dealerqm.privacy.text import mask, mask_all

__all__ = [
    "Key",
    "demo_document",
    "demo_key",
    "load_key",
    "mask",
    "mask_all",
    "new_key",
    "pseudonyms",
]
