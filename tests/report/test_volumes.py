import csv
import io
import json

from batchexport.model import Volume
from batchexport.report.volumes import COLUMNS, csv_text, json_text
from tests.plan.records import volume

FULL = volume(name="db", status="in-use", servers=["s1", "s2"], volume_type="SSD", availability_zone="az1")
BARE = Volume(volume_id="v2", status="available")


def test_a_volume_is_a_row_with_what_is_known_of_it() -> None:
    rows = list(csv.DictReader(io.StringIO(csv_text([FULL, BARE]))))
    assert rows[0] == {
        "volume_id": FULL.volume_id,
        "volume_name": "db",
        "size_gib": "10",
        "status": "in-use",
        "type": "SSD",
        "availability_zone": "az1",
        "attached_to": "s1 s2",
    }
    assert set(rows[1].values()) == {"v2", "available", ""}
    assert tuple(rows[0]) == COLUMNS


def test_rows_for_another_list_stand_in_its_columns() -> None:
    assert csv_text([FULL], columns=["image_name", "volume_id"], header=False) == f",{FULL.volume_id}\n"


def test_a_name_that_looks_like_a_formula_is_made_harmless() -> None:
    assert "'=1+1" in csv_text([volume(name="=1+1")])


def test_json_is_an_array_with_one_volume_a_line() -> None:
    assert json_text([]) == "[\n]\n"
    assert json.loads(json_text([BARE], behind=[{"volume_id": "v1"}]))[1]["volume_id"] == "v2"
    assert len(json_text([FULL, BARE]).splitlines()) == 4
