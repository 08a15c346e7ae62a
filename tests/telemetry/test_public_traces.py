from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from telemetry.public_traces import TraceError, demands_in, load_demand, load_series
from telemetry.trace import EVENTS_METRIC, REQUESTS_METRIC, Trace, TraceRecorder

SHARED = Path(__file__).parents[2] / "../shared/traces"

needs_shared = pytest.mark.skipif(not SHARED.exists(), reason="the shared public traces are not here")

VALUES = "2014-02-14 14:30:00,1\n2014-02-14 14:35:00,2\n2014-02-14 14:40:00,4\n"


def write(path: Path, text: str) -> Path:
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "step", "requests"),
    [
        ("t,rate,active_clients,rate_weighted_cv\n0,5,1,1\n600,7,1,1\n1200,6,1,1\n", 600, [5, 7, 6]),
        ("t,active,rate\n0,1,5\n600,1,7\n", 600, [5, 7]),
        ("t,client,rate,cv,dist\n0,20,1,1,W\n600,20,2,1,W\n0,5,10,1,G\n1200,5,30,1,G\n", 600, [11, 2, 30]),
        ("189\n188\n187\n", 1, [189, 188, 187]),
        (
            "TIMESTAMP,ContextTokens,GeneratedTokens\r\n2023-11-16 18:15:46.6805900,1,1\r\n"
            "2023-11-16 18:15:46.9,1,1\r\n"
            "2023-11-16 18:15:48.1,1,1\r\n2023-11-16 18:15:49.2,1,1\r\n",
            1,
            [2, 0, 1],
        ),
        (
            "timestamp_ms,input_length,output_length\n0,1,1\n0,1,1\n3000,1,1\n6000,1,1\n9000,1,1\n",
            3,
            [2 / 3, 1 / 3, 1 / 3],
        ),
        ("300 g,|,b,m,|\n600 a,|\n1200 a,a,a,|\n", 300, [3 / 300, 1 / 300, 0, 3 / 300]),
        (
            "job_id,num_gpu,submit_time\n0,16,0\n1,1,1000\n2,2,3600000\n3,2,7200000\n",
            3600,
            [2 / 3600, 1 / 3600],
        ),
        (
            "vc,time,total_job_num\nx,2020-05-01 00:00:00,3\nx,2020-05-01 00:10:00,4\n"
            "y,2020-05-01 00:00:00,9\ny,2020-05-01 00:10:00,9\n",
            600,
            [3, 4],
        ),
        ("time,active,total\n2017-10-03 00:00:00,313,420\n2017-10-03 00:05:00,315,420\n", 300, [313, 315]),
        ("cluster,time,cpu_mean\n1,2024-08-01 00:00,1.2\n1,2024-08-01 00:05,1.3\n", 300, [1.2, 1.3]),
        (
            "job,task,t_s,avg_cpu_usage\n1,5,81,0.5\n1,5,300,0.25\n1,5,600,0.125\n1,5,900,1\n",
            300,
            [0.5, 0.25, 0.125, 1],
        ),
        ("timestamp,value\n" + VALUES, 300, [1, 2, 4]),
        ("timestamp,value\n0,1\n10,2\n", 10, [1, 2]),
    ],
)
def test_a_format_is_known_by_its_content(tmp_path: Path, text: str, step: float, requests: list) -> None:
    for name in ("any.csv", "any.txt.gz"):
        made = load_demand(write(tmp_path / name, text))
        assert made.step_seconds == step
        np.testing.assert_allclose(made.requests_per_second, requests)
        assert len(made.events_per_second) == len(requests)


def test_the_same_file_gives_the_same_events(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "timestamp,value\n" + VALUES)
    assert load_demand(path).events_per_second.tolist() == load_demand(path).events_per_second.tolist()


def test_a_column_is_chosen_by_the_name_of_its_series(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "cluster,time,cpu_mean,mem_mean\n1,0,1,7\n1,5,1,8\n2,0,2,9\n2,5,2,9\n")
    assert [s.name for s in load_series(path)] == [
        "pool 1 cpu_mean",
        "pool 1 mem_mean",
        "pool 2 cpu_mean",
        "pool 2 mem_mean",
    ]
    assert load_demand(path, "pool 1 mem_mean").requests_per_second.tolist() == [7, 8]
    with pytest.raises(TraceError, match=r"no series 'pool 3 cpu'; it has 4: pool 1 cpu_mean"):
        load_demand(path, "pool 3 cpu")


