"""compose.yaml: it is one, every container is held, and the servers in it understand what they are told."""

import re
import shutil
import stat
import subprocess
from fnmatch import fnmatch
from pathlib import Path

import jsonschema
import pytest
import yaml
from check_jsonschema.builtin_schemas import get_builtin_schema

from bff.config import bind, settings
from bff.kept import take_files
from bff.serve import GRACE_SECONDS
from bff.upstreams.services import SERVICES

DEPLOY = Path(__file__).parents[2] / "deploy"
SERVERS = ("bff-1", "bff-2")
NODES = ("redis-session-1", "redis-session-2", "redis-session-3")
SENTINELS = ("sentinel-1", "sentinel-2", "sentinel-3")


def directives(name):
    lines = (DEPLOY / "redis" / f"{name}.conf").read_text(encoding="utf-8").splitlines()
    return dict(line.split(" ", 1) for line in lines if line and not line.startswith("#"))


def test_it_is_what_the_specification_of_compose_says(compose):
    jsonschema.Draft7Validator(get_builtin_schema("vendor.compose-spec")).validate(compose)


def test_there_is_everything_that_the_server_lives_with(compose):
    needed = {
        *SERVERS,
        *NODES,
        *SENTINELS,
        "redis-cache",
        "postgres-1",
        "postgres-2",
        "estate",
        "prometheus",
        "grafana",
    }
    assert needed <= set(compose["services"])


def test_every_container_is_held(compose):
    for name, service in compose["services"].items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert "privileged" not in service, name
        assert not any("docker.sock" in str(volume) for volume in service.get("volumes", ())), name


def test_everything_that_goes_on_says_whether_it_is_well(compose):
    for name, service in compose["services"].items():
        by_its_image = name in SERVERS  # deploy/Dockerfile has its HEALTHCHECK
        assert by_its_image or "healthcheck" in service, name


def test_who_waits_for_another_waits_until_that_one_can_be_used(compose):
    for name, service in compose["services"].items():
        for other, how in service.get("depends_on", {}).items():
            goes_on = compose["services"][other].get("restart") != "no"
            expected = "service_healthy" if goes_on else "service_completed_successfully"
            assert how["condition"] == expected, f"{name} waits for {other}"


def test_the_servers_understand_what_they_are_told(compose, known, understood):
    for name in SERVERS:
        env = compose["services"][name]["environment"]
        assert set(env) <= known, name
        found = {f"BFF_UPSTREAM_{one.upper().replace('-', '_')}_URL": env["BFF_ESTATE_URL"] for one in SERVICES}
        told = understood({**env, **found, "BFF_AUDIT_KEY": "A" * 43})
        assert told.edge.port == 8080
        assert told.ops_token is not None and told.internal_token is not None
        assert told.public_origin == "http://localhost:8080"
    migrated = compose["services"]["migrate"]["environment"]
    assert set(migrated) == {"BFF_POSTGRES_ADMIN_URL_FILE"} <= known


def test_proxies_are_believed_in_the_network_that_the_proxy_is_in_and_nowhere_else(compose):
    (front,) = compose["networks"]["front"]["ipam"]["config"]
    assert compose["services"]["bff-1"]["environment"]["BFF_TRUSTED_PROXIES"] == front["subnet"]
    assert "front" in compose["services"]["edge"]["networks"]


def test_a_server_has_the_time_that_it_needs_to_drain(compose):
    for name in SERVERS:
        assert "init" in compose["services"][name], "who is the first process gets no signal that it does not ask for"
        seconds = int(compose["services"][name]["stop_grace_period"].removesuffix("s"))
        assert seconds > GRACE_SECONDS + 3


def test_every_secret_is_a_file_that_the_script_makes_and_stands_in_no_variable(compose, tmp_path):
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not here")
    shutil.copy(DEPLOY / "secrets" / "make.sh", tmp_path)
    subprocess.run(["sh", tmp_path / "make.sh"], check=True)
    made = {path.name: path.read_text() for path in tmp_path.iterdir() if path.name != "make.sh"}
    assert {one["file"].removeprefix("secrets/") for one in compose["secrets"].values()} <= set(made)
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700
    subprocess.run(["sh", tmp_path / "make.sh"], check=True)
    assert made == {name: (tmp_path / name).read_text() for name in made}, "a second time it makes nothing anew"
    for service in compose["services"].values():
        env = service.get("environment", {})
        used = re.findall(r"/run/secrets/([a-z_]+)", str(env))
        assert set(used) <= set(service.get("secrets", ()))
        hidden = {name: value for name, value in env.items() if re.search("PASSWORD|TOKEN|KEY|_URL_FILE", name)}
        assert all(value.startswith("/run/secrets/") for value in hidden.values()), hidden


def test_the_secrets_that_the_script_makes_are_understood(compose, tmp_path):
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not here")
    shutil.copy(DEPLOY / "secrets" / "make.sh", tmp_path)
    subprocess.run(["sh", tmp_path / "make.sh"], check=True)
    env = {
        name: str(value).replace("/run/secrets", str(tmp_path))
        for name, value in compose["services"]["bff-1"]["environment"].items()
    }
    env |= {f"BFF_UPSTREAM_{one.upper().replace('-', '_')}_URL": env["BFF_ESTATE_URL"] for one in SERVICES}
    take_files(env)
    told = settings(env, SERVICES)
    assert told.audit_key is not None
    assert "@postgres-1:5432,postgres-2:5432/bff?target_session_attrs=read-write" in told.postgres.value
    assert told.redis_session.value.endswith("@session:6379")
    assert told.redis_cache.value.endswith("@redis-cache:6379")


