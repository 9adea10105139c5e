"""What is deployed, read once: the files of deploy/, and what a server makes of the variables in them."""

import re
from functools import cache
from pathlib import Path

import hcl2
import pytest
import yaml

from bff.config import settings
from bff.kept import IN_FILES, take_files
from bff.upstreams.services import SERVICES

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
QUOTELESS = hcl2.SerializationOptions(strip_string_quotes=True, with_comments=False, explicit_blocks=False)
# As a secret looks that is there.
KEPT = {
    **dict.fromkeys(("BFF_POSTGRES_URL", "BFF_POSTGRES_ADMIN_URL"), "postgresql://bff_server:x@a:5432,b:5432/bff"),
    **dict.fromkeys(("BFF_REDIS_SESSION_URL", "BFF_REDIS_CACHE_URL"), "rediss://default:x@a:6378"),
}


@pytest.fixture(scope="session")
def known():
    """Every variable that the server reads: those of its settings, and those that tell it where to look for others."""
    source = (ROOT / "bff" / "config.py").read_text(encoding="utf-8")
    named = set(re.findall(r"\bBFF_[A-Z_]+\b", source)) | {"BFF_ESTATE_URL"}
    named |= {f"BFF_UPSTREAM_{service.upper().replace('-', '_')}_URL" for service in (*SERVICES, "pubsub")}
    return named | {f"{name}_FILE" for name in IN_FILES}


@cache
def told(path):
    """A YAML file of deploy/, whole."""
    return yaml.safe_load((DEPLOY / path).read_text(encoding="utf-8"))


@pytest.fixture
def understood(tmp_path):
    """What a server understands by these variables. Raises `BadSetting` as it would."""

    def read(env):
        taken = dict(env)
        for name in IN_FILES:
            if f"{name}_FILE" in taken:
                path = tmp_path / name
                path.write_text(KEPT.get(name, "x"))
                taken[f"{name}_FILE"] = str(path)
        take_files(taken)
        return settings(taken, SERVICES)

    return read


@pytest.fixture
def compose():
    return told("compose.yaml")


@pytest.fixture
def run_service():
    return told("cloudrun/service.yaml")


@cache
def _terraform():
    found = {}
    for path in sorted((DEPLOY / "terraform").glob("*.tf")):
        for kind, blocks in hcl2.loads(path.read_text(encoding="utf-8"), serialization_options=QUOTELESS).items():
            found.setdefault(kind, []).extend(blocks)
    return found


@pytest.fixture
def terraform():
    """All blocks of terraform/, by their kind."""
    return _terraform()


@pytest.fixture
def resource(terraform):
    """The arguments of one resource."""

    def found(kind, name):
        (one,) = [block[kind][name] for block in terraform["resource"] if name in block.get(kind, {})]
        return one

    return found
