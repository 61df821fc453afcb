"""State files whose checksums are right but whose content is not: a ValueError names file and field, or all is well."""

import hashlib
import json
import random
import re
import zlib

import pytest

import fastlm
from fastlm.bpe_training import checkpoint as checkpoint_module
from tests import texts

SIZE = 420
ALWAYS = 1e-9
EXPECTED = fastlm.train_bpe(texts.DOCUMENTS, SIZE).vocabulary.fingerprint


class Ended(BaseException):
    """What ends a training."""


@pytest.fixture(params=["counting", "merging", "done"])
def saved(request, tmp_path):
    """The input and the checkpoint of a training that was ended in a phase."""
    path = tmp_path / "text"
    path.write_text("<|endoftext|>".join(texts.DOCUMENTS), "utf-8", newline="")
    directory = tmp_path / "c"

    def progress(phase, done, total):
        if (phase, request.param) in (("count", "counting"), ("merge", "merging")) and directory.joinpath(
            "state.json"
        ).exists():
            raise Ended

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fastlm.corpus.text_blocks.BLOCK_BYTES", 5000)
        try:
            train(path, directory, num_threads=1, progress=progress)
        except Ended:
            assert request.param != "done"
        assert train(path, directory) == EXPECTED
        if request.param != "done":
            for name in directory.iterdir():
                name.unlink()
            with pytest.raises(Ended):
                train(path, directory, num_threads=1, progress=progress)
    return path, directory


def train(source, directory, **options):
    tokenizer = fastlm.train_bpe(
        source, SIZE, **{"checkpoint": directory, "checkpoint_seconds": ALWAYS, "resume": True, **options}
    )
    return tokenizer.vocabulary.fingerprint


def write(directory, content: str) -> None:
    """A state file with this content, and the right checksum."""
    checksum = hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()
    (directory / "state.json").write_bytes(f"{checksum}\n{content}\n".encode("utf-8", "surrogatepass"))


def places(value, path=()):
    """The paths of all values within a JSON value."""
    yield path
    if isinstance(value, dict | list):
        for key, item in list(value.items() if isinstance(value, dict) else enumerate(value)):
            yield from places(item, (*path, key))


def changed(content, path, change):
    """A copy in which the value at a path is changed, or removed if `change` returns a `del`."""
    content = json.loads(json.dumps(content))
    parent = content
    for key in path[:-1]:
        parent = parent[key]
    new = change(parent[path[-1]])
    if new is REMOVED:
        del parent[path[-1]]
    else:
        parent[path[-1]] = new
    return content


REMOVED = object()
VALUES = [
    None, True, False, 0, 1, -1, 2, 2**31, 2**32, 2**63, 2**64, 10**400, 1.5, 1e308, "", "x", "run-000000",
    "run-000001", "../state.json", "a" * 64, [], [1], [[0, 1]], [[1, 2], [1, 2]], [[300, 0]], [[0, 2**31]], [None], {},
    {"x": 1},
]  # fmt: skip


def check(path, directory, files, content: str) -> str:
    """Trains on from this state; returns the error, which must name the file, or nothing."""
    for name, data in files.items():
        (directory / name).write_bytes(data)
    write(directory, content)
    try:
        train(path, directory)
    except (ValueError, FileNotFoundError) as error:
        told, files_named = str(error), r"run-\d+" if isinstance(error, OSError) else r"state\.json|run-\d+"
    else:
        return ""
    assert re.search(files_named, told), told
    return told


@pytest.mark.filterwarnings("ignore:the text has no more pairs")
def test_every_field_of_a_state(saved):
    path, directory = saved
    files = {file.name: file.read_bytes() for file in directory.iterdir()}
    content = json.loads(files["state.json"].decode().split("\n")[1])
    assert check(path, directory, files, json.dumps(content)) == ""
    rng = random.Random(336)
    everywhere = [place for place in places(content) if place]
    chosen = [place for place in everywhere if len(place) < 4 or place[1] == "runs"]
    chosen += rng.sample([place for place in everywhere if place not in chosen], min(8, len(everywhere) - len(chosen)))
    wrong = 0
    for place in chosen:
        names = [part for part in place if isinstance(part, str)]
        for value in [REMOVED, *(VALUES if len(place) < 3 or place[1] == "runs" else rng.sample(VALUES, 4))]:
            new = changed(content, place, lambda old, value=value: value)
            error = check(path, directory, files, json.dumps(new))
            if error and value is not REMOVED and "created with" not in error:
                wrong += 1
                assert any(name in error for name in [*names, "run-", "version", "the file"]), (place, value, error)
    assert wrong > 100


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "line 1"),
        ("[]", "the file must be an object, got \\[\\]"),
        ("3", "the file must be an object, got 3"),
        ("[" * 5000 + "]" * 5000, "nested too deeply"),
        ('{"version":1,"job":' + '{"a":' * 500 + "1" + "}" * 501, "has no|line 1"),
        ('{"version":1,"version":1}', "given twice"),
        ('{"version":NaN}', "NaN|JSON"),
        ('{"version":1e999}', "has no"),
        ('{"version":' + "1" * 5000 + "}", "digits|has no"),
        ('{"version":2,"job":{},"state":{}}', "version must be 1, got 2"),
        ('{"version":1,"job":{},"state":{},"more":1}', "the file has an unknown entry 'more'"),
        ('{"version":1,"job":[],"state":{}}', "job must be an object, got \\[\\]"),
        ('{"version":1,"job":{},"state":{}}', "job has no 'vocab_size'"),
    ],
)
def test_content_that_is_no_state(tmp_path, content, message):
    write(tmp_path, content)
    with pytest.raises(ValueError, match=rf"state\.json: .*({message})"):
        train(texts.DOCUMENTS, tmp_path)


