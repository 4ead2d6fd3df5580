"""Parquet, Arrow and Feather: every value is read, and what a small file unpacks to is bounded."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.ipc
import pyarrow.parquet
import pytest

from tformer_cli import raw_lines
from tformer_cli.data.core import columnar, columnar_sizes, files
from tformer_cli.errors import DataError

ENDLESS = "unpacks to more than 100 times its"


def repeated(count: int, text: str) -> pyarrow.DictionaryArray:
    return pyarrow.DictionaryArray.from_arrays(pyarrow.array(np.zeros(count, np.int32)), pyarrow.array([text]))


def read(path: Path, column: str = "text") -> list:
    return [row[column] for _, row in files.named_rows(path, [column], setting="data.text")]


def write_arrow(path: Path, table: pyarrow.Table, compression: str | None = None, *, stream: bool = False) -> None:
    options = pyarrow.ipc.IpcWriteOptions(compression=compression)
    make = pyarrow.ipc.new_stream if stream else pyarrow.ipc.new_file
    with make(str(path), table.schema, options=options) as writer:
        writer.write_table(table)


# --- what is there ---


def columns() -> dict[str, pyarrow.Array]:
    words = [["a", "b"], [], None, ["ü" * 40, None]]
    texts = ["a", None, "ü" * 40, ""]
    strings = pyarrow.list_(pyarrow.string())
    return {
        "text": pyarrow.array(texts),
        "large": pyarrow.array(texts, pyarrow.large_string()),
        "bytes": pyarrow.array([b"a", None, b"\xff" * 40, b""]),
        "category": pyarrow.array(texts).dictionary_encode(),
        "words": pyarrow.array(words, strings),
        "large_words": pyarrow.array(words, pyarrow.large_list(pyarrow.large_string())),
        "categories": pyarrow.array(words, strings).cast(
            pyarrow.list_(pyarrow.dictionary(pyarrow.int8(), pyarrow.string()))
        ),
        "fixed": pyarrow.array([["a", "b"], None, ["c", None], ["d", "e"]], pyarrow.list_(pyarrow.string(), 2)),
        "pair": pyarrow.array([{"en": "a", "de": ["b"]}, None, {"en": None, "de": None}, {"en": "", "de": []}]),
        "map": pyarrow.array([[("a", 1)], [], None, [("b", None)]], pyarrow.map_(pyarrow.string(), pyarrow.int64())),
        "number": pyarrow.array([1, None, 3, 4]),
        "truth": pyarrow.array([True, None, False, True]),
        "none": pyarrow.nulls(4),
        "a.b": pyarrow.array(["dotted", "name", "of", "column"]),
    }


@pytest.mark.parametrize("schema", [True, False])
@pytest.mark.parametrize("compression", ["none", "zstd"])
def test_every_value_of_parquet(schema, compression, tmp_path):
    table = pyarrow.table(columns())
    pyarrow.parquet.write_table(
        table, tmp_path / "t.parquet", store_schema=schema, compression=compression, row_group_size=3
    )
    for name in table.column_names:
        assert read(tmp_path / "t.parquet", name) == table[name].to_pylist(), name
    schema_there, count = columnar.columnar_schema(tmp_path / "t.parquet")
    assert (schema_there.names, count) == (table.column_names, 4)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("compression", [None, "lz4", "zstd"])
def test_every_value_of_arrow(stream, compression, tmp_path):
    views = pyarrow.array(["a", None, "ü" * 40, ""], pyarrow.string_view())
    lists = pyarrow.ListArray.from_arrays([0, 1, 2, 3, 4], views)
    table = pyarrow.table({**columns(), "view": views, "views": lists})
    write_arrow(tmp_path / "t.arrow", table, compression, stream=stream)
    for name in table.column_names:
        assert read(tmp_path / "t.arrow", name) == table[name].to_pylist(), name
    assert columnar.columnar_schema(tmp_path / "t.arrow")[1] == 4


def test_rows_are_read_in_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr(columnar_sizes, "PIECE_BYTES", 100)
    monkeypatch.setattr(columnar, "BATCH_BYTES", 1000)
    texts = [str(number) * 10 for number in range(500)]
    table = pyarrow.table({"text": texts, "words": [[text, text] for text in texts]})
    pyarrow.parquet.write_table(table, tmp_path / "t.parquet", data_page_size=200)
    write_arrow(tmp_path / "t.arrow", table)
    for name in ("t.parquet", "t.arrow"):
        assert read(tmp_path / name) == texts
        assert read(tmp_path / name, "words") == table["words"].to_pylist()


def test_feather_is_arrow_and_its_first_version_is_named(tmp_path):
    from pyarrow import feather

    feather.write_feather(pyarrow.table({"text": ["a", "b"]}), str(tmp_path / "t.feather"))
    assert read(tmp_path / "t.feather") == ["a", "b"]
    (tmp_path / "old.feather").write_bytes(b"FEA1" + bytes(40) + b"FEA1")
    with pytest.raises(DataError, match=r"old\.feather: Feather version 1"):
        read(tmp_path / "old.feather")


# --- what is claimed ---


def test_a_small_file_never_fills_the_memory(tmp_path):
    """48 kB that stand for 100 GB of text, read in a process that may take 4 GB."""
    table = pyarrow.table({"text": repeated(100_000, "a" * 1_000_000), "label": repeated(100_000, "x")})
    pyarrow.parquet.write_table(table, tmp_path / "t.parquet")
    code = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "import pyarrow.parquet, pyarrow.compute\n"
        "from tformer_cli.data.core import files\n"
        "from tformer_cli.errors import DataError\n"
        "resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try:\n"
        "    files.transpose(files.table_rows(Path(sys.argv[1]), ['text', 'label']), 2)\n"
        "except DataError as error:\n"
        "    print(error)\n"
        "print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10)\n"
    )
    child = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "t.parquet"], capture_output=True, text=True, timeout=300
    )
    assert not child.stderr, child.stderr[-500:]
    message, mebibytes = child.stdout.splitlines()
    assert ENDLESS in message
    assert int(mebibytes) < 600


def dictionary_of_parquet(path: Path) -> None:
    table = pyarrow.table({"text": repeated(1000, "a" * 100_000)})
    pyarrow.parquet.write_table(table, path, store_schema=False)


def footer_that_lies(path: Path) -> None:
    """The footer says that a column unpacks to 1 byte; nothing but the pages says 500,000."""
    table, content = pyarrow.table({"text": repeated(1000, "a" * 500_000)}), io.BytesIO()
    pyarrow.parquet.write_table(table, content, store_schema=False, compression="zstd")
    data = content.getvalue()
    size = pyarrow.parquet.ParquetFile(io.BytesIO(data)).metadata.row_group(0).column(0).total_uncompressed_size
    true, lie = (thrift_integer(number, 3) for number in (size, 1))
    assert true in data
    path.write_bytes(data.replace(true, lie))
    assert pyarrow.parquet.read_metadata(path).row_group(0).column(0).total_uncompressed_size == 1


def thrift_integer(value: int, length: int) -> bytes:
    digits = [(2 * value >> 7 * index) & 127 for index in range(length)]
    return bytes([digit | 128 for digit in digits[:-1]] + digits[-1:])


def page_of_zeros(path: Path) -> None:
    table = pyarrow.table({"text": ["a" * 5_000_000]})
    pyarrow.parquet.write_table(table, path, use_dictionary=False, compression="zstd", write_statistics=False)


def list_of_one_row(path: Path) -> None:
    lists = pyarrow.ListArray.from_arrays([0, 10_000], repeated(10_000, "a" * 10_000).cast(pyarrow.string()))
    pyarrow.parquet.write_table(pyarrow.table({"text": lists}), path, store_schema=False)


def rows_of_nothing(path: Path) -> None:
    pyarrow.parquet.write_table(pyarrow.table({"text": pyarrow.nulls(2_000_000, pyarrow.string())}), path)


def prefixes(path: Path) -> None:
    table = pyarrow.table({"text": ["a" * 100_000] * 1000})
    pyarrow.parquet.write_table(table, path, use_dictionary=False, column_encoding={"text": "DELTA_BYTE_ARRAY"})


def dictionary_of_arrow(path: Path) -> None:
    write_arrow(path, pyarrow.table({"text": repeated(1000, "a" * 100_000)}), "zstd")


def dictionary_in_a_stream(path: Path) -> None:
    write_arrow(path, pyarrow.table({"text": repeated(1000, "a" * 100_000)}), "zstd", stream=True)


def dictionary_in_lists(path: Path) -> None:
    lists = pyarrow.ListArray.from_arrays([0, 1_000, 2_000], repeated(2_000, "a" * 10_000))
    write_arrow(path, pyarrow.table({"text": lists}), "zstd")


def buffers_of_zeros(path: Path) -> None:
    write_arrow(path, pyarrow.table({"text": ["a" * 5_000_000]}), "zstd")


def views_of_the_same(path: Path) -> None:
    views = np.zeros((1000, 4), np.int32)
    views[:, :2] = 100_000, int.from_bytes(b"aaaa", "little")
    parts = [None, pyarrow.py_buffer(views.tobytes()), pyarrow.py_buffer(b"a" * 100_000)]
    array = pyarrow.StringViewArray.from_buffers(pyarrow.string_view(), 1000, parts)
    write_arrow(path, pyarrow.table({"text": array}), "zstd")


def arrow_rows_of_nothing(path: Path) -> None:
    write_arrow(path, pyarrow.table({"text": pyarrow.nulls(1_000_000)}))


@pytest.mark.parametrize(
    "make",
    [
        dictionary_of_parquet, footer_that_lies, page_of_zeros, list_of_one_row, rows_of_nothing, prefixes,
        dictionary_of_arrow, dictionary_in_a_stream, dictionary_in_lists, buffers_of_zeros, views_of_the_same,
        arrow_rows_of_nothing,
    ],
)  # fmt: skip
def test_what_unpacks_to_far_more_than_it_holds_is_refused(make, tmp_path, monkeypatch):
    monkeypatch.setattr(raw_lines, "LARGE_BYTES", 2_000_000)
    monkeypatch.setattr(columnar, "BATCH_BYTES", 2_000_000)
    monkeypatch.setattr(columnar_sizes, "PIECE_BYTES", 1_000_000)
    parquet = make in (
        dictionary_of_parquet,
        footer_that_lies,
        page_of_zeros,
        list_of_one_row,
        rows_of_nothing,
        prefixes,
    )
    path = tmp_path / ("t.parquet" if parquet else "t.arrow")
    make(path)
    pool, taken = pyarrow.default_memory_pool(), 0
    before = pool.bytes_allocated()
    with pytest.raises(DataError, match=ENDLESS):
        for _ in files.named_rows(path, ["text"], setting="data.text"):
            taken = max(taken, pool.bytes_allocated() - before)
    assert taken < 20_000_000


@pytest.mark.parametrize(
    "array",
    [
        pyarrow.RunEndEncodedArray.from_arrays(pyarrow.array([1 << 30], pyarrow.int32()), pyarrow.array(["a"])),
        pyarrow.ListViewArray.from_arrays([0, 0], [2, 2], pyarrow.array(["a", "b"])),
        pyarrow.UnionArray.from_sparse(pyarrow.array([0, 0], pyarrow.int8()), [pyarrow.array(["a", "b"])]),
    ],
)
def test_types_that_stand_for_more_than_they_hold_are_named(array, tmp_path):
    write_arrow(tmp_path / "t.arrow", pyarrow.table({"text": array}))
    with pytest.raises(DataError, match=r"t\.arrow: column 'text' is of Arrow's type .*: write it as text or a list"):
        read(tmp_path / "t.arrow")


@pytest.mark.parametrize("name", ["t.arrow", "s.arrow"])
def test_damaged_arrow_files_are_one_error_or_read(name, tmp_path):
    table = pyarrow.table({"text": ["a" * 20, "b"] * 50, "words": [["a", "b"]] * 100})
    write_arrow(tmp_path / name, table, "zstd", stream=name == "s.arrow")
    data = (tmp_path / name).read_bytes()
    random = np.random.default_rng(1)
    for _ in range(150):
        damaged = bytearray(data)
        for position in random.integers(len(data), size=3):
            damaged[position] = random.integers(256)
        (tmp_path / name).write_bytes(damaged)
        for column in ("text", "words"):
            try:
                read(tmp_path / name, column)
            except DataError as error:
                assert name in str(error) and "\n" not in str(error)


def footer_of_negative_length(data: bytes) -> bytes:
    return data[:-10] + (-5).to_bytes(4, "little", signed=True) + data[-6:]


def footer_that_refers_to_the_end(data: bytes) -> bytes:
    """Its only batch lies, it says, where the end of all batches is marked."""
    marker = b"\xff\xff\xff\xff"
    batch = data.index(marker, data.index(marker) + 1)
    offset = batch.to_bytes(8, "little")
    assert data.count(offset) == 1
    return data.replace(offset, data.rindex(marker + bytes(4)).to_bytes(8, "little"))


@pytest.mark.parametrize("damage", [footer_of_negative_length, footer_that_refers_to_the_end])
def test_a_damaged_footer_of_arrow_is_one_error(damage, tmp_path):
    write_arrow(tmp_path / "t.arrow", pyarrow.table({"text": ["a", "b"]}))
    (tmp_path / "t.arrow").write_bytes(damage((tmp_path / "t.arrow").read_bytes()))
    with pytest.raises(DataError, match=r"t\.arrow: cannot be read as Arrow: \w"):
        read(tmp_path / "t.arrow")


def test_a_page_of_parquet_whose_header_has_a_number_for_a_struct_is_one_error(tmp_path):
    pyarrow.parquet.write_table(pyarrow.table({"text": ["a", "b"]}), tmp_path / "t.parquet", use_dictionary=False)
    data = bytearray((tmp_path / "t.parquet").read_bytes())
    start = pyarrow.parquet.read_metadata(tmp_path / "t.parquet").row_group(0).column(0).data_page_offset
    struct_of_values = data.index(b"\x2c", start)  # field 5, after fields 1 to 3: a struct
    data[struct_of_values] = 0x25  # a number
    (tmp_path / "t.parquet").write_bytes(data)
    with pytest.raises(
        DataError, match=r"t\.parquet: cannot be read as Parquet: the header of a page, or the footer, is damaged"
    ):
        read(tmp_path / "t.parquet")


def test_a_damaged_footer_of_parquet_is_one_error_and_never_ends_the_process(tmp_path):
    """pyarrow calls `abort` when it makes an object of a column whose statistics of sizes are damaged."""
    table = pyarrow.table({"text": [["a"], ["b", None], None] * 9})
    pyarrow.parquet.write_table(table, tmp_path / "t.parquet")
    data = (tmp_path / "t.parquet").read_bytes()
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from tformer_cli.data.core import files\n"
        "from tformer_cli.errors import DataError\n"
        "path, begin = Path(sys.argv[1]), int(sys.argv[2])\n"
        "data, damaged = path.read_bytes(), path.with_name('damaged.parquet')\n"
        "for place in range(begin, len(data) - 8):\n"
        "    damaged.write_bytes(data[:place] + bytes([data[place] ^ 0x10]) + data[place + 1:])\n"
        "    try:\n"
        "        list(files.table_rows(damaged, ['text']))\n"
        "    except DataError as error:\n"
        "        assert str(damaged) in str(error)\n"
    )
    begin = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    line = [sys.executable, "-c", code, str(tmp_path / "t.parquet"), str(begin)]
    child = subprocess.run(line, capture_output=True, text=True, timeout=300)
    assert child.returncode == 0, child.stderr[-500:]
