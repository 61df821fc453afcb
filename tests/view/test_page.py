"""The page in a real browser: what it shows, its keys, that it asks no host for anything, and narrow windows."""

import re

import pytest

import fastlm
from fastlm.cli import main
from fastlm.view import view_page
from tests import texts

TEXT = "the lowercase\twords \x1b[31m don't<|end|>\n"


@pytest.fixture(scope="module")
def first():
    return fastlm.train_bpe(texts.DOCUMENTS, 1000, ["<|end|>"])


@pytest.fixture(scope="module")
def second():
    return fastlm.train_bpe(texts.DOCUMENTS[10:], 800, ["<|end|>"], pattern="cl100k_base")


@pytest.fixture
def opened(browser, tmp_path):
    """Opens a page of one or two tokenizers, and checks afterwards that it made no request and no error."""

    def open_page(*tokenizers, **options):
        page = tmp_path / "page.html"
        page.write_text(view_page(*tokenizers, **options), "utf-8")
        browser.resize(1280, 900)
        browser.open(page)
        browser.run("fastlmView.then(() => true)")
        return browser

    yield open_page
    assert browser.errors == []
    assert [url for url in browser.requests if not url.startswith("file:")] == []


def tokens(browser, panel=0):
    find = f"document.querySelectorAll('.panel')[{panel}].querySelectorAll('.token')"
    return browser.run(f"Array.from({find}, (token) => token.textContent)")


def text_of(browser, selector):
    return browser.run(f"document.querySelector({selector!r}).innerText")


def test_tokens_are_shown_with_visible_whitespace(opened, first):
    browser = opened(first, text=TEXT)
    ids = first.encode(TEXT)
    found = tokens(browser)
    assert len(found) == len(ids)
    assert "".join(found) == TEXT.replace(" ", "·").replace("\t", "⇥").replace("\x1b", "\\u{1b}").replace("\n", "⏎")
    counts = text_of(browser, ".counts").split()
    assert counts[:2] == ["tokens", str(len(ids))]
    assert f"{len(TEXT.encode()) / len(ids):.2f}" in counts


def test_tokens_follow_what_is_typed(opened, first):
    browser = opened(first, text=TEXT)
    browser.run("document.getElementById('text').focus(); document.getElementById('text').select()")
    browser.call("Input.insertText", text="the new text")
    browser.run("new Promise((done) => setTimeout(done, 50))")
    assert "".join(tokens(browser)) == "the·new·text"


def test_special_tokens_may_be_text(opened, first):
    browser = opened(first, text="a<|end|>")
    assert tokens(browser) == ["a", "<|end|>"]
    browser.run("document.getElementById('special').click()")
    assert len(tokens(browser)) == len(first.encode("a<|end|>", on_special="text"))


def test_the_keyboard_moves_among_tokens_and_shows_merges(opened, first):
    browser = opened(first, text="lower the lower")
    browser.run("document.querySelector('.token').focus()")
    browser.press("ArrowRight")
    index = browser.run("Number(document.activeElement.dataset.index)")
    assert index == 1
    ids = first.encode("lower the lower")
    assert f"id {ids[1]} " in text_of(browser, "#tip")
    browser.press("End")
    browser.press("ArrowLeft")
    browser.press("ArrowRight")
    browser.press("Enter")
    token = first.vocab[ids[-1]].decode().replace(" ", "·")
    assert text_of(browser, "#detail-title") == f"Token “{token}”"
    assert f"id {ids[-1]} " in text_of(browser, "#detail")


def test_the_tip_stays_in_the_window(opened, browser, first):
    opened(first, text="the lowercase " * 40)
    browser.resize(390, 800)
    for index in range(12):
        browser.run(f"document.querySelectorAll('.token')[{index}].focus()")
        left, right = browser.run(
            "(({left, right}) => [left, right])(document.getElementById('tip').getBoundingClientRect())"
        )
        assert 0 <= left < right <= browser.run("document.documentElement.clientWidth")


