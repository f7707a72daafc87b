"""The files by which workers say that they are ready and alive."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from zocelery.errors import ServerUnreachableError
from zocelery.pulse import check_alive, check_ready

NOBODY = 65534


@pytest.fixture
def ready(tmp_path: Path) -> Path:
    return tmp_path / "worker.ready"


def test_a_worker_that_lives_is_ready(ready: Path):
    ready.write_text(f"{os.getpid()}\n")
    check_ready(ready)


def test_a_worker_that_has_died_is_not_ready(ready: Path):
    with subprocess.Popen(["true"]) as gone:
        gone.wait()
    ready.write_text(f"{gone.pid}\n")
    with pytest.raises(ServerUnreachableError, match="no worker is ready"):
        check_ready(ready)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can take another account")
def test_a_worker_of_another_account_is_ready():
    program = (
        "import os, tempfile; from pathlib import Path; "
        "from zocelery.pulse import check_ready; "
        "file = Path(tempfile.mkdtemp()) / 'ready'; file.write_text(str(os.getppid()));"
        f"os.setuid({NOBODY}); check_ready(file)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_file_that_nobody_touches_is_no_pulse(tmp_path: Path):
    file = tmp_path / "worker.alive"
    with pytest.raises(ServerUnreachableError, match="no worker has a pulse"):
        check_alive(file, 1.0)
    file.touch()
    check_alive(file, 60.0)
    os.utime(file, (0, 0))
    with pytest.raises(ServerUnreachableError, match="the last pulse was"):
        check_alive(file, 60.0)
