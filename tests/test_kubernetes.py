"""The manifests of deploy/kubernetes against Kubernetes' own schema, without a cluster."""

from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

FOLDER = Path(__file__).parents[1] / "deploy" / "kubernetes"
FILES = sorted(path for path in FOLDER.rglob("*.yaml") if path.name != "kustomization.yaml")
RESOURCES: list[dict[str, Any]] = [resource for path in FILES for resource in yaml.safe_load_all(path.read_text())]
PODS = {r["metadata"]["name"]: r["spec"]["template"]["spec"] for r in RESOURCES if "template" in r["spec"]}


@pytest.mark.parametrize("resource", RESOURCES, ids=lambda resource: f"{resource['kind']} {resource['metadata']['name']}")
def test_a_resource_is_what_its_schema_says(resource: dict[str, Any]) -> None:
    assert kubernetes_validate.validate(resource, "1.37", strict=True)
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate({**resource, "spce": {}}, "1.37", strict=True)


def test_every_file_is_applied() -> None:
    for path in FILES:
        assert path.name in yaml.safe_load((path.parent / "kustomization.yaml").read_text())["resources"]


@pytest.mark.parametrize("name", PODS)
def test_a_pod_has_no_rights_that_it_does_not_need_and_passwords_by_file(name: str) -> None:
    pod = PODS[name]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert not pod["automountServiceAccountToken"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["resources"]["limits"]["memory"]
    assert ("readinessProbe" in container) == (name != "migrate")
    (passwords,) = (volume["secret"] for volume in pod["volumes"] if "secret" in volume)
    asked = {entry["value"].rpartition("/")[2] for entry in container["env"] if entry["name"].endswith("PASSWORD_FILE")}
    assert {item["path"] for item in passwords["items"]} == asked
    assert passwords["defaultMode"] == 0o440


def test_who_registers_winners_can_read_the_models_that_workers_keep() -> None:
    for name in ("forwarder", "worker", "worker-gpu"):
        (container,) = PODS[name]["containers"]
        (home,) = (mount for mount in container["volumeMounts"] if mount["mountPath"] == "/home/tuner")
        volume = next(volume for volume in PODS[name]["volumes"] if volume["name"] == home["name"])
        assert volume["persistentVolumeClaim"] == {"claimName": "checkpoints"}
        assert home.get("readOnly", False) == (name == "forwarder")
