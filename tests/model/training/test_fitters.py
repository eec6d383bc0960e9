from pipelines.model.networks.build import MODELS
from pipelines.model.training.fitters import FITTERS


def test_each_kind_of_model_has_a_fitter():
    assert FITTERS.keys() == MODELS.keys()
