"""Reading and writing YAML: values survive, and what is dangerous is refused in one line that names the place."""

import time

import pytest

from tformer_cli.config.yaml import MAX_BYTES, dump_yaml, parse_yaml, read_yaml
from tformer_cli.errors import ConfigError

TEXTS = [
    "", "~", "null", "no", "on", "true", "True", "y", "1", "010", "1_0", "0x1f", "1:30", "1e-3", "1e5", "+1", ".5",
    "5.", "-", "=", "<<", "???", "#a", "a: b", "a #b", " x", "x ", "a\nb", "\n", "\t", "a\\b'\"", "- a", "? b",
    "%a", "@x", "`", "{a", "[b", "a,b", "---", "...", "2020-01-01", "\ufeffx", "\x85", "\u2028x", "\u3000 a", "日本",
    "😀", "+.inf", ".nan", "x" * 500 + " y" * 99,
]  # fmt: skip


@pytest.mark.parametrize("text", TEXTS)
def test_text_survives_writing_and_reading(text):
    data = {"key": text, "list": [text, "b"], "below": {"key": text}}
    assert parse_yaml(dump_yaml(data), "t").data == data


@pytest.mark.parametrize("value", [0, -3, 10**17, 0.1, 1e-9, 1e16, 1e300, -0.0, 1.0, True, False, None, [], {}])
def test_values_survive_with_their_types(value):
    read = parse_yaml(dump_yaml({"key": value}), "t").data["key"]
    assert (read, type(read), str(read)) == (value, type(value), str(value))


def test_only_what_needs_quotes_has_them():
    written = dump_yaml({"a": "multi30k_en_de", "b": "3rd", "c": "1e5", "d": 0.5, "e": 3})
    assert written == "a: multi30k_en_de\nb: 3rd\nc: '1e5'\nd: 0.5\ne: 3\n"


def test_scalars_follow_yaml_1_2():
    read = parse_yaml("a: no\nb: 1e-3\nc: '1'\nd: 1:30\ne: true\nf:\ng: 010\nh: 1.5\n", "t").data
    assert read == {"a": "no", "b": 0.001, "c": "1", "d": "1:30", "e": True, "f": None, "g": 10, "h": 1.5}


def test_lines_of_keys_are_known():
    document = parse_yaml("a: 1\nb:\n  c: 2\n\n  d:\n    - e: 3\n", "mine.yaml")
    assert document.location("b.c") == "mine.yaml:3"
    assert document.location("b.d") == "mine.yaml:5"
    assert document.location("b.other") == "mine.yaml:2"
    assert document.location("nothing") == "mine.yaml"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: &x 1\nb: *x", "f:1 sets the anchor &x"),
        ("b: *x", "f:1 uses the alias *x"),
        ("a: 1\nb: !!python/object/apply:os.system [ls]", "f:2 has the tag"),
        ("a: !tag 1", "f:1 has the tag"),
        ("a: 1\nb:\n  c: 1\n  c: 2", "f:4 gives 'c' a second time"),
        ("{a: 1, a: 1}", "f:1 gives 'a' a second time"),
        ("a: 1\n2: 3", "f:2 has a key that is not text"),
        ("true: 3", "f:1 has a key that is not text"),
        ("? [a]\n: b", "f:1 has a key that is not text"),
        ("- a", "f does not hold settings"),
        ("", "f does not hold settings"),
        ("# nothing\n", "f does not hold settings"),
        ("a: 1\n---\nb: 1", "f:2 starts a second document"),
        ("a: [1,\n2", "f:2 is not YAML"),
        ("a: b: c", "f:1 is not YAML"),
        ("a: 1\nb: \x07", "f:2 holds a character"),
        ("a:\n" + "".join(f"{' ' * n}b:\n" for n in range(1, 30)), "f:21 is nested more than 20 levels deep"),
        ("a: " + "[" * 5000, "f:1 is nested more than 20 levels deep"),
        ("a: [" + "1," * 10_001 + "]", "f:1 is past 10,000 values"),
    ],
)
def test_what_is_refused_is_named_with_its_line(text, message):
    start = time.process_time()
    with pytest.raises(ConfigError) as error:
        parse_yaml(text, "f")
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)
    assert time.process_time() - start < 5


def test_alias_bomb_is_refused_at_once():
    bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 9)
    )
    start = time.process_time()
    with pytest.raises(ConfigError, match="anchor"):
        parse_yaml(bomb, "f")
    assert time.process_time() - start < 0.5


def test_files_are_checked_before_they_are_parsed(tmp_path):
    path = tmp_path / "f.yaml"
    path.write_bytes(b"a: 1\nb: \xff\n")
    with pytest.raises(ConfigError, match=r"f\.yaml:2: not UTF-8"):
        read_yaml(path)
    path.write_bytes(b"#" * (MAX_BYTES + 1))
    with pytest.raises(ConfigError, match="larger than 1 MB"):
        read_yaml(path)
    with pytest.raises(ConfigError, match="no such file"):
        read_yaml(tmp_path / "other.yaml")
    path.write_bytes(b"\xef\xbb\xbfa: 1\r\nb: x\r\n")
    assert read_yaml(path).data == {"a": 1, "b": "x"}
