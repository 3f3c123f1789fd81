"""Text: vocabularies, documents, packed corpora."""

import pickle

import numpy as np
import pytest

pytest.importorskip("tokenizers", reason="the extra text is not installed")

from mae3d.datasets.text import TextDocuments, TextTokenizer, TokenBlocks
from mae3d.datasets.text.blocks import pack_sentences, split_sentences, write_blocks
from mae3d.datasets.text.documents import Documents
from mae3d.datasets.text.vocabulary import BERT_HEAD, train_word_pieces, write_vocabulary
from mae3d.errors import ConfigError, DataError, MissingExtraError
from tests.datasets.text_files import CLS, PIECES, SEP, UNK, names, write_lines


def test_word_pieces(tokenizer):
    assert len(tokenizer) == len(PIECES)
    assert tokenizer.ids == {"pad": 0, "unknown": 100, "first": 101, "last": 102, "mask": 103}
    ids = tokenizer.encode("Unaffable planes, É")
    assert names(tokenizer, ids) == ["un", "##aff", "##able", "plane", "##s", "[UNK]", "e"]
    tokens = tokenizer.enclose(ids, 512)
    assert tokenizer.words(tokens).tolist() == [-1, 0, 0, 0, 1, 1, 2, 3, -1]
    assert tokenizer.enclose(ids, 5).tolist() == [CLS, *ids[:3], SEP]


def test_a_cut_word_begins_with_what_is_left_of_it(tokenizer):
    assert tokenizer.words(tokenizer.encode("unaffable")[1:]).tolist() == [0, 0]


def test_the_same_ids_as_transformers(vocabulary, tokenizer):
    transformers = pytest.importorskip("transformers", reason="the oracle transformers is not installed")
    theirs = transformers.BertTokenizerFast(vocab=str(vocabulary), do_lower_case=True)
    for text in ("Playing the flutes.", "naïve   PLANE\t[MASK] \u4e2d", "unaffable, é! " * 3):
        assert theirs(text, add_special_tokens=False)["input_ids"] == tokenizer.encode(text).tolist()


def test_tokenizer_files_of_other_models(tmp_path):
    import tokenizers

    inner = tokenizers.Tokenizer(tokenizers.models.BPE(unk_token="<unk>"))
    inner.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=True)
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=60,
        special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"],
        show_progress=False,
    )
    inner.train_from_iterator(["some sum summer", "summer sums"], trainer)
    inner.save(str(tmp_path / "tokenizer.json"))
    tokenizer = TextTokenizer(tmp_path / "tokenizer.json")
    assert (tokenizer.ids["first"], tokenizer.ids["pad"], tokenizer.ids["mask"]) == (0, 1, 4)
    ids = tokenizer.encode("some summer")
    assert tokenizer.words(ids)[[0, -1]].tolist() == [0, 1]
    inner.enable_truncation(2)
    inner.enable_padding(length=40)
    inner.save(str(tmp_path / "cuts.json"))
    cuts = TextTokenizer(tmp_path / "cuts.json")
    assert cuts.encode("some summer").tolist() == ids.tolist()
    assert [one.tolist() for one in cuts.encode_all(["some summer"])] == [ids.tolist()]


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "file is missing.*train a vocabulary"), ("a\nb\n", r"none of \('\[PAD\]', '<pad>'\)")],
)
def test_bad_vocabularies(tmp_path, content, message):
    path = tmp_path / "vocab.txt"
    if content is not None:
        path.write_text(content)
    with pytest.raises(DataError, match=message):
        TextTokenizer(path)
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(DataError, match="not a tokenizer"):
        TextTokenizer(tmp_path / "broken.json")


def test_without_the_package(vocabulary, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "tokenizers", None)
    with pytest.raises(MissingExtraError, match=r"mae3d\[text\]"):
        TextTokenizer(vocabulary)


