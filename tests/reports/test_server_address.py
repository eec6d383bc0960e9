import pytest

from pipelines.core.errors import BackendError
from pipelines.reports.backends.server_address import host_of, is_this_machine

LOCAL_HOSTS = [
    "127.0.0.1",
    "127.8.9.1",
    "127.1",
    "0.0.0.0",
    "0",
    "::",
    "::1",
    "::ffff:127.0.0.1",
    "localhost",
    "localhost.",
]


@pytest.mark.parametrize("url", ["localhost:8000/v1", "http://[bad", "http://", "ftp://host/v1", "/v1"])
def test_an_invalid_url_is_an_error_with_an_example(url):
    with pytest.raises(BackendError, match="not the URL of a server") as caught:
        host_of(url)
    assert "http://127.0.0.1:8000/v1" in caught.value.hint


def test_the_host_of_a_url_has_no_port_and_no_password():
    assert host_of("https://user:pa55@models.example.org:8443/v1") == "models.example.org"


@pytest.mark.parametrize("host", LOCAL_HOSTS)
def test_every_spelling_of_this_machine_is_recognised(host):
    assert is_this_machine(host)


@pytest.mark.parametrize(
    "host", ["192.168.0.1", "10.1", "8.8.8.8", "fe80::1", "localhost.example.org", "127.0.0.1.example.org", "ünï.org"]
)
def test_other_machines_are_not_this_machine(host):
    assert not is_this_machine(host)
