"""Files of llama2.c, held against a reader and a forward pass written here from the layout that its run.c reads."""

import itertools
import math
import struct
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings  # noqa: E402

import fastlm  # noqa: E402
from fastlm.formats import llama2c  # noqa: E402
from fastlm.model.config import SpecialTokenIds  # noqa: E402
from fastlm.model.llama2c import export_llama2c, import_llama2c  # noqa: E402
from fastlm.pretokenize.patterns import find_pattern  # noqa: E402
from tests import texts  # noqa: E402
from tests.model.models import TINY, llamas, made, same_weights, some_ids  # noqa: E402

EXPRESSIBLE = replace(TINY, rope_layout="interleaved", num_heads=4, num_kv_heads=2)


class RunC:
    """A model file as run.c maps it into memory, and its forward pass of one token, in float64."""

    def __init__(self, content: bytes):
        header = struct.unpack_from("<7i", content)
        self.dim, self.hidden, self.layers, self.heads, self.kv_heads, vocab, self.seq_len = header
        self.vocab, self.shared = abs(vocab), vocab > 0
        self.head = self.dim // self.heads
        self.floats, self.at = np.frombuffer(content, "<f4", offset=28).astype(np.float64), 0
        dim, hidden, kv_dim = self.dim, self.hidden, self.kv_heads * self.head
        self.embedding = self.take(self.vocab, dim)
        self.rms_att = self.take(self.layers, dim)
        self.wq = self.take(self.layers, dim, dim)
        self.wk, self.wv = self.take(self.layers, kv_dim, dim), self.take(self.layers, kv_dim, dim)
        self.wo = self.take(self.layers, dim, dim)
        self.rms_ffn = self.take(self.layers, dim)
        self.w1, self.w2 = self.take(self.layers, hidden, dim), self.take(self.layers, dim, hidden)
        self.w3 = self.take(self.layers, hidden, dim)
        self.rms_final = self.take(dim)
        self.real, self.imaginary = self.take(self.seq_len, self.head // 2), self.take(self.seq_len, self.head // 2)
        self.classifier = self.embedding if self.shared else self.take(self.vocab, dim)
        assert self.at == len(self.floats)
        self.keys = [[] for _ in range(self.layers)]
        self.values = [[] for _ in range(self.layers)]

    def take(self, *shape):
        self.at += math.prod(shape)
        return self.floats[self.at - math.prod(shape) : self.at].reshape(shape)

    def turned(self, vector, position):
        pairs = vector.reshape(-1, self.head // 2, 2)
        turn = self.real[position] + 1j * self.imaginary[position]
        turned = (pairs[..., 0] + 1j * pairs[..., 1]) * turn
        return np.stack((turned.real, turned.imag), -1).reshape(-1, self.head)

    def forward(self, token, position):
        def norm(x, weight):
            return weight * x / np.sqrt((x * x).mean() + 1e-5)

        x = self.embedding[token].copy()
        for l in range(self.layers):  # noqa: E741
            h = norm(x, self.rms_att[l])
            queries = self.turned(self.wq[l] @ h, position)
            self.keys[l].append(self.turned(self.wk[l] @ h, position))
            self.values[l].append((self.wv[l] @ h).reshape(-1, self.head))
            seen = []
            for number, query in enumerate(queries):
                group = number * self.kv_heads // self.heads
                scores = np.array([key[group] @ query for key in self.keys[l]]) / np.sqrt(self.head)
                shares = np.exp(scores - scores.max())
                seen.append(shares / shares.sum() @ np.array([value[group] for value in self.values[l]]))
            x += self.wo[l] @ np.concatenate(seen)
            h = norm(x, self.rms_ffn[l])
            gate = self.w1[l] @ h
            x += self.w2[l] @ (gate / (1 + np.exp(-gate)) * (self.w3[l] @ h))
        return self.classifier @ norm(x, self.rms_final)


@settings(max_examples=15)
@given(config=llamas())
def test_what_llama2c_computes_is_what_the_model_computes(config, tmp_path_factory):
    config = replace(config, d_model=config.num_heads * config.head_width, d_head=None, rope_theta=1e4, norm_eps=1e-5)
    model, ids = made(config), some_ids(config, batch=1)
    path = tmp_path_factory.mktemp("llama2c") / "model.bin"
    export_llama2c(model, path)
    judge = RunC(path.read_bytes())
    expected = np.array([judge.forward(token, position) for position, token in enumerate(ids[0].tolist())])
    back = import_llama2c(path)
    with torch.no_grad():
        assert np.allclose(model(ids)[0].numpy(), expected, rtol=0, atol=2e-5)
        assert np.allclose(back(ids)[0].numpy(), expected, rtol=0, atol=2e-5)
    assert back.config.rope_layout == "interleaved"
    if config.rope_layout == "interleaved":
        assert same_weights(back, model)
        assert back.config == replace(config, num_kv_heads=config.kv_heads)


def test_other_types_are_written_in_float32(tmp_path):
    model = made(EXPRESSIBLE, torch.bfloat16)
    export_llama2c(model, tmp_path / "model.bin")
    assert same_weights(import_llama2c(tmp_path / "model.bin", dtype=torch.bfloat16), model)
    assert import_llama2c(tmp_path / "model.bin").ln_final.weight.dtype == torch.float32


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"norm": "post"}, "norm='post', only 'pre'"),
        ({"norm_eps": 1e-6}, "norm_eps=1e-06, only 1e-05"),
        ({"ffn": "silu"}, "ffn='silu'"),
        ({"qk_norm": True}, "qk_norm=True"),
        ({"rope_theta": 5e5}, "rope_theta=500000.0, only 10000.0"),
        ({"rope_theta": None}, "rope_theta=None"),
        ({"d_head": 6}, "d_head=6"),
    ],
)
def test_what_llama2c_does_not_compute_is_not_exported(tmp_path, change, message):
    with pytest.raises(ValueError, match=f"llama2.c cannot express {message}"):
        export_llama2c(made(replace(EXPRESSIBLE, **change)), tmp_path / "model.bin")
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_another_size_or_header_is_refused(tmp_path):
    path = tmp_path / "model.bin"
    export_llama2c(made(EXPRESSIBLE), path)
    content = path.read_bytes()
    header = struct.unpack_from("<7i", content)
    for changed, message in [
        (content[:-1], rf"has {len(content) - 1} bytes; its header asks for {len(content)}"),
        (content + b"\0", "bytes; its header asks for"),
        (content[:20], "ends within the header"),
        (b"", "ends within the header"),
    ]:
        path.write_bytes(changed)
        with pytest.raises(ValueError, match=message):
            import_llama2c(path)
    for field in range(7):
        for value in (0, -1, 1, 3, header[field] + 1, -header[field], 2 * header[field], 2**31 - 1, -(2**31)):
            if value != header[field]:
                other = [*header]
                other[field] = value
                path.write_bytes(struct.pack("<7i", *other) + content[28:])
                with pytest.raises(ValueError, match=r"model.bin: "):
                    import_llama2c(path)


