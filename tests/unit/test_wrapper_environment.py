from pathlib import Path

from zocelery_tasks.wrappers.environment import program_environment


def test_secrets_and_the_python_of_the_worker_stay_out() -> None:
    base = {
        "ZOCELERY_BROKER_URL": "amqp://u:secret@h",
        "PYTHONPATH": "/x",
        "VIRTUAL_ENV": "/x",
        "HOME": "/home/u",
    }
    found = program_environment({"A": "b"}, base)
    assert found.keys() == {"HOME", "A", "HDF5_PLUGIN_PATH"}


def test_programs_with_their_own_hdf5_find_filters() -> None:
    folder = Path(program_environment({}, {})["HDF5_PLUGIN_PATH"])
    assert any("lz4" in file.name or "bshuf" in file.name for file in folder.iterdir())
    given = {"HDF5_PLUGIN_PATH": "/own"}
    assert program_environment({}, given) == given
