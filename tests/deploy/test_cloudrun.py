"""cloudrun/service.yaml: what rows of the catalogue depend on there, and that the server understands its variables."""

import json
import re
from pathlib import Path

import pytest
import yaml

from bff.serve import GRACE_SECONDS

DEPLOY = Path(__file__).parents[2] / "deploy"
ENDS_WITHIN = 10.0  # seconds from SIGTERM to SIGKILL, which cannot be set
# What Terraform's outputs and the release say (deploy/README.md), as they would look.
FILLED = {
    "PROJECT": "example-hotels",
    "REGION": "europe-west1",
    "SERVICE": "bff-backoffice",
    "SERVICE_ACCOUNT": "bff-server@example-hotels.iam.example.com",
    "CONNECTOR": "projects/example-hotels/locations/europe-west1/connectors/bff",
    "HOST": "backoffice.example.com",
    "FALLBACK_HOST": "backoffice.example.net",
    "EDGE_ADDRESS": "192.0.2.10",
    "MIN_INSTANCES": "2",
    "MAX_INSTANCES": "20",
    "INSTANCE_BUDGET": "16",
    "PUSH_AUDIENCE": "https://backoffice.example.com/internal/events",
    "PUSH_ACCOUNT": "bff-pusher@example-hotels.iam.example.com",
    "IMAGE": "example/bff@sha256:0",
    "COLLECTOR_IMAGE": "example/collector@sha256:0",
}


@pytest.fixture(scope="module")
def service():
    """As it is sent, with everything filled in."""
    text = (DEPLOY / "cloudrun" / "service.yaml").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    return yaml.safe_load(re.sub(r"\$\{(\w+)\}", lambda found: FILLED[found[1]], "\n".join(lines)))


@pytest.fixture(scope="module")
def instance(service):
    """(annotations, spec) of what is begun."""
    template = service["spec"]["template"]
    return template["metadata"]["annotations"], template["spec"]


@pytest.fixture(scope="module")
def server(instance):
    (one,) = [container for container in instance[1]["containers"] if "ports" in container]
    return one


def given(server):
    """Its variables; of a secret, where it is."""
    return {one["name"]: one.get("value") or one["valueFrom"]["secretKeyRef"] for one in server["env"]}


def test_it_is_a_service_of_knative_s(service):
    assert (service["apiVersion"], service["kind"]) == ("serving.knative.dev/v1", "Service")


def test_the_server_understands_what_it_is_told(server, known, understood):
    env = given(server)
    assert set(env) <= known
    secret = {name for name, value in env.items() if isinstance(value, dict)}
    assert secret == {"BFF_POSTGRES_URL", "BFF_REDIS_SESSION_URL", "BFF_REDIS_CACHE_URL", "BFF_AUDIT_KEY"}
    kept = {f"{name}_FILE": "" for name in secret - {"BFF_AUDIT_KEY"}}
    plain = {name: value for name, value in env.items() if name not in secret}
    told = understood({**plain, **kept, "BFF_AUDIT_KEY": "A" * 43})
    assert told.public_origin == "https://backoffice.example.com"
    assert told.public_fallback == "https://backoffice.example.net"
    assert told.ops.loopback
    assert told.probe_halts
    assert told.pubsub_token.startswith("http://metadata.google.internal/")


def test_a_secret_is_one_of_terraform_s_at_a_version_that_stays(server, resource):
    names = set(
        resource("google_secret_manager_secret", "server")["for_each"].removeprefix("${toset([").split('"')[1::2]
    )
    for value in given(server).values():
        if isinstance(value, dict):
            assert value["name"] in names
            assert value["key"].isdecimal(), "`latest` is another one tomorrow"


def test_files_that_urls_name_are_secrets_too(instance, server, resource):
    names = set(
        resource("google_secret_manager_secret", "server")["for_each"].removeprefix("${toset([").split('"')[1::2]
    )
    volumes = {one["name"]: one["secret"] for one in instance[1]["volumes"]}
    for container in instance[1]["containers"]:
        for mount in container.get("volumeMounts", ()):
            assert volumes[mount["name"]]["secretName"] in names
    readme = (DEPLOY / "README.md").read_text(encoding="utf-8")
    for mount in server["volumeMounts"]:
        assert f"{mount['mountPath']}/ca.pem" in readme


