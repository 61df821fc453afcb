"""The code of the benchmarks: texts, adapters, comparisons and the report, without timing anything."""

from collections import Counter

import numpy as np
import pytest

from benchmarks import OURS, corpus, memory, new_process, peers, trainers
from benchmarks.hard_texts import ADVERSARIAL
from benchmarks.participants import Participants
from benchmarks.report import render
from benchmarks.tables import distinct, number, select
from benchmarks.targets import targets
from benchmarks.vocabulary import TRAINED, SharedVocabulary, shared_vocabulary
from fastlm.demo.texts import demo_corpus

TEXTS = [*list(demo_corpus())[:3], "", " ", "it's 2,026 \u00e9\u4e2d\u6587 \U0001f469\u200d\U0001f4bb\r\n\n  x"]
TEXTS = [text[:2000] for text in TEXTS]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> SharedVocabulary:
    return shared_vocabulary(tmp_path_factory.mktemp("vocabulary"), TRAINED)


def test_a_newer_tokenizers_is_found_in_its_folder(tmp_path, monkeypatch):
    """A package of the same name in another folder, which leaves the installed one importable."""
    installed = pytest.importorskip("tokenizers")
    (tmp_path / "tokenizers").mkdir()
    (tmp_path / "tokenizers" / "__init__.py").write_text("__version__ = '99.0'\n")
    (tmp_path / "tokenizers-99.0.dist-info").mkdir()
    (tmp_path / "tokenizers-99.0.dist-info" / "METADATA").write_text("Name: tokenizers\nVersion: 99.0\n")
    monkeypatch.delenv(peers.NEXT_TOKENIZERS, raising=False)
    assert peers.version_of.__wrapped__("tokenizers_next") is None
    monkeypatch.setenv(peers.NEXT_TOKENIZERS, str(tmp_path))
    assert peers.version_of.__wrapped__("tokenizers_next") == "99.0"
    assert peers.next_tokenizers.__wrapped__().__version__ == "99.0"
    import tokenizers

    assert tokenizers is installed


def test_documents_make_up_the_text():
    text = "\n".join("word " * k for k in range(200))
    parts = list(corpus.documents_of(text, 100))
    assert "".join(parts) == text
    assert all(len(part) > 100 and part.endswith("\n") for part in parts[:-1])


def test_grown_text_is_the_same_each_time_and_gains_words():
    documents = list(demo_corpus())[:50]
    first, again = (b"".join(corpus.grown_corpus(documents, 400_000, 1)) for _ in range(2))
    assert first == again
    assert first != b"".join(corpus.grown_corpus(documents, 400_000, 2))
    assert 400_000 <= len(first) < 410_000
    half = len(Counter(first[:200_000].split()))
    assert len(Counter(first.split())) > 1.2 * half


@pytest.mark.parametrize("kind", ADVERSARIAL)
def test_hostile_texts_have_their_size(kind):
    text = ADVERSARIAL[kind](5000)
    assert text == ADVERSARIAL[kind](5000)
    assert abs(len(text.encode()) - 5000) <= 12


def test_a_vocabulary_goes_through_json(shared):
    assert SharedVocabulary.from_json(shared.to_json()) == shared


@pytest.mark.parametrize("source", peers.SOURCES)
def test_all_files_of_a_vocabulary_give_the_same_ids(shared, source):
    ours, other = peers.fastlm(shared), peers.fastlm(shared, source)
    assert [ours.one(text) for text in TEXTS] == [other.one(text) for text in TEXTS]


@pytest.mark.parametrize("name", peers.ADAPTERS)
def test_every_way_of_an_adapter_gives_the_same_ids(shared, name):
    if name not in peers.installed():
        pytest.skip(f"{name} is not installed")
    try:
        encoder = peers.fresh(name, shared)
    except peers.UnsupportedError as reason:
        pytest.skip(str(reason))
    texts = [text for text in TEXTS if text]
    expected = peers.ids_of([peers.fastlm(shared).one(text) for text in texts])
    for form in ("lists", "arrays"):
        if way := encoder.way(form, 1):
            assert all(map(np.array_equal, peers.ids_of(way(texts, 1)), expected)), form
    for text, ids in zip(texts, expected, strict=True):
        assert np.array_equal(*peers.ids_of([encoder.one(text), ids]))
        if encoder.whole:
            assert np.array_equal(peers.ids_of(encoder.whole(text, 1))[0], ids)
        assert encoder.decode_list(ids.tolist()) in (text, text.encode())


def test_a_way_that_knows_no_threads_is_no_way_of_two():
    encoder = peers.Encoder(lists=lambda texts, threads: [], arrays=lambda texts, threads: [], threaded={"lists"})
    assert encoder.way("arrays", 1)
    assert encoder.way("lists", 2)
    assert encoder.way("arrays", 2) is None
    assert encoder.way("whole", 1) is None


def participants_with(shared, **others):
    participants = Participants(shared)
    participants.warm[OURS] = peers.Encoder(lists=lambda texts, threads: [[1, 2], [3]])
    for name, ids in others.items():
        participants.warm[name] = peers.Encoder(lists=lambda texts, threads, ids=ids: ids)
    return participants


def encode(encoder):
    return encoder.lists([], 1)


def test_who_gives_other_ids_is_named_and_runs_no_more(shared):
    participants = participants_with(shared, right=[[1, 2], [3]], wrong=[[1, 2], [4]], short=[[1, 2]])
    names, tokens = participants.with_right_ids("lists", 1, encode, "key")
    assert (names, tokens) == ([OURS, "right"], 3)
    assert participants.left_out == {"wrong": "wrong ids in 1 of 2 texts", "short": "wrong: ids of 1 texts, not of 2"}
    assert "wrong" not in participants.able("lists")


