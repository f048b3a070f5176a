"""Official layouts, as their publishers write them, in miniature; and the real sets where they are."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from penchant.core.errors import DataError
from penchant.core.schema import INTERACTION_SCHEMA, Dataset, Finding
from penchant.data import SOURCES
from penchant.data.read.sources import DataConfig, read, read_catalog
from penchant.data.split.interactions import SplitConfig, split


def write(folder: Path, files: dict[str, str | bytes]) -> Path:
    for name, content in files.items():
        raw = content.encode() if isinstance(content, str) else content
        (folder / name).write_bytes(gzip.compress(raw) if name.endswith(".gz") else raw)
    return folder


def movielens_dat(folder: Path) -> None:
    movies = "1::Toy Story (1995)::Animation|Comedy\n2::Misérables, Les (1998)::Drama\n"
    write(
        folder,
        {
            "ratings.dat": "1::1::5::978300760\n1::2::3::978302109\n2::1::4::978301968\n",
            "movies.dat": movies.encode("latin-1"),
            "users.dat": "1::F::1::10::48067\n2::M::56::16::02139\n",
        },
    )


def movielens_csv(folder: Path) -> None:
    write(
        folder,
        {
            "ratings.csv": "userId,movieId,rating,timestamp\n1,1,4.0,964982703\n1,3,4.5,964981247\n2,1,0.5,964982224\n",
            "movies.csv": 'movieId,title,genres\n1,Toy Story (1995),Animation|Comedy\n3,"Men, Grumpy (1995)",(no genres listed)\n',
            "tags.csv": "userId,movieId,tag,timestamp\n2,1,Pixar,1445714994\n3,1,pixar,1445714995\n3,1,fun,1445714996\n",
        },
    )


def amazon(folder: Path) -> None:
    image = {"small_image_url": "https://m.example/1s.jpg"}
    review = {"rating": 5.0, "title": "Good", "text": "Works well", "images": [image], "asin": "A0", "helpful_vote": 1}
    reviews = [
        review | {"parent_asin": "A", "user_id": "AE1", "timestamp": 1588687728923, "verified_purchase": True},
        review | {"parent_asin": "B", "user_id": "AE1", "timestamp": 1588687728924, "text": "", "title": None},
        review | {"parent_asin": "A", "user_id": "AE2", "timestamp": 1588687728925},
    ]
    picture = {
        "thumb": "https://m.example/t.jpg",
        "large": "https://m.example/l.jpg",
        "variant": "MAIN",
        "hi_res": None,
    }
    meta = {"main_category": "Baby", "store": "S", "features": ["soft", "blue"], "description": [], "videos": []}
    products = [
        meta | {"parent_asin": "A", "title": "Cup", "price": 12.5, "images": [picture], "details": {"Brand": "S"}},
        meta | {"parent_asin": "B", "title": "Mug", "price": "from 1,003.00", "images": [], "details": {"Size": 3}},
        meta | {"parent_asin": "B", "title": "Mug again", "price": "—", "images": [], "details": {}},
    ]
    write(
        folder,
        {
            "Baby_Products.jsonl.gz": "".join(json.dumps(r) + "\n" for r in reviews),
            "meta_Baby_Products.jsonl": "".join(json.dumps(p) + "\n" for p in products),
        },
    )


def mind(folder: Path) -> None:
    news = 'N{0}\tsports\tgolf\tPGA "Tour"  winners {0}\tA gallery of {0}.\thttps://x/{0}.html\t[]\t[]\n'
    write(
        folder,
        {
            "behaviors.tsv": "1\tU1\t11/15/2019 8:55:22 AM\tN1 N2\tN3-1 N4-0\n"
            "2\tU2\t11/12/2019 6:11:30 PM\t\tN1-0 N4-1\n"
            "3\tU1\t11/13/2019 1:00:00 AM\tN1 N2\tN4-1 N3-0\n",
            "news.tsv": "".join(news.format(n) for n in range(1, 5)),
        },
    )


def recbole(folder: Path) -> None:
    write(
        folder,
        {
            "ml.inter": "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
            "01\t5\t3.0\t881250949\n1\t5\t4\t881250950\n1\t6\t2\t881250951\n",
            "ml.item": "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
            '5\tToy "Story"\t1995\tAnimation Comedy\n6\tHeat\t1996\tAction\n',
            "ml.user": "user_id:token\tage:token\n01\t24\n1\t53\n",
        },
    )


def mmrec(folder: Path) -> None:
    write(
        folder,
        {
            "baby.inter": "userID\titemID\trating\ttimestamp\tx_label\n0\t2\t5.0\t1369\t0\n0\t0\t5\t1370\t1\n1\t2\t3\t1371\t2\n"
        },
    )
    np.save(folder / "image_feat.npy", np.zeros((5, 3), np.float32))
    np.save(folder / "user_graph_dict.npy", np.array({"pickled": 1}, dtype=object), allow_pickle=True)


def movielens_mm(folder: Path) -> None:
    write(
        folder,
        {
            "interactions.csv.gz": "user_id,item_id,colakg_split,rating,timestamp,time_split,rating_known\n"
            "1,1,train,5,978300760,train,1\n1,2,train,,,train,0\n2,2,test,4,978300761,test,1\n",
            "items.csv": "item_id,title,genres,year,rated,released,director,writer,actors,plot,llm_description,has_image,n_interactions\n"
            '1,Toy Story (1995),Animation|Comedy,1995,G,22 Nov 1995,John Lasseter,,"Tom Hanks, Tim Allen",Toys live,A film,1,2\n'
            "2,Heat (1995),Action,,,,,,,,,0,1\n",
            "users.csv": "user_id,gender,age,occupation\n1,F,1,10\n2,M,56,16\n",
        },
    )


def emotify(folder: Path) -> None:
    head = "item_id,genre,amazement,mood,liked,disliked,age,gender,mother_tongue,pseudo_user_id\n"
    write(
        folder,
        {
            "interactions.csv": head
            + "1,rock,0,3,1,0,21,1,English,82\n2,rock,0,3,0,1,41,1,Dutch,340\n2,rock,0,3,1,1,21,1,English,82\n1,rock,0,3,0,0,41,1,Dutch,340\n",
            "items.csv": "item_id,genre,file_in_genre,audio,n\n1,rock,7,audio/001.ogg,2\n2,rock,8,audio/002.ogg,2\n",
        },
    )


def diffmm(folder: Path) -> None:
    write(folder, {"interactions.csv.gz": "user_id,item_id,split\n0,11,train\n0,2,val\n1,2,test\n"})
    np.save(folder / "image_feat.npy", np.zeros((13, 2), np.float16))


LAYOUTS: dict[str, Callable[[Path], None]] = {
    "movielens": movielens_dat,
    "amazon_reviews": amazon,
    "mind": mind,
    "recbole": recbole,
    "mmrec": mmrec,
    "movielens_mm": movielens_mm,
    "emotify": emotify,
    "diffmm": diffmm,
}


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., Dataset]:
    def made(name: str, layout: Callable[[Path], None] | None = None, **settings: object) -> Dataset:
        (layout or LAYOUTS[name])(tmp_path)
        return read(DataConfig.model_validate({"format": name, "path": tmp_path, **settings}))

    return made


def finding(dataset: Dataset, check: str) -> Finding:
    return next(f for f in dataset.findings if f.check == check)


def column(dataset: Dataset, name: str) -> list[object]:
    return dataset.interactions.table[name].to_list()


def test_every_layout_is_tested() -> None:
    assert set(LAYOUTS) == set(SOURCES.names()) - {"files"}


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_gives_the_nouns(name: str, load: Callable[..., Dataset], tmp_path: Path) -> None:
    found = load(name)
    assert dict(list(found.interactions.table.schema.items())[:5]) == INTERACTION_SCHEMA
    assert set(column(found, "item_id")) <= set(found.catalog.item_ids)
    named = {*found.catalog.text_columns, *found.catalog.media_columns.values(), *found.catalog.attribute_columns}
    assert named <= set(found.catalog.table.columns)
    alone = read_catalog(DataConfig(format=name, path=tmp_path))
    assert alone.table.equals(found.catalog.table)


@pytest.mark.parametrize("name", LAYOUTS)
def test_an_empty_folder_is_answered(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        read(DataConfig(format=name, path=tmp_path))
    assert "There is no" in caught.value.message
    assert str(tmp_path) in caught.value.where


def test_movielens_dat_is_latin_1(load: Callable[..., Dataset]) -> None:
    found = load("movielens")
    assert found.catalog.titles() == ["Toy Story (1995)", "Misérables, Les (1998)"]
    assert found.catalog.table["genres"].to_list() == [["Animation", "Comedy"], ["Drama"]]
    assert found.catalog.table["year"].to_list() == [1995, 1998]
    assert column(found, "at")[0] == datetime(2000, 12, 31, 22, 12, 40, tzinfo=UTC)
    assert column(found, "kind") == ["rating"] * 3
    assert found.users is not None
    assert found.users.attribute_columns == ("gender", "age", "occupation")
    assert load("movielens", min_value=3.0, default_kind="like").interactions.table["kind"].to_list() == ["like"] * 3


def test_movielens_csv_has_tags_when_asked(load: Callable[..., Dataset]) -> None:
    found = load("movielens", movielens_csv, text=["title", "tags"])
    assert found.catalog.titles()[1] == "Men, Grumpy (1995)"
    assert found.catalog.table["genres"].to_list() == [["Animation", "Comedy"], None]
    assert found.catalog.table["tags"].to_list() == ["pixar, fun", None]
    assert column(found, "value") == [4.0, 4.5, 0.5]
    assert load("movielens", movielens_csv).catalog.text_columns == ("title",)


def test_amazon_keeps_words_and_addresses(load: Callable[..., Dataset]) -> None:
    found = load("amazon_reviews")
    assert column(found, "text") == ["Good. Works well", None, "Good. Works well"]
    assert column(found, "at")[0] == datetime(2020, 5, 5, 14, 8, 48, 923000, tzinfo=UTC)
    table = found.catalog.table
    assert table["item_id"].to_list() == ["A", "B"]
    assert table["price"].to_list() == [12.5, 1003.0]
    assert table["features"].to_list() == ["soft blue"] * 2
    assert table["image_address"].to_list() == ["https://m.example/l.jpg", None]
    assert found.catalog.media_columns == {}


def test_amazon_asks_which_category(load: Callable[..., Dataset], tmp_path: Path) -> None:
    amazon(tmp_path)
    write(tmp_path, {"Books.jsonl": "{}\n", "meta_Books.jsonl": "{}\n"})
    with pytest.raises(DataError, match="There are 2 categories"):
        load("amazon_reviews")
    assert len(load("amazon_reviews", interactions="Baby_Products.jsonl.gz").interactions) == 3


def test_mind_clicks_follow_the_history(load: Callable[..., Dataset]) -> None:
    found = load("mind")
    table = found.interactions.table.filter(pl.col("user_id") == "U1").sort("at")
    assert table["item_id"].to_list() == ["N1", "N2", "N4", "N3"]
    assert table["at"][1] == datetime(2019, 11, 13, 0, 59, 59, tzinfo=UTC)
    assert column(found, "kind") == ["click"] * 5
    assert found.catalog.titles()[0] == 'PGA "Tour"  winners 1'
    assert finding(found, "mind.history").count == 2


def test_mind_without_labels_is_refused(tmp_path: Path) -> None:
    mind(tmp_path)
    write(tmp_path, {"behaviors.tsv": "1\tU1\t11/15/2019 8:55:22 AM\t\tN3 N4\n"})
    with pytest.raises(DataError, match="No impression names a click"):
        read(DataConfig(format="mind", path=tmp_path))
    write(tmp_path, {"behaviors.tsv": "1\tU1\t2019-11-15\t\tN3-1 N4\n"})
    with pytest.raises(DataError, match="'2019-11-15' is not a time such as") as caught:
        read(DataConfig(format="mind", path=tmp_path))
    assert caught.value.where == "behaviors.tsv row 1, column at"


def test_recbole_headers_say_what_columns_hold(load: Callable[..., Dataset]) -> None:
    found = load("recbole")
    assert column(found, "user_id") == ["01", "1", "1"]
    assert column(found, "value") == [3.0, 4.0, 2.0]
    assert found.catalog.titles() == ['Toy "Story"', "Heat"]
    assert found.catalog.table["class"].to_list() == [["Animation", "Comedy"], ["Action"]]
    assert found.catalog.table["release_year"].to_list() == [1995, 1996]


def test_recbole_benchmark_files_are_a_published_split(tmp_path: Path) -> None:
    head = "user_id:token\titem_id:token\n"
    parts = {"train": "1\t5\n1\t6\n", "valid": "1\t7\n", "test": "1\t8\n"}
    write(tmp_path, {f"x.{part}.inter": head + rows for part, rows in parts.items()})
    found = read(DataConfig(format="recbole", path=tmp_path))
    assert column(found, "part") == ["train", "train", "validation", "test"]


def test_mmrec_catalog_has_a_row_for_each_vector(load: Callable[..., Dataset]) -> None:
    found = load("mmrec")
    assert found.catalog.item_ids == ["0", "1", "2", "3", "4"]
    assert column(found, "part") == ["train", "validation", "test"]
    assert finding(found, "items.vectors").examples == ("image_feat.npy: 5 rows",)


def test_mmrec_labels_are_checked(load: Callable[..., Dataset], tmp_path: Path) -> None:
    write(tmp_path, {"b.inter": "userID\titemID\tx_label\n0\t0\t0\n0\t1\t7\n"})
    with pytest.raises(DataError, match="'7' is not a label of a split") as caught:
        load("mmrec", lambda folder: None)
    assert caught.value.where == "b.inter row 3, column x_label"


def test_movielens_mm_takes_positives_and_posters(load: Callable[..., Dataset]) -> None:
    found = load("movielens_mm")
    assert column(found, "value") == [5.0, 4.0]
    table = found.catalog.table
    assert table["credits"].to_list() == ["John Lasseter, Tom Hanks, Tim Allen", None]
    assert table["image"].to_list() == ["images/1.jpg", None]
    assert found.catalog.attribute_columns == ("genres", "year", "rated")
    assert found.catalog.text_columns == ("title", "plot", "credits", "llm_description")
    assert len(load("movielens_mm", min_value=None).interactions) == 3


def test_emotify_has_likes_dislikes_and_profiles(load: Callable[..., Dataset]) -> None:
    found = load("emotify")
    assert column(found, "kind") == ["like", "dislike", "neither", "neither"]
    assert column(found, "at") == [None] * 4
    assert found.catalog.titles() == ["Rock 7", "Rock 8"]
    assert found.catalog.media_columns == {"audio": "audio"}
    assert found.users is not None
    assert found.users.table.sort("age").rows() == [("82", 21, 1, "English"), ("340", 41, 1, "Dutch")]


def test_diffmm_rows_are_the_rows_of_the_vectors(load: Callable[..., Dataset], tmp_path: Path) -> None:
    found = load("diffmm")
    assert found.catalog.item_ids == [str(n) for n in range(13)]
    assert column(found, "part") == ["train", "validation", "test"]
    (tmp_path / "image_feat.npy").unlink()
    assert len(read(DataConfig(format="diffmm", path=tmp_path)).catalog) == 12
    write(tmp_path, {"interactions.csv.gz": "user_id,item_id,split\n0,B01,train\n"})
    with pytest.raises(DataError, match="The item id 'B01' is not a row number"):
        read(DataConfig(format="diffmm", path=tmp_path))


@pytest.mark.parametrize(
    ("name", "folder", "sizes", "parts"),
    [
        ("movielens_mm", "ml1m_mm", (575_281, 6_038, 3_883), None),
        ("emotify", "emotify_audio", (8_407, 466, 400), None),
        ("diffmm", "tiktok_diffmm", (68_722, 9_308, 6_710), (59_541, 3_051, 6_130)),
        ("diffmm", "amazon_baby_diffmm", (160_792, 19_445, 7_050), (118_551, 21_682, 20_559)),
    ],
)
def test_real_sets_have_the_sizes_their_sources_say(
    shared_data: Path, name: str, folder: str, sizes: tuple[int, int, int], parts: tuple[int, ...] | None
) -> None:
    found = read(DataConfig(format=name, path=shared_data / folder))
    users = found.interactions.table["user_id"].n_unique()
    assert (len(found.interactions), users, len(found.catalog)) == sizes
    if parts is not None:
        cut = split(found.interactions, SplitConfig(), 0)
        assert tuple(len(part) for part in (cut.train, cut.validation, cut.test)) == parts


def test_real_films_have_posters_where_they_say(shared_data: Path) -> None:
    catalog = read(DataConfig(format="movielens_mm", path=shared_data / "ml1m_mm")).catalog
    assert catalog.media_root is not None
    posters = catalog.table["image"].drop_nulls()
    assert len(posters) == 3_256
    assert all((catalog.media_root / name).is_file() for name in posters)