def test_npz_metrics_and_labels_are_series(tmp_path: Path) -> None:
    path = tmp_path / "m.npz"
    np.savez(path, values=np.arange(12.0).reshape(2, 2, 3), label=[[-1, 0, 1]] * 2, service=[4, 7], step_s=300)
    found = {s.name: s.values for s in load_series(path)}
    assert list(found) == [
        "service 4 metric 0", "service 4 metric 1", "service 7 metric 0", "service 7 metric 1",
        "service 4 label", "service 7 label",
    ]  # fmt: skip
    assert found["service 7 metric 1"].tolist() == [9, 10, 11]
    np.testing.assert_array_equal(found["service 4 label"], [np.nan, 0, 1])


def test_our_own_trace_is_read_too(tmp_path: Path) -> None:
    Trace(np.arange(3) * 5.0, np.array([[1.0], [2.0], [3.0]]), ("rps",), np.zeros((3, 0))).save(tmp_path / "t.parquet")
    assert load_demand(tmp_path / "t.parquet", "rps").requests_per_second.tolist() == [1, 2, 3]


def record(folder: Path, metadata: dict | None = None) -> Path:
    """Ten periods of a live system that was asked for 0, 1, 2, ... requests and given 7 events per second."""
    names = ["serving_cpu_used_cores", REQUESTS_METRIC, EVENTS_METRIC]
    with TraceRecorder(folder, names, ["k"], rows_per_segment=4, metadata=metadata) as recorder:
        for i in range(10):
            recorder.append(1000.0 + i, np.array([0.5, i, 7.0]), [1.0])
    return folder


def test_a_recorded_live_system_replays_what_it_was_asked_for(tmp_path: Path) -> None:
    made = load_demand(record(tmp_path / "run-3", {"wall_start": 86400.0 * 20_000 + 3600.0}))
    assert (made.name, made.step_seconds, made.start_seconds) == ("run-3", 1.0, 3600.0)
    assert made.requests_per_second.tolist() == list(range(10))
    assert made.events_per_second.tolist() == [7.0] * 10
    assert load_demand(tmp_path / "run-3", "serving_cpu_used_cores").name == "run-3:serving_cpu_used_cores"


def test_one_file_of_a_recording_replays_like_its_folder(tmp_path: Path) -> None:
    Trace.load(record(tmp_path / "run")).save(tmp_path / "one.parquet")
    one, folder = load_demand(tmp_path / "one.parquet"), load_demand(tmp_path / "run")
    assert one.requests_per_second.tolist() == folder.requests_per_second.tolist()
    assert one.events_per_second.tolist() == folder.events_per_second.tolist()


def test_a_recording_without_arrivals_asks_for_the_metric(tmp_path: Path) -> None:
    Trace(np.arange(3.0), np.ones((3, 2)), ("a", "b"), np.zeros((3, 0))).save(tmp_path / "t.parquet")
    with pytest.raises(TraceError, match=r"t\.parquet: no metric 'serving_arrivals_per_second'; say which .*: a, b"):
        load_demand(tmp_path / "t.parquet")


def test_a_recording_in_a_folder_of_traces_is_one_demand(tmp_path: Path) -> None:
    record(tmp_path / "b")
    write(tmp_path / "a.csv", "t,rate\n0,1\n1,2\n")
    assert [d.name for d in demands_in(tmp_path)] == ["a:rate", "b"]


@pytest.mark.parametrize("compression", [0.5, 60.0, 1440.0])
def test_compression_shortens_steps_and_days_alike(tmp_path: Path, compression: float) -> None:
    path = write(tmp_path / "a.csv", "timestamp,value\n" + VALUES)
    plain, fast = load_demand(path), load_demand(path, compression=compression)
    assert fast.duration == pytest.approx(plain.duration / compression)
    assert fast.requests_per_second.tolist() == plain.requests_per_second.tolist()
    np.testing.assert_allclose(fast.day_fractions, plain.day_fractions)


@pytest.mark.parametrize("compression", [0.0, -1.0, float("nan")])
def test_a_compression_that_is_none_is_refused(tmp_path: Path, compression: float) -> None:
    path = write(tmp_path / "a.csv", "t,rate\n0,1\n1,2\n")
    with pytest.raises(TraceError, match=r"a\.csv: .*compression is"):
        load_demand(path, compression=compression)


def test_the_time_of_day_is_that_of_the_file(tmp_path: Path) -> None:
    made = load_demand(write(tmp_path / "a.csv", "timestamp,value\n" + VALUES))
    assert made.start_seconds == 14.5 * 3600
    assert load_demand(write(tmp_path / "b.csv", "t,rate\n90000,1\n90600,2\n")).start_seconds == 3600


def test_events_beside_a_rate_are_taken_instead_of_derived(tmp_path: Path) -> None:
    made = load_demand(write(tmp_path / "a.csv", "t,rate,events\n0,1,5\n1,2,6\n2,3,\n3,4,8\n"))
    assert made.events_per_second.tolist() == [5, 6, 7, 8]