def test_it_works_between_requests_and_keeps_a_stream_for_an_hour(instance):
    annotations, spec = instance
    assert annotations["run.googleapis.com/cpu-throttling"] == "false"
    assert spec["timeoutSeconds"] == 3600
    assert annotations["run.googleapis.com/sessionAffinity"] == "false"


def test_streams_leave_room_for_everything_else_f26(instance, server):
    streams = int(given(server)["BFF_STREAMS"])
    assert streams <= 0.8 * instance[1]["containerConcurrency"] <= 1000


def test_instances_have_a_least_and_a_most_which_are_terraform_s_f37_f39(instance):
    annotations = instance[0]
    assert annotations["autoscaling.knative.dev/minScale"] == FILLED["MIN_INSTANCES"]
    assert annotations["autoscaling.knative.dev/maxScale"] == FILLED["MAX_INSTANCES"]


def test_the_server_has_the_budget_that_the_platform_s_alert_has_f39_f40(server, terraform, resource):
    env = given(server)
    assert env["BFF_BUDGET_INSTANCES"] == FILLED["INSTANCE_BUDGET"]
    assert int(env["BFF_BUDGET_EGRESS"]) > 0
    (output,) = [one["cloudrun_env"]["value"] for one in terraform["output"] if "cloudrun_env" in one]
    assert "INSTANCE_BUDGET=${local.instance_budget}\n" in output
    ((condition,),) = [resource("google_monitoring_alert_policy", "instances")["conditions"]]
    assert condition["condition_threshold"][0]["threshold_value"] == "${local.instance_budget}"


def test_desks_come_by_the_load_balancer_alone_f24_f26(service):
    annotations = service["metadata"]["annotations"]
    assert annotations["run.googleapis.com/ingress"] == "internal-and-cloud-load-balancing"
    assert annotations["run.googleapis.com/invoker-iam-disabled"] == "true", "a desk has no account of Google's"


def test_stores_are_reached_privately(instance):
    annotations = instance[0]
    assert annotations["run.googleapis.com/vpc-access-connector"] == FILLED["CONNECTOR"]
    assert annotations["run.googleapis.com/vpc-access-egress"] == "private-ranges-only"


def test_it_is_restarted_when_its_loop_stands_and_not_when_a_store_is_down_f18_f20(server):
    port = int(given(server)["BFF_OPS_BIND"].rpartition(":")[2])
    for probe in ("startupProbe", "livenessProbe"):
        assert server[probe]["httpGet"] == {"path": "/livez", "port": port}
    assert server["startupProbe"]["periodSeconds"] * server["startupProbe"]["failureThreshold"] >= 20


def test_its_drain_is_over_before_it_is_killed_f37():
    assert GRACE_SECONDS + 2 <= ENDS_WITHIN


def test_metrics_are_read_beside_the_server(instance):
    annotations, spec = instance
    names = [container["name"] for container in spec["containers"]]
    assert json.loads(annotations["run.googleapis.com/container-dependencies"]) == {names[1]: [names[0]]}
    reading = yaml.safe_load((DEPLOY / "cloudrun" / "run-monitoring.yaml").read_text(encoding="utf-8"))
    (endpoint,) = reading["spec"]["endpoints"]
    assert (endpoint["port"], endpoint["path"]) == (9090, "/metrics")


def test_what_is_filled_in_is_what_terraform_gives_and_the_readme_names(terraform):
    (env,) = [one["cloudrun_env"]["value"] for one in terraform["output"] if "cloudrun_env" in one]
    outputs = set(re.findall(r"^\s*([A-Z_]+)=", env, re.MULTILINE))
    used = set(re.findall(r"\$\{(\w+)\}", (DEPLOY / "cloudrun" / "service.yaml").read_text(encoding="utf-8")))
    assert used == set(FILLED) - {"REGION"}
    assert set(FILLED) - outputs == {"IMAGE", "COLLECTOR_IMAGE"}
    readme = (DEPLOY / "README.md").read_text(encoding="utf-8")
    assert "`IMAGE` and `COLLECTOR_IMAGE`" in readme
