"""Things as a shop shows them: one object, a plain ground, soft light from the left."""

from pipeline.samples.canvas import (
    Canvas,
    Point,
    Rgb,
    make_curve,
    make_lathed,
    make_oval,
    make_panel,
    make_round,
    parse_colors,
    tint,
)

_SIDE = 840
_WHITE: Rgb = (255, 255, 255)


def _lay_out(ground: Rgb) -> Canvas:
    return Canvas((_SIDE, _SIDE), [ground])


def draw_mug(color: Rgb, ground: Rgb = _WHITE) -> Canvas:
    canvas = _lay_out(ground)
    canvas.add_shadow((190, 655, 700, 725))
    canvas.paint(
        make_curve([(560, 315), (700, 320), (735, 440), (690, 560), (555, 585)]),
        make_round(tint(color, -0.1)),
        across=True,
        hole=make_curve([(570, 370), (655, 375), (680, 440), (650, 515), (565, 530)]),
    )
    body = make_lathed(
        400, [(192, 230), (190, 330), (186, 500), (180, 620), (160, 678), (110, 692)]
    )
    canvas.paint(body, make_round(color), across=True)
    canvas.paint(make_oval((208, 200, 592, 264)), [tint(color, 0.35), tint(color, 0.1)])
    canvas.paint(make_oval((222, 210, 578, 258)), [tint(color, -0.55), tint(color, -0.2)])
    canvas.paint(make_panel((262, 300, 284, 600), 11), [_WHITE], blur=9, opacity=0.35)
    return canvas


def draw_shirt(color: Rgb, ground: Rgb = _WHITE) -> Canvas:
    canvas = _lay_out(ground)
    left: list[Point] = [
        (330, 120), (250, 150), (160, 215), (70, 380), (90, 410), (190, 455), (215, 435),
        (252, 370), (262, 480), (250, 735),
    ]  # fmt: skip
    mirrored = [(_SIDE - x, y) for x, y in reversed(left)]
    outline = [*left, (420, 750), *mirrored, (470, 165), (420, 175), (370, 165)]
    shadow = [(x + 10, y + 14) for x, y in outline]
    canvas.paint(shadow, [(60, 60, 70)], blur=10, opacity=0.25)
    canvas.paint(outline, [tint(color, 0.12), color, tint(color, -0.12)])
    for x, lean in ((290, 26), (550, -26), (380, 12), (470, -16)):
        fold = make_curve([(x, 330), (x + 16, 340), (x + lean + 8, 700), (x + lean - 8, 700)])
        canvas.paint(fold, [tint(color, -0.45)], blur=12, opacity=0.5)
    for side in (1, -1):
        seam: list[Point] = [(252, 372), (240, 260), (262, 160)]
        canvas.trace([(x if side > 0 else _SIDE - x, y) for x, y in seam], tint(color, -0.3), 3)
    collar = [(326, 118), (368, 178), (420, 192), (472, 178), (514, 118)]
    canvas.trace(collar, tint(color, -0.22), 22)
    canvas.trace([(x, y - 14) for x, y in collar], tint(color, -0.38), 5)
    return canvas


def draw_chair(color: Rgb, ground: Rgb = _WHITE) -> Canvas:
    canvas = _lay_out(ground)
    wood = parse_colors("d2a679 b07f4f 8a5d35")
    canvas.add_shadow((170, 715, 680, 775), opacity=0.3)
    for top, foot in ((330, 290), (565, 600)):
        canvas.paint([(top, 520), (top + 26, 520), (foot + 16, 690), (foot, 690)], [wood[2]])
    for top, foot in ((270, 208), (560, 640)):
        canvas.paint(
            [(top, 540), (top + 40, 540), (foot + 22, 750), (foot, 750)], wood, across=True
        )
    back = make_curve(
        [
            (240, 150),
            (330, 92),
            (500, 92),
            (590, 150),
            (604, 330),
            (570, 455),
            (262, 455),
            (226, 330),
        ]
    )
    canvas.paint(back, make_round(color), across=True)
    inner = make_curve(
        [
            (268, 170),
            (345, 122),
            (485, 122),
            (562, 170),
            (574, 320),
            (540, 430),
            (290, 430),
            (256, 320),
        ]
    )
    canvas.paint(inner, [tint(color, 0.18), tint(color, -0.16)], opacity=0.6)
    seat = make_curve([(236, 455), (420, 432), (596, 455), (646, 535), (420, 585), (190, 535)])
    canvas.paint([(x, y + 22) for x, y in seat], [tint(color, -0.5)])
    canvas.paint(seat, [tint(color, -0.22), tint(color, 0.2)])
    return canvas