def test_trained_vocabulary(tmp_path):
    pieces = train_word_pieces(["low lower lowest", "new newer newest"] * 20, 130)
    assert tuple(pieces[:104]) == BERT_HEAD
    assert len(pieces) == len(set(pieces)) <= 130
    write_vocabulary(pieces, tmp_path / "vocab.txt")
    tokenizer = TextTokenizer(tmp_path / "vocab.txt")
    ids = tokenizer.encode("Lower newest")
    assert UNK not in ids
    assert "".join(names(tokenizer, ids)).replace("##", "") == "lowernewest"
    with pytest.raises(ConfigError, match="size must be over 104"):
        train_word_pieces(["a"], 104)
    with pytest.raises(DataError, match="no text"):
        train_word_pieces([], 200)


def test_documents_of_all_kinds(tmp_path, vocabulary):
    import pyarrow
    from pyarrow import parquet

    rows = [{"body": "a plane"}, {"body": ["the flute.", "a flute"]}, {"body": "the play"}]
    write_lines(tmp_path / "a.jsonl", [rows[0], "", rows[1]])
    (tmp_path / "b.txt").write_text("the plane\n\n  a play \n")
    table = pyarrow.table({"body": [row["body"] for row in (rows[0], rows[2])] * 2})
    parquet.write_table(table, tmp_path / "c.parquet", row_group_size=3)
    documents = Documents(tmp_path, "body")
    texts = [documents[number] for number in range(len(documents))]
    packed = ["a plane", "the play"] * 2
    assert texts == ["a plane", ["the flute.", "a flute"], "the plane", "a play", *packed]
    assert documents.name(1) == f"{tmp_path / 'a.jsonl'}[1]"
    assert documents.name(7) == f"{tmp_path / 'c.parquet'}[3]"
    dataset = pickle.loads(pickle.dumps(TextDocuments(tmp_path, vocabulary, field="body")))
    assert names(dataset.tokenizer, dataset[1]["tokens"]) == ["[CLS]", "the", "flute", ".", "a", "flute", "[SEP]"]
    assert dataset[6]["tokens"].tolist() == dataset[0]["tokens"].tolist()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ({"txt": "a"}, r"a.jsonl\[0\]: lacks the field 'text', it has \['txt'\]"),
        ({"text": 3}, "must be a text or a list of texts, got int"),
        ("{", "not a line of JSON"),
        ("[1]", "expected an object, found list"),
        ({"text": "  "}, 'no token in it. Remove it or set on_error="skip"'),
    ],
)
def test_bad_documents(tmp_path, vocabulary, line, message):
    write_lines(tmp_path / "a.jsonl", [line, {"text": "a plane"}])
    with pytest.raises(DataError, match=message):
        TextDocuments(tmp_path, vocabulary)[0]
    skipping = TextDocuments(tmp_path, vocabulary, on_error="skip")
    assert skipping[0]["index"] == 1
    assert skipping.skipped == [0]


def test_bad_document_files(tmp_path, vocabulary):
    with pytest.raises(DataError, match="no file, and no folder with documents"):
        TextDocuments(tmp_path, vocabulary)
    (tmp_path / "a.csv").write_text("a")
    with pytest.raises(DataError, match=r"unknown kind of file '\.csv'"):
        TextDocuments(tmp_path / "a.csv", vocabulary)
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe\n")
    with pytest.raises(DataError, match="not UTF-8"):
        TextDocuments(tmp_path / "a.txt", vocabulary)[0]
    (tmp_path / "a.parquet").write_text("nothing")
    with pytest.raises(DataError, match="not a readable parquet file"):
        TextDocuments(tmp_path / "a.parquet", vocabulary)
    with pytest.raises(ConfigError, match="at least 3, got 2"):
        TextDocuments(tmp_path / "a.txt", vocabulary, 2)


def test_sentences():
    text = 'He came. "Where?" She asked. It cost 3.5 dollars. 7 men left!'
    parts = ["He came.", '"Where?"', "She asked.", "It cost 3.5 dollars.", "7 men left!"]
    assert split_sentences(text) == parts


