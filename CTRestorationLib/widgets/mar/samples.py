"""Sample data: a spine phantom made on request without any download, and a public CT by its checksum."""

from __future__ import annotations

from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

CATEGORY = "CT Restoration"
PHANTOM = "CTRSpinePhantom"
PUBLIC_CT = "CTRAbdomenCTA"
_SHA256 = "146af87511520c500a3706b7b2bfb545f40d5d04dd180be3a7a2c6940e447433"
_SIZE, _SPACING, _SEED = ("64", "192", "192"), ("1.8", "1.8", "2.5"), "7"
"""L2 to L4 whole, in some seconds."""

_maker: Any = None


def registerSamples(resourcePath: Callable[[str], str]) -> None:
    """Offer both in Slicer's Sample Data module; called when the application has started."""
    import SampleData

    logic = SampleData.SampleDataLogic
    logic.registerCustomSampleDataSource(
        category=CATEGORY,
        sampleName=PHANTOM,
        uris="",
        fileNames="",
        nodeNames="",
        thumbnailFileName=_thumbnail(resourcePath, PHANTOM),
        customDownloader=lambda _source: makePhantom(),
    )
    # The CT angiography of the abdomen that Slicer itself offers (OsiriX image library): a whole lumbar spine.
    logic.registerCustomSampleDataSource(
        category=CATEGORY,
        sampleName=PUBLIC_CT,
        uris=f"{slicer.util.TESTING_DATA_URL}SHA256/{_SHA256}",
        fileNames="Panoramix-cropped.nrrd",
        nodeNames="Abdomen CTA",
        thumbnailFileName=_thumbnail(resourcePath, PUBLIC_CT),
        checksums=f"SHA256:{_SHA256}",
    )


def _thumbnail(resourcePath: Callable[[str], str], name: str) -> str | None:
    path = Path(resourcePath(f"Icons/{name}.png"))
    return str(path) if path.is_file() else None


def makePhantom(onDone: Callable[[Any], None] | None = None) -> Any:
    """Start making the phantom in a child process; nodes appear when it is done.

    Args:
        onDone: gets the volume node, or None where it failed or was cancelled.

    Returns:
        The session that runs it; one at a time.
    """
    global _maker
    if _maker is None:
        _maker = PhantomMaker()
    _maker.start(onDone)
    return _maker.session


class PhantomMaker:
    """Makes the phantom beside whatever else goes on, with a progress window that can be cancelled."""

    def __init__(self) -> None:
        import tempfile

        from CTRestorationLib.jobs.runner import JobRunner
        from CTRestorationLib.nodes.mar import MarNodes
        from CTRestorationLib.presenters.mar.session import Session
        from CTRestorationLib.widgets.process import QtProcess, QtTimer

        timer = QtTimer()
        self._folder: Path | None = None

        def root() -> Path:
            if self._folder is None:
                Path(slicer.app.temporaryPath).mkdir(parents=True, exist_ok=True)
                self._folder = Path(tempfile.mkdtemp(prefix="ctrestoration-", dir=slicer.app.temporaryPath))
            return self._folder

        self.session = Session(
            MarNodes(slicer.mrmlScene), lambda: JobRunner(QtProcess(), timer), timer, root, lambda: None
        )
        self._dialog: Any = None
        self._onDone: Callable[[Any], None] | None = None
        self._volume: Any = None
        self.session.progressed.connect(self._progressed)
        self.session.failed.connect(self._failed)
        self.session.ended.connect(self._ended)
        scene = slicer.mrmlScene
        scene.AddObserver(scene.StartCloseEvent, lambda _caller, _event: self.session.abandon())

    def start(self, onDone: Callable[[Any], None] | None) -> None:
        """Begin, unless it is under way already."""
        if self.session.running:
            return
        self._onDone, self._volume = onDone, None
        if slicer.util.mainWindow() is not None:
            self._dialog = slicer.util.createProgressDialog(
                windowTitle=_("Spine phantom"),
                labelText=_("Making the spine phantom"),
                maximum=100,
                windowModality=qt.Qt.NonModal,
            )
            self._dialog.connect("canceled()", self.session.cancel)
        self.session.start(_("Spine phantom"), self._job)

    def _job(self, folder: Path) -> Generator[Any, Any, None]:
        from CTRestorationLib.presenters.mar.session import Child

        ct, labels = folder / "phantom.nrrd", folder / "labels.seg.nrrd"
        yield Child(
            [
                "phantom",
                "spine",
                ct,
                "--labels",
                labels,
                "--seed",
                _SEED,
                "--size",
                *_SIZE,
                "--spacing",
                *_SPACING,
                "--json",
            ]
        )
        volume = yield from self.session.readVolume(ct)
        truth = yield from self.session.readLabels(labels)
        nodes = self.session.nodes
        node = nodes.newVolume(volume, nodes.uniqueName("Spine phantom"), window=(1200.0, 300.0))
        segmentation = yield from nodes.segmentationSteps(truth, f"{node.GetName()} labels", node)
        # Every organ is labeled: shown at once, they would hide the CT.
        segmentation.GetDisplayNode().SetVisibility(False)
        nodes.filed(segmentation, node, {"command": "phantom spine", "options": ["--seed", _SEED]})
        slicer.util.setSliceViewerLayers(background=node, fit=True)
        self._volume = node

    def _progressed(self, fraction: float, message: str, _left: float | None) -> None:
        if self._dialog is not None:
            self._dialog.labelText = message
            self._dialog.value = round(99 * fraction)

    def _failed(self, title: str, sentence: str, detail: str) -> None:
        slicer.util.errorDisplay(f"{title}: {sentence}", detailedText=detail)

    def _ended(self, _title: str, _how: str) -> None:
        import shutil

        if self._dialog is not None:
            dialog, self._dialog = self._dialog, None
            dialog.close()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None
        if self._onDone is not None:
            self._onDone(self._volume)
