"""The flat module `qt`: PySide6 classes with PythonQt's manners, only names that Qt 5 and Qt 6 both have."""

from __future__ import annotations

import types
from pathlib import Path
from typing import Any

from PySide6 import QtCore, QtGui, QtWidgets

from . import dialogs
from .pythonqt import find, patch, patch_root

NAMES = """
QAbstractButton QAbstractItemModel QAbstractItemView QAbstractSlider QAbstractSpinBox QAction QApplication QBoxLayout
QBrush QButtonGroup QCheckBox QClipboard QColor QComboBox QCoreApplication QCursor QDateTime QDesktopServices QDialog
QDialogButtonBox QDir QDockWidget QDoubleSpinBox QDoubleValidator QElapsedTimer QEvent QEventLoop QFile QFileDialog
QFileInfo QFileSystemWatcher QFont QFontMetrics QFormLayout QFrame QGridLayout QGroupBox QGuiApplication QHBoxLayout
QHeaderView QIcon QImage QInputDialog QIODevice QItemSelectionModel QKeySequence QLabel QLayout QLineEdit QListView
QListWidget QListWidgetItem QLocale QMainWindow QMenu QMessageBox QModelIndex QObject QPainter QPalette QPen
QPlainTextEdit QPixmap QPoint QPointF QProcess QProcessEnvironment QProgressBar QProgressDialog QPushButton
QRadioButton QRect QRectF QScrollArea QSettings QShortcut QSize QSizeF QSizePolicy QSlider QSpacerItem QSpinBox
QSplitter QStackedWidget QStandardPaths QStyle QSysInfo QTabBar QTabWidget QTableView QTableWidget QTableWidgetItem
QTextBrowser QTextCursor QTextEdit QThread QTimer QToolBar QToolButton QTreeView QTreeWidget QTreeWidgetItem QUrl
QVBoxLayout QValidator QWidget
""".split()  # noqa: SIM905


class ByteArray:
    """QByteArray of PythonQt: `data()` gives the bytes; no bytes(), len() or iteration."""

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, data: bytes | str | ByteArray = b"") -> None:
        self._bytes = data._bytes if type(data) is ByteArray else data.encode() if isinstance(data, str) else data

    def data(self) -> bytes:
        return self._bytes

    def size(self) -> int:
        return len(self._bytes)

    length = size

    def isEmpty(self) -> bool:
        return not self._bytes

    def __eq__(self, other: object) -> bool:
        return type(other) is ByteArray and other._bytes == self._bytes

    def __bytes__(self) -> bytes:
        raise TypeError("cannot convert 'QByteArray' object to bytes: use .data()")

    def __iter__(self) -> Any:
        raise TypeError("'QByteArray' object is not iterable: use .data()")


class QtModule(types.ModuleType):
    """`qt`, whose missing names say what to do."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise AttributeError(
            f"qt.{name}: the stand-in does not carry it; where Slicer has it, add it to qtmodule.NAMES"
        )


def _patch_process() -> None:
    process: Any = QtCore.QProcess
    device: Any = QtCore.QIODevice
    for cls, name in (
        (process, "readAllStandardOutput"),
        (process, "readAllStandardError"),
        (device, "readAll"),
        (device, "readLine"),
        (device, "read"),
    ):
        original = getattr(cls, name)
        setattr(cls, name, lambda self, *a, _original=original: ByteArray(_original(self, *a).data()))
    write = device.write

    def write_any(self: Any, data: Any) -> int:
        return write(self, ByteArray(data).data())

    device.write = write_any


def _patch_settings() -> None:
    settings: Any = QtCore.QSettings
    value = settings.value

    def value_as_pythonqt(self: Any, key: str, default: Any = None) -> Any:
        found = value(self, key, default)
        return tuple(found) if isinstance(found, list) else found

    settings.value = value_as_pythonqt


def _patch_modal() -> None:
    """No window waits for a person: the test answers, or the question is an error."""
    dialog: Any = QtWidgets.QDialog
    dialog.exec_ = dialog.exec = lambda self: dialogs.answer(type(self).__name__, self.windowTitle)
    for cls in (QtWidgets.QApplication, QtCore.QCoreApplication, QtCore.QEventLoop):
        plain: Any = cls
        plain.exec_ = plain.exec
    file_dialog: Any = QtWidgets.QFileDialog
    for name in ("getOpenFileName", "getOpenFileNames", "getSaveFileName", "getExistingDirectory"):
        empty: Any = () if name.endswith("s") else ""
        setattr(file_dialog, name, staticmethod(dialogs.asker(f"QFileDialog.{name}", empty)))
    box: Any = QtWidgets.QMessageBox
    for name in ("information", "warning", "critical", "question", "about"):
        setattr(box, name, staticmethod(dialogs.asker(f"QMessageBox.{name}")))
    for name in ("getText", "getInt", "getDouble", "getItem"):
        entry: Any = QtWidgets.QInputDialog
        setattr(entry, name, staticmethod(dialogs.asker(f"QInputDialog.{name}")))
    services: Any = QtGui.QDesktopServices
    services.openUrl = staticmethod(lambda url: bool(dialogs.record("openUrl", url.toString())))


def make_application() -> QtWidgets.QApplication:
    """The process's one QApplication, with settings in a temporary folder."""
    QtCore.QCoreApplication.setOrganizationName("Slicer stand-in")
    QtCore.QCoreApplication.setApplicationName("Slicer")
    QtCore.QSettings.setDefaultFormat(QtCore.QSettings.Format.IniFormat)
    return QtWidgets.QApplication([""])


def settings_folder(folder: Path) -> None:
    """Where QSettings() writes."""
    QtCore.QSettings.setPath(QtCore.QSettings.Format.IniFormat, QtCore.QSettings.Scope.UserScope, str(folder))


def make_qt() -> types.ModuleType:
    """Patch PySide6 and give the module `qt`."""
    patch_root()
    module = QtModule("qt")
    for name in NAMES:
        setattr(module, name, patch(find(name)))
    module.Qt = QtCore.Qt  # type: ignore[attr-defined]
    module.QByteArray = ByteArray  # type: ignore[attr-defined]
    _patch_process()
    _patch_settings()
    _patch_modal()
    return module
