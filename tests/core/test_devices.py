"""Device names."""

import pytest

from pipelines.core.devices import pick_devices
from pipelines.core.errors import SettingsError


@pytest.mark.parametrize(
    ("names", "devices"),
    [("cpu", ["cpu"]), ("cpu:0,1", ["cpu", "cpu"]), ("cpu:0, cpu:1", ["cpu", "cpu"]), ("cpu,cpu", ["cpu", "cpu"])],
)
def test_a_list_of_devices_is_split_into_single_devices(names, devices):
    assert pick_devices(names) == devices


@pytest.mark.parametrize("names", ["quantum", "cpu,quantum", "0,1", ""])
def test_an_unavailable_device_is_refused(names):
    with pytest.raises(SettingsError, match="--device"):
        pick_devices(names)