def test_only_this_machine_reaches_what_is_published(compose):
    for name, service in compose["services"].items():
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:"), name
            assert "outside" in service["networks"], name
    inner = {name for name, told in compose["networks"].items() if (told or {}).get("internal")}
    assert inner == {"front", "back", "watch"}


def test_images_name_a_version_and_no_registry(compose):
    for name, service in compose["services"].items():
        variable, default = re.fullmatch(r"\$\{([A-Z]+_IMAGE):-([^}]+)\}", service["image"]).groups()
        assert "." not in default.partition(":")[0], f"{name} names a registry"
        assert variable == "BACKOFFICE_IMAGE" or re.search(r":v?\d+\.\d+(\.\d+)?", default), name


# -- the stores --------------------------------------------------------------------------------------------------------


def test_the_session_tier_evicts_nothing_and_the_cache_does_f28_f41():
    session, cache = directives("session"), directives("cache")
    assert session["maxmemory-policy"] == "noeviction"
    assert session["appendonly"] == "yes"
    assert cache["maxmemory-policy"] == "allkeys-lru"
    assert all("maxmemory" in one for one in (session, cache))


def test_a_primary_that_nobody_follows_takes_no_writes_and_is_not_asked_f19(compose):
    session = directives("session")
    assert int(session["min-replicas-to-write"]) == 1
    assert len(NODES) - 1 >= int(session["min-replicas-to-write"]) + 1, "one may fail, and the rest can be written to"
    proxy = (DEPLOY / "haproxy" / "session.cfg").read_text(encoding="utf-8")
    asked = re.search(r"expect rstring (.*)", proxy)[1]
    node = "# Replication\r\nrole:{}\r\nconnected_slaves:{}\r\nmin_slaves_good_slaves:{}\r\n"
    assert re.search(asked, node.format("master", 2, 1))
    assert not re.search(asked, node.format("master", 0, 0)), "one that was frozen and is back"
    assert not re.search(asked, node.format("slave", 0, 0))
    assert re.findall(r"^    server (\S+) \1:6379$", proxy, re.MULTILINE) == list(NODES)
    assert re.search(r"sentinel monitor session redis-session-1 6379 2$", sentinel(), re.MULTILINE), "two of three"
    assert all(name in compose["services"] for name in SENTINELS)


def sentinel():
    return (DEPLOY / "redis" / "sentinel.conf").read_text(encoding="utf-8")


def test_the_proxy_in_front_asks_for_readiness_and_whoever_lives_where_nobody_is_ready_f18(compose):
    front = (DEPLOY / "haproxy" / "edge.cfg").read_text(encoding="utf-8")
    ready, living = front.partition("backend servers")[2].split("backend living")
    assert "uri /readyz" in ready and "uri /livez" in living
    assert "use_backend living if { nbsrv(servers) eq 0 }" in front
    ops = bind(compose["services"]["bff-1"]["environment"]["BFF_OPS_BIND"]).port
    for part in (ready, living):
        assert f"check port {ops} " in part
        assert re.findall(r"^    server (\S+) \1:8080$", part, re.MULTILINE) == list(SERVERS)
    assert front.index("del-header X-Forwarded-For") < front.index("set-header X-Forwarded-For")


def test_one_node_of_postgres_follows_the_other_by_a_slot_and_can_take_its_place_f20(compose):
    first, second = (compose["services"][name] for name in ("postgres-1", "postgres-2"))
    assert first["environment"]["FOLLOWS"] == "${POSTGRES_1_FOLLOWS:-}"
    assert second["environment"]["FOLLOWS"] == "${POSTGRES_2_FOLLOWS-postgres-1}", "empty when it was promoted"
    start, made = ((DEPLOY / "postgres" / name).read_text() for name in ("start.sh", "first.sh"))
    assert "--slot=standby" in start and "--write-recovery-conf" in start
    assert "pg_create_physical_replication_slot('standby', true)" in made
    assert first["volumes"][0] != second["volumes"][0]


def test_prometheus_reads_both_servers_with_their_token_and_has_the_rules(compose):
    service = compose["services"]["prometheus"]
    assert "./prometheus/rules:/etc/prometheus/rules:ro" in service["volumes"]
    told = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text(encoding="utf-8"))
    assert any(
        fnmatch("/etc/prometheus/rules/app.yaml", f"/etc/prometheus/{name}")
        or fnmatch("/etc/prometheus/rules/app.yaml", name)
        for name in told["rule_files"]
    )
    (job,) = [one for one in told["scrape_configs"] if "bff-1:9090" in str(one["static_configs"])]
    assert {"bff-1:9090", "bff-2:9090"} <= {target for one in job["static_configs"] for target in one["targets"]}
    token = job["authorization"]["credentials_file"]
    assert token.removeprefix("/run/secrets/") in service["secrets"]


def test_grafana_has_both_boards(compose):
    boards = [volume for volume in compose["services"]["grafana"]["volumes"] if volume.endswith(".json:ro")]
    for volume in boards:
        assert (DEPLOY / volume.split(":")[0]).is_file()
    assert len(boards) == 2


def test_every_file_that_is_mounted_is_there(compose):
    for name, service in compose["services"].items():
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            assert source in compose["volumes"] or (DEPLOY / source).exists(), f"{name}: {source}"