def test_other_positions_are_refused(tmp_path):
    path = tmp_path / "model.bin"
    export_llama2c(made(EXPRESSIBLE), path)
    content = bytearray(path.read_bytes())
    cosines = len(content) - 4 * (EXPRESSIBLE.vocab_size * EXPRESSIBLE.d_model + 2 * EXPRESSIBLE.context_length)
    content[cosines : cosines + 4] = struct.pack("<f", 0.5)
    path.write_bytes(content)
    with pytest.raises(ValueError, match="positions are not rotated by theta = 10000"):
        import_llama2c(path)


def test_a_given_tokenizer_is_remembered(tmp_path, trained):
    export_llama2c(made(replace(EXPRESSIBLE, vocab_size=1000)), tmp_path / "model.bin")
    model = import_llama2c(tmp_path / "model.bin", trained)
    assert model.tokenizer_fingerprint == trained.vocabulary.fingerprint
    # llama2.c's program ends a text at id 1, which is special in this tokenizer
    assert trained.special_tokens["<|user|>"] == 1
    assert model.special_token_ids == SpecialTokenIds(bos=1, eos=(1,))
    export_llama2c(made(EXPRESSIBLE), tmp_path / "model.bin")
    with pytest.raises(ValueError, match="knows 300 ids; the tokenizer has 1000"):
        import_llama2c(tmp_path / "model.bin", trained)


