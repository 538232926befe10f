"""The survey from weighted cells: what cells of the sample give is what its rows give."""

import numpy as np
import pytest
from survey_hand import answer, made

from dealerqm import survey
from dealerqm.errors import MethodError, ParameterError
from dealerqm.psychometrics.answers import at_least
from dealerqm.review import Parameters, prepare
from dealerqm.sampling.cube import cube
from dealerqm.sampling.design import codes, design
from dealerqm.sampling.estimate import mean, nps, ratio
from dealerqm.survey import estimates


@pytest.fixture(scope="module")
def whole(sample_project):
    """The survey of the sample's newest quarter."""
    return survey.analyse(*prepare(Parameters(project=str(sample_project))))


MEASURED = {
    "mean": lambda sample, y, domain: mean(sample, y, domain=domain),
    "top-2-box": lambda sample, y, domain: mean(
        sample, at_least(y, 9), domain=domain, method="wilson"
    ),
    "nps": lambda sample, y, domain: nps(sample, y, domain=domain),
    "ratio": lambda sample, y, domain: ratio(
        sample, at_least(y, 9), at_least(y, 7), domain=domain
    ),
}  # fmt: skip


def same(one, two):
    for name in ("estimate", "se", "low", "high", "df", "n", "n_eff", "deff"):
        np.testing.assert_allclose(
            getattr(one, name), getattr(two, name), rtol=1e-12, atol=1e-12, err_msg=name
        )
    assert one.flag.tolist() == two.flag.tolist()


@pytest.mark.parametrize("by", ["store_id", "channel"])
@pytest.mark.parametrize("item", ["recommend", "overall", "after_sales"])
@pytest.mark.parametrize("measure", MEASURED)
def test_cells_of_the_sample_give_what_its_rows_give(whole, measure, item, by):
    waves = whole.survey
    rows = waves.of_wave(waves.wave)
    sample = design(rows["base_weight"], psu=rows["psu"], strata=rows["stratum"], lonely="average")
    domain, names = codes(rows[by])
    cells = estimates.cells(waves.facts, waves.plan, item, wave=waves.wave, by=by)
    assert cells.value.size < len(rows)
    assert cells.names.tolist() == names.tolist()
    got = MEASURED[measure](cells.design, cells.value, cells.domain)
    same(got, MEASURED[measure](sample, rows[item].to_numpy(float), domain))


@pytest.mark.parametrize("measure", MEASURED)
def test_cells_of_weighted_answers_give_what_the_answers_give(whole, measure):
    weighted, item = whole.weighted, "recommend"
    where, _ = estimates.domain(weighted, "region", whole.survey.wave)
    y = weighted.rows[item].to_numpy(float)
    cells = cube(weighted.design, domain=where).cells(y)
    assert len(cells.design.calibrations) == 1  # the error knows of the targets
    got = MEASURED[measure](cells.design, cells.value, cells.domain)
    same(got, MEASURED[measure](weighted.design, y, where))


def test_cells_know_the_instrument_and_what_they_need(whole):
    facts, plan, wave = whole.survey.facts, whole.survey.plan, whole.survey.wave
    with pytest.raises(ParameterError, match=r"item: 'overal' is not known. Nearest: overall"):
        estimates.cells(facts, plan, "overal", wave=wave)
    bare = made([answer(), answer(product=98.0)])
    with pytest.raises(MethodError, match="survey_responses: 2 rows lack store_id, stratum, psu"):
        estimates.cells(bare.facts, bare.plan, "product", wave="2026Q3")
