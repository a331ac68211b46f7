"""The study of the UC loss: its plan, stored scans, runs that go on after a stop, and the table."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs PyTorch")
pytest.importorskip("numba", reason="simulating slices without numba takes too long for a test")
pytest.importorskip("yaml", reason="training needs PyYAML")

from core.stored_samples import numbered  # noqa: E402

from ctrestoration.cli.main import main  # noqa: E402
from ctrestoration.control import Control  # noqa: E402
from ctrestoration.errors import Cancelled, InputError  # noqa: E402
from ctrestoration.jobs.rundir import RunDirectory  # noqa: E402
from ctrestoration.studies import running, uc  # noqa: E402
from ctrestoration.studies.uc_results import PUBLISHED, markdown, summarize  # noqa: E402
from ctrestoration.training.data import cases  # noqa: E402
from ctrestoration.training.engine import fit  # noqa: E402
from ctrestoration.training.keys import Key  # noqa: E402
from ctrestoration.training.launch import create_run, open_run  # noqa: E402
from ctrestoration.training.sources import DamagedSampleError, stored_scans  # noqa: E402

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")

SCALE = replace(
    uc.SCALES["tiny"],
    size=32,
    pixel_mm=10.0,
    scans=(2, 1, 2),
    phantoms=(1, 1, 1),
    networks={
        "unet": uc.Network({"name": "unet", "widths": [2, 4]}, 2, 1, 2),
        "dicdnet": uc.Network({"name": "dicdnet", "stages": 1, "blocks": 1}, 2, 2, 2),
    },
)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("study") / "uc"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cases, "_phantom_spine", cache(cases._phantom_spine))
        uc.build_data(SCALE, folder / "data", Control())
        yield folder


def test_every_scale_can_be_planned_and_its_run_files_are_valid() -> None:
    for scale in uc.SCALES.values():
        assert set(scale.networks) == set(PUBLISHED)
        assert scale.seeds >= 3
        for run in uc.plan(scale, seeds=1):
            config = uc.run_file(scale, run)
            network = scale.networks[run.network]
            assert sum(stage.epochs for stage in config.method.create(config).stages) == network.warm + network.main
    runs = uc.plan(uc.SCALES["tiny"])
    assert len(runs) == len({run.name for run in runs}) == 3 * (6 + 2 + 2 + 2)
    for run in (*runs, uc.Run("unet", "uc-clip", 12)):
        assert uc.Run.of(run.name) == run
    assert uc.Run.of("unet-magic-1") is uc.Run.of("unet-uc-x") is uc.Run.of("unet") is None
    asked = uc.plan(uc.SCALES["tiny"], ["dicdnet"], ["u", "uc-clip"], 1)
    assert [run.name for run in asked] == ["dicdnet-uc-clip-0", "dicdnet-u-0"], "not in the plan, but there on demand"
    clipped, literal = (uc.run_file(uc.SCALES["tiny"], run).method.uncertainty for run in asked)
    assert (clipped.clip, clipped.weighting) == (0.999, "one_plus_u")
    assert (literal.clip, literal.weighting, literal.normalized) == (None, "u", False)
    assert [run.name for run in uc.plan(uc.SCALES["tiny"], ["unet"], ["uc", "plain"], 1)] == [
        "unet-plain-0",
        "unet-uc-0",
    ]
    for bad in ({"networks": ["vnet"]}, {"variants": ["magic"]}, {"seeds": 0}):
        with pytest.raises(InputError):
            uc.plan(uc.SCALES["tiny"], **bad)


def test_stored_scans_are_the_same_every_epoch_and_split_by_phantom(study: Path, tmp_path: Path) -> None:
    source = stored_scans.Config(name="stored_scans", folder=study / "data" / "test").create()
    first, again = source.sample(Key(1, "main", 0, 0)), source.sample(Key(9, "main", 5, 0))
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert {"input", "target", "li", "sinogram", "sinogram_li", "target_sinogram", "kept"} <= set(first)
    seeds = [
        json.loads((study / "data" / split / "manifest.json").read_text())["settings"]["first_seed"]
        for split in uc.SPLITS
    ]
    assert seeds == [0, 1, 2]
    written = (study / "data" / "test" / "manifest.json").stat().st_mtime_ns
    uc.build_data(SCALE, study / "data", Control())
    assert (study / "data" / "test" / "manifest.json").stat().st_mtime_ns == written, "nothing is made twice"
    begun = study / "data" / "test" / "build.json"
    before = begun.read_text(encoding="utf-8")
    content = json.loads(before)
    del content["settings"]["every_nth_view"]
    begun.write_text(json.dumps(content), encoding="utf-8")
    uc.build_data(SCALE, study / "data", Control())
    begun.write_text(before, encoding="utf-8")
    with pytest.raises(InputError, match="other settings"):
        uc.build_data(replace(SCALE, pixel_mm=9.0), study / "data", Control())
    copy = tmp_path / "damaged"
    copy.mkdir()
    for path in (study / "data" / "test").iterdir():
        content = bytearray(path.read_bytes())
        if path.suffix == ".npz":
            content[len(content) // 2] ^= 1
        (copy / path.name).write_bytes(content)
    with pytest.raises(DamagedSampleError, match="damaged"):
        stored_scans.Config(name="stored_scans", folder=copy).create().sample(Key(1, "main", 0, 0))


@pytest.fixture(scope="module")
def trained(study: Path) -> Any:
    """A finished run of the study: its directory, run file and method."""
    made = create_run(uc.run_file(SCALE, uc.Run("dicdnet", "uc", 0)), study / "runs" / "dicdnet-uc-0")
    run, config = open_run(made.root)
    method = config.method.create(config)
    fit(method, config, run)
    return run, config, method


def test_kept_maps_are_those_made_anew(trained: Any) -> None:
    """A run that goes on in a new process makes its maps again: they have to be the ones it had."""
    run, config, method = trained
    early = method._early
    assert early is not None
    assert set(early._kept) == {0, 1}
    batch = {"index": torch.tensor([1, 0])}
    kept = early._kept_map(batch, torch.zeros(2, 1, 32, 32), lambda network, part: pytest.fail("made again"))
    assert kept.shape == (2, 1, 32, 32)
    assert 0.9 < float(kept.max()) <= 1
    fresh = config.method.create(config)
    fresh.build(config)
    from ctrestoration.training.method import Parts

    fresh._early.enter(fresh.stages[1], run, Parts({"g": fresh._fresh().to(memory_format=torch.channels_last)}, {}))
    source = config.data.train.create()
    samples = [source.sample(Key(0, "main", 0, index)) for index in (1, 0)]
    stacked = {name: torch.from_numpy(np.stack([sample[name] for sample in samples])) for name in samples[0]}
    stacked["index"] = batch["index"]
    from ctrestoration.networks._operator import to_hu

    with torch.no_grad():
        exclude = (stacked["metal"] > 0.5).float()
        again = fresh._early._kept_map(stacked, exclude, lambda net, part: to_hu(fresh._run(part, net)[0][-1]))
    assert torch.equal(again, kept)


@pytest.mark.usefixtures("trained")
def test_a_stopped_study_goes_on_and_prints_its_table(
    study: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(uc, "SCALES", {"tiny": SCALE})
    (study / "study.json").write_text(json.dumps({"study": "uc", "scale": "tiny"}))
    runs = uc.plan(SCALE, ["unet"], ["plain", "uc"], 1)
    files = {study / "runs" / run.name: uc.run_file(SCALE, run) for run in runs}
    asked: list[str] = []
    first = next(iter(files))

    def begun() -> bool:
        status = RunDirectory(first).read_status() or {}
        return bool(asked) and status.get("state") in ("running", "done")

    with pytest.raises(Cancelled):
        running.train_all(files, 1, Control(lambda fraction, message: asked.append(message), begun))
    assert (RunDirectory(first).read_status() or {})["state"] in ("cancelled", "done")
    assert not (study / "runs" / "unet-uc-0").exists()
    words = ["reproduce", "uc", "--scale", "tiny", "--out", str(study), "--networks", "unet", "--variants", "plain,uc"]
    assert main([*words, "--seeds", "1", "--workers", "2"]) == 0
    printed = capsys.readouterr().out
    assert "| unet | uc | 1 |" in printed
    assert "+3.12 / +0.017" in printed
    assert printed.strip() == (study / "results.md").read_text().strip()
    result = json.loads((study / "results.json").read_text())["networks"]
    assert result["unet"]["variants"]["uc"]["gain"]["of"] == 1
    assert "dicdnet" in result, "runs of earlier commands are in the table, too"
    mean, spread = result["unet"]["uncertainty"]["mean"]
    assert 0 < mean < 1
    assert spread is None
    assert "| network | mean of U | share above 0.1 |" in printed
    before = {path: path.stat().st_mtime_ns for path in study.rglob("weights/*")}
    for path in study.rglob("map.json"):
        path.unlink()
    for path in (study / "runs" / "unet-uc-0" / "snapshots").iterdir():
        path.unlink()  # as a study that was tidied up
    assert main([*words, "--seeds", "1"]) == 0
    assert before == {path: path.stat().st_mtime_ns for path in study.rglob("weights/*")}, "nothing is trained twice"
    assert main(["reproduce", "uc", "--scale", "tiny", "--out", str(study / "runs")]) == 2


def test_a_run_that_fails_is_named_and_the_others_are_trained(study: Path) -> None:
    broken = uc.run_file(SCALE, uc.Run("unet", "none", 7))
    content = broken.model_dump(mode="json")
    content["data"]["train"]["folder"] = "../../data/absent"
    wrong = type(broken).model_validate(content)
    failed = running.train_all({study / "runs" / "unet-none-7": wrong}, 1, Control())
    assert list(failed) == [study / "runs" / "unet-none-7"]
    assert "absent" in failed[study / "runs" / "unet-none-7"]


def test_a_run_whose_trainer_outlived_the_study_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After SIGKILL of the study its trainers go on; a repetition finds their directories in use."""
    codes = iter([75, 75, 0])
    started: list[Path] = []

    class Ended:
        def __init__(self, code: int) -> None:
            self.returncode = code

        def poll(self) -> int:
            return self.returncode

    def start(folder: Path, workers: int) -> Ended:
        started.append(folder)
        return Ended(next(codes))

    monkeypatch.setattr(running, "_start", start)
    monkeypatch.setattr(running, "_POLL_SECONDS", 0.0)
    monkeypatch.setattr(running, "_IN_USE_SECONDS", 0.01)
    folder = tmp_path / "unet-uc-0"
    assert running.train_all({folder: uc.run_file(SCALE, uc.Run("unet", "uc", 0))}, 1, Control()) == {}
    assert started == [folder] * 3