def test_the_merges_of_a_word_go_step_by_step(opened, first):
    word = max((token for token in first.vocab.values() if token.isalpha()), key=len).decode()
    browser = opened(first, text=word)
    browser.run("document.querySelector('.token').click()")
    merges = [(left, right) for left, right in first.merges if left + right == word.encode()]
    label = browser.run("document.querySelector('#detail svg').getAttribute('aria-label')")
    assert label == f"Merge tree of {word}"
    leaves = browser.run("document.querySelectorAll('#detail svg rect[style=\"fill:var(--c0)\"]').length")
    assert leaves == len(word)
    symbols = "Array.from(document.querySelectorAll('.symbols b'), (symbol) => symbol.textContent)"
    assert browser.run(symbols) == list(word)
    for _ in range(len(word) - 1):
        assert "".join(browser.run(symbols)) == word
        browser.run("document.querySelectorAll('.stepper button')[1].click()")
    assert browser.run(symbols) == [word]
    said = text_of(browser, "#detail [role=status]")
    assert said.startswith(
        f"Merge {len(word) - 1} of {len(word) - 1}: “{merges[0][0].decode()}” + “{merges[0][1].decode()}”"
    )
    rank = first.merges.index(merges[0])
    assert said.endswith(f"rank {rank:,}")


def test_the_vocabulary_is_searched_by_text_id_and_bytes(opened, first):
    browser = opened(first)

    def found(query):
        browser.run(
            f"document.getElementById('search').value = {query!r};"
            "document.getElementById('search').dispatchEvent(new Event('input'))"
        )
        return browser.run(
            "Array.from(document.querySelectorAll('#found tr td:first-child'), (cell) => Number(cell.textContent))"
        )

    expected = sorted(token_id for token_id, token in first.vocab.items() if b"th" in token)
    exact = next(token_id for token_id, token in first.vocab.items() if token == b"th")
    assert sorted(found("th")) == expected
    assert found("th")[0] == exact
    assert found("300")[0] == 300
    assert found("\\xff") == [token_id for token_id, token in first.vocab.items() if b"\xff" in token]
    assert text_of(browser, "#found p") == "1 token"
    assert found("no token has this") == []


def lines_of(browser):
    """The sentences on the difference of two tokenizers."""
    return browser.run("Array.from(document.querySelectorAll('#difference p'), (line) => line.textContent)")


def lists_of(browser):
    """The merge histories of two tokenizers."""
    items = "Array.from(list.querySelectorAll('li'), (item) => item.textContent)"
    return browser.run(f"Array.from(document.querySelectorAll('#difference ol'), (list) => {items})")


def test_two_tokenizers_differ_for_a_reason(opened):
    vocab = {k: bytes([k]) for k in range(256)} | {256: b"12", 257: b"123", 258: b"1234"}
    merges = [(b"1", b"2"), (b"12", b"3"), (b"123", b"4")]
    one, other = (fastlm.Tokenizer(vocab, merges, pattern=pattern) for pattern in ("gpt2", "cl100k_base"))
    browser = opened(one, other, names=("a.json", "b.json"), text="x 12345")
    assert text_of(browser, "#difference h2") == "First difference: token 3, byte 2"
    assert lines_of(browser) == [
        "The pretokens at this place differ:",
        "a.json (pattern gpt2): “·12345”",
        "b.json (pattern cl100k_base): “123”",
    ]
    assert browser.run("Array.from(document.querySelectorAll('.differs'), (token) => token.textContent)") == [
        "1234",
        "123",
    ]


