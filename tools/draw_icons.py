"""Draws the icons of the extension and of its modules: `python tools/draw_icons.py`.

A vertebra seen from below with two pedicle screws; the streaks of their metal fade from one side to the other, as the
software takes them away.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

ROOT = Path(__file__).resolve().parents[1]
SIZE = 1024
NIGHT, TISSUE, BONE, CANAL, STEEL = (16, 24, 38), (44, 60, 84), (226, 216, 196), (70, 84, 106), (120, 190, 235)
SCREWS = (((262, 790), (432, 372)), ((762, 790), (592, 372)))


def icon() -> Image.Image:
    """The icon at 1024 x 1024, RGBA."""
    picture = Image.new("RGB", (SIZE, SIZE), NIGHT)
    draw = ImageDraw.Draw(picture)
    draw.ellipse((70, 120, 954, 940), fill=TISSUE)
    draw.rounded_rectangle((478, 640, 546, 900), 34, fill=BONE)  # spinous process
    for side in (-1, 1):
        x = 512 + side * 300
        draw.line([(512 + side * 150, 610), (x, 660)], fill=BONE, width=86)  # transverse process
        draw.ellipse((x - 43, 617, x + 43, 703), fill=BONE)
        draw.line([(512 + side * 170, 430), (512 + side * 165, 640)], fill=BONE, width=120)  # pedicle
        draw.line([(512 + side * 170, 640), (512, 730)], fill=BONE, width=92)  # lamina
    draw.ellipse((250, 160, 774, 520), fill=BONE)  # body
    draw.ellipse((418, 486, 606, 676), fill=CANAL)
    picture = Image.composite(picture, _streaked(picture), _fading())
    _screws(ImageDraw.Draw(picture))
    picture.putalpha(_rounded())
    return picture


def _streaked(clean: Image.Image) -> Image.Image:
    """The picture with dark and bright streaks through the screws, as a scanner shows them."""
    bright, dark = (Image.new("L", (SIZE, SIZE), 0) for _ in range(2))
    for number, (head, tip) in enumerate(SCREWS):
        middle = np.add(head, tip) / 2
        for turn in range(9):
            angle = np.pi * (turn + 0.31 + 0.17 * number) / 9
            way = 1500 * np.array([np.cos(angle), np.sin(angle)])
            target = ImageDraw.Draw(bright if turn % 2 else dark)
            target.line([tuple(middle - way), tuple(middle + way)], fill=150 if turn % 2 else 170, width=30)
    bright, dark = (image.filter(ImageFilter.GaussianBlur(9)) for image in (bright, dark))
    shaded = Image.composite(Image.new("RGB", clean.size, (4, 6, 10)), clean, dark)
    return Image.composite(Image.new("RGB", clean.size, (245, 248, 252)), shaded, bright)


def _fading() -> Image.Image:
    """How much of the clean picture shows: nothing at the left, all right of the middle."""
    ramp = np.clip((np.arange(SIZE) - 0.40 * SIZE) / (0.2 * SIZE), 0, 1) * 255
    return Image.fromarray(np.tile(ramp.astype(np.uint8), (SIZE, 1)))


def _screws(draw: ImageDraw.ImageDraw) -> None:
    edge = (28, 62, 96)
    for head, tip in SCREWS:
        start, end = np.array(head, dtype=float), np.array(tip, dtype=float)
        axis = (end - start) / np.linalg.norm(end - start)
        across = np.array([-axis[1], axis[0]])
        length = float(np.linalg.norm(end - start))
        for width, color in ((80, edge), (54, STEEL)):
            half = width / 2
            shaft = [start + half * across, end - 70 * axis + half * across, end + (half - 27) * axis,
                     end - 70 * axis - half * across, start - half * across]  # fmt: skip
            draw.polygon([tuple(point) for point in shaft], fill=color)
        for along in np.arange(90, length - 80, 52):
            at = start + along * axis
            draw.line([tuple(at - 46 * across - 12 * axis), tuple(at + 46 * across + 12 * axis)], fill=edge, width=15)
        for half, deep, color in ((84, 66, edge), (68, 50, STEEL)):
            tulip = [start + half * across - deep * axis, start + half * across + deep * axis,
                     start - half * across + deep * axis, start - half * across - deep * axis]  # fmt: skip
            draw.polygon([tuple(point) for point in tulip], fill=color)
        draw.line([tuple(start - 50 * axis), tuple(start + 8 * axis)], fill=edge, width=40)


def _rounded() -> Image.Image:
    mask = Image.new("L", (SIZE, SIZE), 0)
    ImageDraw.Draw(mask).rounded_rectangle((0, 0, SIZE - 1, SIZE - 1), 190, fill=255)
    return ImageChops.multiply(mask, Image.new("L", (SIZE, SIZE), 255))


def main() -> None:
    """Write the files."""
    large = icon()
    for path, size in (("Resources/CTRestoration.png", 128), ("MARInpaint/Resources/Icons/MARInpaint.png", 128)):
        target = ROOT / path
        target.parent.mkdir(parents=True, exist_ok=True)
        large.resize((size, size), Image.Resampling.LANCZOS).save(target, optimize=True)
        print(f"wrote {path}")


if __name__ == "__main__":
    main()
