"""Room 2: bytes become a prepared image, or a reason why not. Pure and CPU-bound.

`prepare.prepare_image` is the door and shows the order of the steps:

1. `sniff` recognises the format by content; `header` reads what the header tells, by walking
   the stream (`jpeg_stream`, `png_stream`, `webp_stream`) or, for the others, with Pillow.
2. Guards: bytes, pixels, shortest side. Nothing has been decoded yet.
3. A picture that is already upright, small enough and plain is passed on as it is stored, only
   its metadata is dropped. That takes microseconds.
4. Otherwise: `decode` (a JPEG at a fraction of its size), `resize` (shrink, flatten, turn),
   `colors` (to sRGB), `encode`. What costs per pixel comes after the shrinking.

To read another format: add it to `domain.images.ImageFormat`, its first bytes to `sniff`, its
Pillow plugin to `decode._PLUGINS`; add it to the tables of the tests, which try every format cut,
damaged and turned. To change what is sent: raise `prepare.PREPARE_VERSION`.
"""
