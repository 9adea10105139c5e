"""The edge's certificate: what is spoken with it, and what happens when its files change. Handshakes are in memory."""

import datetime
import os
import ssl

import pytest
import trio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from trio.testing import wait_all_tasks_blocked

from bff.facts import CertificateLooked
from bff.wire.certificate import EVERY, Certificate
from nurseries import listening, open_owner


def pair(number, password=None):
    """A certificate with that serial number, and its key, in PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "desk")])
    now = datetime.datetime.now(datetime.UTC)
    built = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    built = built.serial_number(number).not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1))
    coded = serialization.NoEncryption() if password is None else serialization.BestAvailableEncryption(password)
    pem = serialization.Encoding.PEM
    return (
        built.sign(key, hashes.SHA256()).public_bytes(pem),
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, coded),
    )


class Files:
    """Two files, as whoever renews certificates writes them."""

    def __init__(self, folder):
        self.paths = folder / "cert.pem", folder / "key.pem"

    def write(self, *contents):
        for path, content in zip(self.paths, contents, strict=True):
            beside = path.with_suffix(".new")
            beside.write_bytes(content)
            beside.replace(path)


@pytest.fixture
def files(tmp_path):
    found = Files(tmp_path)
    found.write(*pair(1))
    return found


def shaken(server, client=None):
    """The serial number of the certificate that a client sees, the version and the cipher that they agree on."""
    if client is None:
        client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = server.wrap_bio(up, down, server_side=True), client.wrap_bio(down, up, server_hostname="desk")
    for _ in range(6):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    seen = x509.load_der_x509_certificate(ends[1].getpeercert(binary_form=True))
    return seen.serial_number, ends[1].version(), ends[1].cipher()[0]


def only(version):
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    client.maximum_version = version
    return client


def test_what_is_spoken_has_forward_secrecy_and_is_authenticated_as_a_whole(files):
    context = Certificate(*files.paths).context
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    ciphers = context.get_ciphers()
    assert ciphers and all(one["aead"] for one in ciphers)
    assert all(one["protocol"] == "TLSv1.3" or one["name"].startswith("ECDHE-") for one in ciphers)
    assert context.options & ssl.OP_NO_RENEGOTIATION and context.options & ssl.OP_NO_COMPRESSION
    assert shaken(context)[:2] == (1, "TLSv1.3")
    assert shaken(context, only(ssl.TLSVersion.TLSv1_2))[1] == "TLSv1.2"


def test_who_knows_only_what_http_2_forbids_is_no_peer(files):
    client = only(ssl.TLSVersion.TLSv1_2)
    client.set_ciphers("ECDHE-ECDSA-AES128-SHA256:ECDHE-RSA-AES128-SHA256")
    with pytest.raises(ssl.SSLError):
        shaken(Certificate(*files.paths).context, client)


async def test_a_renewed_certificate_is_what_the_next_handshake_is_done_with_f23(autojump_clock, files):
    facts = []
    certificate = Certificate(*files.paths)
    with listening(facts.append):
        async with open_owner("certificate", bound=1) as owner:
            owner.supervise("certificate", certificate.serve, jitter=lambda: 0.0)
            await trio.sleep(10 * EVERY)
            assert facts == []
            files.write(*pair(2))
            await trio.sleep(EVERY)
            await wait_all_tasks_blocked()
            assert shaken(certificate.context)[0] == 2
            await trio.sleep(10 * EVERY)
    assert facts == [CertificateLooked("renewed", "")]


async def test_what_cannot_be_used_is_told_once_and_the_old_one_goes_on_till_there_is_a_better(autojump_clock, files):
    facts = []
    certificate = Certificate(*files.paths)
    (renewed, key), (_, another) = pair(2), pair(3)
    broken = ((renewed, another), (b"", key), (renewed[:100], key), pair(2, password=b"hush"))
    with listening(facts.append):
        for content in broken:
            files.write(*content)
            certificate.look()
            certificate.look()
            assert shaken(certificate.context)[0] == 1
        files.paths[0].unlink()
        certificate.look()
        assert shaken(certificate.context)[0] == 1
        files.write(renewed, key)
        certificate.look()
        assert shaken(certificate.context)[0] == 2
    assert [fact.what for fact in facts] == ["unusable"] * 5 + ["renewed"]
    assert all("\n" not in fact.why and str(files.paths[0]) in fact.why for fact in facts[:-1])
    assert not any("hush" in fact.why for fact in facts)


def test_a_link_that_is_turned_to_another_file_is_a_renewal(tmp_path, files):
    """As cert-manager and Kubernetes do it: what is named is a link to a link."""
    for number, name in ((1, "one"), (2, "two")):
        (tmp_path / name).mkdir()
        Files(tmp_path / name).write(*pair(number))
    (tmp_path / "current").symlink_to("one")
    certificate = Certificate(tmp_path / "current" / "cert.pem", tmp_path / "current" / "key.pem")
    (tmp_path / "next").symlink_to("two")
    os.replace(tmp_path / "next", tmp_path / "current")
    certificate.look()
    assert shaken(certificate.context)[0] == 2
