"""Mutants of the files: replacing them, shards, manifests, and tokenizer.fastlm."""

from tests.mutants.mutant import Mutant, of

MUTANTS: list[Mutant] = [
    *of(
        "fastlm/files/atomic.py",
        ("            _sync(file)\n            _allow_rename(file)", "            _allow_rename(file)"),
        ("        yield file\n        _sync(file)\n", "        yield file\n"),
        (
            "        os.replace(file.name, path)\n        sync_directory(path.parent)\n",
            "        os.replace(file.name, path)\n",
        ),
        ("                path.unlink()\n        sync_directory(directory)\n", "                path.unlink()\n"),
        ("                os.fchmod(file.fileno(), stat.S_IMODE(path.stat().st_mode))", "                pass"),
        (
            "            back_up(path)\n            os.replace(temporary, path)",
            "            os.replace(temporary, path)",
        ),
        ("    file.flush()\n    os.fsync(file.fileno())", "    os.fsync(file.fileno())"),
    ),
    *of(
        "fastlm/corpus/shard_writer.py",
        (
            "        shard.ids.sync()\n        shard.index.sync()\n        return",
            "        shard.index.sync()\n        return",
        ),
        (
            "        shard.ids.sync()\n        shard.index.sync()\n        return",
            "        shard.ids.sync()\n        return",
        ),
        (
            "        shard.ids.sync()\n        shard.index.sync()\n        files",
            "        shard.index.sync()\n        files",
        ),
        (
            "        shard.ids.sync()\n        shard.index.sync()\n        files",
            "        shard.ids.sync()\n        files",
        ),
        ("                idx.sync()\n", ""),
        ("            if found != header:", "            if False:"),
        ("            self._file.truncate(size)\n", ""),
        ("            if self.sha256() != sha256:", "            if False:"),
        ("np.searchsorted(ends, max(0, room))", 'np.searchsorted(ends, max(0, room), "right")'),
        ('np.searchsorted(ends, room, "right")', "np.searchsorted(ends, room)"),
        ("self.shards[-1].tokens < self.shard_tokens:", "self.shards[-1].tokens < 0:"),
        ("(ends[:count] + shard.tokens)", "ends[:count]"),
    ),
    *of(
        "fastlm/corpus/verify.py",
        ("(chunk < 0) | (chunk >= vocabulary_size)", "(chunk >= vocabulary_size)"),
        ("ends[-1] > shard.tokens)", "ends[-1] > 2 * shard.tokens)"),
        ("    if is_megatron and int(ends[-1]) != shard.tokens:", "    if False:"),
        ("    if len(ends) != shard.documents:", "    if False:"),
        ("_SHARD_FILE.fullmatch(name) and name not in expected:", "False:"),
    ),
    *of(
        "fastlm/formats/native.py",
        ("    if at != len(body):", "    if False:"),
        ("    if hashlib.sha256(body).digest() != content[-_DIGEST:]:", "    if False:"),
        ("    if at > len(body):", "    if False:"),
        ("        if not isinstance(entries, int) or entries < 0 or", "        if not isinstance(entries, int) or"),
    ),
    *of(
        "fastlm/corpus/shard_formats.py",
        ("        if np.any(ends > np.uint64(np.iinfo(np.int64).max)):", "        if False:"),
    ),
    *of(
        "fastlm/corpus/megatron.py",
        ("offsets != expected,", "offsets < 0,"),
        ("lengths < 0,", "lengths < -1,"),
        ("first_sequences[-1] != sequences:", "first_sequences[-1] > sequences:"),
        ("    if len(content) not in (size, size + sequences):", "    if len(content) < size:"),
        ("    if len(lengths) and lengths.max() > np.iinfo(np.int32).max:", "    if False:"),
    ),
]
