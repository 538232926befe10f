"""Cases of survey statistics: ``{id, data, design, source_call, expected, tolerance, note}``.

The file and the fields of a case say which module maps it: designs, weights, replicates, waves and
intervals here, tests, models, reliability, drivers and stores in ``survey_models``.
"""

import importlib
import json

from reference_runners import survey_design

MODELS = "reference_runners.survey_models"
OURS = {"calibration", "dealer_nps_waves", "domains_lonely", "point_estimates", "replicates"}


def load(folder):
    for path in sorted(folder.glob("*.json")):
        for case in json.loads(path.read_text(encoding="utf-8"))["cases"]:
            yield f"{path.stem}:{case['id']}", case | {"file": path.stem}


def faults(case, folder):
    models = importlib.import_module(MODELS)
    if case["file"] in OURS or (not models.handles(case) and survey_design.handles(case)):
        return survey_design.faults(case, folder)
    return models.faults(case, folder)