def test_gains_are_counted_seed_by_seed() -> None:
    def scores(psnr: float) -> dict[str, Any]:
        return {
            "output": {"psnr_db": psnr, "ssim": 0.9, "rmse_hu": 10.0, "ring_rmse_hu": 20.0},
            "input": {"psnr_db": 20.0, "ssim": 0.5, "rmse_hu": 90.0, "ring_rmse_hu": None},
        }

    found = {}
    for seed, (plain, weighted) in enumerate(((30.0, 31.0), (34.0, 34.0), (32.0, 31.0))):
        found[uc.Run("unet", "plain", seed)] = scores(plain)
        found[uc.Run("unet", "uc", seed)] = scores(weighted)
    table = summarize(uc.SCALES["tiny"], found)
    row = table["unet"]["variants"]["uc"]
    assert row["psnr_db"] == [32.0, pytest.approx(np.sqrt(3.0))]
    assert row["gain"]["psnr_db"] == [0.0, 1.0]
    assert (row["gain"]["better"], row["gain"]["of"]) == (1, 3)
    assert "gain" not in table["unet"]["variants"]["plain"]
    assert table["unet"]["published_gain"] == {"psnr_db": 3.12, "ssim": 0.017}
    text = markdown("tiny", table, ["facts"])
    assert "| unet | uc | 3 | 32.00 ± 1.73 | 0.9000 ± 0.0000 | 10.0 ± 0.0 | 20.0 ± 0.0 | +0.00 ± 1.00 |" in text
    assert "| unet | uncorrected | | 20.00 | 0.5000 | 90.0 | - |" in text