def test_merge_histories_explain_a_difference(opened):
    vocab = {k: bytes([k]) for k in range(256)} | {256: b"ab", 257: b"bc", 258: b"cd"}
    one = fastlm.Tokenizer(vocab, [(b"a", b"b"), (b"b", b"c"), (b"c", b"d")])
    other = fastlm.Tokenizer(vocab, [(b"b", b"c"), (b"c", b"d"), (b"a", b"b")])
    browser = opened(one, other, names=("one", "other"), text="abcd")
    assert tokens(browser, 0) == ["ab", "cd"]
    assert tokens(browser, 1) == ["a", "bc", "d"]
    assert lists_of(browser) == [["“a” + “b”, rank 0", "“c” + “d”, rank 2"], ["“b” + “c”, rank 0"]]
    assert lines_of(browser) == [
        "Both have the pretoken “abcd”, and merge it differently.",
        "one merges “a” + “b” at rank 0. other has it at rank 2, but its merge of “b” + “c” at rank 0 comes first.",
        "other merges “b” + “c” at rank 0. one has it at rank 1, but its merge of “a” + “b” at rank 0 comes first.",
    ]


def test_equal_tokenizers_have_no_difference(opened, first):
    browser = opened(first, first, names=("one", "two"))
    assert text_of(browser, "#difference").startswith("No difference")


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_is_as_wide_as_the_window(opened, browser, first, second, width, dark):
    opened(first, second, text=TEXT + "a" * 300)
    browser.resize(width, 800, dark)
    browser.run("document.querySelector('.token').click()")
    assert browser.run("document.documentElement.scrollWidth") <= width
    contrast = browser.run(
        """Array.from(document.querySelectorAll('.token, .soft, p, td'), (part) => {
            const light = (color) => color.match(/[\\d.]+/g).slice(0, 3).map((part) => part / 255)
                .map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4)
                .reduce((sum, part, k) => sum + part * [0.2126, 0.7152, 0.0722][k], 0);
            let box = part;
            while (getComputedStyle(box).backgroundColor === 'rgba(0, 0, 0, 0)') box = box.parentElement;
            const [a, b] = [getComputedStyle(part).color, getComputedStyle(box).backgroundColor].map(light);
            return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        })"""
    )
    assert min(contrast) >= 4.5


def test_a_text_that_cannot_be_encoded_is_an_error_in_the_panel(opened):
    tokenizer = fastlm.Tokenizer.from_vocabulary(_without_bytes())
    browser = opened(tokenizer, text="a!")
    assert text_of(browser, ".panel .error") == "the vocabulary has no token for the byte 0x21"


def _without_bytes():
    from fastlm.pretokenize.patterns import PATTERNS
    from fastlm.vocabulary.vocabulary import Rules, vocabulary_from_ids

    return vocabulary_from_ids({0: b"a"}, [], [], [], (), PATTERNS["gpt2"], Rules())


def test_names_and_texts_cannot_leave_their_place(opened, first):
    hostile = "</script><script>document.title = 'broken'</script>"
    page = view_page(first, names=(hostile, ""), text=f"</textarea>{hostile}")
    assert page.count("<script") == 2
    browser = opened(first, names=(hostile, ""), text=f"</textarea>{hostile}")
    assert browser.run("document.title") == hostile
    assert browser.run("document.getElementById('text').value") == f"</textarea>{hostile}"


def test_the_command_writes_the_page(tmp_path, first, second, capsys):
    first.save(tmp_path / "first")
    second.save(tmp_path / "second")
    out = tmp_path / "page.html"
    assert main(["view", str(tmp_path / "first"), str(tmp_path / "second"), "--out", str(out), "--text", "hello"]) == 0
    assert re.fullmatch(rf"wrote {out}, \d\.\d MB; open it in a browser\n", capsys.readouterr().out)
    page = out.read_text("utf-8")
    assert ">\nhello</textarea>" in page
    assert not re.search(r"(src|href)=", page)


def test_the_command_refuses_by_name_what_the_page_cannot_do(tmp_path, first, capsys):
    vocabulary = first.vocabulary
    fastlm.Tokenizer(vocabulary.tokens, vocabulary.merges, pattern=r"\w+|\W").save(tmp_path / "own")
    assert main(["view", str(tmp_path / "own"), "--out", str(tmp_path / "page.html")]) == 1
    assert "it does not support the regex module" in capsys.readouterr().err
    assert not (tmp_path / "page.html").exists()
