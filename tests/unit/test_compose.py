"""What the compose files, the Dockerfile and their scripts promise.

The files are parsed, and where the real tool is a development dependency (docker-compose, hadolint) it is run. No image
is built and no container started here; `scripts/build-images` does that.
"""

from __future__ import annotations

import json
import re
import shutil
import socket
import stat
import subprocess
import sys
import threading
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from services.runtime.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = ROOT / "docker-compose.yml"
GPU = ROOT / "docker-compose.gpu.yml"
DOCKERFILE = ROOT / "deploy" / "Dockerfile"

OURS = ("perception", "memory", "reasoning", "controller", "gateway")
STORES = ("qdrant", "neo4j")
SECRET_NAME = re.compile(r"PASSWORD|TOKEN|API_?KEY|AUTH|SECRET", re.IGNORECASE)

Document = dict[str, Any]


def load(path: Path) -> Document:
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert isinstance(document, dict)
    return document


def development_tool(name: str) -> str:
    """The path of a program of the `dev` group, beside this interpreter or on PATH; skips where there is none."""
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.is_file() else shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed; `uv sync` brings it")
    return found


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, timeout=60)


@pytest.fixture(scope="module")
def services() -> dict[str, Document]:
    found: dict[str, Document] = load(COMPOSE)["services"]
    assert set(found) == {*OURS, *STORES}
    return found


# --- the network ------------------------------------------------------------------------------------------------------


def test_every_published_port_is_on_loopback(services: dict[str, Document]) -> None:
    published = [port for service in services.values() for port in service.get("ports", [])]
    assert published
    for port in published:
        assert re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port), port


def test_no_two_services_publish_the_same_port(services: dict[str, Document]) -> None:
    on_host = [port.split(":")[1] for service in services.values() for port in service.get("ports", [])]
    assert len(on_host) == len(set(on_host))


def test_only_memory_reaches_the_stores_and_they_reach_nothing(services: dict[str, Document]) -> None:
    assert load(COMPOSE)["networks"]["stores"]["internal"] is True
    for name, service in services.items():
        assert ("stores" in service["networks"]) == (name in {*STORES, "memory"}), name
    for name in STORES:
        assert services[name]["networks"] == ["stores"]
        assert "ports" not in services[name]


# --- secrets ----------------------------------------------------------------------------------------------------------


def test_no_secret_is_written_in_a_compose_file(services: dict[str, Document]) -> None:
    for path in (COMPOSE, GPU):
        for name, service in load(path)["services"].items():
            for variable, value in service.get("environment", {}).items():
                if SECRET_NAME.search(variable):
                    assert str(value).startswith("/run/secrets/"), f"{name}: {variable}={value}"
    assert "NEO4J_AUTH" not in services["neo4j"]["environment"]
    assert services["neo4j"]["environment"]["NEO4J_AUTH_FILE"] == "/run/secrets/neo4j_auth"


def test_every_secret_is_a_file_in_the_secrets_folder_and_is_used(services: dict[str, Document]) -> None:
    declared = load(COMPOSE)["secrets"]
    for name, secret in declared.items():
        assert list(secret) == ["file"], name
        assert secret["file"].startswith("./secrets/"), name
    used = {
        entry if isinstance(entry, str) else entry["source"]
        for service in services.values()
        for entry in service.get("secrets", [])
    }
    assert used == set(declared)


def test_every_service_of_ours_asks_for_the_token(services: dict[str, Document]) -> None:
    for name in OURS:
        assert "sapience_token" in services[name]["secrets"], name


def test_only_memory_and_the_store_itself_hold_the_key_of_a_store(services: dict[str, Document]) -> None:
    for name in OURS:
        assert ("sapience_neo4j_password" in services[name]["secrets"]) == (name == "memory"), name
        assert ("sapience_qdrant_api_key" in services[name]["secrets"]) == (name == "memory"), name
    assert services["neo4j"]["secrets"] == ["neo4j_auth"]
    assert services["qdrant"]["secrets"] == [{"source": "qdrant_config", "target": "/qdrant/config/local.yaml"}]


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    folder = tmp_path / "secrets"
    made = run(ROOT / "scripts" / "compose-secrets", folder)
    assert made.returncode == 0, made.stderr
    return folder


def test_the_script_makes_exactly_the_secrets_that_compose_mounts(secrets: Path) -> None:
    declared = {Path(secret["file"]).name for secret in load(COMPOSE)["secrets"].values()}
    assert {path.name for path in secrets.iterdir()} == declared


