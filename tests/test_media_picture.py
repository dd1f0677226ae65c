"""Pictures: read back by small decoders of the three formats, written for these tests alone."""

from __future__ import annotations

import binascii
import struct
import zlib

import pytest

from protocol.errors import ApiError
from protocol.mock.media.canvas import draw_canvas
from protocol.mock.media.font import drawable_text, glyph_rows
from protocol.mock.media.picture import PICTURE_FORMATS, PictureHead, picture_file, read_picture_head

PROMPT = "A lighthouse at dusk, “naïve” café; 猫"


# ---- decoders: rows of (red, green, blue, alpha)


def png_rows(data):
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    at, chunks = 8, {}
    while at < len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        body = data[at + 8 : at + 8 + length]
        assert struct.unpack_from(">I", data, at + 8 + length)[0] == binascii.crc32(kind + body)
        chunks[kind] = body
        at += 12 + length
    assert at == len(data) and list(chunks)[0] == b"IHDR" and list(chunks)[-1] == b"IEND"
    width, height, *layout = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    assert layout == [8, 3, 0, 0, 0]
    palette, alphas = chunks[b"PLTE"], chunks.get(b"tRNS", b"")
    alphas = alphas.ljust(len(palette) // 3, b"\xff")
    colours = [(*palette[3 * index : 3 * index + 3], alphas[index]) for index in range(len(alphas))]
    lines, rows, above = zlib.decompress(chunks[b"IDAT"]), [], bytes(width)
    assert len(lines) == height * (width + 1)
    for begin in range(0, len(lines), width + 1):
        kind, line = lines[begin], lines[begin + 1 : begin + 1 + width]
        assert kind in (0, 2)
        above = bytes((now + up) & 255 for now, up in zip(line, above)) if kind else line
        rows.append([colours[index] for index in above])
    return rows


class HighBits:
    """Bits of a JPEG scan, the highest of a byte first."""

    def __init__(self, data):
        self.bits = "".join(f"{byte:08b}" for byte in data)
        self.at = 0

    def number(self, count):
        self.at += count
        assert self.at <= len(self.bits)
        return int(self.bits[self.at - count : self.at] or "0", 2)

    def symbol(self, code):
        word = "1"
        while word not in code:
            word += str(self.number(1))
        return code[word]


def jpeg_means(data):
    """Return the frame's size, and for each block its mean of Y, Cb and Cr."""
    at, codes, steps, frame = 2, {}, [], ()
    assert data[:2] == b"\xff\xd8" and data[-2:] == b"\xff\xd9"
    while True:
        marker, length = struct.unpack_from(">HH", data, at)
        body = data[at + 4 : at + 2 + length]
        at += 2 + length
        if marker == 0xFFDB:
            assert len(body) == 65
            steps = body[1:]
        elif marker == 0xFFC0:
            frame = struct.unpack_from(">BHHB", body)
            assert (frame[0], frame[3]) == (8, 3) and body[7::3] == b"\x11\x11\x11"
        elif marker == 0xFFC4:
            codes[body[0]] = jpeg_code(body[1:17], body[17:])
        elif marker == 0xFFDA:
            break
    bits = HighBits(data[at:-2].replace(b"\xff\0", b"\xff"))
    before, means = [0, 0, 0], []
    for _ in range(-(-frame[1] // 8) * -(-frame[2] // 8)):
        for component in range(3):
            size = bits.symbol(codes[0x00])
            value = bits.number(size)
            before[component] += value if not size or value >> (size - 1) else value - (1 << size) + 1
            skip_jpeg_edges(bits, codes[0x10])
        means.append([128 + part * steps[0] / 8 for part in before])
    assert len(bits.bits) - bits.at < 8 and set(bits.bits[bits.at :]) <= {"1"}
    return frame[1:3], means


def jpeg_code(counts, symbols):
    code, word, at = {}, 0, 0
    for length, count in enumerate(counts, 1):
        for symbol in symbols[at : at + count]:
            code[f"1{word:0{length}b}"] = symbol
            word += 1
        at += count
        assert word < 1 << length  # a word of ones alone is not allowed
        word <<= 1
    assert at == len(symbols)
    return code


def skip_jpeg_edges(bits, code):
    place = 1
    while place < 64:
        symbol = bits.symbol(code)
        if not symbol:
            return
        place += (symbol >> 4) + 1
        bits.number(symbol & 15)
    assert place == 64


class LowBits:
    """Bits of a WebP stream, the lowest of a byte first."""

    def __init__(self, data):
        self.value = int.from_bytes(data, "little")

    def number(self, count):
        value = self.value & ((1 << count) - 1)
        self.value >>= count
        return value

    def code(self, size):
        """Read a prefix code: words (with a 1 in front) to symbols."""
        if self.number(1):
            two, wide = self.number(1), self.number(1)
            symbols = [self.number(8 if wide else 1)] + ([self.number(8)] if two else [])
            return {f"1{at}": symbol for at, symbol in enumerate(sorted(symbols))} if two else {"1": symbols[0]}
        order = (17, 18, 0, 1, 2, 3, 4, 5, 16, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)[: 4 + self.number(4)]
        told = webp_code({symbol: self.number(3) for symbol in order})
        assert self.number(1) == 0
        return webp_code({symbol: self.symbol(told) for symbol in range(size)})

    def symbol(self, code):
        word = "1"
        while word not in code:
            word += str(self.number(1))
        return code[word]

    def image(self, count, width):
        green, red, blue, alpha, distance = (self.code(size) for size in (280, 256, 256, 256, 40))
        pixels = []
        while len(pixels) < count:
            symbol = self.symbol(green)
            if symbol < 256:
                pixels.append((self.symbol(red), symbol, self.symbol(blue), self.symbol(alpha)))
                continue
            length = self.length(symbol - 256)
            back = {1: width, 2: 1}[self.length(self.symbol(distance))]
            for _ in range(length):
                pixels.append(pixels[-back])
        assert len(pixels) == count
        return pixels

    def length(self, symbol):
        extra = max(0, (symbol - 2) // 2)
        return symbol + 1 if symbol < 4 else ((2 + symbol % 2) << extra) + self.number(extra) + 1


def webp_code(lengths):
    used = sorted((length, symbol) for symbol, length in lengths.items() if length)
    if len(used) == 1:
        return {"1": used[0][1]}
    code, word, before = {}, 0, used[0][0]
    for length, symbol in used:
        word <<= length - before
        code[f"1{word:0{length}b}"] = symbol
        word, before = word + 1, length
    assert word == 1 << before  # the code is complete
    return code


def webp_rows(data):
    size, form, kind, length = struct.unpack_from("<4xI4s4sI", data)
    assert (size, form, kind) == (len(data) - 8, b"WEBP", b"VP8L") and length + length % 2 == len(data) - 20
    assert data[20] == 0x2F
    bits = LowBits(data[21:])
    width, height, _, version = bits.number(14) + 1, bits.number(14) + 1, bits.number(1), bits.number(3)
    assert (version, bits.number(3)) == (0, 0b111)
    count = bits.number(8) + 1
    assert count > 16 and bits.number(1) == 0
    palette, before = [], (0, 0, 0, 0)
    for step in bits.image(count, count):
        before = tuple((old + new) & 255 for old, new in zip(before, step))
        palette.append(before)
    assert bits.number(3) == 0
    pixels = [palette[pixel[1]] for pixel in bits.image(width * height, width)]
    assert bits.value == 0
    return [pixels[begin : begin + width] for begin in range(0, len(pixels), width)]


# ---- the text


def ink_of(rows):
    """Return where there is a colour that the first column, which is background, has not."""
    ground = {row[0] for row in rows}
    return {(x, y) for y, row in enumerate(rows) for x, pixel in enumerate(row) if pixel not in ground}


SIZES = [(64, 64), (65, 300), (256, 256), (300, 100)]


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_the_prompt_is_written_inside_the_margins(size):
    width, height = size
    rows = png_rows(picture_file(PROMPT, width, height, seed=7))
    assert (len(rows[0]), len(rows)) == size
    ink = ink_of(rows)
    margin = min(size) // 16
    assert len(ink) > 100
    assert margin <= min(x for x, _ in ink) and max(x for x, _ in ink) < width - margin
    assert margin <= min(y for _, y in ink) and max(y for _, y in ink) < height - margin


def test_a_letter_has_the_dots_of_its_glyph():
    ink = ink_of(png_rows(picture_file("R", 64, 64)))
    left, top = min(x for x, _ in ink), min(y for _, y in ink)
    drawn = ["".join("#" if (left + x, top + y) in ink else "." for x in range(5)) for y in range(7)]
    assert drawn == ["####.", "#...#", "#...#", "####.", "#.#..", "#..#.", "#...#"]


def test_text_is_as_large_as_fits():
    # An H has 17 dots.
    dots = [len(ink_of(png_rows(picture_file("H" * count, 256, 256)))) for count in (1, 100, 800)]
    assert dots == [17 * 4 * 4, 100 * 17 * 2 * 2, 800 * 17]


def test_different_prompts_give_different_pictures_and_equal_ones_the_same_bytes():
    prompts = ["a cat", "a dog", "a Cat", "猫", "犬", "", "a cat\na cat"]
    files = [picture_file(prompt, 128, 128, seed=1) for prompt in prompts]
    assert len(set(files)) == len(prompts)
    assert files == [picture_file(prompt, 128, 128, seed=1) for prompt in prompts]
    assert picture_file("a cat", 128, 128, seed=2) not in files
    assert not ink_of(png_rows(files[5]))


def test_long_text_is_cut_with_dots_and_stays_inside():
    canvas = draw_canvas("word " * 9000, 64, 64, seed=1)
    assert sum(mask is not None for mask in canvas.masks) == 6 * 7
    last = [mask for mask in canvas.masks if mask is not None][-1]
    assert last.rstrip(b"\0").endswith(b"\1\1\0\0\0\0\1\1\0\0\0\0\1\1")


@pytest.mark.parametrize(
    ("text", "drawn"),
    [
        ("plain ~", "plain ~"),
        ("naïve Ångström", "naive Angstrom"),
        ("“quoted” – it’s…", '"quoted" - it\'s...'),
        ("ﬁne ①", "fine 1"),
        ("tab\tand\u3000wide", "tab and wide"),
        ("a\u200db\ufe0f\x07", "ab"),
        ("two\nlines", "two\nlines"),
        ("猫 Ж", "猫 Ж"),
    ],
    ids=ascii,
)
def test_text_is_made_drawable(text, drawn):
    assert drawable_text(text) == drawn


def test_every_glyph_has_its_own_dots():
    glyphs = [tuple(glyph_rows(chr(code))) for code in range(0x20, 0x7F)]
    assert len(set(glyphs)) == 95 and not any(glyphs[0]) and all(any(rows) for rows in glyphs[1:])
    assert all(len(rows) == 7 and max(rows) < 32 for rows in glyphs)
    others = [tuple(glyph_rows(character)) for character in "猫犬жя한\U0001f600\ud800\x80"]
    assert len(set(others)) == 8 and not set(others) & set(glyphs)


def luminance(colour):
    linear = [part / 3294.6 if part <= 10 else ((part / 255 + 0.055) / 1.055) ** 2.4 for part in colour[:3]]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a, b):
    light, dark = sorted((luminance(a), luminance(b)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_ink_can_be_read_on_every_shade():
    for seed in range(300):
        *shades, ink = draw_canvas("", 64, 64, seed=seed).palette()
        assert min(contrast(ink, shade) for shade in shades) >= 4.5
        ink = draw_canvas("", 64, 64, seed=seed, transparent=True).palette()[-1]
        assert contrast(ink, (0, 0, 0)) > 3 and contrast(ink, (255, 255, 255)) > 3


# ---- the formats


@pytest.mark.parametrize("transparent", [False, True], ids=["opaque", "transparent"])
@pytest.mark.parametrize("size", [(1, 1), (2, 3), (64, 1), (1, 64), *SIZES], ids=str)
def test_webp_shows_what_png_shows(size, transparent):
    rows = png_rows(picture_file(PROMPT, *size, seed=5, transparent=transparent))
    webp = webp_rows(picture_file(PROMPT, *size, seed=5, picture_format="webp", transparent=transparent))
    assert webp == rows
    assert {pixel[3] for row in rows for pixel in row} <= ({0, 255} if transparent else {255})


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_jpeg_shows_what_png_shows(size):
    width, height = size
    rows = png_rows(picture_file(PROMPT, width, height, seed=5))
    told, means = jpeg_means(picture_file(PROMPT, width, height, seed=5, picture_format="jpeg"))
    assert told == (height, width)
    columns = -(-width // 8)
    for number, (luma, _, _) in enumerate(means):
        top, left = number // columns * 8, number % columns * 8
        block = [pixel for row in rows[top : top + 8] for pixel in row[left : left + 8]]
        if len(block) == 64:
            expected = sum(0.299 * red + 0.587 * green + 0.114 * blue for red, green, blue, _ in block) / 64
            assert luma == pytest.approx(expected, abs=8)  # the shade of one of eight rows stands for all
    assert len({tuple(mean[1:]) for mean in means}) == 1


@pytest.mark.parametrize("picture_format", PICTURE_FORMATS)
@pytest.mark.parametrize("size", [(1, 1), (7, 9), (1024, 1536), (4096, 64)], ids=str)
def test_the_head_of_what_is_made_is_read(picture_format, size):
    file = picture_file("a cat", *size, picture_format=picture_format)
    assert read_picture_head(file) == PictureHead(picture_format, *size)
    assert len(file) < 100_000


@pytest.mark.parametrize(
    ("arguments", "param", "named"),
    [
        ({"width": 0}, "size", "0x64"),
        ({"height": 4097}, "size", "4096"),
        ({"picture_format": "gif"}, "output_format", "'png', 'jpeg', 'webp'"),
        ({"picture_format": "jpeg", "transparent": True}, "background", "'png' or 'webp'"),
    ],
    ids=["no width", "too high", "format", "transparent jpeg"],
)
def test_refuses_what_cannot_be_made(arguments, param, named):
    with pytest.raises(ApiError) as refused:
        picture_file("a cat", **{"width": 64, "height": 64, **arguments})
    assert (refused.value.status, refused.value.param) == (400, param) and named in refused.value.message


JPEG_BEGINNING = b"\xff\xd8\xff\xe0\0\4JF\xff\xff\xd0\xff\x01\xff\xc4\0\3x"
HEADS = [
    ("gif", b"GIF89a" + struct.pack("<HH", 300, 2), PictureHead("gif", 300, 2)),
    ("jpeg", JPEG_BEGINNING + b"\xff\xc2\0\x0b\x08" + struct.pack(">HH", 5, 700), PictureHead("jpeg", 700, 5)),
    ("vp8", b"RIFF    WEBPVP8     \0\0\0\x9d\x01\x2a" + struct.pack("<HH", 0x4003, 9), PictureHead("webp", 3, 9)),
    (
        "vp8x",
        b"RIFF    WEBPVP8X" + bytes(8) + (70000).to_bytes(3, "little") + (513).to_bytes(3, "little"),
        PictureHead("webp", 70001, 514),
    ),
]


@pytest.mark.parametrize(("data", "head"), [case[1:] for case in HEADS], ids=[case[0] for case in HEADS])
def test_heads_of_other_files_are_read_and_missed_where_they_end_too_early(data, head):
    assert read_picture_head(data + b"more") == read_picture_head(data) == head
    assert [read_picture_head(data[:end]) for end in range(len(data))] == [None] * len(data)


@pytest.mark.parametrize(
    "data",
    [b"", b"BM" + bytes(60), b"RIFF    WAVEfmt " + bytes(40), b"RIFF    WEBPXXXX" + bytes(40), b"\xff\xd8\xff\xd9\0\0",
     b"\xff\xd8\xff\xe0\0\0\xff\xe0\0\0", b"\x89PNG\r\n\x1a\n" + bytes(40), b"\xff\xd8\xff\xda\0\2" + bytes(40)],
    ids=["empty", "bmp", "wav", "unknown webp", "ended jpeg", "jpeg of nothing", "png without a head", "scan first"],
)  # fmt: skip
def test_what_is_no_picture_has_no_head(data):
    assert read_picture_head(data) is None
