"""terraform/: it parses, it is formatted, and what rows of the catalogue depend on is what it says."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from bff.stores.postgres_line import CONNECTIONS
from bff.writes import mutation, telemetry
from chaos.hotel.catalogue import ROWS
from chaos.hotel.catalogue.row import Severity

DEPLOY = Path(__file__).parents[2] / "deploy"
TERRAFORM = DEPLOY / "terraform"
TEXT = "\n".join(path.read_text(encoding="utf-8") for path in sorted(TERRAFORM.glob("*.tf")))
BY_ID = {row.id: row for row in ROWS}


def test_it_is_formatted():
    if shutil.which("terraform") is None:
        pytest.skip("terraform is not here")
    done = subprocess.run(
        ["terraform", "fmt", "-check", "-diff", TERRAFORM], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_every_file_parses_and_says_what_it_is_for(terraform):
    assert len(terraform["resource"]) > 40
    for path in TERRAFORM.glob("*.tf"):
        assert path.read_text(encoding="utf-8").startswith("# "), path.name


def test_whatever_is_named_is_declared(terraform):
    declared = {f"{kind}.{name}" for block in terraform["resource"] for kind, named in block.items() for name in named}
    variables = {name for block in terraform["variable"] for name in block}
    values = {name for block in terraform["locals"] for name in block}
    code = "\n".join(line for line in TEXT.splitlines() if not line.lstrip().startswith("#"))
    assert set(re.findall(r"(?<!data\.)\b(google_\w+\.[a-z_]+)\b", code)) <= declared
    assert set(re.findall(r"\bvar\.([a-z_]+)", code)) == variables
    assert set(re.findall(r"\blocal\.([a-z_]+)", code)) == values


def test_every_variable_says_what_it_is_and_what_can_be_mistyped_is_validated(terraform):
    variables = {name: told for block in terraform["variable"] for name, told in block.items()}
    assert all(told["description"] and told["type"] for told in variables.values())
    validated = {name for name, told in variables.items() if "validation" in told}
    assert {"project", "region", "host", "fallback_host", "armor_stage", "max_instances", "pagers"} <= validated


def test_no_secret_and_nobody_s_project_is_in_it():
    assert not re.search(r"google_secret_manager_secret_version|google_sql_user|random_password", TEXT)
    assert not re.search(r"\b(?!sub)\w+\.(ghasi\.io|melmastoon)", TEXT)


# -- rows --------------------------------------------------------------------------------------------------------------


def test_the_session_tier_has_a_standby_and_evicts_nothing_f18_f19_f28_f41(resource):
    session = resource("google_redis_instance", "session")
    assert session["tier"] == "STANDARD_HA"
    assert session["redis_configs"]["maxmemory-policy"] == "noeviction"
    assert session["auth_enabled"] is True
    assert session["transit_encryption_mode"] == "SERVER_AUTHENTICATION"


def test_the_cache_is_another_instance_and_makes_room_f17(resource):
    cache = resource("google_redis_instance", "cache")
    assert cache["redis_configs"]["maxmemory-policy"] == "allkeys-lru"
    assert cache["auth_enabled"] is True


def test_the_ledger_has_a_standby_and_can_be_taken_back_to_any_second_f20(resource):
    ledger = resource("google_sql_database_instance", "ledger")
    (settings,) = ledger["settings"]
    (backup,) = settings["backup_configuration"]
    (network,) = settings["ip_configuration"]
    assert settings["availability_type"] == "REGIONAL"
    assert (backup["enabled"], backup["point_in_time_recovery_enabled"]) == (True, True)
    assert backup["transaction_log_retention_days"] == 7
    assert network["ipv4_enabled"] is False
    assert ledger["deletion_protection"] is True
    (flag,) = settings["database_flags"]
    assert flag == {"name": "max_connections", "value": f"${{tostring(var.max_instances * {CONNECTIONS} * 2 + 50)}}"}


def test_what_the_server_publishes_to_is_there_and_it_may_f22(resource):
    topics = resource("google_pubsub_topic", "events")["for_each"]
    assert set(re.findall(r'"([\w-]+)"', topics)) == {mutation.DOMAIN_EVENTS, telemetry.TOPIC}
    assert resource("google_pubsub_topic_iam_member", "server_publishes")["role"] == "roles/pubsub.publisher"


def test_pushes_are_signed_for_us_and_what_cannot_be_pushed_is_kept_f31_f38(resource):
    push = resource("google_pubsub_subscription", "platform")
    (config,) = push["push_config"]
    (token,) = config["oidc_token"]
    (dead,) = push["dead_letter_policy"]
    assert config["push_endpoint"] == "https://${var.host}/internal/events"
    assert token["service_account_email"] == "${google_service_account.pusher.email}"
    assert token["audience"] == "${local.push_audience}"
    assert dead["dead_letter_topic"] == "${google_pubsub_topic.dead.id}"
    assert resource("google_pubsub_subscription", "dead")["message_retention_duration"] == f"{7 * 86_400}s"
    for right in ("buries", "takes_away"):  # without these Pub/Sub itself may not move it
        kind = "google_pubsub_topic_iam_member" if right == "buries" else "google_pubsub_subscription_iam_member"
        assert resource(kind, right)["member"] == "${local.pubsub_agent}"


def rules(policy):
    (dynamic,) = policy["dynamic"]
    return [*policy["rule"], *dynamic["rule"]["content"]]


def test_whatever_refuses_is_in_preview_until_it_was_looked_at_f24(resource, terraform):
    policy = resource("google_compute_security_policy", "edge")
    refusing = [rule for rule in rules(policy) if rule["action"] != "allow"]
    assert len(refusing) == 4
    assert all(rule["preview"] == "${local.preview}" for rule in refusing)
    (preview,) = [block["preview"] for block in terraform["locals"] if "preview" in block]
    assert preview == '${var.armor_stage == "soak"}'
    (stage,) = [block["armor_stage"] for block in terraform["variable"] if "armor_stage" in block]
    assert stage["default"] == "soak"


def test_addresses_have_a_rate_and_rates_come_after_what_looks_into_requests_f26(resource, terraform):
    policy = resource("google_compute_security_policy", "edge")
    rated = {rule["priority"]: rule["rate_limit_options"][0] for rule in policy["rule"] if "rate_limit_options" in rule}
    assert len(rated) == 2
    assert all(limit["enforce_on_key"] == "IP" for limit in rated.values())
    (waf,) = [block["waf"] for block in terraform["locals"] if "waf" in block]
    assert max(int(priority) for priority in waf) < min(rated), "who keeps to a rate is let in, and asked nothing more"
    assert min(rule["priority"] for rule in policy["rule"]) >= 1000, "runbooks put rules by hand below that"


def test_there_are_two_names_in_two_zones_with_a_certificate_each_f23_f25(resource):
    zones = {resource("google_dns_record_set", name)["managed_zone"] for name in ("main", "fallback")}
    assert len(zones) == 2
    names = resource("google_certificate_manager_dns_authorization", "names")["for_each"]
    assert names == {"main": "${var.host}", "fallback": "${var.fallback_host}"}
    assert "managed" in resource("google_certificate_manager_certificate", "names"), "renewed by itself"
    assert resource("google_compute_ssl_policy", "modern")["min_tls_version"] == "TLS_1_2"


def test_what_cannot_be_seen_from_inside_is_seen_from_outside_f23_f24_f25_f39(resource):
    certificate = resource("google_monitoring_alert_policy", "certificate")
    assert set(certificate["for_each"]) == {"30", "7", "1"}
    (check,) = resource("google_monitoring_uptime_check_config", "names")["http_check"]
    assert (check["use_ssl"], check["validate_ssl"]) == (True, True)
    watched = {
        "unreachable": "F-25",
        "certificate": "F-23",
        "instances": "F-39",
        "refused": "F-24",
        "dead_pushes": "F-38",
    }
    for name, row in watched.items():
        policy = resource("google_monitoring_alert_policy", name)
        assert policy["user_labels"]["f"] == row.lower()
        assert policy["display_name"].startswith(BY_ID[row].alert)
        (said,) = policy["documentation"]
        assert f"deploy/runbooks/{BY_ID[row].runbook}.md" in said["content"]
        if BY_ID[row].severity is Severity.P1:
            assert "var.pagers" in str(policy["notification_channels"])


@pytest.mark.parametrize(
    "row", ["F-17", "F-18", "F-19", "F-20", "F-23", "F-24", "F-25", "F-26", "F-38", "F-39", "F-41"]
)
def test_a_mitigation_of_the_infrastructure_s_is_named_where_it_is(row):
    everything = TEXT + "".join(path.read_text() for path in (DEPLOY / "cloudrun").glob("*.yaml"))
    assert re.search(rf"#.*{row}\b", everything)