def test_made_secrets_are_strong_and_different_each_time(secrets: Path, tmp_path: Path) -> None:
    run(ROOT / "scripts" / "compose-secrets", tmp_path / "again")
    names = ("sapience_token", "sapience_neo4j_password", "sapience_qdrant_api_key")
    values = [(folder / name).read_text().strip() for folder in (secrets, tmp_path / "again") for name in names]
    assert len(set(values)) == len(values)
    for value in values:
        assert re.fullmatch(r"[0-9a-f]{64}", value)


def test_the_folder_keeps_others_out_and_the_containers_users_can_read_the_files(secrets: Path) -> None:
    assert stat.S_IMODE(secrets.stat().st_mode) == 0o700
    for path in secrets.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o444, path


def test_each_store_is_told_the_same_secret_as_its_client(secrets: Path) -> None:
    password = (secrets / "sapience_neo4j_password").read_text().strip()
    assert (secrets / "neo4j_auth").read_text().strip() == f"neo4j/{password}"
    key = (secrets / "sapience_qdrant_api_key").read_text().strip()
    assert yaml.safe_load((secrets / "qdrant.yaml").read_text()) == {"service": {"api_key": key}}


def test_existing_secrets_are_never_changed(secrets: Path) -> None:
    before = {path.name: path.read_bytes() for path in secrets.iterdir()}
    (secrets / "sapience_token").unlink()
    again = run(ROOT / "scripts" / "compose-secrets", secrets)
    assert again.returncode == 0, again.stderr
    after = {path.name: path.read_bytes() for path in secrets.iterdir()}
    assert after.keys() == before.keys()
    assert {name for name in before if before[name] != after[name]} == {"sapience_token"}


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("neo4j_auth", "neo4j/another\n", "does not agree with"),
        ("qdrant.yaml", "service: {api_key: another}\n", "does not agree with"),
        ("sapience_token", "", "is empty"),
    ],
)
def test_secrets_that_can_not_work_are_named(secrets: Path, name: str, text: str, complaint: str) -> None:
    (secrets / name).unlink()
    (secrets / name).write_text(text)
    again = run(ROOT / "scripts" / "compose-secrets", secrets)
    assert again.returncode == 1
    assert f"{secrets / name} {complaint}" in again.stderr
    assert (secrets / name).read_text() == text


# --- images and settings ----------------------------------------------------------------------------------------------


def test_foreign_images_are_pinned_to_an_exact_version_and_ours_never_leave_this_machine(
    services: dict[str, Document],
) -> None:
    for name in STORES:
        assert re.fullmatch(r"[a-z0-9/]+:v?\d+\.\d+\.\d+(-[a-z]+)?", services[name]["image"]), services[name]["image"]
    for name in OURS:
        assert services[name]["image"] == f"localhost/sapience-{name}:${{SAPIENCE_TAG:-dev}}"
        assert services[name]["build"]["target"] == name


def test_the_qdrant_server_is_within_one_minor_version_of_the_locked_client(services: dict[str, Document]) -> None:
    packages = tomllib.loads((ROOT / "uv.lock").read_text(encoding="utf-8"))["package"]
    client = next(package["version"] for package in packages if package["name"] == "qdrant-client").split(".")
    server = re.sub(r".*:v([\d.]+).*", r"\1", services["qdrant"]["image"]).split(".")
    assert server[0] == client[0]
    assert abs(int(server[1]) - int(client[1])) <= 1, f"server {server}, client {client}: the client would warn"


def test_the_tests_run_on_the_neo4j_that_is_deployed(services: dict[str, Document]) -> None:
    local = (ROOT / "scripts" / "neo4j-local").read_text(encoding="utf-8")
    version = re.search(r'^VERSION = "([\d.]+)"$', local, re.MULTILINE)
    assert version is not None
    assert services["neo4j"]["image"] == f"neo4j:{version[1]}-community"


def test_every_variable_is_a_setting_that_exists(services: dict[str, Document]) -> None:
    known = {f"SAPIENCE_{name.upper()}" for name in Settings.model_fields}
    for name in OURS:
        given = {variable for variable in services[name]["environment"] if variable.startswith("SAPIENCE_")}
        assert given
        assert given <= known, f"{name}: {given - known}"


def test_a_stopped_service_gets_longer_than_its_drain(services: dict[str, Document]) -> None:
    drain = Settings.model_fields["drain_s"].default
    for name in OURS:
        assert int(services[name]["stop_grace_period"].removesuffix("s")) > drain, name


# --- the life of a container ------------------------------------------------------------------------------------------


