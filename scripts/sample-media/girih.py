"""Draws the poster of examples/media: eight-pointed stars and crosses, 12000 x 9000 pixels with one bit per pixel."""

import sys

from PIL import Image, ImageDraw

WIDTH, HEIGHT, CELL = 12_000, 9_000, 600


def tile() -> Image.Image:
    """Returns one star of two overlaid squares, whose copies join at the edges."""
    cell = Image.new("1", (CELL, CELL), 1)
    draw = ImageDraw.Draw(cell)
    middle, reach = CELL // 2, CELL // 2
    side = int(reach * 0.7071)
    draw.polygon([(middle, 0), (CELL, middle), (middle, CELL), (0, middle)], outline=0, width=14)
    draw.rectangle([middle - side, middle - side, middle + side, middle + side], outline=0, width=14)
    draw.ellipse([middle - 90, middle - 90, middle + 90, middle + 90], fill=0)
    return cell


def main() -> None:
    poster, one = Image.new("1", (WIDTH, HEIGHT), 1), tile()
    for y in range(0, HEIGHT, CELL):
        for x in range(0, WIDTH, CELL):
            poster.paste(one, (x, y))
    poster.save(sys.argv[1], optimize=True, dpi=(300, 300))


main()
