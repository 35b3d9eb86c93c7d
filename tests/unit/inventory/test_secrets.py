import json
import os
import pickle
import traceback
from pathlib import Path

import pytest

from mainstay.inventory.document import parse_document
from mainstay.inventory.secrets import Secret, SecretError, Secrets, check_reference, plaintext_secrets, resolve

VALUE = "hunter2-canary"


def private(path: Path, text: str = VALUE + "\n", mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def test_a_secret_does_not_show_itself() -> None:
    secret = Secret(VALUE)
    assert secret.reveal() == VALUE
    assert {str(secret), repr(secret), f"{secret}", f"{secret:>20}", f"{[secret]}"} == {"***", "[***]"}
    assert secret == Secret(VALUE)
    assert secret != Secret("other")
    assert secret != VALUE
    for write in (pickle.dumps, json.dumps, hash):
        with pytest.raises(TypeError) as caught:
            write(secret)
        assert VALUE not in str(caught.value)


def test_each_kind_of_reference_gives_its_value(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    private(tmp_path / "pw")
    monkeypatch.setenv("MAINSTAY_TEST_PW", VALUE)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    references = [
        "file:pw",
        f"file:{tmp_path}/pw",
        "env:MAINSTAY_TEST_PW",
        "systemd:pw",
        f"command:printf '%s\\n' {VALUE}",
        "command:cat pw",
    ]
    assert [resolve(reference, tmp_path).reveal() for reference in references] == [VALUE] * len(references)


def test_a_key_keeps_its_lines(tmp_path: Path) -> None:
    private(tmp_path / "key", "-----BEGIN\nx\n-----END\n")
    assert resolve("file:key", tmp_path).reveal() == "-----BEGIN\nx\n-----END\n"


def test_a_home_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    private(tmp_path / "pw")
    assert resolve("file:~/pw", tmp_path / "site").reveal() == VALUE


def test_a_file_that_is_not_there_says_how_it_is_made(tmp_path: Path) -> None:
    with pytest.raises(SecretError) as caught:
        resolve("file:secrets/it is", tmp_path)
    assert f"openssl rand -base64 32 > '{tmp_path}/secrets/it is'" in (caught.value.hint or "")


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o622])
def test_a_secret_file_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    private(tmp_path / "pw", mode=mode)
    with pytest.raises(SecretError, match=f"mode {mode:04o}") as caught:
        resolve("file:pw", tmp_path)
    assert caught.value.hint
    assert "chmod 600" in caught.value.hint


@pytest.mark.parametrize("content", ["", "\n", " \r\n"])
def test_an_empty_secret_is_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "s").touch(mode=0o600)
    (tmp_path / "s").write_text(content)
    with pytest.raises(SecretError, match="file:s: is empty"):
        resolve("file:s", tmp_path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_secret_file_of_another_user_is_refused(tmp_path: Path) -> None:
    os.chown(private(tmp_path / "pw"), 12345, 12345)
    with pytest.raises(SecretError, match="another user"):
        resolve("file:pw", tmp_path)


@pytest.mark.parametrize(
    "reference",
    [
        "file:missing",
        "file:.",
        "file:fifo",
        "file:binary",
        "env:MAINSTAY_NOT_SET",
        "systemd:missing",
        "command:false",
        f"command:sh -c 'echo {VALUE}; echo {VALUE} >&2; exit 3'",
        "command:/no/such/program",
        "command:true",
        "command:sh -c 'printf \"\\377\"'",
    ],
)
def test_what_can_not_be_had_is_told_without_the_value(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reference: str
) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    os.mkfifo(tmp_path / "fifo", 0o600)
    (tmp_path / "binary").write_bytes(b"\xff")
    (tmp_path / "binary").chmod(0o600)
    with pytest.raises(SecretError) as caught:
        resolve(reference, tmp_path)
    assert caught.value.exit_code == 2
    assert VALUE not in "".join(traceback.format_exception(caught.value)).replace(reference, "")
    assert VALUE not in caught.value.message


def test_a_command_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mainstay.inventory.secrets.COMMAND_DEADLINE", 0.2)
    with pytest.raises(SecretError, match="nothing within") as caught:
        resolve(f"command:sh -c 'echo {VALUE}; exec sleep 60'", tmp_path)
    assert caught.value.__context__ is None or caught.value.__suppress_context__


def test_a_reference_is_resolved_once(tmp_path: Path) -> None:
    secrets = Secrets(tmp_path)
    reference = "command:sh -c 'echo x >> count; wc -l < count'"
    assert secrets.resolve(reference).reveal() == secrets.resolve(reference).reveal() == "1"


@pytest.mark.parametrize("text", [VALUE, "", "file:", "env:A B", "ansible-vault:x", "command:'", f"nothing:{VALUE}"])
def test_what_is_no_reference_is_refused_without_being_shown(text: str) -> None:
    with pytest.raises(ValueError, match=r"secret|reference|takes|available") as caught:
        check_reference(text)
    assert VALUE not in str(caught.value)


def test_secrets_in_plain_text_are_found_everywhere_in_a_file() -> None:
    text = f"""
a: {{password: {VALUE}, user: x}}
b: [{{api_key: {VALUE}}}, {{db_password: 12345}}]
c: postgresql://mainstay:{VALUE}@db/x
d: "-----BEGIN OPENSSH PRIVATE KEY-----\\n{VALUE}"
e: smoke --password {VALUE}
fine: {{x: "--password-file=/x --token", password: file:pw, passphrase: env:X, key: http://host:80/x, bypass: yes, token: ~}}
"""
    problems = plaintext_secrets(parse_document(text.encode(), "f.yml").spot())
    assert [problem.key for problem in problems] == ["a.password", "b.0.api_key", "b.1.db_password", "c", "d", "e"]
    assert [problem.line for problem in problems] == [2, 3, 3, 4, 5, 6]
    assert all(VALUE not in str(problem) and problem.hint for problem in problems)
