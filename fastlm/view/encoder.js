/* Text to token ids, as fastlm computes them. `PageTokenizer.read(payload)` makes a tokenizer of what payload.py writes.
 *
 * The steps are those of fastlm/encoding/text_pipeline.py: find added tokens, normalize, split into pretokens, merge. */
"use strict";

const FIRST_LETTER = 0x100; // the letter of class 0, as in expressions.py
const NO_ID = 0xffffffff;
const BYTES = "bytes";
const CODE_POINTS = 0x110000;
const MOST_CACHED = 50000; // pretokens
const ARRAYS = ["lengths", "left", "right", "made", "byteIds", "runStarts", "runClasses"];
const utf8 = new TextEncoder();

/* GPT-2's printable character of each byte, and the byte of each character. */
const charOfByte = (() => {
  const chars = [];
  let next = 0x100;
  for (let byte = 0; byte < 256; byte++) {
    const isPrintable = (byte > 0x20 && byte < 0x7f) || (byte > 0xa0 && byte !== 0xad);
    chars.push(isPrintable ? byte : next++);
  }
  return chars;
})();
const byteOfChar = new Map(charOfByte.map((char, byte) => [char, byte]));

async function inflated(base64) {
  const packed = atob(base64);
  const bytes = new Uint8Array(packed.length);
  for (let k = 0; k < packed.length; k++) bytes[k] = packed.charCodeAt(k);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/* One number from its four bytes, which lie `count` apart. */
function numbersOf(bytes, start, count) {
  const numbers = new Uint32Array(count);
  for (let k = 0; k < count; k++) {
    const at = start + k;
    const low = bytes[at] | (bytes[at + count] << 8) | (bytes[at + 2 * count] << 16);
    numbers[k] = low + bytes[at + 3 * count] * 0x1000000;
  }
  return numbers;
}

/* A string with one character for each byte. */
function keyOf(bytes) {
  let key = "";
  for (let k = 0; k < bytes.length; k += 4096) key += String.fromCharCode(...bytes.subarray(k, k + 4096));
  return key;
}

function bytesOfKey(key) {
  return Uint8Array.from(key, (char) => char.charCodeAt(0));
}

/* A table of 1 for each code point in ranges, which are given as the distances between their ends. */
function tableOf(gaps) {
  const table = new Uint8Array(CODE_POINTS);
  let at = 0;
  gaps.forEach((gap, k) => {
    if (k % 2) table.fill(1, at, at + gap);
    at += gap;
  });
  return table;
}

/* Finds strings in a text: the longest of those that start first. */
class Finder {
  constructor(tokens) {
    this.byContent = tokens;
    const contents = [...tokens.keys()].sort((a, b) => b.length - a.length);
    const escaped = contents.map((content) => content.replace(/[\\^$.*+?()[\]{}|/-]/g, "\\$&"));
    this.expression = contents.length ? new RegExp(escaped.join("|"), "g") : null;
  }

  *find(text) {
    if (!this.expression) return;
    for (const match of text.matchAll(this.expression)) {
      yield [match.index, match.index + match[0].length, this.byContent.get(match[0])];
    }
  }
}

/* Numbers of which the smallest comes first. */
class Heap {
  constructor() {
    this.items = [];
  }

  push(item) {
    const items = this.items;
    let at = items.length;
    while (at) {
      const parent = (at - 1) >> 1;
      if (items[parent] <= item) break;
      items[at] = items[parent];
      at = parent;
    }
    items[at] = item;
  }

  pop() {
    const items = this.items;
    const first = items[0];
    const last = items.pop();
    if (!items.length) return first;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= items.length) break;
      if (child + 1 < items.length && items[child + 1] < items[child]) child++;
      if (items[child] >= last) break;
      items[at] = items[child];
      at = child;
    }
    items[at] = last;
    return first;
  }
}

class PageTokenizer {
  static async read(payload) {
    return new PageTokenizer(payload, await inflated(payload.data));
  }

  constructor(payload, packed) {
    this.name = payload.name;
    this.pattern = payload.pattern;
    this.prefix = payload.prefix;
    this.form = payload.form;
    this.ignoreMerges = payload.ignoreMerges;
    this.dropsBytes = payload.dropsBytes;
    this.frame = payload.frame;
    this.#readArrays(payload, packed);
    this.steps = payload.steps.map((step) => (step === BYTES ? BYTES : new RegExp(step, "g")));
    this.active = this.form ? tableOf(payload.active) : null;
    this.words = payload.words.length ? tableOf(payload.words) : null;
    this.whitespace = new Set(payload.whitespace);
    this.added = payload.added.map(([content, id, options]) => ({
      content, id, special: !!(options & 1), singleWord: !!(options & 2),
      lstrip: !!(options & 4), rstrip: !!(options & 8), normalized: !!(options & 16),
    }));
    this.addedById = new Map(this.added.map((token) => [token.id, token]));
    this.allIds = new Set(this.added.map((token) => token.id));
    this.ordinaryIds = new Set(this.added.filter((token) => !token.special).map((token) => token.id));
    const given = this.added.filter((token) => !token.normalized);
    const normalized = this.added.filter((token) => token.normalized);
    this.givenFinder = new Finder(new Map(given.map((token) => [token.content, token])));
    this.normalizedFinder = new Finder(new Map(normalized.map((token) => [this.normalize(token.content), token])));
    this.cache = new Map();
    this.wholeTokens = null;
  }