def test_fields_that_contradict_each_other(saved):
    path, directory = saved
    files = {file.name: file.read_bytes() for file in directory.iterdir()}
    content = json.loads(files["state.json"].decode().split("\n")[1])
    runs = content["state"]["runs"]
    assert runs
    twice = changed(content, ("state", "runs"), lambda runs: [*runs, runs[0]])
    assert "state.runs lists a file twice" in check(path, directory, files, json.dumps(twice))
    digest = changed(content, ("state", "digest"), lambda _: "0" * 64)
    assert "state.digest must be null, got" in check(path, directory, files, json.dumps(digest))
    nested = json.dumps(changed(content, ("state", "counted"), lambda _: "NESTED"))
    nested = nested.replace('"NESTED"', "[" * 300 + "]" * 300)
    assert "state.counted must be an integer" in check(path, directory, files, nested)


def test_documents_need_the_digest_of_what_was_counted(tmp_path):
    train(texts.DOCUMENTS, tmp_path)
    content = json.loads((tmp_path / "state.json").read_text().split("\n")[1])
    assert re.fullmatch("[0-9a-f]{64}", content["state"]["digest"])
    for wrong in (None, "0" * 63, "g" * 64, 1):
        write(tmp_path, json.dumps(changed(content, ("state", "digest"), lambda _, wrong=wrong: wrong)))
        with pytest.raises(
            ValueError, match=r"state\.json: state\.digest must be a sha256 of 64 hexadecimal digits, got"
        ):
            train(texts.DOCUMENTS, tmp_path)


@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
def test_seconds_between_checkpoints_are_positive(tmp_path, seconds):
    with pytest.raises(ValueError, match=f"checkpoint_seconds must be above 0, got {seconds}"):
        train(texts.DOCUMENTS, tmp_path, checkpoint_seconds=seconds)


def test_merges_that_make_a_token_twice(saved):
    path, directory = saved
    content = json.loads((directory / "state.json").read_text().split("\n")[1])
    if not content["state"]["all_counted"]:
        pytest.skip("still counting")
    files = {file.name: file.read_bytes() for file in directory.iterdir()}
    # abc as ab + c and as a + bc
    content["state"]["merges"] = [[64, 65], [256, 66], [65, 66], [64, 258]]
    assert "state.merges: a new merge makes" in check(path, directory, files, json.dumps(content))


def with_checksum(directory, name, data, content) -> str:
    """A state that lists a run file with this content and its right checksum."""
    content = json.loads(json.dumps(content))
    for run in content["state"]["runs"]:
        if run["name"] == name:
            run["checksum"] = zlib.crc32(data)
            run["size"] = len(data)
    return json.dumps(content)


@pytest.mark.filterwarnings("ignore:the text has no more pairs")
def test_run_files_whose_checksums_are_right(saved):
    """Bytes changed, removed, added; what remains is a run file, or a ValueError names it."""
    path, directory = saved
    files = {file.name: file.read_bytes() for file in directory.iterdir()}
    content = json.loads(files["state.json"].decode().split("\n")[1])
    rng = random.Random(336)
    errors = 0
    for _ in range(120):
        run = rng.choice(content["state"]["runs"])["name"]
        data = bytearray(files[run])
        at = rng.randrange(len(data))
        kind = rng.randrange(5)
        if kind == 0:
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del data[at : at + rng.randrange(1, 9)]
        elif kind == 2:
            data[at:at] = rng.randbytes(rng.randrange(1, 9))
        elif kind == 3:
            data[at : at + 9] = b"\xff" * 9
        else:
            data = data[:at] + data
        if data:
            state = with_checksum(directory, run, data, content)
            errors += check(path, directory, {**files, run: bytes(data)}, state) != ""
    assert errors > 60


def test_a_count_that_adds_up_to_more_than_63_bits(saved):
    path, directory = saved
    files = {file.name: file.read_bytes() for file in directory.iterdir()}
    content = json.loads(files["state.json"].decode().split("\n")[1])
    name = content["state"]["runs"][0]["name"]
    # the word "ab" occurs 2^63 - 1 times in each of two run files
    data = b"\x02ab" + b"\xff" * 8 + b"\x7f"
    run = {"size": len(data), "checksum": zlib.crc32(data), "words": 1, "cells": 5}
    content["state"]["runs"] = [{"name": name, **run}, {"name": "run-000777", **run}]
    content["state"]["merges"] = []
    content["state"]["all_counted"] = True
    error = check(path, directory, {**files, name: data, "run-000777": data}, json.dumps(content))
    assert re.search(r"run-\d+: the count of a pretoken.* exceeds 2\^63 - 1", error)
    assert checkpoint_module.MOST == 2**63 - 1
