"""Make the Chinese font of the charts and reports: `.venv/bin/python tools/make_font.py`.

Run by hand, and only to change the set of characters. It needs Noto Sans CJK, which Debian ships:
`apt-get install --no-install-recommends fonts-noto-cjk`. The same source gives the same bytes.

The subset keeps the 6,763 hanzi of GB 2312, common hanzi of names that GB 2312 lacks, punctuation,
full-width forms, Latin-1, Greek, arrows, mathematical signs and the shapes used in charts. It
drops hinting, vertical layout and all features but kerning and marks. The family gets a name of
its own, so that nobody takes the subset for the whole font.
"""

import sys
from pathlib import Path

from fontTools import subset
from fontTools.ttLib import TTFont

SOURCE = Path("/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc")
FACE = "Noto Sans CJK SC"
TARGET = Path(__file__).resolve().parents[1] / "dealerqm" / "fonts" / "DealerqmSansSC.otf"
FAMILY = "Dealerqm Sans SC"

GB2312_ROWS = range(0xB0, 0xF8)
GB2312_CELLS = range(0xA1, 0xFF)
RANGES = (
    (0x20, 0x7E),  # ASCII
    (0xA0, 0xFF),  # Latin-1
    (0x2C6, 0x2DC),  # spacing accents
    (0x300, 0x304),  # combining accents, for x-bar
    (0x391, 0x3C9),  # Greek
    (0x2010, 0x203B),  # dashes, quotation marks, ellipsis, per mille
    (0x2070, 0x208E),  # superscripts, subscripts
    (0x20AC, 0x20AC),  # euro
    (0x2100, 0x2122),  # degree Celsius, numero, trade mark
    (0x2150, 0x216B),  # fractions, Roman numerals
    (0x2190, 0x21D4),  # arrows
    (0x2200, 0x22A5),  # mathematical signs
    (0x2460, 0x2473),  # circled numbers
    (0x2500, 0x257F),  # box drawing
    (0x2581, 0x258F),  # blocks
    (0x25A0, 0x25EF),  # geometric shapes
    (0x2605, 0x2606),  # stars
    (0x26A0, 0x26A0),  # warning sign
    (0x2713, 0x2713),  # check mark
    (0x3000, 0x3017),  # CJK punctuation, geta mark
    (0xFF01, 0xFF5E),  # full-width forms
    (0xFFE0, 0xFFE6),  # full-width signs
    (0xFFFD, 0xFFFD),  # replacement character
)
NAMES = (
    "喆堃镕玥珺昇旻曈翀赟燊鋆堯龑犇骉垚掱叒婳姮玘玙珅琎璟璠瑀瑄瑧瓛祎禛稑翯苳荺莯諓赪迺锜锳鋐陞颋飏"
    "囍炘煇烜晞暐浛淏湉溍澔濛濬"
)


def characters():
    """Code points of the subset."""
    hanzi = "".join(
        bytes([row, cell]).decode("gb2312", "ignore")
        for row in GB2312_ROWS
        for cell in GB2312_CELLS
    )
    points = {ord(character) for character in hanzi + NAMES}
    for first, last in RANGES:
        points.update(range(first, last + 1))
    return sorted(points)


def face():
    """The simplified-Chinese face of the collection."""
    number = 0
    while True:
        font = TTFont(SOURCE, fontNumber=number, recalcTimestamp=False)
        if font["name"].getDebugName(1) == FACE:
            return font
        number += 1


def options():
    chosen = subset.Options()
    chosen.hinting = False
    chosen.glyph_names = False
    chosen.notdef_outline = True
    chosen.layout_features = ["kern", "mark", "ccmp"]
    chosen.name_IDs = [0, 1, 2, 3, 4, 5, 6, 7, 13, 14]
    chosen.name_languages = [0x409]
    chosen.drop_tables += ["BASE", "VORG", "vhea", "vmtx"]
    return chosen


def rename(font):
    post_script = FAMILY.replace(" ", "") + "-Regular"
    names = {1: FAMILY, 3: f"2.004;subset;{post_script}", 4: FAMILY, 6: post_script}
    for record in font["name"].names:
        if record.nameID in names:
            record.string = names[record.nameID]
    top = font["CFF "].cff.topDictIndex[0]
    font["CFF "].cff.fontNames = [post_script]
    top.FullName, top.FamilyName = FAMILY, FAMILY


def main():
    if not SOURCE.is_file():
        sys.exit(f"no {SOURCE}: first run `apt-get install --no-install-recommends fonts-noto-cjk`")
    font = face()
    maker = subset.Subsetter(options())
    maker.populate(unicodes=characters())
    maker.subset(font)
    rename(font)
    font.save(TARGET)
    print(f"{TARGET.name}: {len(font.getBestCmap())} characters, {TARGET.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