def test_packing_closes_a_block_once_it_is_full():
    documents = [[np.arange(4), np.arange(4, 7), np.arange(7, 9)], [np.arange(9, 12)]]

    def packed(**options):
        return [block.tolist() for block in pack_sentences(documents, 5, **options)]

    assert packed() == [list(range(7)), [7, 8], [9, 10, 11]]
    assert packed(across_documents=True) == [list(range(7)), list(range(7, 12))]


def test_short_blocks_have_uniform_targets():
    sentences = [np.zeros(1, dtype=np.int64)] * 30000
    blocks = [len(block) for block in pack_sentences([sentences], 9, short_probability=1.0)]
    counts = np.bincount(blocks[:-1], minlength=10)
    assert counts[:2].tolist() == [0, 0]
    assert counts[2:10].min() > 0.8 * counts[2:10].mean()
    some = [len(block) for block in pack_sentences([sentences], 9, short_probability=0.25)]
    assert np.mean(np.asarray(some) == 9) == pytest.approx(0.75 + 0.25 / 8, abs=0.03)


def test_blocks_on_disk(tmp_path, vocabulary, tokenizer):
    rows = [{"text": "The plane. A flute. Play the flute."}, {"text": ""}, {"text": "A plane playing."}]
    documents = Documents(write_lines(tmp_path / "a.jsonl", rows))
    assert write_blocks(documents, tokenizer, tmp_path / "blocks", 4, batch=2) == 3
    dataset = TokenBlocks(tmp_path / "blocks", vocabulary, 7)
    told = [" ".join(names(tokenizer, sample["tokens"])) for sample in dataset]
    assert told == [
        "[CLS] the plane . a flute [SEP]",  # six ids, cut to five
        "[CLS] play the flute . [SEP]",
        "[CLS] a plane play ##ing . [SEP]",
    ]
    assert dataset[2]["words"].tolist() == [-1, 0, 1, 2, 2, 3, -1]
    assert dataset.sample_name(1).endswith("blocks[1]")


def test_damaged_blocks(tmp_path, vocabulary, tokenizer):
    documents = Documents(write_lines(tmp_path / "a.txt", ["a plane"]))
    folder = tmp_path / "blocks"
    with pytest.raises(DataError, match=r"blocks.json: file is missing. Write the blocks with"):
        TokenBlocks(folder, vocabulary)
    write_blocks(documents, tokenizer, folder)
    other = tmp_path / "vocab.txt"
    write_vocabulary([*PIECES, "new"], other)
    with pytest.raises(DataError, match="another vocabulary"):
        TokenBlocks(folder, other)
    (folder / "tokens.bin").write_bytes(b"\0")
    with pytest.raises(DataError, match="1 bytes, expected 4 for 2 ids"):
        TokenBlocks(folder, vocabulary)
    with pytest.raises(ConfigError, match="short_probability in"):
        write_blocks(documents, tokenizer, folder, short_probability=2.0)
    for content in ("{", "[]", "{}"):
        (folder / "blocks.json").write_text(content)
        with pytest.raises(DataError, match=r"blocks.json: damaged"):
            TokenBlocks(folder, vocabulary)
    write_blocks([[]], tokenizer, folder)
    with pytest.raises(DataError, match="holds no block"):
        TokenBlocks(folder, vocabulary)


def test_the_tool(tmp_path, repository, capsys):
    import importlib.util

    spec = importlib.util.spec_from_file_location("prepare_data", repository / "tools" / "prepare_data.py")
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    pairs = write_lines(tmp_path / "pairs.csv", ["a plane,the plane,5.0", "a plane,the flute,1.0"] * 5)
    root = tmp_path / "sts"
    assert tool.main(["sts", "--root", str(root), "--pairs", str(pairs), "--train-vocabulary", "120"]) == 0
    assert (root / "sentences.txt").read_text().splitlines() == ["a plane", "the plane", "the flute"]
    arguments = ["--documents", str(root / "sentences.txt"), "--block-length", "5", "--across-documents"]
    assert tool.main(["text", "--root", str(root), *arguments]) == 0
    assert "vocabulary: 1" in capsys.readouterr().out
    assert len(TokenBlocks(root / "blocks", root / "vocab.txt")) >= 1