def draw_lamp(color: Rgb, ground: Rgb = _WHITE) -> Canvas:
    canvas = _lay_out(ground)
    brass = (196, 152, 72)
    canvas.add_shadow((250, 725, 600, 780))
    canvas.paint(make_panel((404, 380, 436, 640), 10), make_round(brass), across=True)
    base = make_lathed(
        420,
        [(30, 430), (92, 500), (118, 580), (96, 670), (60, 705), (110, 735), (112, 752), (20, 760)],
    )
    canvas.paint(base, make_round(tint(color, -0.35)), across=True)
    canvas.paint(make_oval((350, 500, 378, 640)), [_WHITE], blur=9, opacity=0.4)
    shade = make_round(color)
    canvas.paint([(290, 130), (550, 130), (660, 420), (180, 420)], shade, across=True)
    canvas.paint(make_oval((180, 396, 660, 444)), shade, across=True)
    canvas.paint(make_oval((290, 112, 550, 148)), [tint(color, -0.4), tint(color, -0.1)])
    canvas.paint(make_oval((310, 240, 530, 430)), parse_colors("fff3c4"), blur=34, opacity=0.75)
    return canvas


def draw_shoe(color: Rgb, ground: Rgb = _WHITE) -> Canvas:
    canvas = _lay_out(ground)
    canvas.add_shadow((80, 590, 780, 665))
    upper = make_curve(
        [(110, 300), (180, 270), (290, 285), (345, 305), (470, 395), (600, 445), (710, 480),
         (765, 545), (745, 590), (420, 600), (130, 595), (95, 520), (118, 420)]
    )  # fmt: skip
    canvas.paint(upper, [tint(color, 0.22), color, tint(color, -0.2)])
    canvas.paint(
        make_curve([(600, 455), (690, 478), (752, 530), (752, 575), (640, 582), (585, 540)]),
        [tint(color, -0.1), tint(color, -0.4)],
    )
    canvas.paint(
        make_curve([(112, 300), (180, 268), (290, 284), (270, 318), (180, 322)]),
        [tint(color, -0.65)],
    )
    canvas.paint(
        make_curve([(110, 430), (150, 420), (205, 520), (200, 590), (110, 585), (98, 520)]),
        [tint(color, -0.15), tint(color, -0.45)],
    )
    canvas.trace([(230, 500), (400, 505), (500, 490), (585, 462)], (246, 246, 244), 30)
    canvas.trace([(225, 545), (410, 552), (540, 540)], (246, 246, 244), 12)
    for step in range(5):
        x, y = 318 + 44 * step, 312 + 29 * step
        canvas.trace([(x, y), (x + 22, y + 4), (x + 30, y + 34)], (245, 245, 245), 11)
    sole = make_curve(
        [
            (88, 570),
            (300, 590),
            (560, 592),
            (772, 562),
            (786, 600),
            (760, 632),
            (420, 640),
            (110, 632),
            (80, 605),
        ]
    )
    canvas.paint(sole, parse_colors("ffffff f2f0ec cfcac2"))
    canvas.trace([(86, 612), (420, 622), (780, 606)], (150, 146, 140), 4)
    return canvas


def draw_vase(color: Rgb, ground: Rgb = _WHITE) -> Canvas:
    canvas = _lay_out(ground)
    canvas.add_shadow((250, 735, 610, 790))
    blossoms = ((250, 150, "f4c430"), (330, 85, "e8603c"), (425, 120, "f7a8b8"),
                (515, 80, "f4c430"), (600, 165, "e8603c"))  # fmt: skip
    for x, y, _ in blossoms:
        canvas.trace(
            [(x, y), ((x + 420) / 2, (y + 380) / 2 - 30), (420 + (x - 420) / 12, 390)],
            (74, 122, 62),
            8,
        )
    for x, y in ((310, 240), (530, 250)):
        leaf = make_curve([(x - 46, y - 20), (x, y - 16), (x + 46, y + 26), (x, y + 18)])
        canvas.paint(leaf, parse_colors("7fae5b 4d7d3c"))
    for x, y, petals in blossoms:
        _draw_blossom(canvas, (x, y), parse_colors(petals)[0])
    body = make_lathed(
        420,
        [(64, 372), (50, 410), (52, 450), (110, 520), (136, 600), (118, 690), (78, 752), (70, 764)],
    )
    canvas.paint(body, make_round(color), across=True)
    canvas.paint(make_oval((356, 360, 484, 386)), [tint(color, -0.5), tint(color, -0.15)])
    canvas.paint(make_oval((330, 545, 356, 680)), [_WHITE], blur=8, opacity=0.45)
    return canvas


def _draw_blossom(canvas: Canvas, middle: Point, color: Rgb) -> None:
    x, y = middle
    for dx, dy in ((0, -30), (29, -9), (18, 24), (-18, 24), (-29, -9)):
        petal = make_oval((x + dx - 25, y + dy - 25, x + dx + 25, y + dy + 25), 32)
        canvas.paint(petal, [tint(color, 0.25), tint(color, -0.1)])
    canvas.paint(make_oval((x - 17, y - 17, x + 17, y + 17), 32), parse_colors("8a5a2b 6b421c"))
