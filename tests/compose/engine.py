"""A Docker engine, and the images that the stack is made of.

The engine that answers is used; else Debian's is started by hand, as root. Base images come from the registry; where none can be
reached they are made of Debian's packages. What took long stays in `KEPT` for the next time.
"""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
KEPT = Path("/var/tmp/keras-lanes-tuner")
KEPT_LAYERS = "12GB"
SYSTEM = "ca-certificates,python3,python3-venv,postgresql,libnss-wrapper"
MIRROR = "http://deb.debian.org/debian"
OFFICIAL = {"PYTHON_IMAGE": "python:3.12-slim-bookworm", "POSTGRES_IMAGE": "postgres:17-bookworm"}
LOCAL = {"PYTHON_IMAGE": "keras-lanes-tuner-local/python", "POSTGRES_IMAGE": "keras-lanes-tuner-local/postgres"}
IMAGE = "keras-lanes-tuner:test"


def run(*command: str, env: Mapping[str, str], folder: Path = REPOSITORY, within: float = 300) -> str:
    """Standard output and error of a command that must succeed."""
    done = subprocess.run(command, cwd=folder, env=env, text=True, capture_output=True, timeout=within, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout + done.stderr


def docker() -> str:
    """Debian's client where there is one: it builds without a plug-in."""
    return "/usr/bin/docker" if Path("/usr/bin/docker").exists() else "docker"


def answers(env: Mapping[str, str]) -> bool:
    return subprocess.run([docker(), "info"], env=env, capture_output=True, check=False).returncode == 0


@contextmanager
def engine() -> Iterator[dict[str, str]]:
    """The environment in which `docker` works."""
    if shutil.which(docker()) is None:
        pytest.skip("THE STACK IS NOT TESTED: there is no docker here; apt-get install docker.io docker-compose debootstrap")
    env = {name: value for name, value in os.environ.items() if not name.startswith(("TUNER", "POSTGRES", "MLFLOW"))}
    env |= {"DOCKER_BUILDKIT": "1"}
    if answers(env):
        yield env
        return
    if os.geteuid() or shutil.which("dockerd") is None:
        pytest.skip("THE STACK IS NOT TESTED: no Docker engine answers, and only root can start one (Debian's docker.io)")
    env |= {"DOCKER_HOST": f"unix://{KEPT}/docker.sock"}
    with started(env):
        yield env


@contextmanager
def started(env: Mapping[str, str]) -> Iterator[None]:
    KEPT.mkdir(parents=True, exist_ok=True)
    places = ["--data-root", KEPT / "data", "--exec-root", KEPT / "exec", "--pidfile", KEPT / "pid", "--host", env["DOCKER_HOST"]]
    with (KEPT / "log").open("wb") as log:
        process = subprocess.Popen(["dockerd", *map(str, places)], stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 60
        while not answers(env):
            if process.poll() is not None or time.monotonic() > deadline:
                tail = (KEPT / "log").read_text().strip().splitlines()[-1]
                pytest.skip(f"THE STACK IS NOT TESTED: the Docker engine does not start here: {tail}")
            time.sleep(0.1)
        yield
        run(docker(), "image", "prune", "--force", env=env)
        run(docker(), "builder", "prune", "--force", "--keep-storage", KEPT_LAYERS, env=env)
    finally:
        process.terminate()
        process.wait(60)


def bases(env: Mapping[str, str]) -> dict[str, str]:
    """The base images by the build arguments that name them."""
    pulled = [subprocess.run([docker(), "pull", name], env=env, capture_output=True, check=False) for name in OFFICIAL.values()]
    if not any(one.returncode for one in pulled):
        return OFFICIAL
    if not run(docker(), "images", "--quiet", LOCAL["PYTHON_IMAGE"], env=env):
        if os.geteuid() or shutil.which("debootstrap") is None:
            pytest.skip("THE STACK IS NOT TESTED: no registry answers, and only root can make base images (Debian's debootstrap)")
        system = KEPT / "system"
        shutil.rmtree(system, ignore_errors=True)
        run("debootstrap", "--variant=minbase", f"--include={SYSTEM}", "bookworm", str(system), MIRROR, env=env, within=900)
        run("sh", "-c", f"tar -C {system} -c . | {docker()} import - {LOCAL['PYTHON_IMAGE']}", env=env)
        shutil.rmtree(system)
    postgres = str(Path(__file__).parent / "postgres")
    base = f"BASE={LOCAL['PYTHON_IMAGE']}"
    run(docker(), "build", "--build-arg", base, "--tag", LOCAL["POSTGRES_IMAGE"], postgres, env=env)
    return LOCAL


def build(env: Mapping[str, str], base: str, folder: Path) -> None:
    """Build the image as `docker compose build` does, with the settings of pip that hold here as secrets."""
    settings = {name[4:].lower().replace("_", "-"): value for name, value in env.items() if name.startswith("PIP_") and value}
    settings |= {"cert": "/run/secrets/ca"} if "cert" in settings else {}
    (folder / "pip.conf").write_text("\n".join(["[global]", *(f"{key} = {value}" for key, value in settings.items())]))
    secrets = ["--secret", f"id=pip,src={folder / 'pip.conf'}"]
    secrets += ["--secret", f"id=ca,src={env['PIP_CERT']}"] if env.get("PIP_CERT") else []
    arguments = ["--network", "host", "--target", "cpu", "--build-arg", f"PYTHON_IMAGE={base}", "--tag", IMAGE]
    run(docker(), "build", *arguments, *secrets, ".", env=env, within=1800)


def compose(env: Mapping[str, str]) -> list[str]:
    """Compose as it is installed here: the plug-in, or a program of its own."""
    plugin = subprocess.run([docker(), "compose", "version"], env=env, capture_output=True, check=False)
    if plugin.returncode == 0:
        return [docker(), "compose"]
    if shutil.which("docker-compose") is None:
        pytest.skip("THE STACK IS NOT TESTED: there is no docker-compose here")
    return ["docker-compose"]