  #readArrays(payload, packed) {
    let start = 0;
    for (const name of ARRAYS) {
      const count = payload.counts[name];
      this[name] = numbersOf(packed, start, count);
      start += 4 * count;
    }
    this.tokenBytes = packed.subarray(start);
    this.allKeys = keyOf(this.tokenBytes);
    this.size = this.lengths.length;
    this.offsets = new Uint32Array(this.size + 1);
    for (let k = 0; k < this.size; k++) this.offsets[k + 1] = this.offsets[k] + this.lengths[k];
    const made = this.made;
    for (let k = 1; k < made.length; k++) made[k] += made[k - 1]; // wraps around like the differences
    this.ranks = new Map();
    for (let rank = 0; rank < made.length; rank++) this.ranks.set(this.left[rank] * this.size + this.right[rank], rank);
    this.classOf = new Uint16Array(CODE_POINTS);
    this.runStarts.forEach((from, k) => {
      this.classOf.fill(FIRST_LETTER + this.runClasses[k], from, this.runStarts[k + 1] ?? CODE_POINTS);
    });
  }

  get vocabularySize() {
    return this.lengths.reduce((count, length) => count + (length > 0), 0);
  }

  bytesOf(id) {
    return this.tokenBytes.subarray(this.offsets[id], this.offsets[id + 1]);
  }

  /* The bytes of an id as `keyOf` writes them. */
  keyOfId(id) {
    return this.allKeys.slice(this.offsets[id], this.offsets[id + 1]);
  }

  /* The rank of the merge of two ids, or undefined. */
  rankOf(left, right) {
    return this.ranks.get(left * this.size + right);
  }

  /* The first rank that makes an id, or undefined. */
  rankThatMakes(id) {
    if (!this.firstRanks) {
      this.firstRanks = new Map();
      for (let rank = this.made.length - 1; rank >= 0; rank--) this.firstRanks.set(this.made[rank], rank);
    }
    return this.firstRanks.get(id);
  }

  /* Encodes a text. specialIsText: special tokens in it are ordinary text.
   * Returns pieces in order: {added, ids, bytes} for an added token, or else {key, ids, bytes} for a pretoken. */
  encode(text, specialIsText = false) {
    const pieces = [];
    for (const [span, added] of this.#spans(text.toWellFormed(), specialIsText ? this.ordinaryIds : this.allIds)) {
      if (added) {
        pieces.push({ added, ids: [added.id], bytes: utf8.encode(span) });
        continue;
      }
      const prefixed = this.prefix && !span.startsWith(this.prefix) ? this.prefix + span : span;
      for (const bytes of this.pretokens(prefixed)) {
        const key = keyOf(bytes);
        pieces.push({ key, ids: this.#cachedIds(key, bytes), bytes });
      }
    }
    return pieces;
  }

  ids(text, specialIsText = false) {
    return this.encode(text, specialIsText).flatMap((piece) => piece.ids);
  }

  /* Spans of the normalized text, each with its added token or null. */
  *#spans(text, recognised) {
    for (const [start, end, added] of this.#split(text, this.givenFinder, recognised)) {
      const span = text.slice(start, end);
      if (added) {
        yield [span, added];
        continue;
      }
      const normalized = this.normalize(span);
      for (const [first, last, inner] of this.#split(normalized, this.normalizedFinder, recognised)) {
        yield [normalized.slice(first, last), inner];
      }
    }
  }

  /* The same as AddedTokenSplitter.split in fastlm/text/added_tokens.py. */
  *#split(text, finder, recognised) {
    let done = 0;
    for (let [start, end, token] of finder.find(text)) {
      if (!recognised.has(token.id) || (token.singleWord && this.#touchesWord(text, start, end))) continue;
      if (token.lstrip) {
        while (start > done && this.whitespace.has(text[start - 1])) start--;
        start = Math.max(start, done);
      }
      if (token.rstrip) while (end < text.length && this.whitespace.has(text[end])) end++;
      if (start >= end) continue;
      if (done < start) yield [done, start, null];
      yield [start, end, token];
      done = end;
    }
    if (done < text.length) yield [done, text.length, null];
  }

  #touchesWord(text, start, end) {
    const isPair = start > 1 && /[\ud800-\udbff][\udc00-\udfff]/.test(text.slice(start - 2, start));
    const before = start ? text.codePointAt(start - (isPair ? 2 : 1)) : -1;
    return !!((before >= 0 && this.words[before]) || (end < text.length && this.words[text.codePointAt(end)]));
  }

  /* The browser normalizes only characters that the pinned version of Unicode knows; the others separate spans. */
  normalize(text) {
    if (!this.form) return text;
    let result = "";
    let span = "";
    for (const char of text) {
      if (this.active[char.codePointAt(0)]) {
        span += char;
        continue;
      }
      result += span.normalize(this.form) + char;
      span = "";
    }
    return result + span.normalize(this.form);
  }

  /* The bytes of the pretokens of a text. */
  pretokens(text) {
    let points = Array.from(text, (char) => char.codePointAt(0));
    let ends = points.length ? [points.length] : [];
    let isBytes = false;
    let letters = null;
    for (const step of this.steps) {
      if (step === BYTES) {
        if (isBytes) throw new Error("bytes are spelled twice");
        [points, ends] = spelled(points, ends);
        isBytes = true;
        letters = null;
      } else {
        letters ??= this.#letters(points);
        ends = splitEnds(letters, ends, step);
      }
    }
    const pretokens = [];
    let start = 0;
    for (const end of ends) {
      const piece = points.slice(start, end);
      pretokens.push(isBytes ? Uint8Array.from(piece, (char) => byteOfChar.get(char)) : encodedPoints(piece));
      start = end;
    }
    return pretokens;
  }

  /* The letter of the class of each code point. */
  #letters(points) {
    const codes = new Uint16Array(points.length);
    for (let k = 0; k < points.length; k++) codes[k] = this.classOf[points[k]];
    return new TextDecoder("utf-16le").decode(codes);
  }

  #cachedIds(key, bytes) {
    let ids = this.cache.get(key);
    if (!ids) {
      ids = this.wholeToken(key) ?? this.merge(bytes).ids;
      if (this.cache.size >= MOST_CACHED) this.cache.clear();
      this.cache.set(key, ids);
    }
    return ids;
  }

  /* The id of a pretoken that is a token, where that comes before merges; or null. */
  wholeToken(key) {
    if (!this.ignoreMerges) return null;
    if (!this.wholeTokens) {
      this.wholeTokens = new Map();
      for (let id = 0; id < this.size; id++) {
        if (this.lengths[id] && !this.addedById.has(id)) this.wholeTokens.set(this.keyOfId(id), id);
      }
    }
    const id = this.wholeTokens.get(key);
    return id === undefined ? null : [id];
  }

  /* Merges the bytes of a pretoken: the pair of the lowest rank first, and of several such pairs the leftmost.
   * Returns ids, and steps {at, left, right, made, rank}, where `at` is the index of the byte where the pair starts. */
  merge(bytes) {
    const symbols = [];
    for (const byte of bytes) {
      const id = this.byteIds[byte];
      if (id !== NO_ID) symbols.push(id);
      else if (!this.dropsBytes) throw new Error(`the vocabulary has no token for the byte 0x${hex(byte)}`);
    }
    const n = symbols.length;
    const next = Int32Array.from(symbols, (_, k) => k + 1);
    const previous = Int32Array.from(symbols, (_, k) => k - 1);
    const heap = new Heap();
    const consider = (at) => {
      const rank = at >= 0 && next[at] < n ? this.rankOf(symbols[at], symbols[next[at]]) : undefined;
      if (rank !== undefined) heap.push(rank * n + at);
    };
    for (let k = 0; k < n - 1; k++) consider(k);
    const steps = [];
    while (heap.items.length) {
      const item = heap.pop();
      const at = item % n;
      const rank = (item - at) / n;
      // a pair that was merged or changed since it was put there is not merged
      if (symbols[at] !== this.left[rank] || next[at] >= n || symbols[next[at]] !== this.right[rank]) continue;
      const right = next[at];
      steps.push({ at, left: symbols[at], right: symbols[right], made: this.made[rank], rank });
      symbols[at] = this.made[rank];
      symbols[right] = -1;
      next[at] = next[right];
      if (next[at] < n) previous[next[at]] = at;
      consider(previous[at]);
      consider(at);
    }
    return { ids: symbols.filter((id) => id >= 0), steps };
  }
}

function hex(byte) {
  return byte.toString(16).padStart(2, "0");
}

/* Ends of pieces after an expression has split each of them at its matches. */
function splitEnds(letters, ends, expression) {
  const found = [];
  let start = 0;
  for (const end of ends) {
    const piece = letters.slice(start, end);
    let done = 0;
    for (const match of piece.matchAll(expression)) {
      if (match.index > done) found.push(start + match.index);
      done = match.index + match[0].length;
      found.push(start + done);
    }
    if (start + done < end) found.push(end);
    start = end;
  }
  return found;
}

/* Code points as UTF-8. */
function encodedPoints(points) {
  let text = "";
  for (let k = 0; k < points.length; k += 4096) text += String.fromCodePoint(...points.slice(k, k + 4096));
  return utf8.encode(text);
}

/* Characters and ends after each byte is written as its printable character. */
function spelled(points, ends) {
  const chars = [];
  const places = [];
  let start = 0;
  for (const end of ends) {
    for (const byte of encodedPoints(points.slice(start, end))) chars.push(charOfByte[byte]);
    places.push(chars.length);
    start = end;
  }
  return [chars, places];
}