def pieces(content: bytes, vocab_size: int) -> tuple[list[bytes], list[float]]:
    """tokenizer.bin as build_tokenizer of run.c reads it."""
    tokens, scores, at = [], [], 4
    for _ in range(vocab_size):
        score, length = struct.unpack_from("<fi", content, at)
        tokens.append(content[at + 8 : at + 8 + length])
        scores.append(score)
        at += 8 + length
    assert at == len(content)
    assert struct.unpack_from("<I", content) == (max(map(len, tokens)),)
    return tokens, scores


def test_the_tokenizer_file_merges_as_the_vocabulary_does(trained):
    size = trained.vocab_size
    tokens, scores = pieces(llama2c.write(trained.vocabulary)["tokenizer.bin"], size)
    assert dict(enumerate(tokens)) == trained.vocab
    id_of = {token: token_id for token_id, token in enumerate(tokens)}
    for word in ("the", " tokenizer", "aaaaaa", "naïve", "1234", "\n\n\n"):  # each one pretoken
        parts = [bytes([byte]) for byte in word.encode()]
        while True:
            joined = [a + b for a, b in itertools.pairwise(parts)]
            ranked = [(scores[id_of[token]], -at) for at, token in enumerate(joined) if token in id_of]
            if not ranked or max(ranked)[0] <= -1e10:
                break
            at = -max(ranked)[1]
            parts[at : at + 2] = [joined[at]]
        assert [id_of[part] for part in parts] == trained.encode(word)


def test_the_tokenizer_file_comes_back(tmp_path, trained):
    path = tmp_path / "tokenizer.bin"
    path.write_bytes(llama2c.write(trained.vocabulary, 1024)["tokenizer.bin"])
    assert len(pieces(path.read_bytes(), 1024)[0]) == 1024
    back = fastlm.Tokenizer.from_vocabulary(llama2c.read(path, find_pattern("gpt2")))
    assert back.vocabulary.fingerprint == trained.vocabulary.fingerprint
    assert [back.encode(text) for text in texts.DOCUMENTS] == [trained.encode(text) for text in texts.DOCUMENTS]


def test_a_malformed_tokenizer_file_is_refused(tmp_path, trained):
    path = tmp_path / "tokenizer.bin"
    content = llama2c.write(trained.vocabulary)["tokenizer.bin"]
    first = struct.unpack_from("<i", content, 8)[0]
    for changed, message in [
        (b"", "holds no tokens"),
        (content[:-1], "entry of id 999 at byte .* is malformed or cut short"),
        (content[: 12 + first], r"longest token has|byte 0x00 is no token"),
        (content + b"\0" * 8, "entry of id 1000"),
        (struct.pack("<I", 999) + content[4:], "longest token has 999 bytes"),
        (content[:4] + struct.pack("<f", math.nan) + content[8:], "score of id 0 is nan"),
        (content[:8] + struct.pack("<i", -5) + content[12:], "entry of id 0 at byte 4"),
        (struct.pack("<Ifi", 2, 0.0, 2) + "\x80".encode(), "byte 0x00 is no token; expected a vocabulary of bytes"),
        (
            struct.pack("<I", 2)
            + b"".join(struct.pack("<fiB", 0.0, 1, byte) for byte in range(256))
            + struct.pack("<fi", -1e10, 2)
            + b"\xff\xfe",
            "tokenizer.bin: .*can't decode byte 0xff",
        ),
    ]:
        path.write_bytes(changed)
        with pytest.raises(ValueError, match=message):
            llama2c.read(path, find_pattern("gpt2"))