def test_a_judge_with_other_ids_fails_the_run(shared):
    with pytest.raises(pytest.fail.Exception, match="tiktoken"):
        participants_with(shared, tiktoken=[[1, 2], [4]]).with_right_ids("lists", 1, encode, "key")


def test_a_new_process_gives_the_ids_of_this_one(shared):
    figures = new_process.load_of(OURS, shared, "native")
    assert figures["ids"] == peers.fastlm(shared).one(new_process.FIRST_TEXT)
    assert 0 < figures["load_seconds"] <= figures["seconds"]
    assert new_process.load_of("tiktoken", shared, "tokenizer.json") == {}


@pytest.mark.skipif(not memory.STATUS.exists(), reason="reads /proc")
def test_memory_is_told(shared, tmp_path):
    (tmp_path / "text").write_text("some text\n" * 1000)
    held = new_process.memory_of(OURS, shared, "whole", tmp_path / "text")
    assert 0 < held["before_mb"] <= held["peak_mb"]


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    path = tmp_path_factory.mktemp("train") / "text"
    path.write_bytes(b"".join(corpus.lines_of(list(demo_corpus())[:20])))
    return trainers.Task(path, 100, len(set(path.read_bytes())), 1)


@pytest.mark.parametrize("name", trainers.TRAINERS)
def test_trainers_learn_the_same_merges(task, name):
    if name != OURS and not peers.version_of(name):
        pytest.skip(f"{name} is not installed")
    if name in trainers.DIFFERING:
        pytest.skip(trainers.DIFFERING[name])
    trained = trainers.run(name, task, 60)
    assert trained.digest == trainers.train(OURS, task).digest
    assert trained.merges == task.merges
    assert trained.peak_mb >= trained.start_mb > 0


def test_a_trainer_that_takes_too_long_is_ended(task):
    with pytest.raises(trainers.TooSlowError, match="not done after 0 s"):
        trainers.run(OURS, task, 0.01)


def rates(rate, **more):
    return {"mb_per_s": rate, "cpu_mb_per_s": rate, "rounds": 1, **more}


def encoded(ours, best, **more):
    entry = {"topic": "encode", "form": "arrays", "size": "3 KB", "vocabulary": "cl100k", "corpus": "english"}
    found = {"tiktoken": rates(10), "gigatoken": rates(best), "snaptokens": rates(best / 2)}
    return entry | rates(ours) | {"state": "warm", "threads": 1, "bytes": 10**6, "peers": found, "left_out": {}} | more


@pytest.mark.parametrize(("ours", "met", "measured"), [(600, True, "cl100k 1.50x"), (450, False, "cl100k 1.12x")])
def test_bars_compare_with_the_best_leader(ours, met, measured):
    first, *others = targets([encoded(ours, 400)])
    assert (first.met, first.measured) == (met, measured)
    assert others[0].met is None
    assert others[0].measured == "not measured"
    (tiktoken,) = (target for target in others if target.wanted == ">= 30x tiktoken" and target.met is not None)
    assert tiktoken.measured == f"{ours / 10:.1f}x"


def test_two_threads_are_held_against_one_of_ours_too():
    found = targets([encoded(900, 800, threads=2, alone=rates(450))])
    own, ahead = (target for target in found if target.met is not None)
    assert (own.measured, own.met) == ("cl100k 2.00x", True)
    assert (ahead.measured, ahead.met) == ("cl100k 1.12x", True)


def content(*entries):
    run = {"vocabularies": ["cl100k"], "quick": True, "python": "3", "fastlm": "1", "versions": {}, "load": [1.0]}
    run |= {"skipped": ["fastokens"], "processors": 2}
    return {
        "benchmarks": [{"extra_info": entry} for entry in entries],
        "machine_info": {"machine": "m", "system": "s"},
        "commit_info": {"id": "abc"},
        "datetime": "2026-11-24T12:00:00",
        "fastlm": run,
    }


def test_report_names_who_is_not_in_a_table():
    page = render(content(encoded(600, 400, left_out={"splintr": "wrong ids in 1 of 2 texts"})))
    (row,) = (line for line in page.splitlines() if line.startswith("| cl100k | english | 1.00 |"))
    assert "| **600 (600)** | 10.0 (10.0) | 400 (400) | 200 (200) | wrong |" in row
    assert "fastokens (not installed), splintr (wrong ids in 1 of 2 texts), toktok (has no such way)" in page
    assert "encode english, warm, 1 thread, CPU" in page


def test_plot_is_drawn_and_the_same_each_time(tmp_path):
    plot = pytest.importorskip("benchmarks.plot")
    entries = [encoded(600, 400), encoded(300, 200, state="cold")]
    for name in ("first", "second"):
        plot.draw(entries, tmp_path / f"{name}.svg")
    first = (tmp_path / "first.svg").read_bytes()
    assert first == (tmp_path / "second.svg").read_bytes()
    assert b"<svg" in first
    with pytest.raises(ValueError, match="no encoding"):
        plot.draw([], tmp_path / "none.svg")


def test_entries_are_selected_and_figures_rounded():
    entries = [{"a": 1, "b": 2}, {"a": 1, "b": 3}, {"a": 2}]
    assert select(entries, a=1, b=3) == [{"a": 1, "b": 3}]
    assert distinct(entries, "a") == [(1,), (2,)]
    assert [number(value) for value in (0.123, 12.34, 1234.5)] == ["0.12", "12.3", "1,234"]
