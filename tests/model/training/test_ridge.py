import numpy as np
import pytest
import torch

from pipelines.model.training import ridge
from pipelines.model.training.ridge import fit_ridge, given_regression, mixture_of


def random(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape))


def with_outlier(inputs):
    inputs = inputs.clone()
    inputs[3] *= 300  # nearly alone along its direction: its leverage is close to 1
    return inputs


def solved(x, y, strength):
    """Return the coefficients of a ridge regression with an intercept that is not penalized, and both means."""
    around = x - x.mean(axis=0)
    gram = around.T @ around + strength * np.eye(x.shape[1])
    return np.linalg.solve(gram, around.T @ (y - y.mean(axis=0))), x.mean(axis=0), y.mean(axis=0)


def strength_of(x, penalty):
    around = x - x.mean(axis=0)
    return penalty * np.square(around).sum() / len(x)


CASES = {
    "more slides than channels": (random(20, 4), random(20, 2, seed=1)),
    "more channels than slides": (random(9, 30), random(9, 2, seed=1)),
    "one target": (random(12, 5), random(12, 1, seed=1)),
    "an outlier": (with_outlier(random(15, 3)), random(15, 2, seed=1)),
    "a constant channel": (torch.cat([random(15, 3), torch.full((15, 1), 7.0)], dim=1), random(15, 2, seed=1)),
    "an offset": (random(15, 3) + 1000, random(15, 2, seed=1) + 50),
    "a channel that is there twice": (random(15, 3)[:, [0, 1, 2, 2]], random(15, 2, seed=1)),
}


@pytest.mark.parametrize("penalty", [1e-3, 0.1, 30.0])
@pytest.mark.parametrize("case", CASES)
def test_predictions_of_left_out_rows_are_those_of_regressions_without_them(monkeypatch, case, penalty):
    monkeypatch.setattr(ridge, "PENALTIES", (penalty,))
    inputs, targets = CASES[case]
    x, y = inputs.numpy(), targets.numpy()
    expected, of_mean = [], []
    for row in range(len(x)):
        others = np.arange(len(x)) != row
        coefficients, centre, mean = solved(x[others], y[others], strength_of(x, penalty))
        expected.append((x[row] - centre) @ coefficients + mean - y.mean(axis=0))
        of_mean.append(mean - y[row])
    found = fit_ridge(inputs, targets)
    np.testing.assert_allclose(found.left_out, expected, atol=1e-6)
    errors = np.array(expected) + y.mean(axis=0) - y
    assert found.error == pytest.approx(np.square(errors).sum() / np.square(of_mean).sum(), rel=1e-6)


@pytest.mark.parametrize("penalty", [1e-3, 0.1, 30.0])
@pytest.mark.parametrize("case", CASES)
def test_coefficients_and_intercept_are_those_of_the_normal_equations(monkeypatch, case, penalty):
    monkeypatch.setattr(ridge, "PENALTIES", (penalty,))
    inputs, targets = CASES[case]
    coefficients, centre, mean = solved(inputs.numpy(), targets.numpy(), strength_of(inputs.numpy(), penalty))
    found = fit_ridge(inputs, targets)
    np.testing.assert_allclose(found.coefficients, coefficients, atol=1e-6)
    np.testing.assert_allclose(found.intercept, mean - centre @ coefficients, atol=1e-4)


@pytest.mark.parametrize("noise", [0.01, 1.0, 100.0])
def test_the_penalty_has_the_lowest_error_of_all(monkeypatch, noise):
    inputs = random(25, 10)
    targets = inputs[:, :2] + noise * random(25, 2, seed=2)
    chosen, errors = fit_ridge(inputs, targets), []
    for penalty in ridge.PENALTIES:
        with monkeypatch.context() as patch:
            patch.setattr(ridge, "PENALTIES", (penalty,))
            errors.append(fit_ridge(inputs, targets).error)
    assert chosen.error == min(errors)


def test_channels_of_zeros_change_nothing_whichever_product_is_decomposed():
    inputs, targets = random(12, 5), random(12, 2, seed=1)
    tall, wide = fit_ridge(inputs, targets), fit_ridge(torch.cat([inputs, torch.zeros(12, 40)], dim=1), targets)
    torch.testing.assert_close(wide.left_out, tall.left_out)
    torch.testing.assert_close(wide.coefficients[:5], tall.coefficients)
    assert wide.error == pytest.approx(tall.error)


@pytest.mark.parametrize("rows", [2, 3, 10])
@pytest.mark.parametrize(
    ("inputs", "targets"), [("constant", "random"), ("random", "constant"), ("constant", "constant")]
)
def test_values_without_information_give_finite_results_and_no_knowledge(rows, inputs, targets):
    values = {"constant": torch.full((rows, 3), 5.0), "random": random(rows, 3)}
    found = fit_ridge(values[inputs], values[targets])
    assert all(bool(each.isfinite().all()) for each in (found.coefficients, found.intercept, found.left_out))
    assert found.error == pytest.approx(1.0 if targets == "random" else 0.0)
    weights = mixture_of([found.left_out] * 2, values[targets])
    assert weights.tolist() == [0, 0]


def test_the_mixture_is_the_best_one_with_weights_of_at_least_zero():
    targets = random(40, 1)
    good, fair = targets + 0.5 * random(40, 1, seed=1), targets + 1.0 * random(40, 1, seed=2)
    weights = mixture_of([good, fair], targets)
    around = targets - targets.mean()

    def error(first, second):
        return float((around - first * good - second * fair).square().sum())

    grid = np.linspace(0, 1.2, 121)
    best = min(((a, b) for a in grid for b in grid), key=lambda pair: error(*pair))
    np.testing.assert_allclose(weights, best, atol=0.01)
    assert 0 < weights[1] < weights[0]


def test_a_regression_that_is_wrong_has_no_weight_and_a_perfect_one_has_all():
    targets = random(30, 2)
    around = targets - targets.mean(dim=0)
    weights = mixture_of([-around, around], targets)
    torch.testing.assert_close(weights, torch.tensor([0.0, 1.0], dtype=torch.float64))
    assert mixture_of([-around], targets).tolist() == [0]


def test_weights_sum_to_less_than_one_where_a_regression_claims_too_much():
    targets = random(30, 1)
    assert float(mixture_of([2 * (targets - targets.mean())], targets).sum()) == pytest.approx(0.5)


def test_a_given_regression_has_one_factor_fitted_by_least_squares():
    inputs, targets = torch.tensor([[1.0], [2.0], [6.0]]), torch.tensor([[10.0], [20.0], [30.0]])
    found = given_regression(torch.tensor([[2.0]]), inputs, targets)
    # centered: inputs -2, -1, 3; predictions -4, -2, 6; targets -10, 0, 10; factor (40 + 60) / (16 + 4 + 36)
    factor = 100 / 56
    assert found.coefficients.tolist() == [[pytest.approx(2 * factor)]]
    assert found.left_out[:, 0].tolist() == pytest.approx([-4 * factor, -2 * factor, 6 * factor])
    assert found.error == pytest.approx(1 - 100**2 / 56 / 200)


def test_a_given_regression_that_contradicts_the_targets_is_not_used():
    found = given_regression(torch.tensor([[-1.0]]), torch.tensor([[1.0], [2.0]]), torch.tensor([[1.0], [2.0]]))
    assert not found.coefficients.any()
    assert not found.left_out.any()
    assert found.error == 1
