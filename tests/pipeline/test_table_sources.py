"""Tables of JSON Lines, of databases, and of files that have an address."""

import gzip
import http.server
import sqlite3
from decimal import Decimal

import pytest

from depthcheck.experiments.planning.definition import found_from
from depthcheck.pipeline.config import DataConfig
from depthcheck.pipeline.data.cell_table import CellTable
from depthcheck.pipeline.data.load import DataNotFoundError, load, open_table, own_files


def read(path, **part):
    lines = []
    return open_table(path, lines.append, **part).read(), lines


def test_json_lines_keep_types_digits_and_what_stands_in_objects(tmp_path):
    path = tmp_path / "any.jsonl.gz"
    text = '{"n": 1, "at": {"lat": 1.5, "on": true}, "code": 12345678901234567890}\n\n'
    path.write_bytes(
        gzip.compress((text + '{"n": 2.5, "tags": [1], "code": 12345678901234567891, "w": "ä"}\n').encode())
    )

    frame, lines = read(path)

    assert frame["n"].tolist() == [1, 2.5]
    assert frame["code"].tolist() == ["12345678901234567890", "12345678901234567891"]
    assert [frame[name].isna().tolist() for name in ("at.lat", "at.on", "w")] == [
        [False, True],
        [False, True],
        [True, False],
    ]
    assert lines == ["any.jsonl.gz: 'tags' holds lists: left out"]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('{"a": 1}\n[2]\n', r"line 2 of any\.ndjson must be a JSON object, got \[2\]$"),
        ('{"a": 1}\n{"a": \n', r"line 2 of any\.ndjson must be a JSON object, got '{\"a\":': Expecting value$"),
        ("[" * 9_999, r"line 1 of any\.ndjson must be a JSON object, got .*: too many levels$"),
        ("{}\n" + '{"a":' * 9_999, r"line 2 of any\.ndjson must be a JSON object, got .*: too many levels$"),
        ("\n", r"any\.ndjson must have rows of numbers, text, booleans or dates, got none$"),
    ],
)
def test_what_is_no_json_lines_is_refused_in_one_line(tmp_path, text, complaint):
    path = tmp_path / "any.ndjson"
    path.write_text(text)
    with pytest.raises(ValueError, match=complaint):
        read(path)


@pytest.mark.parametrize(
    "text",
    [
        '[\n  {"n": 1, "at": {"lat": 1.5}},\n  {"n": null, "at": {"lat": 2.5}, "w": "ä"}\n]\n',
        '{"n": {"0": 1, "1": null}, "at.lat": {"0": 1.5, "1": 2.5}, "w": {"1": "ä"}}',  # as pandas writes a table
        '{"n": 1, "at": {"lat": 1.5}}\n{"at": {"lat": 2.5}, "w": "ä"}\n',
    ],
)
def test_json_may_be_a_list_of_objects_one_of_columns_or_an_object_in_each_line(tmp_path, text):
    path = tmp_path / "ANY.JSON"
    path.write_text(text)
    frame, lines = read(path)
    assert lines == []
    assert frame.isna().to_numpy().tolist() == [[False, False, True], [True, False, False]]
    assert (frame["n"][0], [*frame["at.lat"]], frame["w"][1]) == (1, [1.5, 2.5], "ä")
    assert list(frame.columns) == ["n", "at.lat", "w"]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('[{"a": 1},\n {"a": ', r"any\.json must be a list of JSON objects: Expecting value: line 2 column 8 "),
        ('[{"a": 1}, 2]', r"entry 2 of any\.json must be a JSON object, got 2$"),
        ("[" * 9_999, r"any\.json must be a list of JSON objects: too many levels$"),
        ("[]", r"any\.json must have rows of numbers, text, booleans or dates, got none$"),
        ("7", r"line 1 of any\.json must be a JSON object, got 7$"),
    ],
)
def test_what_is_no_list_of_objects_is_refused_in_one_line(tmp_path, text, complaint):
    path = tmp_path / "any.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=complaint):
        read(path)


@pytest.fixture
def sales(tmp_path):
    path = tmp_path / "sales.db"
    with sqlite3.connect(path) as database:
        database.executescript(
            """
            CREATE TABLE orders (id INTEGER PRIMARY KEY DESC, price REAL, share TEXT, scan BLOB, day DATE);
            INSERT INTO orders VALUES (2, 1.5, '5%', x'00', '12.3.2021'), (1, NULL, 'a:b', NULL, '2020-01-02');
            CREATE TABLE "my table" (x);
            INSERT INTO "my table" VALUES (9007199254740993), (1);
            CREATE VIEW dear AS SELECT price FROM orders WHERE price > 1;
            """
        )
    database.close()
    return path


