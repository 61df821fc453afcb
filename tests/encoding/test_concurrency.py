"""One tokenizer for many threads and processes, each with options of its own."""

import random
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tests import texts

END = "<|endoftext|>"


def calls_of(tokenizer, text, limit):
    """Every way to use a tokenizer on a text, as name -> function without arguments that gives comparable results."""
    ids = tokenizer.encode(text)
    return {
        "encode": lambda: tokenizer.encode(text),
        "ordinary": lambda: tokenizer.encode_ordinary(text),
        "threads": lambda: tokenizer.encode(text, num_threads=2),
        "numpy": lambda: tokenizer.encode_to_numpy(text, dtype=np.uint16).tolist(),
        "batch": lambda: tokenizer.encode_batch([text] * 3, 2, on_special="text"),
        "flat": lambda: [array.tolist() for array in tokenizer.encode_batch_flat([text, "", text], 2)],
        "padded": lambda: tokenizer.encode_batch_padded([text, "a"], 1, pad_id=0, length=limit)[0].tolist(),
        "parts": lambda: tokenizer.encode_parts([(text, True), (text, False)]),
        "upto": lambda: tokenizer.encode_upto(text, limit),
        "offsets": lambda: tokenizer.encode_with_offsets(text, unit="byte")[1].tolist(),
        "iterable": lambda: list(tokenizer.encode_iterable([text, text])),
        "count": lambda: tokenizer.count(text),
        "decode": lambda: tokenizer.decode(ids),
        "decode_batch": lambda: tokenizer.decode_batch([ids, ids[:limit]], 2),
    }


@pytest.mark.parametrize("threads", [2, 8, 32])
def test_threads_with_different_options_get_the_right_answers(trained, threads):
    rng = random.Random(threads)
    samples = [texts.random_string(rng) + rng.choice(["", END]) for _ in range(60)]
    work = []
    for text in samples:
        for name, call in calls_of(trained, text, rng.randrange(1, 40)).items():
            work.append((name, text, call, call()))
    work *= max(1, 3200 // len(work))
    rng.shuffle(work)
    with ThreadPoolExecutor(threads) as pool:
        found = list(pool.map(lambda item: item[2](), work))
    wrong = [(name, text) for (name, text, _, expected), result in zip(work, found, strict=True) if result != expected]
    assert wrong == []
    assert len(work) >= 800


@pytest.mark.parametrize("method", ["fork", "spawn", pytest.param("forkserver", marks=pytest.mark.nightly)])
@pytest.mark.filterwarnings("ignore:This process")
def test_workers_of_a_data_loader_encode(trained, method):
    data = pytest.importorskip("torch.utils.data", reason="a DataLoader is torch's")
    samples = texts.DOCUMENTS * 4
    expected = [trained.encode(text) for text in samples]  # used before the workers start
    trained.encode_batch_flat(samples, 2)
    loader = data.DataLoader(
        Encoded(trained, samples), batch_size=4, num_workers=2, multiprocessing_context=method, collate_fn=list
    )
    found = [ids for batch in loader for ids in batch]
    assert found == expected


class Encoded:
    """A map-style dataset that encodes in the worker."""

    def __init__(self, tokenizer, samples):
        self.tokenizer, self.samples = tokenizer, samples

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, k):
        return self.tokenizer.encode(self.samples[k])
