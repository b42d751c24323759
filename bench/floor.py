"""The floor: what the same work costs when nothing but the work is done.

python bench/floor.py FOLDER OUT BASE_URL

Threads read, decode at the smallest scale, resize to fit 1024 and encode; one loop sends and
writes the answers to SQLite, 500 at a time. No ledger, no retries, no resume: a limit, not a peer.
"""

import asyncio
import io
import os
import sqlite3
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import aiohttp
import orjson
import pybase64
import uvloop
from PIL import Image

FOLDER, OUT, BASE_URL = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
PATHS = sorted(FOLDER.iterdir())
SIDE, AT_ONCE, GROUP = 1024, 64, 500
INSTRUCTIONS = (Path(__file__).parent / "profile.yaml").read_text()
PART = {"type": "image_url", "image_url": {"url": "data:image/jpeg;base64,@@"}}
MESSAGE = {"role": "user", "content": [{"type": "text", "text": INSTRUCTIONS}, PART]}
HEAD, TAIL = orjson.dumps({"model": "gpt-4o-mini", "messages": [MESSAGE]}).split(b"@@")


def make_body(path: Path) -> bytes:
    image = Image.open(io.BytesIO(path.read_bytes()))
    scale = min(1.0, SIDE / max(image.size))
    size = (round(image.width * scale), round(image.height * scale))
    image.draft("RGB", size)
    image = image.convert("RGB").resize(size, Image.Resampling.BICUBIC)
    out = io.BytesIO()
    image.save(out, "JPEG", quality=85)
    return b"".join((HEAD, pybase64.b64encode(out.getbuffer()), TAIL))


async def main() -> None:
    loop = asyncio.get_running_loop()
    threads = os.cpu_count() or 1
    todo = iter(PATHS)
    ready: asyncio.Queue[tuple[str, bytes] | None] = asyncio.Queue(16)
    answers: list[tuple[str, str]] = []
    database = sqlite3.connect(OUT)
    database.execute("pragma journal_mode=wal")
    database.execute("create table answers (path text primary key, answer text)")

    async def prepare(pool: ThreadPoolExecutor) -> None:
        for path in todo:
            await ready.put((str(path), await loop.run_in_executor(pool, make_body, path)))

    def store() -> None:
        database.executemany("insert into answers values (?, ?)", answers)
        database.commit()
        answers.clear()

    async def send(session: aiohttp.ClientSession) -> None:
        while (item := await ready.get()) is not None:
            url, headers = f"{BASE_URL}/chat/completions", {"Content-Type": "application/json"}
            async with session.post(url, data=item[1], headers=headers) as reply:
                document = orjson.loads(await reply.read())
            answers.append((item[0], document["choices"][0]["message"]["content"]))
            if len(answers) >= GROUP:
                store()

    connector = aiohttp.TCPConnector(limit=0)
    with ThreadPoolExecutor(threads) as pool:
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            asyncio.TaskGroup() as group,
        ):
            for _ in range(AT_ONCE):
                group.create_task(send(session))
            await asyncio.gather(*(prepare(pool) for _ in range(threads * 2)))
            for _ in range(AT_ONCE):
                await ready.put(None)
    store()


uvloop.run(main())