def test_every_service_has_a_health_check(services: dict[str, Document]) -> None:
    for name in OURS:
        assert services[name]["healthcheck"]["test"] == ["CMD", "sapience", "serve", name, "--health"]
    for name in STORES:
        assert services[name]["healthcheck"]["test"] == ["CMD", "bash", "/healthcheck.sh"]
        assert {"source": f"{name}_healthcheck", "target": "/healthcheck.sh"} in services[name]["configs"]
        script = ROOT / load(COMPOSE)["configs"][f"{name}_healthcheck"]["file"]
        assert script.is_file(), script
    for name, service in services.items():
        assert {"test", "interval", "timeout", "retries", "start_period"} <= set(service["healthcheck"]), name


def test_a_service_waits_for_the_health_of_all_that_it_calls(services: dict[str, Document]) -> None:
    waits = {name: services[name].get("depends_on", {}) for name in services}
    for name, dependencies in waits.items():
        for dependency, how in dependencies.items():
            assert how == {"condition": "service_healthy"}, f"{name} -> {dependency}"
    assert set(waits["memory"]) == set(STORES)
    assert set(waits["reasoning"]) == {"perception", "memory"}
    assert set(waits["controller"]) == {"perception", "memory", "reasoning"}
    assert set(waits["gateway"]) == {"perception", "memory", "reasoning", "controller"}


def test_every_container_is_confined(services: dict[str, Document]) -> None:
    for name, service in services.items():
        assert service["restart"] == "unless-stopped", name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert set(service["deploy"]["resources"]["limits"]) == {"memory", "pids"}, name
        assert set(service["logging"]["options"]) == {"max-size", "max-file"}, name
        assert "privileged" not in service, name
        assert service.get("read_only") is True or name == "neo4j", name


def test_what_is_kept_is_in_named_volumes_and_the_rest_of_the_root_is_read_only(services: dict[str, Document]) -> None:
    kept = {
        name: dict(reversed(volume.split(":")) for volume in services[name].get("volumes", [])) for name in services
    }
    assert kept == {
        "qdrant": {"/qdrant/storage": "qdrant_storage", "/qdrant/snapshots": "qdrant_snapshots"},
        "neo4j": {"/data": "neo4j_data", "/logs": "neo4j_logs"},
        "perception": {"/cache": "models"},
        "memory": {"/data": "memory_data"},
        "reasoning": {"/data": "reasoning_data", "/cache": "models"},
        "controller": {"/data": "controller_data"},
        "gateway": {},
    }
    assert {source for mounts in kept.values() for source in mounts.values()} == set(load(COMPOSE)["volumes"])
    for name in OURS:
        assert [entry.split(":")[0] for entry in services[name]["tmpfs"]] == ["/tmp"], name


def test_the_gpu_file_gives_a_gpu_to_the_two_services_with_models_and_changes_nothing_else() -> None:
    override = load(GPU)["services"]
    assert set(override) == {"perception", "reasoning"}
    for service in override.values():
        assert service["environment"]["SAPIENCE_DEVICE"] == "cuda"
        (device,) = service["deploy"]["resources"]["reservations"]["devices"]
        assert device["driver"] == "nvidia"
        assert device["capabilities"] == ["gpu"]


@pytest.mark.parametrize("files", [(COMPOSE,), (COMPOSE, GPU)], ids=["cpu", "gpu"])
def test_docker_compose_accepts(files: tuple[Path, ...]) -> None:
    options = [option for path in files for option in ("--file", str(path))]
    checked = run(development_tool("docker-compose"), *options, "config", "--quiet")
    assert checked.returncode == 0, checked.stderr
    assert checked.stderr == ""


def test_the_gpu_file_leaves_the_limits_in_force() -> None:
    options = ("--file", str(COMPOSE), "--file", str(GPU))
    merged = run(development_tool("docker-compose"), *options, "config", "--format", "json")
    assert merged.returncode == 0, merged.stderr
    for name in ("perception", "reasoning"):
        service = json.loads(merged.stdout)["services"][name]
        assert set(service["deploy"]["resources"]) == {"limits", "reservations"}
        assert service["environment"]["SAPIENCE_DEVICE"] == "cuda"
        assert service["environment"]["SAPIENCE_LISTEN"] == "0.0.0.0:50051"


# --- the Dockerfile ---------------------------------------------------------------------------------------------------


