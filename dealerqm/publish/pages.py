"""Pages that load nothing and run nothing but the report's own small script."""

from __future__ import annotations

import base64
import hashlib
import html
import re
from functools import cache
from html.parser import HTMLParser
from importlib import resources

from dealerqm.errors import PublishError
from dealerqm.publish.cells import masked

_FORBIDDEN = {
    "iframe", "frame", "object", "embed", "applet", "base", "form", "link", "portal", "animate",
    "set", "foreignobject", "audio", "video", "source", "track", "noscript", "template",
}  # fmt: skip
_ADDRESSES = {"src", "href", "xlink:href", "action", "formaction", "poster", "data", "srcset"}
_LOCAL = re.compile(
    r"#[\w.-]*|[\w-][\w.-]*(?:#[\w.-]*)?|data:(?:image/(?:png|svg\+xml)|font/woff);.*"
)
_OUTSIDE = re.compile(r"\b[a-z][a-z0-9+.-]{1,20}://", re.IGNORECASE)
_LOADS = re.compile(r"url\(\s*['\"]?(?!data:font/woff;|#)|@import|expression\(", re.IGNORECASE)
_TAG = re.compile(r"(<[^>]*>)")
_SPOKEN = re.compile(r'(?<=\s)(alt|title|aria-label|content)="([^"]*)"')
_RAW = ("style", "script")


def policy(style: str) -> str:
    """Return the Content-Security-Policy of a page.

    Parameters
    ----------
    style : str
        The text of its one ``<style>``.

    Returns
    -------
    str
        Everything is forbidden but this style, the report's script, and data inside the file.

    Examples
    --------
    >>> policy("p{}")[:19]
    "default-src 'none';"
    """
    scripts = " ".join(f"'sha256-{digest}'" for digest in sorted(known_scripts()))
    return (
        f"default-src 'none'; script-src {scripts}; style-src 'sha256-{_sha256(style)}'; "
        "img-src data:; font-src data:; base-uri 'none'; form-action 'none'"
    )


@cache
def known_scripts() -> frozenset[str]:
    """Return the digests of the scripts that the package ships.

    Returns
    -------
    frozenset of str
        SHA-256, base64.

    Examples
    --------
    >>> all(len(digest) == 44 for digest in known_scripts())
    True
    """
    folder = resources.files("dealerqm").joinpath("templates")
    scripts = [entry for entry in folder.iterdir() if entry.name.endswith(".js")]
    return frozenset(_sha256(script.read_text(encoding="utf-8")) for script in scripts)


def _sha256(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def check_page(name: str, page: str) -> None:
    """Refuse a page that could load or run something.

    Parameters
    ----------
    name : str
        File name, for messages.
    page : str
        HTML.

    Raises
    ------
    PublishError
        Without a Content-Security-Policy ahead of everything else, with an address outside the
        folder, with a script that is not the report's, or with an element that loads.
    """
    reader = _Reader()
    reader.feed(page)
    reader.close()
    bare = re.sub(r'\sxmlns(?::\w+)?="[^"]*"|data:[\w/+]+;base64,[\w+/=]+', "", page)
    if found := _OUTSIDE.search(bare):
        start = max(found.start() - 20, 0)
        reader.faults.append(f"refers outside the file near {bare[start : found.end() + 20]!r}")
    if not reader.guarded:
        reader.faults.append("has no Content-Security-Policy that forbids all else, or too late")
    if reader.faults:
        raise PublishError(
            f"{name}: {reader.faults[0]}" + f" (and {len(reader.faults) - 1} more)"
            f"; nothing was published. Pages must hold everything they show."
        )


class _Reader(HTMLParser):
    """Collects what a page must not have."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.faults: list[str] = []
        self.guarded = False
        self._script: list[str] | None = None
        self._style: list[str] | None = None
        self._policy = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        known = {name: value or "" for name, value in attrs}
        if tag == "meta":
            self._meta(known)
        if tag in _FORBIDDEN:
            self.faults.append(f"has <{tag}>")
        if tag in ("script", "style", "img", "svg", "body") and not self.guarded:
            self.faults.append(f"has <{tag}> before its Content-Security-Policy")
        self._script = [] if tag == "script" else self._script
        self._style = [] if tag == "style" else self._style
        for name, value in known.items():
            if name.startswith("on") or name == "style":
                self.faults.append(f"has the attribute {name} on <{tag}>")
            if (name in _ADDRESSES and not _LOCAL.fullmatch(value)) or _LOADS.search(value):
                self.faults.append(f"has {name}={value[:40]!r} on <{tag}>")

    def _meta(self, known: dict[str, str]) -> None:
        kind = known.get("http-equiv", "").lower()
        if kind == "content-security-policy":
            self._policy = known.get("content", "")
            rules = {rule.strip() for rule in self._policy.split(";")}
            self.guarded = "default-src 'none'" in rules and "unsafe" not in self._policy
        elif kind:
            self.faults.append(f"has <meta http-equiv={kind!r}>")

    def handle_data(self, data: str) -> None:
        for text in (self._script, self._style):
            if text is not None:
                text.append(data)

    def handle_endtag(self, tag: str) -> None:
        if tag == "script" and self._script is not None:
            if _sha256("".join(self._script)) not in known_scripts():
                self.faults.append("has a script that is not the report's")
            self._script = None
        if tag == "style" and self._style is not None:
            text = "".join(self._style)
            if _LOADS.search(text):
                self.faults.append("has a style that loads something")
            if _sha256(text) not in self._policy:
                self.faults.append("has a style that its policy does not name")
            self._style = None


def mask_page(page: str) -> str:
    """Return a page whose texts hold no personal numbers.

    Parameters
    ----------
    page : str
        HTML; what stands in ``<style>``, ``<script>`` and tags stays, but for spoken attributes.

    Returns
    -------
    str
        HTML.

    Examples
    --------
    >>> mask_page('<p title="13800138000">tel 138-0013-8000</p>')
    '<p title="[mobile]">tel [mobile]</p>'
    """
    parts, raw = _TAG.split(page), False
    for i, part in enumerate(parts):
        if i % 2:
            name = part[1:].split(None, 1)[0].strip("/>").lower()
            raw = name in _RAW and not part.startswith("</")
            parts[i] = _SPOKEN.sub(lambda m: f'{m[1]}="{_mask_escaped(m[2])}"', part)
        elif part.strip() and not raw:
            parts[i] = _mask_escaped(part)
    return "".join(parts)


def _mask_escaped(text: str) -> str:
    plain = html.unescape(text)
    found = masked(plain)
    return text if found == plain else html.escape(found)