def test_stored_scans_can_be_cropped_turned_and_joined_as_images(study: Path) -> None:
    folder = study / "data" / "train"
    config = stored_scans.Config(
        name="stored_scans", folder=folder, more=(study / "data" / "test",), crop=16, augment=True
    )
    source = config.create()
    assert len(source) == 4
    first, again, other = (source.sample(Key(1, "main", epoch, 0)) for epoch in (0, 0, 1))
    assert set(first) == {"input", "target", "metal", "li"}
    assert all(array.shape == (1, 16, 16) for array in first.values())
    assert all(np.array_equal(first[name], again[name]) for name in first), "the same key, the same bits"
    assert any(not np.array_equal(first[name], other[name]) for name in first), "another epoch, another crop"
    assert np.array_equal(first["input"] > 20000, again["input"] > 20000)
    whole = (
        stored_scans.Config(name="stored_scans", folder=study / "data" / "test").create().sample(Key(1, "main", 0, 0))
    )
    part = source.sample(Key(1, "validation", 0, 2))
    places = np.lib.stride_tricks.sliding_window_view(whole["target"][0], (16, 16)).reshape(-1, 256)
    assert (places == part["target"][0].reshape(-1)).all(axis=1).any(), "validation data are not turned"
    with pytest.raises(InputError, match="Sinograms are not read"):
        config.as_scans()
    assert stored_scans.Config(name="stored_scans", folder=folder).fixed()
    assert not config.fixed()


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=needs_gpu)])
@pytest.mark.parametrize("cut", [{"crop": 16, "augment": True}, {}], ids=["crops", "whole"])
def test_samples_kept_on_the_device_are_the_same_ones(study: Path, device: str, cut: dict[str, Any]) -> None:
    from ctrestoration.training.loader import Loader

    settings = stored_scans.Config(name="stored_scans", folder=study / "data" / "train", **cut)
    keys = [[Key(1, stage, epoch, index) for index in (1, 0)] for stage in ("main", "validation") for epoch in (0, 1)]
    usual = list(Loader(settings.create()).batches(keys))
    kept = settings.model_copy(update={"keep": "device"})
    resident = list(Loader(kept.create(), device=torch.device(device)).batches(keys))
    for one, other in zip(usual, resident, strict=True):
        assert one.keys() == other.keys()
        assert all(torch.equal(one[name], other[name].cpu()) for name in one)
        assert {tensor.device.type for name, tensor in other.items() if name != "index"} == {device}