def test_a_folder_loads_as_the_first_demand_in_it(tmp_path: Path) -> None:
    write(tmp_path / "README.md", "# read me")
    write(tmp_path / "a.csv", "gpu,job_type,scale_factor,steps_per_s\nk80,lm,1,2.5\n")
    write(tmp_path / "b.csv", "t,rate\n0,1\n1,2\n")
    write(tmp_path / "c.csv", "t,rate\n0,3\n1,4\n")
    assert load_demand(tmp_path).name == "b:rate"


@pytest.mark.parametrize("files", [{}, {"a.csv": "gpu,job_type,steps_per_s\nk80,lm,1\n"}])
def test_a_folder_without_a_demand_says_why(tmp_path: Path, files: dict) -> None:
    for name, text in files.items():
        write(tmp_path / name, text)
    with pytest.raises(TraceError, match=r"no file in it is a demand; (it is empty|.*a\.csv: training throughput)"):
        load_demand(tmp_path)


def test_the_series_of_a_folder_are_asked_for_by_file(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", "t,rate\n0,1\n1,2\n")
    with pytest.raises(TraceError, match=r"a folder of 1 files; name one of them: a\.csv"):
        load_series(tmp_path)


@pytest.mark.parametrize(
    "header",
    [
        "gpu,job_type,scale_factor,steps_per_s,model,batch",
        "gpu,job_a,job_b,steps_per_s_a,steps_per_s_b",
        "gpu,model,time_stats.emb.median,n_head,num_tokens",
        "cluster,num_workers,devices_per_node,size,time_stats.all_reduce.median",
        "model,hardware,prompt_size,batch_size,token_size,peak_power,prompt_time,token_time",
        "bench,unit,region,sku,value,runtime,VM_id,t_h",
        "max_heap_table_size,tmp_table_size,innodb_thread_concurrency,tps",
    ],
)
def test_a_response_curve_is_no_demand_and_says_what_is(tmp_path: Path, header: str) -> None:
    path = write(tmp_path / "curve.csv.gz", header + "\n" + ",".join("1" for _ in header.split(",")) + "\n")
    with pytest.raises(TraceError, match=r"tells nothing of arrivals .*; allowed are .*t,rate;") as told:
        load_demand(path)
    assert "\n" not in str(told.value)


def test_gaps_are_filled_in_a_demand_and_counted_but_stay_nan_in_a_series(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "t,rate\n0,1\n1,2\n3,4\n4,\n5,6\n15,7\n16,7\n")
    made = load_demand(path)
    assert made.requests_per_second[:6].tolist() == [1, 2, 3, 4, 5, 6]
    assert made.requests_per_second[6:15].tolist() == [6] * 9
    assert (made.interpolated_steps, made.held_steps) == (2, 9)
    assert np.isnan(load_series(path)[0].values).sum() == 11


def test_a_clock_set_back_by_an_hour_is_averaged_and_counted(tmp_path: Path) -> None:
    rows = "2014-01-07 02:00:00,1\n2014-01-07 02:30:00,2\n2014-01-07 02:00:00,3\n2014-01-07 02:30:00,4\n"
    (series,) = load_series(write(tmp_path / "a.csv", "timestamp,value\n" + rows))
    assert series.values.tolist() == [2.0, 3.0]
    assert series.repeated == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is empty"),
        ("\n\n", "the file is empty"),
        ("speed,colour\n1,red\n", "unknown columns 'speed,colour'; allowed are files with the columns"),
        ("t,rate\n", "no rows below the header"),
        ("t,rate\n0,1\n", "at least 2 times"),
        ("t,rate\n0,1\n5,2\n3,3\n", "time goes back by 2 s at row 3"),
        (
            "timestamp,value\n2014-02-14 14:00:00,1\n2014-02-14 14:05:00,1\n2014-02-14 12:00:00,1\n",
            "time goes back by 7500 s",
        ),
        ("timestamp_ms,input_length\n5,1\n3,1\n", "in order of time"),
        ("t,rate\n0,\n1,nan\n2,\n", "series 'rate' is no demand: all 3 values are NaN"),
        ("t,rate\n0,1\n1,-2\n", r"requests_per_second\[1\] is -2.0"),
        ("t,rate\n0,one\n1,2\n", r"column 'rate', row 1: 'one' is not a number"),
        ("t,rate\n0,1,5\n1,2\n", "row 1 has 3 cells, the header 2"),
        ("t,rate\nyesterday,1\ntoday,2\n", "neither seconds nor ISO timestamps"),
        ("1,0.75 a\n1,1.75 b\n", "unknown columns"),
    ],
)
def test_what_cannot_be_read_is_told_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path / "odd.csv", text)
    with pytest.raises(TraceError, match=message) as raised:
        load_demand(path)
    assert str(raised.value).startswith(str(path))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("broken", [lambda b: b[:-9], lambda b: b[:12], lambda b: b[:20] + b"\xff\xff" + b[22:]])
