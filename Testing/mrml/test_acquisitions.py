"""Where sinograms lie: temporary, beside the scene's file, and found again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from CTRestorationLib.jobs.exchange import exhaust
from CTRestorationLib.nodes.acquisitions import AcquisitionStore, _moveSteps


@pytest.fixture
def store(scene, tmp_path):
    scene.SetURL("")
    yield AcquisitionStore(scene, lambda: tmp_path / "temporary")
    scene.SetURL("")


def job_file(folder: Path) -> Path:
    path = folder / "job.npz"
    np.savez(path, sinogram=np.ones(3))
    return path


def test_a_volume_without_sinograms(store, ct):
    assert not store.has(ct)
    assert not store.has(None)
    assert store.find(ct) is None
    assert store.places(ct) == []


def test_files_get_names_that_were_never_used(store, ct, tmp_path):
    first = exhaust(store.keepSteps(job_file(tmp_path), "CT: metal / simulated"))
    second = exhaust(store.keepSteps(job_file(tmp_path), "CT: metal / simulated"))
    assert first != second
    assert first.name.startswith("CT-metal-simulated-")
    assert store.isTemporary(first)
    store.attach(ct, first)
    assert store.find(ct) == first


@pytest.mark.parametrize("name", ["case.mrml", "case.mrb"])
def test_a_saved_scene_takes_them_beside_it(store, scene, ct, tmp_path, name):
    store.attach(ct, exhaust(store.keepSteps(job_file(tmp_path), "CT")))
    assert not store.homeless()
    scene.SetURL(str(tmp_path / name))
    assert not store.homeless()  # the scene has a name, but was not saved since
    assert scene.WriteToMRB(str(tmp_path / name)) if name.endswith("mrb") else scene.Commit()
    assert store.homeless()
    exhaust(store.adoptSteps())
    found = store.find(ct)
    assert found.parent == tmp_path / "case-ctrestoration" == store.sceneFolder()
    assert not store.homeless()
    found.rename(tmp_path / found.name)
    assert store.find(ct) == tmp_path / found.name
    (tmp_path / found.name).unlink()
    assert store.find(ct) is None
    assert len(store.places(ct)) == 2


@pytest.mark.parametrize("saved", [False, True])
def test_closing_keeps_what_a_saved_scene_names(store, scene, ct, tmp_path, saved):
    path = exhaust(store.keepSteps(job_file(tmp_path), "CT"))
    store.attach(ct, path)
    store.sceneClosed()
    assert path.is_file(), "the scene is not closing: a module that is reloaded keeps its files"
    if saved:
        scene.SetURL(str(tmp_path / "case.mrml"))
        assert scene.Commit()
    scene.AddObserver(scene.StartCloseEvent, lambda *_: store.sceneClosed())
    scene.Clear(False)
    assert (tmp_path / "case-ctrestoration" / path.name).is_file() is saved
    assert not path.exists()


def test_a_move_between_disks_is_complete_or_not_there(tmp_path, monkeypatch):
    import os

    rename = os.replace

    def elsewhere(source, target):
        if Path(source).parent != Path(target).parent:
            raise OSError("another disk")
        rename(source, target)

    monkeypatch.setattr(os, "replace", elsewhere)
    source, target = tmp_path / "a.npz", tmp_path / "folder" / "b.npz"
    source.write_bytes(bytes(range(256)) * 40_000)
    content = source.read_bytes()
    steps = _moveSteps(source, target)
    next(steps)
    steps.close()
    assert source.read_bytes() == content
    assert list(target.parent.iterdir()) == []
    for _ in _moveSteps(source, target):
        pass
    assert target.read_bytes() == content
    assert not source.exists()