def test_networks_can_be_taught_the_truth_of_stored_scans(tmp_path: Path) -> None:
    from ctrestoration.training.data.scan_store import build_scans, read_scan
    from ctrestoration.training.sources import scans

    folder = tmp_path / "scans"
    settings = scans.Config(
        name="scans", phantoms=1, count=4, size=32, pixel_mm=10.0, clean=0.5, preset="adn-256", truth=True
    )
    build_scans(folder, settings, 0, "main")
    taught = stored_scans.Config(name="stored_scans", folder=folder, target="truth")
    assert taught.images() == settings.images() == {"li"}, "no network may look at the truth"
    with pytest.raises(InputError, match="target has to be scan"):
        taught.as_scans()
    source, again = taught.create(), settings.create()
    kinds = set()
    for index in range(4):
        key = Key(0, "main", 0, index)
        target, scan = source.sample(key)["target"], read_scan(folder, index)
        clean = np.array_equal(scan["input"], scan["target"])
        kinds.add(clean)
        draw = key.generator("case")
        patient, metals, _ = cases.implanted(again.drawn(draw), draw)  # drawn as the scan is, not scanned
        truth = np.maximum(patient.array[cases.chosen_slices(patient, metals, draw, 1)], np.float32(-1024))
        assert np.array_equal(again.scan(key).simulation.truth.array.clip(-1024), truth)
        assert np.array_equal(target, scan["target"] if clean else truth)
    assert kinds == {False, True}
    old = tmp_path / "old"
    build_scans(old, settings.model_copy(update={"truth": False, "count": 1}), 0, "main")
    with pytest.raises(InputError, match="stored without their truth"):
        stored_scans.Config(name="stored_scans", folder=old, target="truth").create()