def test_a_damaged_gzip_is_told(tmp_path: Path, broken) -> None:
    path = tmp_path / "a.csv.gz"
    path.write_bytes(broken(gzip.compress(b"t,rate\n" + b"".join(b"%d,%d\n" % (i, i * i) for i in range(500)))))
    with pytest.raises(TraceError, match="damaged gzip file"):
        load_demand(path)


def test_binary_rubbish_a_broken_npz_and_a_missing_file_are_told(tmp_path: Path) -> None:
    for name, content in (("a.csv", b"\x00\xff\xfe"), ("b.npz", b"PK\x03\x04rubbish"), ("c.parquet", b"PAR1rubbish")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(TraceError, match=name):
            load_series(tmp_path / name)
    with pytest.raises(TraceError, match="No such file"):
        load_series(tmp_path / "nowhere.csv")


def test_a_folder_gives_its_demands_and_why_others_are_none(tmp_path: Path) -> None:
    write(tmp_path / "good.csv", "t,rate\n0,1\n1,2\n")
    write(tmp_path / "bad.csv", "x,y\n")
    write(tmp_path / "README.md", "# read me")
    refused: dict[str, str] = {}
    assert [d.name for d in demands_in(tmp_path, refused)] == ["good:rate"]
    assert list(refused) == [str(tmp_path / "bad.csv")]


@needs_shared
@pytest.mark.parametrize(
    ("file", "step", "series"),
    [
        ("servegen/m-large_total_d0-9.csv.gz", 600, 3),
        ("servegen/m-small_top15clients_d0-9.csv.gz", 600, 15),
        ("autothrottle_rps/bursty.txt.gz", 1, 1),
        ("azure_llm_2023/AzureLLMInferenceTrace_conv.csv.gz", 1, 1),
        ("mooncake/conversation_first60pct.csv.gz", 3, 1),
        ("azure_vm_arrivals_v1/v1.train.txt.gz", 300, 2),
        ("azure_vm_arrivals_v1/v1.dev.c2100000.txt.gz", 300, 2),
        ("philly_muri/trace2.csv.gz", 3600, 2),
        ("helios/earth_2020-05_10vcs_10min.csv.gz", 600, 100),
        ("helios/philly_active_nodes_2017-10-03_to_11-15_5min.csv.gz", 300, 2),
        ("cloudcluster_2024/pools_aug01-20_5min.csv.gz", 300, 36),
        ("google_tasks_2019/job113_5tasks_days0-20.csv.gz", 300, 55),
        ("nab/realKnownCause__machine_temperature_system_failure.csv.gz", 300, 1),
        ("smd/machine-1-6_first70pct_5min.npz", 300, 39),
        ("jumpstarter/dataset2_services_a_days0-33.npz", 300, 6 * 19 + 6),
    ],
)
def test_the_public_formats_are_read(file: str, step: float, series: int) -> None:
    found = load_series(SHARED / file)
    assert len(found) == series
    assert {s.step_seconds for s in found} == {step}
    assert all(np.isfinite(s.values).any() for s in found if "label" not in s.name)


@needs_shared
@pytest.mark.parametrize(
    "folder",
    [
        "autothrottle_rps", "azure_llm_2023", "azure_vm_arrivals_v1", "cloudcluster_2024", "google_tasks_2019",
        "helios", "jumpstarter", "mooncake", "nab", "philly_muri", "servegen", "smd",
    ],
)  # fmt: skip
def test_every_file_of_a_shared_folder_loads_as_a_demand(folder: str) -> None:
    refused: dict[str, str] = {}
    found = demands_in(SHARED / folder, refused)
    assert found
    tables = ("flav_map", "interval_map", "label_windows")
    assert [path for path in refused if not any(table in path for table in tables)] == []
    assert load_demand(SHARED / folder, compression=found[0].duration / 600.0).duration == pytest.approx(600.0)


@needs_shared
@pytest.mark.parametrize(
    "folder", ["azure_vm_noise_2024", "dbtune_knobs", "gavel_throughputs", "splitwise_perf", "vidur_profiles"]
)
def test_a_shared_folder_of_response_curves_is_refused(folder: str) -> None:
    with pytest.raises(TraceError, match="tells nothing of arrivals or load over time; allowed are"):
        load_demand(SHARED / folder)
