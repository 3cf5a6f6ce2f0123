"""What docker-compose.yml says of every service, and of passwords; the stack itself runs in tests/compose."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
STACK: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = STACK["services"]
SECRET = re.compile(r"PASSWORD|SECRET|TOKEN")


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_has_no_rights_that_it_does_not_need(name: str) -> None:
    service = SERVICES[name]
    assert service["user"].startswith("${TUNER_USER:?")
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert {"mem_limit", "pids_limit", "logging"} <= service.keys()
    assert not {"privileged", "container_name", "cap_add"} & service.keys()
    assert "docker.sock" not in str(service)
    assert "latest" not in service["image"]


@pytest.mark.parametrize("name", SERVICES)
def test_what_runs_for_long_is_asked_whether_it_works(name: str) -> None:
    runs_for_long = SERVICES[name]["restart"] == "unless-stopped"
    assert runs_for_long == (name not in ("migrate", "tuner"))
    assert ("healthcheck" in SERVICES[name]) == runs_for_long


@pytest.mark.parametrize("name", SERVICES)
def test_passwords_come_by_file(name: str) -> None:
    service = SERVICES[name]
    for variable, value in service["environment"].items():
        if SECRET.search(variable):
            assert variable.endswith("_FILE")
            assert value.removeprefix("/run/secrets/") in service["secrets"]
        assert not re.search(r"://[^/]*:[^/]*@", value)
    if name.startswith("worker"):
        assert service["secrets"] == ["tuner"]


def test_only_pages_are_reached_from_outside_and_only_from_this_machine() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published == {
        "mlflow": ["127.0.0.1:${MLFLOW_PORT:-5000}:5000"],
        "dashboard": ["127.0.0.1:${DASHBOARD_PORT:-8080}:8080"],
    }
    assert STACK["networks"]["back"] == {"internal": True}
    assert {name for name, service in SERVICES.items() if service["networks"] != ["back"]} == published.keys()
    assert SERVICES["dashboard"]["profiles"] == ["dashboard"]


def test_workers_do_without_mlflow() -> None:
    for name in ("worker", "worker-gpu", "forwarder"):
        assert SERVICES[name]["depends_on"].keys() == {"migrate", "postgres"}


def test_the_example_of_settings_lists_all_of_them_and_no_password() -> None:
    used = set(re.findall(r"\$\{(\w+)", (ROOT / "docker-compose.yml").read_text()))
    listed = re.findall(r"^(?:# )?(\w+)=(.*)$", (ROOT / ".env.example").read_text(), re.MULTILINE)
    assert {name for name, _ in listed} == used
    assert not [name for name, _ in listed if SECRET.search(name)]
    for name, default in listed:
        stated = set(re.findall(rf"\$\{{{name}:-([^}}]*)\}}", (ROOT / "docker-compose.yml").read_text()))
        assert stated <= {default}
