"""Cases of customer segments: each part lists (does the case have my fields, run it)."""

import json

from reference_runners import segment_clusters, segment_lifetimes, segment_scores, segment_stages

PARTS = (segment_scores, segment_stages, segment_clusters, segment_lifetimes)


def load(folder):
    for path in sorted(folder.glob("*.json")):
        case = json.loads(path.read_text(encoding="utf-8"))
        yield case.get("id", path.stem), case


def faults(case, folder):
    for part in PARTS:
        for fits, run in part.RULES:
            if fits(case):
                return run(case, folder)
    return [f"fields {sorted(case.get('expected', {}))}: the package does not express them"]
