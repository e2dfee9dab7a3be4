from pathlib import Path
from typing import Any

import pytest

from batchexport.config import CloudSettings, InUse, MaxFailures
from batchexport.config.jobfile import read_job_file
from batchexport.config.settings import Layer
from batchexport.config.values import duration_s
from batchexport.errors import ConfigError
from batchexport.host_command import HostCommand
from batchexport.model import ImageOptions
from batchexport.quiesce import QuiesceCommands

EVERYTHING = """
[job]
list = "lists/march.csv"
state = "march.state"
encoding = "gb18030"
[cloud]
name = "prod"
region = "north"
project = "web"
dialect = "evs"
[image]
name_template = "{volume_id}"
disk_format = "zvhd2"
container_format = "bare"
os_type = "linux"
visibility = "private"
protected = true
[limits]
requests_per_second = 2
max_exports = 10
concurrency = 4
poll_interval = "1.5m"
retries = 0
max_failures = "5%"
settle_time = 45
[[deliver]]
to = "cloud:west"
[[deliver]]
to = "volume:west"
type = "ssd"
[[deliver]]
to = "project:7e3f1d5b90a84c62b7d0c8f4a1e69325"
accept = "theirs"
[servers]
in_use = "skip"
hard_stop = true
max_down = 3
stop_timeout = "5m"
[snapshot]
max_temporary = 2
max_temporary_gib = 500
before = "freeze --all 'the disks'"
after = ["thaw"]
timeout = "30s"
hold = "2m"
"""


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "job.toml"
    path.write_text(text, encoding="utf-8")
    return path


def problems(tmp_path: Path, text: str, **options: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read_job_file(written(tmp_path, text), **options)
    return str(caught.value).splitlines()[1:]


@pytest.mark.parametrize("key", ["in_doubt_timeout", "settle_time"])
def test_the_in_doubt_timeout_has_a_former_name(tmp_path: Path, key: str) -> None:
    text = f'[job]\nlist = "l.csv"\n[limits]\n{key} = 45'
    assert read_job_file(written(tmp_path, text)).layer.settle_s == 45


def test_the_in_doubt_timeout_is_set_once(tmp_path: Path) -> None:
    text = '[job]\nlist = "l.csv"\n[limits]\nin_doubt_timeout = 45\nsettle_time = 45'
    assert any("former name" in each for each in problems(tmp_path, text))


def test_every_key_is_read(tmp_path: Path) -> None:
    job_file = read_job_file(written(tmp_path, EVERYTHING))
    assert job_file.layer == Layer(
        encoding="gb18030",
        deliver=(
            "cloud:west",
            "volume:west,type=ssd",
            "project:7e3f1d5b90a84c62b7d0c8f4a1e69325,accept=theirs",
        ),
        requests_per_second=2.0,
        max_exports=10,
        concurrency=4,
        poll_interval_s=90.0,
        retries=0,
        max_failures=MaxFailures(percent=5.0),
        settle_s=45.0,
        in_use=InUse.SKIP,
        hard_stop=True,
        max_down=3,
        stop_timeout_s=300.0,
        max_temporary=2,
        max_temporary_gib=500,
        quiesce=QuiesceCommands(
            before=HostCommand(arguments=("freeze", "--all", "the disks"), timeout_s=30.0),
            after=HostCommand(arguments=("thaw",), timeout_s=30.0),
            hold_s=120.0,
        ),
        name_template="{volume_id}",
        image=ImageOptions(
            disk_format="zvhd2",
            container_format="bare",
            os_type="linux",
            visibility="private",
            protected=True,
        ),
        cloud="prod",
        dialect="evs",
        options={"region_name": "north", "project_name": "web"},
    )


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("max_temporary = 0", "must be 1 or more"),
        ('before = ""', "is empty"),
        ("before = 'sh \"'", "cannot be split"),
        ("after = [1]", "a list of texts"),
        ('hold = "1m"', "is for before and after"),
        ('before = "x"\ntimeout = "0s"', "must be more than 0"),
        ('befor = "x"', "did you mean before?"),
    ],
)
def test_a_wrong_key_of_snapshots_is_named(tmp_path: Path, line: str, words: str) -> None:
    (problem,) = problems(tmp_path, f'[job]\nlist = "l.csv"\n[snapshot]\n{line}')
    assert problem.strip().startswith("[snapshot] ") and words in problem


