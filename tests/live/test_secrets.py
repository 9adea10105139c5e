"""A server that is told every secret there is, none of whose stores is there, and all that it says about that.

What is looked at is whatever anybody could read of it: both of its outputs, every view of its ops listener, the answers
of its edge, by TLS, and what commands print that are told the same secrets.
"""

import datetime
import json
import signal
import ssl
import urllib.error
import urllib.request

import pytest
from click.testing import CliRunner
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from bff.cli.main import bff as commands
from bff.config import AUDIT_KEY, variable
from bff.kept import IN_FILES
from bff.upstreams.services import LOCATED

PATIENCE = 20.0  # seconds; only a failure waits that long
NOBODY = "127.0.0.1:9"  # where nobody listens
SEED = "hush0000000000000000000000000000000000000AE"
SECRETS = {
    "BFF_OPS_TOKEN": "hush-ops-token",
    "BFF_INTERNAL_TOKEN": "hush-internal-token",
    "BFF_POSTGRES_URL": f"postgresql://bff:hush-postgres@{NOBODY}/bff",
    "BFF_POSTGRES_ADMIN_URL": f"postgresql://admin:hush-admin@{NOBODY}/bff",
    "BFF_REDIS_SESSION_URL": f"redis://:hush-session@{NOBODY}/0",
    "BFF_REDIS_CACHE_URL": f"redis://:hush-cache@{NOBODY}/0",
    "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Basic%20hush-collector",
}
VIEWS = ("/livez", "/readyz", "/metrics", "/tasks", "/switches", "/probes", "/dead-letters", "/nothing")
SHOWN = {
    "authorization": "DPoP eyJodXNo.eyJodXNo.hush-access-token",
    "dpop": "eyJodXNo.eyJodXNo.hush-proof",
    "x-mfa-attestation": "eyJodXNo.eyJodXNo.hush-attestation",
    "idempotency-key": "hush-idempotency-key-0001",
    "content-type": "application/json",
}
SIGN_IN = b'{"tenant":"t","operator":"o","password":"hush-password","deviceId":7}'
COMMANDS = (("switches",), ("probe",), ("dlq", "list"), ("audit", "verify"), ("migrate",))


@pytest.fixture
def told(tmp_path):
    """The variables of such a server: each secret in a file of its own, and the audit key in one too."""
    for name, value in {**SECRETS, AUDIT_KEY: SEED}.items():
        (tmp_path / name).write_text(f"{value}\n")
    certified(tmp_path / "cert.pem", tmp_path / "key.pem")
    return {
        **{f"{name}_FILE": str(tmp_path / name) for name in SECRETS},
        **{variable(service): f"http://{NOBODY}" for service in LOCATED},
        AUDIT_KEY: str(tmp_path / AUDIT_KEY),
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{NOBODY}",
        "BFF_EDGE_BIND": "127.0.0.1:0",
        "BFF_OPS_BIND": "127.0.0.1:0",
        "BFF_TLS_CERT": str(tmp_path / "cert.pem"),
        "BFF_TLS_KEY": str(tmp_path / "key.pem"),
    }


def certified(certificate, key_file):
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "desk")])
    now = datetime.datetime.now(datetime.UTC)
    built = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    built = built.serial_number(1).not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1))
    pem = serialization.Encoding.PEM
    certificate.write_bytes(built.sign(key, hashes.SHA256()).public_bytes(pem))
    key_file.write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))


def asked(url, headers, body=None):
    """All that is said to a request: status, head and body."""
    trusting = ssl.create_default_context()
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    request = urllib.request.Request(url, data=body, headers=headers)
    try:
        answer = urllib.request.urlopen(request, timeout=5, context=trusting)
    except urllib.error.HTTPError as refused:
        answer = refused
    with answer:
        return answer.status, dict(answer.headers.items()), answer.read().decode()


def typed(env, *words):
    """What a command prints, whatever becomes of it, and its exit code."""
    unset = dict.fromkeys(SECRETS)  # and so again afterwards: a command puts there what files hold
    done = CliRunner().invoke(commands, words, env={**unset, **env})
    return done.exit_code, done.output


def test_nothing_that_a_server_or_a_command_says_has_any_of_its_secrets_in_it(bff, told):
    assert SECRETS.keys() == set(IN_FILES), "a secret that this test does not know"
    begun = bff("serve", "--json", **told)
    where = json.loads(begun.line())
    said = [str(where)]
    bearer = {"authorization": f"Bearer {SECRETS['BFF_OPS_TOKEN']}"}
    for view in VIEWS:
        status, *rest = asked(where["ops"] + view, bearer)
        assert status != 401
        said += map(str, rest)
        assert asked(where["ops"] + view, {"authorization": "Bearer another"})[0] == 401
    for path, body in (("/v1/session", SIGN_IN), ("/v1/folios/f/charges", b"{}"), ("/v1/dashboard", None)):
        status, head, body = asked(where["edge"] + path, SHOWN, body)
        assert status >= 400 and json.loads(body)["code"]
        assert head["strict-transport-security"] == "max-age=31536000"
        assert "server" not in {name.lower() for name in head}
        said += [str(head), body]
    for words in COMMANDS:
        ops = ("--ops", where["ops"]) if words[0] in {"switches", "probe", "dlq"} else ()
        options = ("--json",) if words[0] in {"switches", "probe", "audit"} else ()
        code, printed = typed(told, *words, *options, *ops)
        assert "Usage" not in printed and "both set" not in printed and code in {0, 1, 2}, printed
        said.append(printed)
    begun.process.send_signal(signal.SIGTERM)
    out, err = begun.process.communicate(timeout=PATIENCE)
    said += [out.decode(), err.decode()]
    assert "store changed" in err.decode()
    leaked = [text for text in said if "hush" in text or "eyJodXNo" in text]
    assert leaked == []


@pytest.mark.parametrize("name", [name for name in SECRETS if name.endswith("_URL") or name.startswith("OTEL")])
def test_a_secret_that_cannot_be_used_is_one_line_without_it(told, tmp_path, name):
    (tmp_path / name).write_text("mysql://me:hush-mistyped@nowhere\n")
    words = ("migrate",) if name == "BFF_POSTGRES_ADMIN_URL" else ("serve",)
    code, printed = typed(told, *words)
    assert code == 2 and (name in printed or "the URL of postgres" in printed)
    assert printed.count("\n") == 1 and "hush" not in printed