def test_images_derived_from_stored_scans_are_images_of_recipes(study: Path, tmp_path: Path) -> None:
    from ctrestoration.training.data.scan_store import derive_images, read_manifest

    folder, out = study / "data" / "test", tmp_path / "derived"
    facts = {"prior": "li plus one"}
    count = derive_images(folder, out, lambda _, sample: {"prior": sample["li"] + 1}, facts)
    assert count == 2
    assert read_manifest(out)["prior"] == "li plus one"
    config = stored_scans.Config(name="stored_scans", folder=out, augment=True)
    assert config.images() == {"prior"}
    sample = config.create().sample(Key(0, "validation", 0, 1))
    original = stored_scans.Config(name="stored_scans", folder=folder).create().sample(Key(0, "validation", 0, 1))
    assert np.array_equal(sample["prior"], original["li"] + 1)
    assert np.array_equal(sample["target"], original["target"])
    assert derive_images(folder, out, _refuse, facts) == 2, "what is finished is not made again"
    with pytest.raises(InputError, match="made otherwise"):
        derive_images(folder, out, _refuse, {"prior": "li plus two"})


def test_derived_images_replace_the_target_and_keep_what_is_asked_for(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ctrestoration.training.data import scan_store
    from ctrestoration.training.data.scan_store import derive_images, read_manifest, read_scan

    folder = study / "data" / "test"
    monkeypatch.setattr(scan_store, "_SHARE", 1)  # else one process makes all
    for workers in (1, 2):
        derive_images(folder, tmp_path / str(workers), numbered, {"made": "numbered"}, keep=("li",), workers=workers)
    assert read_manifest(tmp_path / "1") == read_manifest(tmp_path / "2"), "the bits do not depend on the workers"
    assert read_manifest(tmp_path / "1")["images"] == ["li", "prior"]
    for index in range(2):
        derived, original = read_scan(tmp_path / "1", index), read_scan(folder, index)
        assert set(derived) == {"input", "target", "metal", "li", "prior"}
        assert np.array_equal(derived["target"], original["target"] + index)
        assert np.array_equal(derived["li"], original["li"])
    with pytest.raises(InputError, match="hold no image nmar"):
        derive_images(folder, tmp_path / "3", numbered, {}, keep=("nmar",))
    with pytest.raises(InputError, match="not empty"):
        derive_images(folder, folder.parent, numbered, {})


def _refuse(index: int, sample: dict[str, Any]) -> dict[str, Any]:
    raise AssertionError("made again")


def test_stored_scans_are_those_of_their_settings(study: Path) -> None:
    from ctrestoration.training.data.scan_store import read_manifest, read_scan
    from ctrestoration.training.sources import scans

    folder = study / "data" / "test"
    manifest = read_manifest(folder)
    source = scans.Config.model_validate(manifest["settings"]).create()
    for index in range(2):
        scan = source.scan(Key(manifest["seed"], manifest["stage"], 0, index))
        assert np.array_equal(scan.pair()["target"][None], read_scan(folder, index)["target"])