def test_paths_are_seen_from_the_folder_of_the_job_file(tmp_path: Path) -> None:
    job_file = read_job_file(written(tmp_path, EVERYTHING))
    assert job_file.list_path == tmp_path / "lists/march.csv"
    assert job_file.state_path == tmp_path / "march.state"


def test_only_the_list_is_needed(tmp_path: Path) -> None:
    job_file = read_job_file(written(tmp_path, '[job]\nlist = "a.csv"'))
    assert (job_file.state_path, job_file.layer) == (None, Layer())


def test_a_byte_order_mark_does_not_matter(tmp_path: Path) -> None:
    assert read_job_file(written(tmp_path, '\ufeff[job]\nlist = "a.csv"')).list_path.name == "a.csv"


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    text = """
    [job]
    lst = "a.csv"
    [limit]
    retries = 1
    [limits]
    retries = -1
    requests_per_second = "5"
    [image]
    protected = "yes"
    """
    assert problems(tmp_path, text) == [
        "  [limit]: unknown; did you mean limits?",
        "  [job] list: missing",
        "  [image] protected: is a text; it must be true or false",
        "  [limits] requests_per_second: is a text; it must be a number",
        "  [limits] retries: is -1; it must be 0 or more",
        "  [job] lst: unknown key; did you mean list?",
    ]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("limits.max_exports = 0", "[limits] max_exports: is 0; it must be 1 or more"),
        ("limits.max_exports = 1.5", "[limits] max_exports: is a number; it must be a whole number"),
        ("limits.concurrency = true", "[limits] concurrency: is true or false; it must be a whole number"),
        ("limits.requests_per_second = nan", "[limits] requests_per_second: is nan; it must be 0 or more"),
        ("limits.requests_per_second = -0.5", "[limits] requests_per_second: is -0.5; it must be 0 or more"),
        ("limits.requests_per_second = true", "is true or false; it must be a number"),
        ("limits.poll_interval = 0", "[limits] poll_interval: is 0; it must be more than 0"),
        ('limits.poll_interval = "5 minutes"', "'5 minutes' is not a duration"),
        ("limits.settle_time = 2026-01-01", "is a date or time; it must be a number"),
        ('limits.max_failures = "many"', "[limits] max_failures: max failures: 'many' is neither"),
        ("limits.max_failures = 2.5", "is a number; it must be a whole number"),
        ('servers.in_use = "ask"', "is not known; allowed: fail, skip, force, stop"),
        ("servers.max_down = 0", "is 0; it must be 1 or more"),
        ('servers.stop_timeout = "0s"', "is 0; it must be more than 0"),
        ("servers.in_use = []", "is an array; it must be a text in quotes"),
        ("cloud.name = {}", "is a table; it must be a text in quotes"),
        ('cloud.name = " "', "[cloud] name: is empty; leave the key out instead"),
        ("cloud = 5", "[cloud]: is a whole number; it must be a table"),
    ],
)
def test_a_wrong_value_is_named_with_what_it_must_be(tmp_path: Path, line: str, problem: str) -> None:
    (found,) = problems(tmp_path, f'{line}\n[job]\nlist = "a.csv"')
    assert problem in found


def test_words_of_a_closed_set_are_checked(tmp_path: Path) -> None:
    text = '[job]\nlist = "a.csv"\n[image]\ndisk_format = "qcow"'
    (found,) = problems(tmp_path, text, allowed={"disk_format": ["raw", "qcow2"]})
    assert found.endswith('[image] disk_format: "qcow" is not known; allowed: raw, qcow2')


def test_tables_of_later_versions_are_refused(tmp_path: Path) -> None:
    assert problems(tmp_path, '[mirror]\nto = "b"\n[job]\nlist = "a.csv"') == ["  [mirror]: unknown"]


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read the job file .*no\.toml: No such file"):
        read_job_file(tmp_path / "no.toml")


def test_a_file_that_is_no_toml_is_told_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"not TOML: .*line 2") as caught:
        read_job_file(written(tmp_path, "[limits]\npoll_interval = 5m"))
    assert "need quotes" in str(caught.value.hint)


