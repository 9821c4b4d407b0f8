"""The stubs that are committed are those that the protos make, and the protos are clean."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from sapience.v1 import (
    concept_pb2,
    controller_pb2,
    dream_pb2,
    memory_pb2,
    migration_pb2,
    moving_pb2,
    perception_pb2,
    reasoning_pb2,
)

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
MODULES = (
    *(concept_pb2, controller_pb2, dream_pb2, memory_pb2, migration_pb2, moving_pb2),
    *(perception_pb2, reasoning_pb2),
)
FILES = [module.DESCRIPTOR for module in MODULES]
WITHOUT_TENANT = {
    "CreateNamespace", "ListNamespaces", "DeleteNamespace",  # name one, or none
    "Backup", "Restore", "ListSpaces",  # the whole store, or some
    "Segment", "Patch", "Encode", "EncodeStream", "Decode", "Perceive", "Rerank", "Predict", "Continue", "ListModels",
    "LoadModel", "UnloadModel", "Generate",
    "Status", "WatchWorkspace", "Goals", "SelfPrompts", "Runs", "Pause", "Resume",
}  # fmt: skip


def test_the_committed_stubs_are_those_of_the_protos(tmp_path: Path) -> None:
    subprocess.run([ROOT / "scripts" / "generate-protos", tmp_path], check=True, timeout=120)
    committed = ROOT / "client" / "sapience" / "v1"
    fresh = {path.name: path.read_bytes() for path in (tmp_path / "sapience" / "v1").iterdir()}
    held = {path.name: path.read_bytes() for path in committed.iterdir() if path.is_file()}
    assert sorted(held) == sorted(fresh)
    assert [name for name in held if held[name] != fresh[name]] == [], "run scripts/generate-protos"


def test_buf_has_nothing_to_say() -> None:
    done = subprocess.run([BIN / "buf", "lint"], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_every_request_that_touches_a_tenants_data_names_it() -> None:
    for file in FILES:
        for service in file.services_by_name.values():
            for method in service.methods:
                has_it = "namespace" in method.input_type.fields_by_name
                assert has_it or method.name in WITHOUT_TENANT, method.full_name


ONE_FOR_EACH_TEXT = {
    f"sapience.v1.{field}" for field in ("EncodeResponse.lengths", "DecodeRequest.lengths", "DecodeResponse.round_trip")
}
"""Numbers that are no vectors: one beside each text."""


def test_vectors_travel_as_bytes() -> None:
    """Never as repeated numbers: a batch is one Tensor."""
    floats = {FieldDescriptor.TYPE_FLOAT, FieldDescriptor.TYPE_DOUBLE}

    def messages(found: Descriptor) -> list[Descriptor]:
        return [found, *(inner for nested in found.nested_types for inner in messages(nested))]

    for file in FILES:
        for top in file.message_types_by_name.values():
            for message in messages(top):
                repeated = {f.full_name for f in message.fields if f.is_repeated and f.type in floats}
                assert repeated <= ONE_FOR_EACH_TEXT


def test_every_enum_begins_with_what_was_not_given() -> None:
    for file in FILES:
        for enum in file.enum_types_by_name.values():
            assert enum.values_by_number[0].name.endswith("_UNSPECIFIED")