def stages() -> dict[str, str]:
    """Every stage of the Dockerfile as name to text."""
    parts = re.split(r"^FROM \S+ AS (\S+)$", DOCKERFILE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_hadolint_finds_nothing() -> None:
    checked = run(development_tool("hadolint"), "--config", ROOT / ".hadolint.yaml", DOCKERFILE)
    assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize("name", OURS)
def test_an_image_runs_its_service_as_nobody_in_particular(name: str) -> None:
    text = stages()[name]
    assert "\nUSER 10001:10001\n" in text
    assert f'\nCMD ["serve", "{name}"]\n' in text
    assert f'\n    CMD ["sapience", "serve", "{name}", "--health"]\n' in text
    for label in ("title", "description", "version", "revision"):
        assert f"org.opencontainers.image.{label}=" in text


@pytest.mark.parametrize("name", OURS)
def test_our_code_is_the_last_layer_of_an_image(name: str) -> None:
    instructions = re.findall(r"^([A-Z]+) (.*)$", stages()[name], flags=re.MULTILINE)
    layers = [" ".join(instruction) for instruction in instructions if instruction[0] in {"RUN", "COPY", "ADD"}]
    assert layers == ["COPY --from=code /code /opt/sapience"]


def test_torch_is_one_layer_under_the_two_images_that_need_it() -> None:
    parents = re.findall(r"^FROM (\S+) AS (\S+)$", DOCKERFILE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert [child for parent, child in parents if parent == "torch"] == ["perception-deps", "reasoning-deps"]


def test_the_build_sees_the_sources_and_nothing_else() -> None:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    allowed = {rule.removeprefix("!") for rule in rules if rule.startswith("!")}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    packages = set(project["tool"]["hatch"]["build"]["targets"]["wheel"]["only-include"])
    members = set(project["tool"]["uv"]["workspace"]["members"])
    assert allowed == packages | members | {"pyproject.toml", "uv.lock", "README.md", "LICENSE"}


# --- the health checks of the stores ----------------------------------------------------------------------------------

BOLT_OFFER = bytes.fromhex("6060b017" + "00040405" + "00000404" + "00000000" * 2)


@pytest.fixture
def answering() -> Iterator[Callable[[int, bytes], tuple[int, list[bytes]]]]:
    """serve(wanted, reply): a server for one connection that reads at least `wanted` bytes, sends `reply` and closes.

    It returns the port and a list that takes what was read.
    """
    listeners: list[socket.socket] = []
    threads: list[threading.Thread] = []

    def serve(wanted: int, reply: bytes) -> tuple[int, list[bytes]]:
        listener = socket.create_server(("127.0.0.1", 0))
        listener.settimeout(10)
        read: list[bytes] = []

        def once() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(10)
                taken = b""
                while len(taken) < wanted:
                    taken += connection.recv(4096)
                read.append(taken)
                connection.sendall(reply)

        thread = threading.Thread(target=once)
        thread.start()
        listeners.append(listener)
        threads.append(thread)
        return listener.getsockname()[1], read

    yield serve
    for thread in threads:
        thread.join(timeout=15)
        assert not thread.is_alive()
    for listener in listeners:
        listener.close()


@pytest.mark.parametrize(
    ("reply", "healthy"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\nall shards are ready", True),
        (b"HTTP/1.1 503 Service Unavailable\r\n\r\nsome shards are not ready", False),
        (b"", False),
    ],
    ids=["ready", "loading", "silent"],
)
def test_qdrant_is_healthy_when_it_says_it_is_ready(
    answering: Callable[[int, bytes], tuple[int, list[bytes]]], reply: bytes, healthy: bool
) -> None:
    request = b"GET /readyz HTTP/1.0\r\nHost: localhost\r\n\r\n"
    port, read = answering(len(request), reply)
    checked = run("bash", ROOT / "deploy" / "qdrant" / "healthcheck.sh", str(port))
    assert (checked.returncode == 0) == healthy, checked.stderr
    assert read == [request]


@pytest.mark.parametrize(
    ("reply", "healthy"),
    [
        (bytes.fromhex("00000405"), True),
        (bytes.fromhex("00000404"), True),
        (bytes.fromhex("00000000"), False),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", False),
        (b"", False),
    ],
    ids=["bolt-5.4", "bolt-4.4", "no-common-version", "not-bolt", "silent"],
)
def test_neo4j_is_healthy_when_it_speaks_bolt(
    answering: Callable[[int, bytes], tuple[int, list[bytes]]], reply: bytes, healthy: bool
) -> None:
    port, read = answering(len(BOLT_OFFER), reply)
    checked = run("bash", ROOT / "deploy" / "neo4j" / "healthcheck.sh", str(port))
    assert (checked.returncode == 0) == healthy, checked.stderr
    assert read == [BOLT_OFFER]


@pytest.mark.parametrize("store", STORES)
def test_a_store_that_does_not_listen_is_unhealthy(store: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert run("bash", ROOT / "deploy" / store / "healthcheck.sh", str(port)).returncode != 0