def test_sqlite_gives_a_table_a_view_or_what_a_query_asks(sales):
    before = sales.read_bytes()
    frame, lines = read(sales, query="orders")

    assert frame.drop(columns="price").to_dict("list") == {
        "id": [1, 2],
        "share": ["a:b", "5%"],
        "day": ["2020-01-02", "12.3.2021"],
    }
    assert lines == ["sales.db: 'scan' holds bytes: left out"]
    assert read(sales, query="my table")[0]["x"].tolist() == ["9007199254740993", "1"]
    assert read(sales, query="dear")[0]["price"].tolist() == [1.5]
    assert read(sales, query="SELECT share AS s FROM orders WHERE share LIKE '%:b'")[0].to_dict("list") == {
        "s": ["a:b"]
    }
    for query, complaint in (
        (None, r"query must be a SELECT or a table of sales\.db: dear, my table, orders; got none$"),
        ("order", r"got 'order'; did you mean 'orders'\?$"),
        ("SELECT nope FROM orders", r"sales\.db cannot be read: no such column: nope$"),
        ("DELETE FROM orders", r"sales\.db cannot be read: attempt to write a readonly database$"),
    ):
        with pytest.raises(ValueError, match=complaint):
            read(sales, query=query)
    assert sales.read_bytes() == before


def test_address_of_a_sqlite_database_is_the_path_of_its_file(sales):
    config = DataConfig(name="sqlite:///sales.db", target="price", query="orders", task="regression")
    assert config.to_params()["query"] == "orders"
    assert DataConfig.from_params(config.to_params()) == config
    assert found_from(config, sales.parent).name == str(sales)


def test_file_with_an_address_is_fetched_once_and_then_read_without_a_network(served, tmp_path):
    folder, address = served
    (folder / "a b.csv").write_text("x,y\n1,2\n2,3\n4,9\n")
    (folder / "page.csv").write_text("<!DOCTYPE html><html></html>")
    config = DataConfig(name=f"{address}/a%20b.csv?raw=true", target="y", task="regression")
    lines = []

    first = load(config, cache=tmp_path / "cache", log=lines.append)
    (folder / "a b.csv").unlink()
    again = load(config, cache=tmp_path / "cache", log=lines.append)

    assert first.sha256 == again.sha256
    assert first.name == "a b.csv"
    assert [line.partition(": ")[2].partition(",")[0] for line in lines] == [
        "not on this machine; downloading it", "read as it was fetched",
    ]  # fmt: skip
    assert own_files(config) == []
    assert found_from(config, tmp_path) == config
    for name, complaint in (
        ("page.csv", r"the address of page\.csv must lead to a file of data, got a web page \(HTML\)"),
        ("none.csv", r"/none\.csv: HTTP Error 404"),
    ):
        with pytest.raises(DataNotFoundError, match=complaint):
            load(DataConfig(name=f"{address}/{name}", target="y"), cache=tmp_path / "cache")
    with pytest.raises(DataNotFoundError, match=r"data must be a path or an address .*, got 's3://bucket/a\.csv'$"):
        load(DataConfig(name="s3://bucket/a.csv", target="y"), cache=tmp_path)


def test_download_that_is_cut_off_is_told_and_not_kept(served, tmp_path, monkeypatch):
    folder, address = served
    (folder / "any.csv").write_text("x,y\n1,2\n2,3\n4,9\n")

    def cut(_handler, source, target):
        target.write(source.read()[:-5])

    monkeypatch.setattr(http.server.SimpleHTTPRequestHandler, "copyfile", cut)
    with pytest.raises(DataNotFoundError, match=r"/any\.csv: cut off, 5 bytes are missing$"):
        load(DataConfig(name=f"{address}/any.csv", target="y"), cache=tmp_path / "cache")
    assert not list((tmp_path / "cache").rglob("any.csv"))


def test_whole_numbers_of_a_database_that_a_float_would_make_one_stay_apart():
    cells = [Decimal("12345678901234567890"), Decimal("12345678901234567891"), None]
    prices = [Decimal("1.50"), Decimal("12345678901234567.50"), Decimal("NaN")]
    frame = CellTable(["code", "price"], [cells, prices], "x", print).read()
    assert frame["code"].tolist()[:2] == [str(cell) for cell in cells[:2]]
    assert frame["price"].dtype.kind == "f"


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://me:s3cret@host/x",
        "postgresql+psycopg://me:s3/c:ret@host:5432/x",
        "postgresql://host/x?user=me&password=s3cret",
        "postgresql://host/x?pass%77ord=s3cret",
        "https://me:s3cret@host/a.csv",
        "https://host/a.csv?version=2&access_token=s3cret",
        "https://host/a.csv?X-Amz-Signature=s3cret",
        "mssql://host/x?odbc_connect=s3cret",
    ],
)
def test_password_in_an_address_is_refused_before_anything_can_log_it(address):
    with pytest.raises(
        ValueError, match="data must be an address without a password, which would be logged"
    ) as refused:
        DataConfig(name=address)
    assert "s3" not in str(refused.value)


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://me@host:5432/x",
        "postgresql://me@host/x?sslkey=my.key&sslmode=require",
        "https://host:8080/@me/a.csv?raw=true",
        "https://host/@a:b.csv",
        "C:/a@b.csv",
    ],
)
def test_address_without_a_password_is_taken(address):
    assert DataConfig(name=address).name == address