def test_a_file_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "latin.toml"
    path.write_bytes(b'[job]\nlist = "m\xe4rz.csv"')
    with pytest.raises(ConfigError, match="byte 15 is not UTF-8"):
        read_job_file(path)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("5m", 300), ("0.5h", 1800), ("2d", 172800), (" 7 ", 7)]
)
def test_durations_are_seconds_or_have_a_unit(text: str, seconds: int) -> None:
    assert duration_s(text) == seconds


@pytest.mark.parametrize("text", ["", "m", "-1", "5 m", "1h30m", "5w", "1e3", "٣"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        duration_s(text)


def test_a_layer_fills_what_the_one_above_does_not_say() -> None:
    above = Layer(retries=0, image=ImageOptions(protected=False), options={"region_name": "a"})
    below = Layer(
        retries=9,
        max_exports=3,
        image=ImageOptions(protected=True, os_type="linux"),
        options={"region_name": "b", "project_name": "c"},
    )
    assert above.over(below) == Layer(
        retries=0,
        max_exports=3,
        image=ImageOptions(protected=False, os_type="linux"),
        options={"region_name": "a", "project_name": "c"},
    )


@pytest.mark.parametrize("kind", [Layer, CloudSettings])
def test_what_holds_sign_in_values_does_not_show_passwords(kind: type[Any]) -> None:
    assert "hunter2" not in repr(kind(options={"password": "hunter2"}))


@pytest.mark.parametrize("name", ["sandbox.toml", "nightly.toml"])
def test_the_sample_job_files_are_good(name: str) -> None:
    path = Path(__file__).parents[2] / "jobs" / name
    assert read_job_file(path).list_path.exists()


@pytest.mark.parametrize("name", ["gbk18030", "base64", ""])
def test_an_encoding_that_is_none_is_refused(tmp_path: Path, name: str) -> None:
    (told,) = problems(tmp_path, f'[job]\nlist = "v.csv"\nencoding = "{name}"\n')
    assert told.strip().startswith("[job] encoding: ")


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ('[job]\nlist = "C:\\data\\volumes.csv"\n', "in a path write /"),
        ('[job]\nlist = "C:\\users\\v.csv"\n', "in a path write /"),
        ('[job]\nlist = "v.csv"\n[job]\nstate = "s"\n', "may occur only once"),
        ('[job]\nlist = "v.csv"\npreflight = yes\n', "true and false"),
        ('[job]\nlist = "v.csv"\n[limits]\npoll_interval = 5m\n', "need quotes"),
    ],
)
def test_a_slip_in_toml_is_met_with_what_is_likely_meant(tmp_path: Path, text: str, hint: str) -> None:
    with pytest.raises(ConfigError, match="not TOML") as caught:
        read_job_file(written(tmp_path, text))
    assert hint in str(caught.value.hint)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[deliver]\nto = "cloud:west"', "[deliver]: write [[deliver]], once for each destination"),
        ("[[deliver]]\ntype = 1", "[deliver 1] to: missing"),
        ('[[deliver]]\nto = "clod:west"', "[deliver 1] to: destination 'clod:west': 'clod' is no kind"),
        ('[[deliver]]\nto = "cloud:west"\ntype = "ssd"', "unknown option 'type'; it takes none"),
        ('[[deliver]]\nto = "volume:west"', "[deliver]: destination 'volume:west': the image has to be"),
        ('[limits]\nbandwidth = "fast"', "'fast' is not a number of bytes per second"),
        ("[limits]\nmax_transfers = 0", "it must be 1 or more"),
    ],
)
def test_a_destination_that_cannot_be_is_named(tmp_path: Path, text: str, words: str) -> None:
    found = problems(tmp_path, f'[job]\nlist = "l.csv"\n{text}')
    assert any(words in each for each in found), found


def test_bandwidth_is_a_number_or_a_text(tmp_path: Path) -> None:
    for text, rate in (("1000", 1000.0), ('"2K"', 2048.0)):
        text = f'[job]\nlist = "l.csv"\ndrop_source_image = true\n[limits]\nbandwidth = {text}'
        layer = read_job_file(written(tmp_path, text)).layer
        assert (layer.bandwidth, layer.drop_source) == (rate, True)
