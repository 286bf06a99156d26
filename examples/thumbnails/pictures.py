"""Hills under a sun, drawn from a number: the same picture for the same number, so that none has to be shipped."""

import colorsys
import math
from random import Random

from PIL import Image, ImageDraw, ImageOps

SIZE = (960, 640)

Color = tuple[int, int, int]


def draw(number: int) -> Image.Image:
    """The picture of that number."""
    chance = Random(number)
    hue, night = chance.random(), chance.random() < 0.25
    picture = _sky(hue, night)
    pen = ImageDraw.Draw(picture)
    _sun(pen, chance, night)
    layers = chance.randint(3, 5)
    for layer in range(layers):
        depth = (layer + 1) / layers  # 1 is in front
        color = _color(hue + 0.45 + 0.06 * depth, 0.25 + 0.4 * depth, (0.5 if night else 0.85) * (1.05 - 0.75 * depth))
        _hills(pen, chance, 0.35 + 0.5 * depth, color)
    return picture


def _color(hue: float, saturation: float, value: float) -> Color:
    red, green, blue = colorsys.hsv_to_rgb(hue % 1, saturation, value)
    return round(red * 255), round(green * 255), round(blue * 255)


def _sky(hue: float, night: bool) -> Image.Image:
    top, bottom = (0.12, 0.45) if night else (0.75, 1.0)
    gradient = Image.linear_gradient("L").resize(SIZE)
    return ImageOps.colorize(gradient, _color(hue, 0.6, top), _color(hue + 0.12, 0.35, bottom))


def _sun(pen: ImageDraw.ImageDraw, chance: Random, night: bool) -> None:
    x, y, radius = chance.uniform(0.1, 0.9) * SIZE[0], chance.uniform(0.12, 0.4) * SIZE[1], chance.uniform(35, 90)
    color = (240, 240, 225) if night else _color(chance.uniform(0.06, 0.15), 0.5, 1.0)
    pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=color)


def _hills(pen: ImageDraw.ImageDraw, chance: Random, height: float, color: Color) -> None:
    """`height` is where they are, as a part of the picture from its top."""
    width, whole = SIZE
    waves = [(chance.uniform(0.5, 3) * (n + 1), chance.uniform(0, math.tau), 0.09 / (n + 1)) for n in range(3)]
    edge = [
        (
            x,
            whole
            * (height + sum(size * math.sin(turns * math.pi * x / width + phase) for turns, phase, size in waves)),
        )
        for x in range(0, width + 8, 8)
    ]
    pen.polygon([*edge, (width, whole), (0, whole)], fill=color)
