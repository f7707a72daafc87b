from pathlib import Path

import pytest

from zocelery.errors import ConfigurationError
from zocelery.settings import load_settings


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_without_a_file_every_option_has_its_default():
    settings = load_settings(variables={})
    assert settings.environment == "default"
    assert settings.broker.queue_type == "classic"


def test_an_environment_lies_over_what_holds_for_all(tmp_path: Path):
    file = write(
        tmp_path / "z.toml",
        '[priority]\nlive = 7\n[environments.live.broker]\nurl = "amqp://live//"\n'
        '[environments.test.broker]\nurl = "amqp://test//"\n',
    )
    settings = load_settings(file, "live", {})
    assert settings.broker.url == "amqp://live//"
    assert settings.priority.live == 7


def test_a_variable_overrides_the_file(tmp_path: Path):
    file = write(tmp_path / "z.toml", "[priority]\nlive = 7\n")
    variables = {"ZOCELERY_PRIORITY_LIVE": "5", "ZOCELERY_CONFIG": str(file)}
    assert load_settings(variables=variables).priority.live == 5


def test_a_secret_is_read_from_the_file_that_is_named(tmp_path: Path):
    secret = write(tmp_path / "secret", "amqp://me:secret@host//\n")
    file = write(tmp_path / "z.toml", f'[broker]\nurl_file = "{secret}"\n')
    assert load_settings(file, variables={}).broker.url == "amqp://me:secret@host//"


def test_what_is_given_later_stands_in_for_the_secret_and_its_file(tmp_path: Path):
    file = write(tmp_path / "z.toml", '[broker]\nurl_file = "/not/for/us"\n')
    variables = {"ZOCELERY_BROKER_URL": "amqp://of-ones-own//"}
    assert load_settings(file, variables=variables).broker.url == "amqp://of-ones-own//"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[broker\n", "is not TOML"),
        ("[broker]\nurll = 1\n", "broker.urll"),
        ("[priority]\nlive = 11\n", r"priority.live.*11"),
        ('[broker]\nurl_file = "/no/such"\n', "/no/such"),
    ],
)
def test_a_mistake_in_the_file_is_named(tmp_path: Path, text: str, message: str):
    with pytest.raises(ConfigurationError, match=message):
        load_settings(write(tmp_path / "z.toml", text), variables={})


def test_an_environment_that_is_not_there_is_named_with_those_that_are(tmp_path: Path):
    file = write(tmp_path / "z.toml", "[environments.live]\n")
    with pytest.raises(ConfigurationError, match=r"'tset' is not there \(known: live"):
        load_settings(file, "tset", {})


def test_a_wrong_secret_is_not_shown(tmp_path: Path):
    file = write(tmp_path / "z.toml", "[broker]\nurl = 170617061706\n")
    with pytest.raises(ConfigurationError) as caught:
        load_settings(file, variables={})
    assert "170617061706" not in str(caught.value)
